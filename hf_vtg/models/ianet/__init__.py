"""IA-Net: Progressively Guide to Attend (EMNLP 2021)."""

from .configuration_ianet import IANetConfig
from .modeling_ianet import IANetForVideoGrounding, IANetOutput

__all__ = ["IANetConfig", "IANetForVideoGrounding", "IANetOutput"]
