"""AutoModelForVideoGrounding, and the registration of every method with transformers."""

from collections import OrderedDict

from transformers import AutoConfig, AutoFeatureExtractor, AutoModel, AutoProcessor
from transformers.models.auto.auto_factory import _BaseAutoModelClass, _LazyAutoMapping
from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

from .configuration import WordVectorConfig
from .folders import loading
from .models.clear import CLEARConfig, CLEARForVideoGrounding
from .models.dual_encoders import (
    ChineseCLIPForVideoGrounding,
    CLIPForVideoGrounding,
    MetaClip2ForVideoGrounding,
    Siglip2ForVideoGrounding,
    SiglipForVideoGrounding,
    VisionTextDualEncoderForVideoGrounding,
)
from .models.hisa import HiSAConfig, HiSAForVideoGrounding
from .models.hscnet import HSCNetConfig, HSCNetForVideoGrounding
from .models.ianet import IANetConfig, IANetForVideoGrounding
from .models.mmn import MMNConfig, MMNForVideoGrounding
from .models.tvp import TvpSteps
from .processing import VideoGroundingFeatureExtractor, VideoGroundingProcessor

# One line a method: tester, converter, parity check, trainer and pipeline pick it up from here.
METHODS = {
    "clear": (CLEARConfig, CLEARForVideoGrounding),
    "hisa": (HiSAConfig, HiSAForVideoGrounding),
    "hscnet": (HSCNetConfig, HSCNetForVideoGrounding),
    "ianet": (IANetConfig, IANetForVideoGrounding),
    "mmn": (MMNConfig, MMNForVideoGrounding),
}

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


def register_methods() -> None:
    """Make every method known to transformers. Safe to call again."""
    AutoConfig.register(WordVectorConfig.model_type, WordVectorConfig, exist_ok=True)
    for model_type, (config_class, model_class) in METHODS.items():
        AutoConfig.register(model_type, config_class, exist_ok=True)
        AutoModel.register(config_class, model_class, exist_ok=True)
        AutoModelForVideoGrounding.register(config_class, model_class, exist_ok=True)
        AutoFeatureExtractor.register(config_class, VideoGroundingFeatureExtractor, exist_ok=True)
        AutoProcessor.register(config_class, VideoGroundingProcessor, exist_ok=True)
    for model_class in ADAPTERS:
        # Without exist_ok a configuration of transformers itself is passed over in silence.
        AutoModelForVideoGrounding.register(model_class.config_class, model_class, exist_ok=True)
