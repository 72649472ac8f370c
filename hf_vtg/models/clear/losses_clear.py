"""The losses of CLEAR (official ``coarseModule.py``, ``fineGraind/fineloss.py``)."""

import torch
from torch.nn import functional as F


def fine_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy of (R, P) logits of the scored cells and their scaled IoU, mean over all."""
    return F.binary_cross_entropy_with_logits(logits, targets)


def coarse_loss(scores: torch.Tensor, iou: torch.Tensor, scale: float, reduction: str) -> torch.Tensor:
    """Squared error of coarse scores, which are ``scale`` times an IoU.

    Args:
        scores, iou: broadcastable, (..., T).
        reduction: "mean" of (score / scale - IoU) ** 2, or "sum" of (score - scale * IoU) ** 2 (published).
    """
    if reduction == "sum":
        return (scores - scale * iou).square().sum()
    return (scores / scale - iou).square().mean()
