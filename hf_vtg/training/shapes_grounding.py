"""Trains the grounding model of moving_shapes on features of its video files, and measures it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..benchmarks import load_benchmark
from ..benchmarks.feature_store import FeatureStore
from ..benchmarks.moving_shapes import VOCABULARY
from ..configuration import WordVectorConfig
from ..metrics import grounding_metrics
from ..models.mmn import MMNConfig, MMNForVideoGrounding
from ..processing import VideoGroundingFeatureExtractor, VideoGroundingProcessor
from ..tokenization import WordVectors
from ..video.features import FeatureSpec
from .arguments import VideoGroundingTrainingArguments
from .collator import VideoGroundingCollator
from .recipes import Recipe
from .trainer import VideoGroundingTrainer

WORD_DIM = 64
NUM_CLIPS = 64
MODEL = {
    "num_pre_clips": NUM_CLIPS,
    "num_clips": NUM_CLIPS,
    "pool_kernel_size": 1,
    "hidden_size": 96,
    "conv_hidden_size": 96,
    "joint_size": 96,
    "pooling_counts": (21,),  # moments of moving_shapes take at most 0.3 of a video
    "conv_kernel_size": 3,
    "num_conv_layers": 3,
    "query_encoder": "lstm",
    "contrastive_weight": 0.1,
    "exclude_positive_from_negatives": True,
    "intra_video_mask": "exclude",
}
RECIPE = Recipe(
    method="mmn",
    benchmark="moving_shapes",
    epochs=14,
    learning_rate=1.5e-3,
    per_device_batch_size=8,
    betas=(0.9, 0.99),
    weight_decay=1e-4,
    milestones=(9, 12),
    gamma=0.2,
    max_grad_norm=5.0,
    first_eval_epoch=8,
    seed=0,
)


class BlankFeatures(Mapping[str, np.ndarray]):
    """The features of ``store``, all zero: what remains of a video is that it exists."""

    def __init__(self, store: FeatureStore):
        self.store, self.spec = store, store.spec

    def __getitem__(self, video_id: str) -> np.ndarray:
        return np.zeros((NUM_CLIPS, self.store.dim), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.store)

    def __len__(self) -> int:
        return len(self.store)


def random_words(seed: int = 0) -> WordVectors:
    """A random vector of length 1 for each word of the benchmark."""
    vectors = np.random.default_rng(seed).standard_normal((len(VOCABULARY), WORD_DIM)).astype(np.float32)
    return WordVectors(list(VOCABULARY), vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def build_model(
    spec: FeatureSpec, seed: int = 0, **changes: Any
) -> tuple[MMNForVideoGrounding, VideoGroundingProcessor]:
    words = random_words()
    tokenizer, table = words.build_tokenizer(), words.table()
    torch.manual_seed(seed)
    text = WordVectorConfig(vocab_size=table.shape[0], hidden_size=table.shape[1])
    model = MMNForVideoGrounding(MMNConfig(feature_dim=spec.dim, text_config=text, **{**MODEL, **changes}))
    model.set_word_vectors(table)
    extractor = VideoGroundingFeatureExtractor(
        resampling="mean_bins",
        num_clips=model.config.num_pre_clips,
        legacy_resample=False,
        feature_dim=spec.dim,
        feature_spec=spec,
    )
    return model, VideoGroundingProcessor(extractor, tokenizer, nms_threshold=0.5)


def load_rows(blind: str | None = None, seed: int = 0):
    """The benchmark with a row a video; ``blind="query"`` makes all sentences the same."""
    splits = load_benchmark("moving_shapes", config="video", seed=seed)
    if blind == "query":
        splits = splits.map(lambda row: {"sentences": ["a shape moves"] * len(row["sentences"])})
    return splits


def train_grounding(
    store: FeatureStore, out: Path, recipe: Recipe = RECIPE, blind: str | None = None, **changes: Any
) -> VideoGroundingTrainer:
    """Train on the benchmark's train split, keep the best epoch on validation, save to ``out``."""
    model, processor = build_model(store.spec, recipe.seed, **changes)
    rows = load_rows(blind)
    features = BlankFeatures(store) if blind == "video" else store
    arguments = VideoGroundingTrainingArguments.from_recipe(
        recipe, str(out), save_total_limit=1, save_only_model=True, disable_tqdm=True
    )
    trainer = VideoGroundingTrainer(
        model=model,
        args=arguments,
        recipe=recipe,
        processing_class=processor,
        data_collator=VideoGroundingCollator(processor, features),
        train_dataset=rows["train"],
        eval_dataset=rows["validation"],
    )
    trainer.train()
    return trainer


@dataclass
class Predictions:
    """Best moments (N, 2) in seconds of N sentences, the truth (N, 2), and what is special about each sentence."""

    moments: np.ndarray
    truth: np.ndarray
    columns: dict[str, np.ndarray] = field(default_factory=dict)

    def metrics(self, chosen: np.ndarray | None = None) -> dict[str, float]:
        chosen = np.ones(len(self.truth), bool) if chosen is None else chosen
        return grounding_metrics([[tuple(m)] for m in self.moments[chosen]], self.truth[chosen].tolist(), ranks=(1,))


@torch.inference_mode()
def predict(
    model: MMNForVideoGrounding,
    processor: VideoGroundingProcessor,
    features: Mapping[str, np.ndarray],
    rows,
    exchange: str | None = None,
) -> Predictions:
    """The best moment of every sentence. ``exchange="query"`` asks each video the sentences of the next one (as many
    as it has itself), ``"video"`` asks the next video."""
    model.eval()
    rows = list(rows)
    moments, truth = [], []
    columns: dict[str, list] = {"held_out": [], "wording": [], "action": []}
    for index, row in enumerate(rows):
        following = rows[(index + 1) % len(rows)]
        sentences = row["sentences"]
        if exchange == "query":
            sentences = [following["sentences"][i % len(following["sentences"])] for i in range(len(sentences))]
        source = following if exchange == "video" else row
        batch = processor(video_features=[features[source["video_id"]]], text=[sentences], spec=features.spec)
        ranked = processor.post_process_video_grounding(model(**batch), [row["duration"]], top_k=1)[0]
        moments += [(answer[0]["start"], answer[0]["end"]) for answer in ranked]
        truth += row["moments"]
        for name in columns:
            columns[name] += row[name]
    return Predictions(np.array(moments), np.array(truth), {k: np.array(v) for k, v in columns.items()})


def report(model, processor, features: Mapping[str, np.ndarray], rows) -> dict[str, Any]:
    """All figures of a split: whole, held-out triples and wordings apart, by action, and under exchanges."""
    own = predict(model, processor, features, rows)
    held_out, wording = own.columns["held_out"].astype(bool), own.columns["wording"] == "held_out"
    groups = {
        "all": None,
        "seen triples": ~held_out,
        "held-out triples": held_out,
        "seen wordings": ~wording,
        "held-out wordings": wording,
        **{f"action: {name}": own.columns["action"] == name for name in sorted(set(own.columns["action"]))},
    }
    result: dict[str, Any] = {name: own.metrics(chosen) for name, chosen in groups.items()}
    for exchange in ("query", "video"):
        other = predict(model, processor, features, rows, exchange)
        result[f"changed by another {exchange}"] = float((other.moments != own.moments).any(1).mean())
    return result
