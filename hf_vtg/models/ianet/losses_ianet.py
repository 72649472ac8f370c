"""The losses of IA-Net over (video, sentence) pairs (equations 14 to 16, official ``models_/gcn_final.py``)."""

import torch
from torch.nn import functional as F


def score_loss(
    logits: torch.Tensor, targets: torch.Tensor, legal: torch.Tensor, count_illegal: bool = False
) -> torch.Tensor:
    """Binary cross entropy: mean over the legal anchors of each pair, then over pairs.

    Args:
        logits, targets: (R, K).
        legal: (R, K); illegal anchors add nothing.
        count_illegal: divide by all K all the same.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none") * legal
    counts = logits.shape[1] if count_illegal else legal.sum(1).clamp(min=1)
    return (entropy.sum(1) / counts).mean()


def boundary_loss(
    boxes: torch.Tensor, boundaries: torch.Tensor, positives: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """Smooth L1 of start and end in clips: mean over the positive anchors of the batch; 0 if there are none.

    Args:
        boxes: (R, K, 2); boundaries: (R, 2); positives: (R, K).
        reduction: ``"mean"`` or ``"sum"`` of start and end.
    """
    target = boundaries.unsqueeze(1).to(boxes.dtype).expand_as(boxes)
    distance = F.smooth_l1_loss(boxes, target, reduction="none").sum(-1) * positives
    coordinates = 2 if reduction == "mean" else 1
    return distance.sum() / (coordinates * positives.sum().clamp(min=1))


def best_anchor_loss(
    boxes: torch.Tensor, boundaries: torch.Tensor, scores: torch.Tensor, reduction: str = "mean"
) -> torch.Tensor:
    """The same of the anchor with the highest score of each pair alone."""
    best = F.one_hot(scores.argmax(1), scores.shape[1]).bool()
    return boundary_loss(boxes, boundaries, best, reduction)
