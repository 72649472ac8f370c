"""Video temporal grounding with Hugging Face transformers."""

from .auto import AutoModelForVideoGrounding, register_methods
from .configuration import VideoGroundingConfig, WordVectorConfig
from .errors import HFVTGError
from .modeling import VideoGroundingOutput, VideoGroundingPreTrainedModel
from .models.mmn import MMNConfig, MMNForVideoGrounding

register_methods()

__version__ = "0.1.0"

__all__ = [
    "AutoModelForVideoGrounding",
    "HFVTGError",
    "MMNConfig",
    "MMNForVideoGrounding",
    "VideoGroundingConfig",
    "VideoGroundingOutput",
    "VideoGroundingPreTrainedModel",
    "WordVectorConfig",
]
