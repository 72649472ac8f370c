"""A whole training run: annotations, features, text and recipe in; model folder, predictions and results out."""

import difflib
import json
import logging
import os
import platform
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import transformers
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer

from ..auto import METHODS
from ..benchmarks import load_benchmark
from ..benchmarks.feature_store import FeatureStore
from ..cache import atomic_path
from ..configuration import WordVectorConfig
from ..errors import AnnotationError, FeatureError, HFVTGError, ModelError
from ..processing import VideoGroundingProcessor
from ..tokenization import WordVectors
from .arguments import VideoGroundingTrainingArguments
from .collator import VideoGroundingCollator
from .recipes import Recipe, get_recipe
from .trainer import VideoGroundingTrainer

logger = logging.getLogger(__name__)

# A run that lacks more of its videos than this is refused: its numbers would not be the benchmark's.
MAX_MISSING = 0.05


@dataclass
class RunArguments:
    """What to train on what.

    Args:
        method, benchmark, variant: choose the recipe, the configuration's preset and the annotation builder.
        annotations: the benchmark's official files (folder or file), or own data with ``benchmark="jsonl"``.
        features: feature file or folder for :class:`FeatureStore`.
        output_dir: receives the model, ``results.json`` and ``predictions.jsonl``.
        eval_split: default validation where there is one, else test, else none.
        text_model: id or folder of a Hugging Face text model with its tokenizer; default: the method's own.
        word_vectors: GloVe file, npz or folder instead of a text model.
        config_overrides, recipe_overrides: fields that win over preset and recipe.
        allow_missing: train although more than 5 % of the videos have no features.
    """

    method: str
    annotations: str
    features: str
    output_dir: str
    benchmark: str = "charades_sta"
    variant: str = "default"
    config: str = "paragraph"
    train_split: str = "train"
    eval_split: str | None = None
    text_model: str | None = None
    word_vectors: str | None = None
    config_overrides: dict[str, Any] = field(default_factory=dict)
    recipe_overrides: dict[str, Any] = field(default_factory=dict)
    allow_missing: bool = False
    resume: bool = False


def run_training(run: RunArguments, training_overrides: dict[str, Any] | None = None) -> dict[str, Any]:
    """Train, evaluate, save.

    Returns:
        what is written to ``results.json``:

        | key | meaning |
        |---|---|
        | method, benchmark, variant, split | what was trained, and the split of the metrics |
        | metrics | R@n,IoU=m and mIoU in percent, num_queries, num_unanswered |
        | convention | "IoU > m" or "IoU >= m" |
        | epochs, steps, best_checkpoint, seed | of the run; the metrics are those of the best checkpoint |
        | missing_videos | ids without features, whose rows were left out |
        | recipe, config_overrides | every number of the training |
        | feature_spec | what the features are |
        | parameters, versions | size of the model; python, torch and transformers |

    Raises:
        HFVTGError: for unknown methods, unusable annotations or features, and an output folder in use.
    """
    if run.method not in METHODS:
        raise ModelError(f"Unknown method {run.method!r}. Known: {', '.join(METHODS)}.")
    output = Path(run.output_dir)
    if not run.resume and [*output.glob("results.json"), *output.glob("checkpoint-*")]:
        raise HFVTGError(f"{output} holds another run. Choose a new --output_dir, or --resume it.")
    recipe = _recipe(run)
    store = FeatureStore(run.features)
    splits = load_benchmark(run.benchmark, data_dir=run.annotations, config=run.config)
    train, missing = _with_features(splits, run.train_split, store, run)
    eval_split = run.eval_split or next((name for name in ("validation", "test") if name in splits), None)
    evaluation = None
    if eval_split is not None:
        evaluation, missing_eval = _with_features(splits, eval_split, store, run)
        missing |= missing_eval

    world_size = int(os.environ.get("WORLD_SIZE", 1))
    overrides = dict(training_overrides or {})
    model, processor = build_model(run, store, train, overrides.get("seed", recipe.seed))
    if evaluation is None:
        overrides = {"eval_strategy": "no", "load_best_model_at_end": False, **overrides}
    arguments = VideoGroundingTrainingArguments.from_recipe(recipe, str(output), world_size, **overrides)
    trainer = VideoGroundingTrainer(
        model=model,
        args=arguments,
        recipe=recipe,
        processing_class=processor,
        data_collator=VideoGroundingCollator(processor, store),
        train_dataset=train,
        eval_dataset=evaluation,
    )
    trainer.train(resume_from_checkpoint=last_checkpoint(output) if run.resume else None)
    trainer.save_model()
    prediction = trainer.predict(evaluation) if evaluation is not None else None
    results = _results(run, recipe, arguments, store, trainer, prediction, eval_split, missing)
    if trainer.is_world_process_zero():
        if prediction is not None:
            lines = "".join(json.dumps(line) + "\n" for line in prediction.predictions)
            write_text(output / "predictions.jsonl", lines)
        write_text(output / "results.json", json.dumps(results, indent=2) + "\n")
    return results


