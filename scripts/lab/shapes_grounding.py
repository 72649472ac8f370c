"""Trains grounding models of any method on features of the moving_shapes videos, and measures them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import BertConfig, PreTrainedConfig

from hf_vtg.benchmarks import load_benchmark
from hf_vtg.configuration import WordVectorConfig
from hf_vtg.errors import ModelError
from hf_vtg.features.spec import FeatureSpec
from hf_vtg.features.store import FeatureStore
from hf_vtg.metrics import grounding_metrics
from hf_vtg.modeling import VideoGroundingPreTrainedModel
from hf_vtg.models.registry import get_method
from hf_vtg.models.small_sizes import SHAPES as SHAPES_CLIPS
from hf_vtg.moving_shapes.wording import VOCABULARY, words_of
from hf_vtg.moving_shapes.world import COLOURS, SHAPES
from hf_vtg.processing import VideoGroundingProcessor
from hf_vtg.recipe import Recipe
from hf_vtg.text.tokenization import WordVectors
from hf_vtg.training.arguments import VideoGroundingTrainingArguments
from hf_vtg.training.augmentation import CutAndJoined
from hf_vtg.training.collator import VideoGroundingCollator
from hf_vtg.training.trainer import VideoGroundingTrainer

from .experiments import MOVING_SHAPES, experiment

WORD_DIM = 64
TEXTS = ("words", "transformer")


class BlankFeatures(Mapping[str, np.ndarray]):
    """The features of ``store``, all zero: what remains of a video is that it exists."""

    def __init__(self, store: FeatureStore):
        self.store, self.spec = store, store.spec

    def __getitem__(self, video_id: str) -> np.ndarray:
        return np.zeros((SHAPES_CLIPS, self.store.dim), np.float32)

    def __iter__(self) -> Iterator[str]:
        return iter(self.store)

    def __len__(self) -> int:
        return len(self.store)


def random_words(norm: float = 1.0, seed: int = 0) -> WordVectors:
    """A random vector of length ``norm`` for each word of the benchmark."""
    vectors = np.random.default_rng(seed).standard_normal((len(VOCABULARY), WORD_DIM)).astype(np.float32)
    return WordVectors(list(VOCABULARY), norm * vectors / np.linalg.norm(vectors, axis=1, keepdims=True))


def text_config(kind: str, words: int) -> PreTrainedConfig:
    """``words``: the table of :func:`random_words`; ``transformer``: a small encoder that is trained with the model.

    Raises:
        ModelError: for another kind.
    """
    if kind == "words":
        return WordVectorConfig(vocab_size=words, hidden_size=WORD_DIM)
    if kind == "transformer":
        return BertConfig(
            vocab_size=words,
            hidden_size=WORD_DIM,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=2 * WORD_DIM,
            max_position_embeddings=64,
        )
    raise ModelError(f"text={kind!r} is not known: {', '.join(TEXTS)}.")


def build_model(
    spec: FeatureSpec,
    method: str = "mmn",
    variant: str = "default",
    seed: int = 0,
    text: str = "words",
    **changes: Any,
) -> tuple[VideoGroundingPreTrainedModel, VideoGroundingProcessor]:
    """A fresh model of ``method`` and its processor; ``text`` of :func:`text_config`, ``changes`` of its fields."""
    setting = experiment(method, MOVING_SHAPES)
    words = random_words(setting.word_norm)
    found = get_method(method)
    config_class, model_class = found.config_class, found.model_class
    fields = {**setting.fields, **(setting.repairs if variant == "default" else {})}
    config = config_class(
        feature_dim=spec.dim,
        text_config=text_config(text, len(words.table())),
        variant=variant,
        **{**fields, **changes},
    )
    torch.manual_seed(seed)
    model = model_class(config)
    if text == "words":
        model.set_word_vectors(words.table())
    return model, VideoGroundingProcessor.from_model_config(config, words, spec, **setting.processor)


def load_rows(blind: str | None = None, seed: int = 0, rows: str = "video"):
    """The benchmark with ``rows`` of that config; ``blind="query"`` makes all sentences the same."""
    splits = load_benchmark("moving_shapes", config=rows, seed=seed)
    if blind == "query":
        splits = splits.map(lambda row: {"sentences": ["a shape moves"] * len(row["sentences"])})
    return splits


def meanings(row: Mapping[str, Any]) -> list[tuple[str, frozenset[str]]]:
    """Of each sentence of a row the action, and the colour and shape of what acts."""
    return [
        (action, frozenset(words_of(sentence)) & {*COLOURS, *SHAPES})
        for sentence, action in zip(row["sentences"], row["action"], strict=True)
    ]


def train_grounding(
    store: Mapping[str, np.ndarray],
    out: Path,
    method: str = "mmn",
    variant: str = "default",
    blind: str | None = None,
    recipe: Recipe | None = None,
    splits: Mapping[str, Any] | None = None,
    rows: str | None = None,
    **changes: Any,
) -> VideoGroundingTrainer:
    """Train on the benchmark's train split, keep the best epoch on validation, save to ``out``.

    Args:
        store: features of train and validation, with ``spec`` and ``dim``.
        recipe: default that of the method's experiment; its seed also decides the first weights.
        splits: rows to train on and to choose the epoch on; default all of both splits.
        rows: instead of the setting's: ``"video"``, or ``"paragraph"``, whose sentences keep their order because they
            lean on the one before.
        changes: fields of the configuration, and ``text`` of :func:`build_model`.
    """
    setting = experiment(method, MOVING_SHAPES)
    recipe = setting.recipe if recipe is None else recipe
    model, processor = build_model(store.spec, method, variant, recipe.seed, **changes)
    rows = setting.rows if rows is None else rows
    splits = load_rows(blind, rows=rows) if splits is None else splits
    features = BlankFeatures(store) if blind == "video" else store
    train = splits["train"]
    kinds = tuple(kind for kind in setting.augmentation if rows == "video" or kind == "thin")
    if kinds:
        train = CutAndJoined(train, features, kinds, recipe.seed, meanings)
    arguments = VideoGroundingTrainingArguments.from_recipe(
        recipe, str(out), save_total_limit=1, save_only_model=True, disable_tqdm=True
    )
    trainer = VideoGroundingTrainer(
        model=model,
        args=arguments,
        recipe=recipe,
        processing_class=processor,
        data_collator=VideoGroundingCollator(processor, features),
        train_dataset=train,
        eval_dataset=splits["validation"],
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
    model: VideoGroundingPreTrainedModel,
    processor: VideoGroundingProcessor,
    features: Mapping[str, np.ndarray],
    rows,
    exchange: str | None = None,
    alone: bool = False,
) -> Predictions:
    """The best moment of every sentence.

    Args:
        exchange: ``"query"`` asks each video the sentences of the next one (as many as it has itself), ``"video"``
            asks the next video.
        alone: ask every sentence by itself, also of a method that reads the sentences of a row together.
    """
    model.eval()
    rows = list(rows)
    moments, truth = [], []
    columns: dict[str, list] = {name: [] for name in ("held_out", "wording", "action", "needs_context")}
    for index, row in enumerate(rows):
        following = rows[(index + 1) % len(rows)]
        sentences = row["sentences"]
        if exchange == "query":
            sentences = [following["sentences"][i % len(following["sentences"])] for i in range(len(sentences))]
        source = following if exchange == "video" else row
        text = [[sentence] for sentence in sentences] if alone else [sentences]
        batch = processor(video_features=[features[source["video_id"]]] * len(text), text=text, spec=features.spec)
        batch = batch.to(model.device)
        ranked = processor.post_process_video_grounding(model(**batch), [row["duration"]] * len(text), top_k=1)
        moments += [(answer[0]["start"], answer[0]["end"]) for answers in ranked for answer in answers]
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
        "need their neighbours": own.columns["needs_context"].astype(bool),
        **{f"action: {name}": own.columns["action"] == name for name in sorted(set(own.columns["action"]))},
    }
    result: dict[str, Any] = {
        name: own.metrics(chosen) for name, chosen in groups.items() if chosen is None or chosen.any()
    }
    for exchange in ("query", "video"):
        other = predict(model, processor, features, rows, exchange)
        result[f"changed by another {exchange}"] = float((other.moments != own.moments).any(1).mean())
    return result
