"""AutoModelForVideoGrounding, and the registration of every method with transformers."""

import logging
from collections import OrderedDict
from collections.abc import Iterable
from types import ModuleType

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from .configuration import VideoGroundingConfig, WordVectorConfig
from .errors import ModelError
from .features.resampling import VideoGroundingFeatureExtractor
from .files import loading
from .modeling import VideoGroundingPreTrainedModel
from .models.dual_encoders.modeling_dual_encoders import (
    ChineseCLIPForVideoGrounding,
    CLIPForVideoGrounding,
    MetaClip2ForVideoGrounding,
    Siglip2ForVideoGrounding,
    SiglipForVideoGrounding,
    VisionTextDualEncoderForVideoGrounding,
)
from .models.registry import METHODS, Method, usable_methods
from .models.tvp.modeling_tvp import TvpSteps
from .processing import VideoGroundingProcessor
from .recipe import Paper, Recipe, Sizes

logger = logging.getLogger(__name__)

# Models of transformers that ground through our steps; their own auto classes stay as they are.
ADAPTERS = (
    TvpSteps,
    CLIPForVideoGrounding,
    SiglipForVideoGrounding,
    Siglip2ForVideoGrounding,
    MetaClip2ForVideoGrounding,
    ChineseCLIPForVideoGrounding,
    VisionTextDualEncoderForVideoGrounding,
)


class _ModelNames(OrderedDict):
    """The mapping that transformers writes a back-reference on, which a plain dict does not allow."""


class AutoModelForVideoGrounding(_BaseAutoModelClass):
    """``from_pretrained`` and ``from_config`` of any registered grounding model."""

    _model_mapping = _LazyAutoMapping(CONFIG_MAPPING_NAMES, _ModelNames())

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path, *args, **kwargs):
        """As in transformers; ModelError for what is no grounding model. Nobody is asked whether to run its code."""
        kwargs.setdefault("trust_remote_code", False)
        with loading(pretrained_model_name_or_path, "a grounding model"):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


def register_method(
    config_class: type[VideoGroundingConfig],
    model_class: type[VideoGroundingPreTrainedModel],
    recipes: Iterable[Recipe] = (),
    conversion: ModuleType | None = None,
    sizes: Sizes | None = None,
    paper: Paper | None = None,
) -> None:
    """Make a method known to the auto classes, the pipeline, the Trainer, the command line and the tester.

    Not needed for a package that names itself in the entry-point group ``hf_vtg.methods``. Safe to call again.

    Args:
        config_class, model_class: its two classes; ``model_type`` is its name.
        recipes: for ``hf-vtg recipes`` and ``hf-vtg train``.
        conversion: module of the published weights, for ``hf-vtg convert`` and the parity check.
        sizes: small sizes, for :class:`hf_vtg.testing.VideoGroundingModelTester`.
        paper: for tables.

    Raises:
        ModelError: the name is that of one of this package's methods or of a model of transformers, the classes do not
            belong together, or a part is not what it should be.
    """
    if not (isinstance(config_class, type) and issubclass(config_class, VideoGroundingConfig)):
        raise ModelError(f"config_class={config_class!r} is no VideoGroundingConfig.")
    if not (isinstance(model_class, type) and issubclass(model_class, VideoGroundingPreTrainedModel)):
        raise ModelError(f"model_class={model_class!r} is no VideoGroundingPreTrainedModel.")
    if model_class.config_class is not config_class:
        raise ModelError(
            f"{model_class.__name__} takes a {model_class.config_class.__name__}, not a {config_class.__name__}."
        )
    for name, part, kind in (("sizes", sizes, Sizes), ("paper", paper, Paper)):
        if part is not None and not isinstance(part, kind):
            raise ModelError(f"{name}={part!r} is no {kind.__name__} (hf_vtg.recipe).")
    if not isinstance(recipes, Iterable):
        raise ModelError(f"recipes={recipes!r} is no list of recipes.")
    given = {"config_class": config_class, "model_class": model_class, "conversion": conversion}
    given |= {"recipes": tuple(recipes), "sizes": sizes, "paper": paper}
    method = Method(config_class.model_type, given={name: part for name, part in given.items() if part is not None})
    _ = method.recipes  # refuses what is none
    _check_name(config_class)
    METHODS.add(method)
    _register(config_class, model_class)


def register_methods() -> None:
    """Make every method known to transformers. Safe to call again."""
    AutoConfig.register(WordVectorConfig.model_type, WordVectorConfig, exist_ok=True)
    for method in usable_methods():
        try:
            _check_name(method.config_class)
        except ModelError as error:
            logger.warning("The method %r of %s is left out: %s", method.name, method.package, error)
        else:
            _register(method.config_class, method.model_class)
    for model_class in ADAPTERS:
        # Without exist_ok a configuration of transformers itself is passed over in silence.
        AutoModelForVideoGrounding.register(model_class.config_class, model_class, exist_ok=True)


def _check_name(config_class: type[VideoGroundingConfig]) -> None:
    """ModelError for a ``model_type`` of transformers itself, whose models would then be taken for ours."""
    if config_class.model_type in CONFIG_MAPPING_NAMES:
        raise ModelError(
            f"{config_class.__name__}: {config_class.model_type!r} is a model of transformers. Give another "
            "model_type."
        )


def _register(config_class: type, model_class: type) -> None:
    AutoConfig.register(config_class.model_type, config_class, exist_ok=True)
    AutoModel.register(config_class, model_class, exist_ok=True)
    AutoModelForVideoGrounding.register(config_class, model_class, exist_ok=True)
    AutoFeatureExtractor.register(config_class, VideoGroundingFeatureExtractor, exist_ok=True)
    AutoProcessor.register(config_class, VideoGroundingProcessor, exist_ok=True)
