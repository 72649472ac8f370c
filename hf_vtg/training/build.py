"""The parts of a run from its plan: model and processor, arguments, trainer."""

import contextlib
import difflib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoTokenizer

from ..configuration import VideoGroundingConfig, WordVectorConfig
from ..errors import HFVTGError, ModelError
from ..features.spec import FeatureSpec
from ..modeling import VideoGroundingPreTrainedModel
from ..models.registry import get_method
from ..processing import VideoGroundingProcessor
from ..recipe import Recipe
from ..text.tokenization import WordVectors
from .arguments import VideoGroundingTrainingArguments

logger = logging.getLogger(__name__)

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


def build_config(
    method: str, benchmark: str, variant: str, overrides: Mapping[str, Any], **fields: Any
) -> VideoGroundingConfig:
    """The preset of a benchmark, or the method's defaults, with ``fields`` and then ``overrides``.

    Raises:
        ModelError: for an unknown field, with the nearest known, or a value that the method refuses.
    """
    config_class = get_method(method).config_class
    known = config_class.__dataclass_fields__
    for name in overrides:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            raise ModelError(f"{config_class.__name__} has no field {name!r}.{hint}")
    fields = {**fields, **overrides}
    try:
        if benchmark in config_class.presets:
            return config_class.for_benchmark(benchmark, variant, **fields)
        return config_class(variant=variant, **fields)
    except StrictDataclassError as error:
        raise ModelError(f"{config_class.__name__}: {' '.join(str(error).split())}") from error


def model_of_words(
    config: VideoGroundingConfig, words: WordVectors, seed: int, sentences: Iterable[str] = ()
) -> VideoGroundingPreTrainedModel:
    """A fresh model that reads ``words``; how many of the ``sentences``' words have a vector is logged."""
    torch.manual_seed(seed)
    model = get_method(config.model_type).model_class(config)
    model.set_word_vectors(words.table())
    settings = config.processor_settings()
    coverage = words.coverage(sentences, settings.get("word_pattern"), settings.get("lowercase", True))
    logger.info("%s", coverage)
    return model


def words_config(words: WordVectors) -> WordVectorConfig:
    """The text configuration of a table of word vectors."""
    rows, width = words.table().shape
    return WordVectorConfig(vocab_size=rows, hidden_size=width)


def model_of_text_model(
    config: VideoGroundingConfig, text_model: str | None, seed: int
) -> tuple[VideoGroundingPreTrainedModel, Any]:
    """A fresh model on a pretrained text model (default: the method's own), and its tokenizer."""
    if text_model is None and isinstance(config.text_config, WordVectorConfig):
        raise ModelError(
            f"{config.model_type} reads word vectors: give --word_vectors (a GloVe file), or --text_model for any "
            "Hugging Face text model."
        )
    text_model = text_model or PUBLISHED_TEXT_MODEL
    torch.manual_seed(seed)
    try:
        tokenizer = AutoTokenizer.from_pretrained(text_model)
        return get_method(config.model_type).model_class.from_text_pretrained(text_model, config), tokenizer
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The text model {text_model!r} cannot be loaded: {next(iter(str(error).splitlines()), '')} "
            "Give --text_model a folder or Hub id with weights and tokenizer, or use --word_vectors."
        ) from error


def build_processor(model: VideoGroundingPreTrainedModel, text: Any, spec: FeatureSpec) -> VideoGroundingProcessor:
    """The processor of ``model``, for its words or tokenizer and the features it is trained on."""
    return VideoGroundingProcessor.from_model_config(model.config, text, spec)


def build_arguments(
    recipe: Recipe, output: Path, world_size: int, overrides: Mapping[str, Any], evaluates: bool
) -> VideoGroundingTrainingArguments:
    """The training arguments of a recipe; ``overrides`` win, ``evaluates`` says whether epochs are chosen.

    Raises:
        ModelError: an argument that transformers refuses, that a recipe would ignore, or that trains nothing.
    """
    if not evaluates:
        overrides = {"eval_strategy": "no", "load_best_model_at_end": False, **overrides}
    for name in ("num_train_epochs", "per_device_train_batch_size", "gradient_accumulation_steps"):
        if name in overrides and not overrides[name] > 0:
            raise ModelError(f"{name}={overrides[name]!r} would train nothing: give more than 0.")
    for name, instead in WITHOUT_EFFECT.items():
        if name in overrides:
            raise ModelError(f"{name}={overrides[name]!r} would have no effect: {instead}.")
    with refused_arguments():
        arguments = VideoGroundingTrainingArguments.from_recipe(recipe, str(output), world_size, **overrides)
    metric = (arguments.metric_for_best_model or "loss").removeprefix("eval_")
    if arguments.load_best_model_at_end and metric not in arguments.metric_names:
        raise ModelError(
            f"The weights cannot be chosen by {metric!r}: it is none of {', '.join(arguments.metric_names)}. Change "
            "--metric_for_best_model, --iou_thresholds or --ranks."
        )
    return arguments


@contextlib.contextmanager
def refused_arguments():
    """What transformers, accelerate and torch object to in training arguments is no defect of ours."""
    try:
        yield
    except HFVTGError:
        raise
    except (ImportError, RuntimeError, ValueError) as error:
        raise ModelError(f"The training cannot start with these arguments: {error}") from error
