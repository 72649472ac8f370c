"""A whole training run: annotations, features, text and recipe in; model folder, predictions and results out."""

import contextlib
import difflib
import json
import logging
import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer

from ..auto import METHODS
from ..benchmarks import benchmark_builder
from ..benchmarks.feature_store import FeatureStore
from ..cache import write_json, write_text
from ..configuration import WordVectorConfig
from ..errors import AnnotationError, FeatureError, HFVTGError, ModelError
from ..processing import VideoGroundingProcessor
from ..tokenization import WordVectors
from .arguments import VideoGroundingTrainingArguments
from .collator import VideoGroundingCollator
from .recipes import RECIPES, Recipe, get_recipe
from .results import plain_arguments, trainer_results
from .trainer import VideoGroundingTrainer

logger = logging.getLogger(__name__)

# A run that lacks more of its videos than this is refused: its numbers would not be the benchmark's.
MAX_MISSING = 0.05
# Files by which a folder is known as that of a run, finished or not.
TRACES = ("results.json", "checkpoint-*", "model*.safetensors", "predictions.jsonl")
# Training arguments that a run with a recipe does not read -> what to do instead.
_RECIPE_DECIDES = "the recipe decides it (--recipe FIELD=VALUE changes it, `hf-vtg recipes NAME` prints it)"
WITHOUT_EFFECT = {
    **dict.fromkeys(
        ("optim", "optim_args", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"), _RECIPE_DECIDES
    ),
    **dict.fromkeys(("neftune_noise_alpha", "use_liger_kernel"), "the methods do not support it"),
    "label_smoothing_factor": "the methods have losses of their own",
    **dict.fromkeys(("batch_eval_metrics", "include_for_metrics", "prediction_loss_only"), "the metrics are our own"),
    "resume_from_checkpoint": "use --resume, which goes on with --output_dir",
}
PUBLISHED_TEXT_MODEL = "distilbert-base-uncased"


@dataclass
class RunArguments:
    """What to train on what.

    Args:
        method, benchmark, variant: choose the recipe, the configuration's preset and the annotation builder.
        annotations: the benchmark's official files (folder or file), or own data with ``benchmark="jsonl"``.
        features: feature file or folder for :class:`FeatureStore`.
        output_dir: receives the model, ``results.json`` and ``predictions.jsonl``.
        version: of the annotations, where there are several.
        feature_preset: which published features these are.
        config: rows of the benchmark: ``sentence``, ``video`` or ``paragraph``; default the recipe's.
        select_on: split whose metric decides which epoch's weights are kept. Default validation; without one, that of
            ``eval_split``, if given; else none, and the last epoch is kept. ``test`` is the papers' protocol.
        eval_split: split of the reported metrics; default test where there is one, else that of ``select_on``.
        recipe: name of the recipe; default METHOD/BENCHMARK/VARIANT, for own data the one of Charades-STA, or the
            method's first.
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
    """Train, evaluate, save.

    Returns:
        what is written to ``results.json``:

        | key | meaning |
        |---|---|
        | method, benchmark, version, variant | what was trained; version of the annotations or null |
        | rows | ``sentence``, ``video`` or ``paragraph`` |
        | split | of the metrics |
        | selected_on | split that chose the weights; null: the last epoch's. "test" is the papers' protocol |
        | metrics | R@n,IoU=m and mIoU in percent, num_queries, num_unanswered |
        | convention | "IoU > m" or "IoU >= m" |
        | epochs, steps, best_checkpoint, seed | of the run; the metrics are those of the best checkpoint |
        | seconds_per_epoch, precision | of the training; fp32, bf16 or fp16 (losses are always fp32) |
        | missing_videos | ids without features, whose rows were left out |
        | annotation_report | split -> what its builder read, kept, dropped and clipped |
        | recipe, config_overrides | every number of the training, as it was run |
        | training_overrides | further training arguments that were given, without tokens |
        | annotations, features, text | files or ids that it read, as they were given |
        | feature_spec | what the features are |
        | parameters, versions | size of the model; python, torch, transformers and hf_vtg |
        | git_revision | of the package's checkout, "-dirty" with changes; null if installed from elsewhere |

    Raises:
        HFVTGError: for unknown methods, unusable annotations or features, and an output folder in use.
    """
    if run.method not in METHODS:
        raise ModelError(f"Unknown method {run.method!r}. Known: {', '.join(METHODS)}.")
    output = Path(run.output_dir)
    if output.exists() and not output.is_dir():
        raise HFVTGError(f"{output} is a file. Choose a folder as --output_dir.")
    if not run.resume and any(path for pattern in TRACES for path in output.glob(pattern)):
        raise HFVTGError(f"{output} holds another run. Choose a new --output_dir, or --resume it.")
    recipe = _recipe(run)
    store = FeatureStore(run.features, preset=run.feature_preset)
    _check_width(run, store)
    builder = benchmark_builder(run.benchmark, run.annotations, run.config or recipe.rows, run.version)
    builder.download_and_prepare()
    splits = builder.as_dataset()
    select_on = run.select_on or ("validation" if "validation" in splits else run.eval_split)
    eval_split = run.eval_split or ("test" if "test" in splits else select_on)
    chosen = {name: None for name in (run.train_split, select_on, eval_split) if name is not None}
    chosen = {name: _with_features(splits, name, store, run) for name in chosen}
    rows = {name: kept for name, (kept, _) in chosen.items()}
    missing = set().union(*(absent for _, absent in chosen.values()))
    train = rows[run.train_split]
    if select_on is None:
        logger.warning("%s has no validation split: the last epoch is kept. See select_on.", run.benchmark)

    world_size = int(os.environ.get("WORLD_SIZE", 1))
    overrides = dict(training_overrides or {})
    model, processor = build_model(run, store, train, overrides.get("seed", recipe.seed))
    if select_on is None:
        overrides = {"eval_strategy": "no", "load_best_model_at_end": False, **overrides}
    arguments = _arguments(recipe, output, world_size, overrides)
    if arguments.gradient_checkpointing and not model.supports_gradient_checkpointing:
        raise ModelError(f"gradient_checkpointing: {run.method} does not support it. Leave it out.")
    with _refused_arguments():
        trainer = VideoGroundingTrainer(
            model=model,
            args=arguments,
            recipe=recipe,
            processing_class=processor,
            data_collator=VideoGroundingCollator(processor, store),
            train_dataset=train,
            eval_dataset=rows.get(select_on),
        )
        # Made again by train(); what torch refuses is to be known before the work.
        trainer.get_train_dataloader()
        if select_on is not None:
            trainer.get_eval_dataloader()
    started = time.monotonic()
    trainer.train(resume_from_checkpoint=last_checkpoint(output) if run.resume else None)
    seconds = time.monotonic() - started
    trainer.save_model()
    prediction = trainer.predict(rows[eval_split]) if eval_split is not None else None
    results = {
        "method": run.method,
        "benchmark": run.benchmark,
        "version": builder.config.annotation_version or None,
        "variant": run.variant,
        "rows": builder.config.name,
        "split": eval_split,
        "selected_on": select_on,
        **trainer_results(trainer, recipe, prediction, None if run.resume else seconds),
        "config_overrides": run.config_overrides,
        "training_overrides": plain_arguments(training_overrides or {}),
        "annotations": str(run.annotations),
        "features": str(run.features),
        "text": str(run.word_vectors or run.text_model or PUBLISHED_TEXT_MODEL),
        "feature_spec": store.spec.to_dict(),
        "missing_videos": sorted(missing),
        "annotation_report": {name: report.to_dict() for name, report in builder.report.items()},
    }
    if trainer.is_world_process_zero():
        if prediction is not None:
            lines = "".join(json.dumps(line) + "\n" for line in prediction.predictions)
            write_text(output / "predictions.jsonl", lines)
        write_json(output / "results.json", results)
    return results


def build_model(
    run: RunArguments, store: FeatureStore, train, seed: int
) -> tuple[torch.nn.Module, VideoGroundingProcessor]:
    """The method's model, initialised from ``seed``, and its processor, for the run's text and features."""
    config_class, model_class = METHODS[run.method]
    fields = {"feature_dim": store.dim, **run.config_overrides}
    torch.manual_seed(seed)
    if run.word_vectors is not None:
        text = vectors = WordVectors.load(run.word_vectors)
        table = vectors.table()
        fields["text_config"] = WordVectorConfig(vocab_size=table.shape[0], hidden_size=table.shape[1])
        model = model_class(_configuration(config_class, run, fields))
        model.set_word_vectors(table)
        settings = model.config.processor_settings()
        sentences = [sentence for row in train for sentence in row["sentences"]]
        coverage = vectors.coverage(sentences, settings.get("word_pattern"), settings.get("lowercase", True))
        logger.info("%s: %s", run.word_vectors, coverage)
    else:
        config = _configuration(config_class, run, fields)
        text_model = run.text_model or _published_text_model(config)
        try:
            text = AutoTokenizer.from_pretrained(text_model)
            model = model_class.from_text_pretrained(text_model, config)
        except (OSError, ValueError) as error:
            raise ModelError(
                f"The text model {text_model!r} cannot be loaded: {next(iter(str(error).splitlines()), '')} "
                "Give --text_model a folder or Hub id with weights and tokenizer, or use --word_vectors."
            ) from error
    return model, VideoGroundingProcessor.from_model_config(model.config, text, store.spec)


def _published_text_model(config) -> str:
    """Id of the method's own text model."""
    if isinstance(config.text_config, WordVectorConfig):
        raise ModelError(
            f"{config.model_type} reads word vectors: give --word_vectors (a GloVe file), or --text_model for any "
            "Hugging Face text model."
        )
    return PUBLISHED_TEXT_MODEL


def _check_width(run: RunArguments, store: FeatureStore) -> None:
    """Features as wide as the paper's, or wide on purpose."""
    wanted = run.config_overrides.get("feature_dim")
    if wanted not in (None, store.dim):
        raise FeatureError(
            f"feature_dim={wanted} was asked for, but the features of {run.features} are {store.dim} wide."
        )
    config_class = METHODS[run.method][0]
    if wanted is None and run.feature_preset is None and run.benchmark in config_class.presets:
        published = config_class.for_benchmark(run.benchmark).feature_dim
        if published != store.dim:
            raise FeatureError(
                f"The features of {run.features} are {store.dim} wide; {run.method} on {run.benchmark} was published "
                f"with {published}. If you mean to use these, say so: --set feature_dim={store.dim}."
            )


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
    name = run.recipe or f"{run.method}/{run.benchmark}/{run.variant}"
    if run.recipe is None and run.benchmark == "jsonl":
        own = [r.name for r in RECIPES.values() if (r.method, r.variant) == (run.method, run.variant)]
        usual = [known for known in own if "/charades_sta" in known] or own
        name = usual[0] if usual else name
    for field_name in ("method", "benchmark", "variant"):
        if field_name in run.recipe_overrides:
            raise ModelError(
                f"{field_name}={run.recipe_overrides[field_name]!r} cannot be changed within a recipe: choose another "
                f"recipe, or --{field_name}."
            )
    return get_recipe(name).replace(benchmark=run.benchmark, **run.recipe_overrides)


def _arguments(recipe: Recipe, output: Path, world_size: int, overrides: dict[str, Any]):
    for name in ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"):
        if name in overrides and not overrides[name] > 0:
            raise ModelError(f"{name}={overrides[name]!r} would train nothing: give more than 0.")
    for name, instead in WITHOUT_EFFECT.items():
        if name in overrides:
            raise ModelError(f"{name}={overrides[name]!r} would have no effect: {instead}.")
    with _refused_arguments():
        arguments = VideoGroundingTrainingArguments.from_recipe(recipe, str(output), world_size, **overrides)
    metric = (arguments.metric_for_best_model or "loss").removeprefix("eval_")
    if arguments.load_best_model_at_end and metric not in arguments.metric_names:
        raise ModelError(
            f"The weights cannot be chosen by {metric!r}: it is none of {', '.join(arguments.metric_names)}. Change "
            "--metric_for_best_model, --iou_thresholds or --ranks."
        )
    return arguments


@contextlib.contextmanager
def _refused_arguments():
    """What transformers, accelerate and torch object to in training arguments is no defect of ours."""
    try:
        yield
    except HFVTGError:
        raise
    except (ImportError, RuntimeError, ValueError) as error:
        raise ModelError(f"The training cannot start with these arguments: {error}") from error


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
    if share == 1:
        raise FeatureError(f"None of the videos of {split!r} is in {run.features}: it has {sorted(store)[:3]}, ...")
    if share > MAX_MISSING and not run.allow_missing:
        raise FeatureError(f"{message}, such as {sorted(missing)[:3]}. Complete the file, or use --allow_missing.")
    logger.warning("%s; their rows are left out.", message)
    keep = [index for index, video in enumerate(rows["video_id"]) if video not in missing]
    return rows.select(keep), missing


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
