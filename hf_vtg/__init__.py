"""Video temporal grounding with Hugging Face transformers.

Importing the package makes every method, the processor and the task ``"video-grounding"`` known to transformers.
What needs ``datasets`` is loaded on first use.
"""

from importlib import import_module
from typing import Any

from .auto import AutoModelForVideoGrounding, register_methods
from .configuration import VideoGroundingConfig, WordVectorConfig
from .errors import HFVTGError
from .modeling import VideoGroundingOutput, VideoGroundingPreTrainedModel
from .models.clear import CLEARConfig, CLEARForVideoGrounding
from .models.hisa import HiSAConfig, HiSAForVideoGrounding
from .models.hscnet import HSCNetConfig, HSCNetForVideoGrounding
from .models.ianet import IANetConfig, IANetForVideoGrounding
from .models.mmn import MMNConfig, MMNForVideoGrounding
from .pipeline import VideoGroundingPipeline, load_pipeline, register_pipeline
from .processing import VideoGroundingFeatureExtractor, VideoGroundingProcessor
from .tokenization import WordVectors
from .video.features import FeatureSpec

__version__ = "0.1.0"

LAZY = {
    "FeatureStore": "benchmarks.feature_store",
    "Recipe": "training.recipes",
    "VideoEncoder": "video.encoder",
    "VideoGroundingCollator": "training.collator",
    "VideoGroundingTrainer": "training.trainer",
    "VideoGroundingTrainingArguments": "training.arguments",
    "get_recipe": "training.recipes",
    "grounding_metrics": "metrics",
    "load_benchmark": "benchmarks",
}

__all__ = [
    "AutoModelForVideoGrounding",
    "CLEARConfig",
    "CLEARForVideoGrounding",
    "FeatureSpec",
    "HFVTGError",
    "HSCNetConfig",
    "HSCNetForVideoGrounding",
    "HiSAConfig",
    "HiSAForVideoGrounding",
    "IANetConfig",
    "IANetForVideoGrounding",
    "MMNConfig",
    "MMNForVideoGrounding",
    "VideoGroundingConfig",
    "VideoGroundingFeatureExtractor",
    "VideoGroundingOutput",
    "VideoGroundingPipeline",
    "VideoGroundingPreTrainedModel",
    "VideoGroundingProcessor",
    "WordVectorConfig",
    "WordVectors",
    "load_pipeline",
    *LAZY,
]


def __getattr__(name: str) -> Any:
    if name in LAZY:
        return getattr(import_module(f".{LAZY[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


register_methods()
register_pipeline()
