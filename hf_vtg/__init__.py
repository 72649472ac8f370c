"""Video temporal grounding with Hugging Face transformers.

Importing the package makes every method, the processor and the task ``"video-grounding"`` known to transformers.
Every method's configuration and model stand here too, as ``MMNConfig`` and ``MMNForVideoGrounding``. What needs
``datasets`` is loaded on first use.
"""

from importlib import import_module
from typing import Any

from .auto import AutoModelForVideoGrounding, register_method, register_methods
from .configuration import VideoGroundingConfig, WordVectorConfig
from .errors import HFVTGError
from .features.resampling import VideoGroundingFeatureExtractor
from .features.spec import FeatureSpec
from .modeling import VideoGroundingPreTrainedModel
from .models.registry import METHODS
from .pipeline import VideoGroundingPipeline, load_pipeline, register_pipeline
from .processing import VideoGroundingProcessor
from .steps import VideoGroundingOutput
from .text.tokenization import WordVectors

__version__ = "0.1.0"

LAZY = {
    "FeatureStore": "features.store",
    "Recipe": "recipe",
    "VideoEncoder": "video.encoder",
    "VideoGroundingCollator": "training.collator",
    "VideoGroundingTrainer": "training.trainer",
    "VideoGroundingTrainingArguments": "training.arguments",
    "get_recipe": "models.registry",
    "grounding_metrics": "metrics",
    "load_benchmark": "benchmarks",
}
_OF_METHODS = {
    part.__name__: part
    for method in METHODS.values()
    if method.is_built_in
    for part in (method.config_class, method.model_class)
}
globals().update(_OF_METHODS)

__all__ = [
    "AutoModelForVideoGrounding",
    "FeatureSpec",
    "HFVTGError",
    "VideoGroundingConfig",
    "VideoGroundingFeatureExtractor",
    "VideoGroundingOutput",
    "VideoGroundingPipeline",
    "VideoGroundingPreTrainedModel",
    "VideoGroundingProcessor",
    "WordVectorConfig",
    "WordVectors",
    "load_pipeline",
    "register_method",
    *_OF_METHODS,
    *LAZY,
]


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(import_module(f".{LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register_methods()
register_pipeline()
