"""Zero-shot grounding with the dual encoders of transformers: CLIP, SigLIP and their like."""

from .modeling_dual_encoders import (
    ChineseCLIPForVideoGrounding,
    CLIPForVideoGrounding,
    DualEncoderOutput,
    MetaClip2ForVideoGrounding,
    Siglip2ForVideoGrounding,
    SiglipForVideoGrounding,
    VisionTextDualEncoderForVideoGrounding,
)

__all__ = [
    "CLIPForVideoGrounding",
    "ChineseCLIPForVideoGrounding",
    "DualEncoderOutput",
    "MetaClip2ForVideoGrounding",
    "Siglip2ForVideoGrounding",
    "SiglipForVideoGrounding",
    "VisionTextDualEncoderForVideoGrounding",
]
