"""HiSA: disentangled video clips, cross-guided contrast (IEEE TIP 2022)."""

from .configuration_hisa import HiSAConfig
from .modeling_hisa import HiSAForVideoGrounding, HiSAOutput

__all__ = ["HiSAConfig", "HiSAForVideoGrounding", "HiSAOutput"]
