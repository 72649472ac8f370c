"""TVP (Text-Visual Prompting, CVPR 2023) of transformers behind our interface."""

from .modeling_tvp import TvpOutput, TvpSteps

__all__ = ["TvpOutput", "TvpSteps"]
