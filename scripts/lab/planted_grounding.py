"""Trains a narrow model of any method on planted features and measures it against what no reader could reach."""

import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch

from hf_vtg.benchmarks import load_benchmark
from hf_vtg.configuration import WordVectorConfig
from hf_vtg.features.spec import FeatureSpec
from hf_vtg.features.store import FeatureStore
from hf_vtg.metrics import constant_moment_baseline
from hf_vtg.modeling import VideoGroundingPreTrainedModel
from hf_vtg.models.registry import get_method
from hf_vtg.moments import pairwise_iou, to_fractions
from hf_vtg.processing import VideoGroundingProcessor
from hf_vtg.recipe import Recipe
from hf_vtg.text.tokenization import WordVectors, vocabulary_of
from hf_vtg.training.arguments import VideoGroundingTrainingArguments
from hf_vtg.training.collator import VideoGroundingCollator
from hf_vtg.training.trainer import VideoGroundingTrainer

from .experiments import PLANTED, experiment

FEATURES, TRAIN, TEST, WORDS = "features.h5", "train.jsonl", "test.jsonl", "words.npz"


def build_model(
    method: str, words: WordVectors, spec: FeatureSpec, seed: int = 0, **changes: Any
) -> tuple[VideoGroundingPreTrainedModel, VideoGroundingProcessor]:
    """A fresh narrow model of ``method`` and its processor; ``changes`` are fields of the configuration."""
    setting = experiment(method, PLANTED)
    found = get_method(method)
    config_class, model_class = found.config_class, found.model_class
    table = words.table()
    text = WordVectorConfig(vocab_size=table.shape[0], hidden_size=table.shape[1])
    config = config_class(feature_dim=spec.dim, text_config=text, **{**setting.fields, **setting.repairs, **changes})
    torch.manual_seed(seed)
    model = model_class(config)
    model.set_word_vectors(table)
    return model, VideoGroundingProcessor.from_model_config(config, words, spec, **setting.processor)


def load_rows(folder: Path, rows: str = "video", shuffled: bool = False, seed: int = 0):
    """Train and test of a folder of ``scripts/plant_features.py``; ``shuffled`` deals the sentences of each split out
    anew, so that no query says anything about its moment."""
    splits = load_benchmark("jsonl", {"train": folder / TRAIN, "test": folder / TEST}, config=rows)
    return splits if not shuffled else {name: _shuffled(split, seed) for name, split in splits.items()}


def learn(
    method: str, folder: Path, out: Path, shuffled: bool = False, recipe: Recipe | None = None, **changes: Any
) -> tuple[VideoGroundingTrainer, dict[str, Any]]:
    """Train on the planted train split for all epochs of the recipe; the metrics of the last weights on test."""
    setting = experiment(method, PLANTED)
    recipe = setting.recipe if recipe is None else recipe
    store = FeatureStore(folder / FEATURES)
    splits = load_rows(folder, setting.rows, shuffled)
    words = WordVectors.load(folder / WORDS, vocabulary_of(s for row in splits["train"] for s in row["sentences"]))
    model, processor = build_model(method, words, store.spec, recipe.seed, **changes)
    arguments = VideoGroundingTrainingArguments.from_recipe(
        recipe,
        str(out),
        eval_strategy="no",
        save_strategy="no",
        load_best_model_at_end=False,
        disable_tqdm=True,
    )
    trainer = VideoGroundingTrainer(
        model=model,
        args=arguments,
        recipe=recipe,
        processing_class=processor,
        data_collator=VideoGroundingCollator(processor, store),
        train_dataset=splits["train"],
        eval_dataset=splits["test"],
    )
    trainer.train()
    metrics = trainer.evaluate()
    return trainer, {name.removeprefix("eval_"): value for name, value in metrics.items()}


def floor(folder: Path) -> dict[str, Any]:
    """What a constant moment reaches on the planted test split."""
    splits = load_rows(folder)
    return constant_moment_baseline(splits["train"], splits["test"], ranks=(1,))


@torch.inference_mode()
def oracle_bound(
    method: str, words: WordVectors, features: FeatureStore, rows: Iterable[dict[str, Any]], iou_threshold: float = 0.5
) -> float:
    """Percent of sentences for which one of the method's candidates is a hit: no ranking can do better.

    The candidates are those of a fresh model, so of IA-Net the anchors before training moved them. 100 for a method
    that answers with a single moment of its own making.
    """
    model, processor = build_model(method, words, features.spec, **experiment(method, PLANTED).whole_grid)
    model.eval()
    hits = []
    for row in rows:
        batch = processor(video_features=[features[row["video_id"]]], text=[row["sentences"]], spec=features.spec)
        output = model(**batch)
        if output.moments.shape[2] == 1:
            return 100.0
        truth = to_fractions(torch.tensor(row["moments"], dtype=torch.float64), row["duration"])
        iou = pairwise_iou(output.moments[0].double(), truth[:, None])[..., 0]
        hits.append(((iou > iou_threshold) & (output.scores[0] > -torch.inf)).any(-1))
    return float(torch.cat(hits).double().mean() * 100)


def _shuffled(rows, seed: int):
    sentences = [sentence for row in rows for sentence in row["sentences"]]
    random.Random(seed).shuffle(sentences)
    dealt = iter(sentences)
    return rows.map(lambda row: {"sentences": [next(dealt) for _ in row["sentences"]]}, load_from_cache_file=False)