def build_model(
    run: RunArguments, store: FeatureStore, train, seed: int
) -> tuple[torch.nn.Module, VideoGroundingProcessor]:
    """The method's model, initialised from ``seed``, and its processor, for the run's text and features."""
    config_class, model_class = METHODS[run.method]
    fields = {"feature_dim": store.dim, **run.config_overrides}
    torch.manual_seed(seed)
    if run.word_vectors is not None:
        vectors = WordVectors.load(run.word_vectors)
        tokenizer, table = vectors.build_tokenizer(), vectors.table()
        fields["text_config"] = WordVectorConfig(vocab_size=table.shape[0], hidden_size=table.shape[1])
        logger.info("%s", vectors.coverage([s for row in train for s in row["sentences"]]))
        model = model_class(_configuration(config_class, run, fields))
        model.set_word_vectors(table)
    else:
        config = _configuration(config_class, run, fields)
        text_model = run.text_model or _published_text_model(config)
        try:
            tokenizer = AutoTokenizer.from_pretrained(text_model)
            model = model_class.from_text_pretrained(text_model, config)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"The text model {text_model!r} cannot be loaded: {next(iter(str(error).splitlines()), '')} "
                "Give --text_model a folder or Hub id with weights and tokenizer, or use --word_vectors."
            ) from error
    return model, VideoGroundingProcessor.from_model_config(model.config, tokenizer, store.spec)


def _published_text_model(config) -> str:
    """Id of the method's own text model."""
    if isinstance(config.text_config, WordVectorConfig):
        raise ModelError(
            f"{config.model_type} reads word vectors: give --word_vectors (a GloVe file), or --text_model for any "
            "Hugging Face text model."
        )
    return "distilbert-base-uncased"


def _configuration(config_class, run: RunArguments, fields: dict[str, Any]):
    known = config_class.__dataclass_fields__
    for name in run.config_overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ModelError(f"{config_class.__name__} has no field {name!r}.{hint}")
    try:
        if run.benchmark in config_class.presets:
            return config_class.for_benchmark(run.benchmark, run.variant, **fields)
        return config_class(variant=run.variant, **fields)
    except StrictDataclassError as error:
        raise ModelError(f"{config_class.__name__}: {' '.join(str(error).split())}") from error


def _recipe(run: RunArguments) -> Recipe:
    benchmark = run.benchmark if run.benchmark != "jsonl" else "charades_sta"
    base = get_recipe(f"{run.method}/{benchmark}/{run.variant}")
    return base.replace(benchmark=run.benchmark, **run.recipe_overrides)


def _with_features(splits, split: str, store: FeatureStore, run: RunArguments):
    """Rows of a split whose video has features, and the ids of the others, counted and reported."""
    if split not in splits:
        raise AnnotationError(f"{run.annotations} has no split {split!r}. It has: {', '.join(splits)}.")
    rows = splits[split]
    missing = set(store.missing(rows["video_id"]))
    if not missing:
        return rows, missing
    share = len(missing) / len(set(rows["video_id"]))
    message = f"{len(missing)} of the videos of {split!r} ({share:.1%}) are not in {run.features}"
    if share > MAX_MISSING and not run.allow_missing:
        raise FeatureError(f"{message}, such as {sorted(missing)[:3]}. Complete the file, or use --allow_missing.")
    logger.warning("%s; their rows are left out.", message)
    keep = [index for index, video in enumerate(rows["video_id"]) if video not in missing]
    return rows.select(keep), missing


def _results(run, recipe, arguments, store, trainer, prediction, eval_split, missing) -> dict[str, Any]:
    return {
        "method": run.method,
        "benchmark": run.benchmark,
        "variant": run.variant,
        "split": eval_split,
        "metrics": _metrics(prediction),
        "convention": "IoU >= m" if arguments.inclusive else "IoU > m",
        "best_checkpoint": trainer.state.best_model_checkpoint,
        "epochs": trainer.state.epoch,
        "steps": trainer.state.global_step,
        "missing_videos": sorted(missing),
        "recipe": recipe.to_dict(),
        "config_overrides": run.config_overrides,
        "feature_spec": store.spec.to_dict(),
        "seed": arguments.seed,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
        },
    }


def _metrics(prediction) -> dict[str, float]:
    """What does not depend on the machine or on how the rows were batched: no times, no loss."""
    if prediction is None:
        return {}
    named = {name.removeprefix("test_"): value for name, value in prediction.metrics.items()}
    return {name: value for name, value in named.items() if name.startswith(("R@", "mIoU", "num_"))}


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


def write_text(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
