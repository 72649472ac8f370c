"""HSCNet: Hierarchical Semantic Correspondence Network for video paragraph grounding (CVPR 2023)."""

from .configuration_hscnet import HSCNetConfig
from .modeling_hscnet import HSCNetForVideoGrounding, HSCNetOutput

__all__ = ["HSCNetConfig", "HSCNetForVideoGrounding", "HSCNetOutput"]
