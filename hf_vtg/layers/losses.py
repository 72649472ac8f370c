"""Pieces that the losses of several methods share."""

import torch
from torch.nn import functional as F


def upcast(x: torch.Tensor) -> torch.Tensor:
    """At least float32: similarities, logarithms and sums are not safe in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def scaled_iou(iou: torch.Tensor, least: float, most: float) -> torch.Tensor:
    """Targets of cells: their IoU with the moment, ``least`` .. ``most`` scaled to 0 .. 1 (2D-TAN and its heirs)."""
    return ((iou - least) / (most - least)).clamp(0, 1)


def iou_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean binary cross entropy of (R, P) sentences x cells with their :func:`scaled_iou`."""
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))
