"""MMN: Mutual Matching Network (AAAI 2022)."""

from .configuration_mmn import MMNConfig
from .modeling_mmn import MMNForVideoGrounding, MMNOutput

__all__ = ["MMNConfig", "MMNForVideoGrounding", "MMNOutput"]
