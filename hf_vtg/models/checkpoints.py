"""A published checkpoint into a folder, or a repository, that ``pipeline("video-grounding")`` loads."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
import yaml
from huggingface_hub import HfApi
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from safetensors.torch import load_file
from transformers import AutoTokenizer, PreTrainedConfig

from ..benchmarks.facts import BENCHMARKS, FEATURES, published_features
from ..configuration import VideoGroundingConfig, WordVectorConfig
from ..errors import ModelError
from ..features.spec import FeatureSpec
from ..files import atomic_path
from ..hub.cards import model_card
from ..hub.publishing import uploading
from ..modeling import VideoGroundingPreTrainedModel
from ..processing import VideoGroundingProcessor
from ..text.tokenization import WordVectors
from .registry import get_method, usable_methods

logger = logging.getLogger(__name__)

# Where training scripts put the weights beside optimiser and counters.
WEIGHTS_KEYS = ("model", "state_dict", "model_state_dict", "net")


@dataclass
class Conversion:
    """What to convert.

    Args:
        method: one with a conversion module.
        checkpoint: a ``.safetensors`` file, or one of ``torch.save`` with tensors and plain values alone.
        output: folder for the result.
        benchmark: the published experiment whose sizes the checkpoint has; or
        config: a JSON or YAML file with the official configuration, or with one of ours.
        variant: ``official`` gives the official code's numbers.
        text_model: whose tokenizer a Transformer text encoder needs; default ``distilbert-base-uncased``.
        word_vectors: the file of vectors that a method without text model was trained with.
        features: a published set of features (hf_vtg.benchmarks.facts); default: the one of the benchmark that has the
            model's width.
        push_to_hub: repository that receives the folder.
    """

    method: str
    checkpoint: Path
    output: Path
    benchmark: str | None = None
    config: Path | None = None
    variant: str = "official"
    text_model: str | None = None
    word_vectors: str | None = None
    features: str | None = None
    push_to_hub: str | None = None


def convert_checkpoint(job: Conversion) -> tuple[VideoGroundingPreTrainedModel, VideoGroundingProcessor]:
    """Convert, save model, processor (with its FeatureSpec) and card, and publish if so asked.

    Raises:
        ModelError: weights are missing, left over or of another shape (all are listed), the file is no checkpoint,
            or a setting is wrong.
        HubError: the upload failed; the folder is complete.
    """
    converter = _converter(job.method)
    words = None if job.word_vectors is None else WordVectors.load(job.word_vectors)
    config = _configuration(job, converter, words)
    if isinstance(config.text_config, WordVectorConfig) and words is None:
        raise ModelError(
            f"Checkpoints of {job.method} hold no word vectors: add --word_vectors with the file of its training "
            "(docs/converting_official_weights.md names it)."
        )
    model = converter.convert_official_checkpoint(read_checkpoint(job.checkpoint), config)
    if words is not None:
        model.set_word_vectors(words.table())
    tokenizer = words if words is not None else _tokenizer(job, config)
    processor = VideoGroundingProcessor.from_model_config(config, tokenizer, _feature_spec(job, config))
    model.save_pretrained(job.output)
    processor.save_pretrained(job.output)
    with atomic_path(job.output / "README.md") as path:
        _card(job, model, processor).save(path)
    if job.push_to_hub is not None:
        with uploading(str(job.output), job.push_to_hub):
            repo_id = HfApi().create_repo(job.push_to_hub, exist_ok=True).repo_id
            HfApi().upload_folder(repo_id=repo_id, folder_path=job.output, commit_message="Upload converted weights")
    return model, processor


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state dict in a file; nothing but tensors and plain values is ever unpickled.

    Raises:
        ModelError: no such file, a damaged one, or one that holds objects.
    """
    if not Path(path).is_file():
        raise ModelError(f"{path}: no such checkpoint file.")
    try:
        if Path(path).suffix == ".safetensors":
            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as error:
        raise ModelError(
            f"{path} holds more than tensors and plain values, so it is not opened: loading it could run any code. "
            "Where you trust it, save its weights alone: torch.save(torch.load(FILE, weights_only=False)['model'], "
            "NEW)."
        ) from error
    except (SafetensorError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise ModelError(f"{path} is no checkpoint that can be read ({error}). Download it again.") from error
    for key in WEIGHTS_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    if not isinstance(content, Mapping) or not any(isinstance(v, (torch.Tensor, Mapping)) for v in content.values()):
        raise ModelError(f"{path} holds a {type(content).__name__} without weights; a state dict was expected.")
    return dict(content)


def _converter(method: str):
    """The conversion module of a method. ModelError without one, in one line."""
    converter = get_method(method).conversion
    if not hasattr(converter, "convert_official_checkpoint"):
        convertible = [known.name for known in usable_methods("conversion") if known.conversion is not None]
        raise ModelError(
            f"{method} has no conversion module (conversion_{method}.py beside its model). Checkpoints convert of: "
            f"{', '.join(convertible)}."
        )
    if not get_method(method).paper.code and get_method(method).is_built_in:
        raise ModelError(f"The authors of {method} published no code, so there are no checkpoints of it to convert.")
    return converter


def _configuration(job: Conversion, converter, words: WordVectors | None) -> VideoGroundingConfig:
    if (job.benchmark is None) == (job.config is None):
        raise ModelError("Give either --benchmark, for the sizes of a published experiment, or --config FILE.")
    config_class = get_method(job.method).config_class
    text = {}
    if words is not None:
        rows, width = words.table().shape
        text["text_config"] = WordVectorConfig(vocab_size=rows, hidden_size=width)
    try:
        if job.benchmark is not None:
            return config_class.for_benchmark(job.benchmark, job.variant, **text)
        official = _read_config(job.config)
        if official.get("model_type") == job.method:
            return config_class.from_dict({**official, **text})
        return converter.config_from_official(official, job.variant, **text)
    except StrictDataclassError as error:
        raise ModelError(f"{config_class.__name__}: {' '.join(str(error).split())}") from error


def _read_config(path: Path) -> dict[str, Any]:
    try:
        text = Path(path).read_text(encoding="utf-8")
        content = json.loads(text) if Path(path).suffix == ".json" else yaml.safe_load(text)
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ModelError(f"{path} cannot be read as a configuration: {error}. Give a JSON or YAML file.") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} holds a {type(content).__name__}; a configuration with named values was expected.")
    return content


