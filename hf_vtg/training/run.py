"""A whole training run: annotations, features, text and recipe in; model folder, predictions and results out."""

import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..benchmarks import benchmark_builder
from ..errors import ModelError
from ..features.store import FeatureStore
from ..files import write_json, write_text
from ..models.registry import get_method
from ..text.tokenization import WordVectors
from .build import (
    PUBLISHED_TEXT_MODEL,
    build_arguments,
    build_config,
    build_processor,
    model_of_text_model,
    model_of_words,
    refused_arguments,
    words_config,
)
from .collator import VideoGroundingCollator
from .plan import PlannedRows, choose_recipe, claim_output, open_features, plan_rows
from .results import environment, plain_arguments, trainer_results
from .trainer import VideoGroundingTrainer

logger = logging.getLogger(__name__)


@dataclass
class RunArguments:
    """What to train on what; taken apart by :func:`run_training`.

    Args:
        method, benchmark, variant: choose the recipe, the configuration's preset and the annotation builder.
        annotations: the benchmark's official files (folder or file), or own data with ``benchmark="jsonl"``.
        features: feature file or folder for :class:`FeatureStore`.
        output_dir: receives the model, ``results.json`` and ``predictions.jsonl``.
        version: of the annotations, where there are several.
        feature_preset: which published features these are.
        config: rows of the benchmark: ``sentence``, ``video`` or ``paragraph``; default the recipe's.
        train_split, select_on, eval_split, allow_missing: see :func:`hf_vtg.training.plan.plan_rows`; ``test`` as
            ``select_on`` is the papers' protocol.
        recipe: name of the recipe; see :func:`hf_vtg.training.plan.choose_recipe`.
        text_model: id or folder of a Hugging Face text model with its tokenizer; default: the method's own.
        word_vectors: GloVe file, npz or folder instead of a text model.
        config_overrides, recipe_overrides: fields that win over preset and recipe.
    """

    method: str
    annotations: str
    features: str
    output_dir: str
    benchmark: str = "charades_sta"
    variant: str = "default"
    version: str | None = None
    config: str | None = None
    feature_preset: str | None = None
    train_split: str = "train"
    select_on: str | None = None
    eval_split: str | None = None
    recipe: str | None = None
    text_model: str | None = None
    word_vectors: str | None = None
    config_overrides: dict[str, Any] = field(default_factory=dict)
    recipe_overrides: dict[str, Any] = field(default_factory=dict)
    allow_missing: bool = False
    resume: bool = False


def run_training(run: RunArguments, training_overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Plan, build, train, evaluate, save.

    Returns:
        what is written to ``results.json`` (:data:`hf_vtg.training.results.SCHEMA` describes it).

    Raises:
        HFVTGError: for unknown methods, unusable annotations or features, and an output folder in use.
    """
    get_method(run.method)
    overrides = dict(training_overrides or {})
    output = claim_output(run.output_dir, run.resume)
    recipe = choose_recipe(run.method, run.benchmark, run.variant, run.recipe, run.recipe_overrides)
    width = run.config_overrides.get("feature_dim")
    store = open_features(run.features, run.method, run.benchmark, run.feature_preset, width)
    builder = benchmark_builder(run.benchmark, run.annotations, run.config or recipe.rows, run.version)
    rows = plan_rows(builder, store, run.train_split, run.select_on, run.eval_split, run.allow_missing)

    seed, spec = overrides.get("seed", recipe.seed), store.spec
    preset = (run.method, run.benchmark, run.variant, run.config_overrides)
    if run.word_vectors is not None:
        words = WordVectors.load(run.word_vectors)
        config = build_config(*preset, feature_dim=store.dim, text_config=words_config(words))
        model = model_of_words(config, words, seed, _sentences(rows.of(rows.train)))
        processor = build_processor(model, words, spec)
    else:
        model, tokenizer = model_of_text_model(build_config(*preset, feature_dim=store.dim), run.text_model, seed)
        processor = build_processor(model, tokenizer, spec)
    world_size = int(os.environ.get("WORLD_SIZE", 1))
    arguments = build_arguments(recipe, output, world_size, overrides, evaluates=rows.select_on is not None)
    if arguments.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise ModelError(f"gradient_checkpointing: {run.method} does not support it. Leave it out.")
    trainer = _build_trainer(model, arguments, recipe, processor, store, rows)
    described = {
        "method": run.method,
        "benchmark": run.benchmark,
        "variant": run.variant,
        "split": rows.evaluate,
        "selected_on": rows.select_on,
        **rows.annotations,
        "config_overrides": run.config_overrides,
        "training_overrides": plain_arguments(overrides),
        "annotations": str(run.annotations),
        "features": str(run.features),
        "text": str(run.word_vectors or run.text_model or PUBLISHED_TEXT_MODEL),
        "feature_spec": spec.to_dict(),
        "missing_videos": rows.missing,
        # Whatever may fail is asked for before the work.
        **environment(),
    }
    return train(trainer, rows.of(rows.evaluate), output, described, run.resume)


def train(
    trainer: VideoGroundingTrainer, evaluated: Any, output: Path, described: dict[str, Any], resume: bool = False
) -> dict[str, Any]:
    """Train, save the model, predict ``evaluated`` (None: nothing), write predictions and results.

    Args:
        described: what of ``results.json`` is known beforehand.
    """
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=last_checkpoint(output) if resume else None)
    seconds = time.monotonic() - started
    trainer.save_model()
    prediction = trainer.predict(evaluated) if evaluated is not None else None
    results = {**trainer_results(trainer, trainer.recipe, prediction, None if resume else seconds), **described}
    if trainer.is_world_process_zero():
        if prediction is not None:
            lines = "".join(json.dumps(line) + "\n" for line in prediction.predictions)
            write_text(output / "predictions.jsonl", lines)
        write_json(output / "results.json", results)
    return results


def _build_trainer(
    model: Any, arguments: Any, recipe: Any, processor: Any, store: FeatureStore, rows: PlannedRows
) -> VideoGroundingTrainer:
    with refused_arguments():
        trainer = VideoGroundingTrainer(
            model=model,
            args=arguments,
            recipe=recipe,
            processing_class=processor,
            data_collator=VideoGroundingCollator(processor, store),
            train_dataset=rows.of(rows.train),
            eval_dataset=rows.of(rows.select_on),
        )
        # Made again by train(); what torch refuses is to be known before the work.
        trainer.get_train_dataloader()
        if rows.select_on is not None:
            trainer.get_eval_dataloader()
    return trainer


def _sentences(rows: Any) -> Iterator[str]:
    return (sentence for row in rows for sentence in row["sentences"])


def last_checkpoint(output: Path) -> str | None:
    """The newest complete checkpoint of a run, if any.

    The Trainer writes ``trainer_state.json`` last and removes older checkpoints only after it. Newer folders without
    a readable one are what a killed process left behind; they are removed.
    """
    folders = sorted(output.glob("checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]), reverse=True)
    for folder in folders:
        try:
            json.loads((folder / "trainer_state.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            logger.warning("%s is incomplete: the run was stopped while it was written. It is removed.", folder)
            shutil.rmtree(folder)
            continue
        return str(folder)
    return None
