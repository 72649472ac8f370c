"""CLEAR: Coarse-to-Fine Semantic Alignment for Cross-Modal Moment Localization (IEEE TIP 2021)."""

from .configuration_clear import CLEARConfig
from .modeling_clear import CLEARForVideoGrounding, CLEAROutput

__all__ = ["CLEARConfig", "CLEARForVideoGrounding", "CLEAROutput"]