def _tokenizer(job: Conversion, config: PreTrainedConfig):
    name = job.text_model or "distilbert-base-uncased"
    try:
        tokenizer = AutoTokenizer.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The tokenizer of {name!r} cannot be loaded: {next(iter(str(error).splitlines()), '')} "
            "Give --text_model a folder or Hub id."
        ) from error
    if len(tokenizer) > config.text_config.vocab_size:
        raise ModelError(
            f"The tokenizer of {name!r} has {len(tokenizer)} tokens, the checkpoint's text model "
            f"{config.text_config.vocab_size}. Give --text_model the one of its training."
        )
    return tokenizer


def _feature_spec(job: Conversion, config: VideoGroundingConfig) -> FeatureSpec:
    if job.features is not None:
        return FeatureSpec(**published_features(job.features).spec)
    benchmark = job.benchmark or config.benchmark
    published = BENCHMARKS[benchmark].features.values() if benchmark in BENCHMARKS else ()
    fitting = [FeatureSpec(**known.spec) for known in published if known.spec["dim"] == config.feature_dim]
    if len(fitting) != 1:
        logger.warning(
            "Which features the checkpoint was trained on is not known (width %d, benchmark %s): the processor will "
            "not say it. Give --features one of %s.",
            config.feature_dim,
            benchmark,
            ", ".join(FEATURES),
        )
    return fitting[0] if len(fitting) == 1 else FeatureSpec(dim=config.feature_dim)


def _card(job: Conversion, model, processor):
    with open(job.checkpoint, "rb") as file:
        digest = file_digest(file, "sha256").hexdigest()
    note = f"Converted from the authors' checkpoint `{Path(job.checkpoint).name}` (sha256 `{digest}`)."
    return model_card(job.push_to_hub or job.output.name, model, processor, note=note)
