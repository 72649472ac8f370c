"""The coarse loss of CLEAR (official ``coarseModule.py``); the fine one is ``hf_vtg.layers.losses.iou_loss``."""

import torch


def coarse_loss(scores: torch.Tensor, iou: torch.Tensor, scale: float, reduction: str) -> torch.Tensor:
    """Squared error of coarse scores, which are ``scale`` times an IoU.

    Args:
        scores, iou: broadcastable, (..., T).
        reduction: "mean" of (score / scale - IoU) ** 2, or "sum" of (score - scale * IoU) ** 2 (published).
    """
    if reduction == "sum":
        return (scores - scale * iou).square().sum()
    return (scores / scale - iou).square().mean()
