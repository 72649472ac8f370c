"""The losses of HSCNet on segments (..., 2) of fractions and similarity maps (..., N): paper, eq. 9-11."""

import torch

from ...moments import generalized_iou


def clip_sets(moments: torch.Tensor, video_mask: torch.Tensor) -> torch.Tensor:
    """Clips whose centre lies in each moment, ends included; the one clip at the moment's middle if there is none.

    Args:
        moments: (B, S, 2) fractions of the video.
        video_mask: (B, N), real clips first: n of them, clip k with centre (k + 0.5) / n.

    Returns:
        (B, S, N) bool.
    """
    count = video_mask.sum(1).to(moments.dtype)[:, None, None]
    clips = torch.arange(video_mask.shape[1], device=moments.device)
    centres = (clips.to(moments.dtype) + 0.5) / count
    start, end = moments[..., :1], moments[..., 1:]
    inside = (start <= centres) & (centres <= end) & video_mask.bool().unsqueeze(1)
    middle = (count * (start + end) / 2).floor().clamp(min=0).minimum(count - 1)
    return inside | (~inside.any(-1, keepdim=True) & (clips == middle))


def alignment_terms(similarity: torch.Tensor, targets: torch.Tensor, clips: torch.Tensor) -> torch.Tensor:
    """-log of the attention mass on the target clips.

    Args:
        similarity: (R, N) of each query with the clips of its own video.
        targets: (R, N) bool, the clips of the query's moment, at least one.
        clips: (R, N) bool, real clips.

    Returns:
        (R,)
    """
    among_all = similarity.masked_fill(~clips, -torch.inf).logsumexp(-1)
    return among_all - similarity.masked_fill(~targets, -torch.inf).logsumexp(-1)


def localisation_terms(
    segments: torch.Tensor, targets: torch.Tensor, l1_weight: float = 1.0, giou_weight: float = 1.0
) -> torch.Tensor:
    """L1 over both ends + 1 - generalised IoU, weighted: (..., 2) and (..., 2) -> (...)"""
    distance = (segments - targets).abs().sum(-1)
    return l1_weight * distance + giou_weight * (1 - generalized_iou(segments, targets))


def hulls(segments: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Smallest segment around all of a row: (..., M, 2) and (..., M), at least one a row -> (..., 2)"""
    start = segments[..., 0].masked_fill(~mask, torch.inf).amin(-1)
    end = segments[..., 1].masked_fill(~mask, -torch.inf).amax(-1)
    return torch.stack([start, end], dim=-1)


def excess_terms(segments: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """How far a segment sticks out of its target, at both ends together: (..., 2) and (..., 2) -> (...)"""
    return (targets[..., 0] - segments[..., 0]).relu() + (segments[..., 1] - targets[..., 1]).relu()


def predicted_moments(segments: torch.Tensor, shortest: float = 1e-6) -> torch.Tensor:
    """Segments within the video, start < end: (..., 2) -> (..., 2)"""
    start, end = segments.clamp(0, 1).unbind(-1)
    is_empty = end - start < shortest
    end = torch.where(is_empty, (start + shortest).clamp(max=1), end)
    start = torch.where(is_empty, torch.minimum(start, end - shortest), start)
    return torch.stack([start, end], dim=-1)


def attention_inside(attention: torch.Tensor, moments: torch.Tensor, video_mask: torch.Tensor) -> torch.Tensor:
    """Attention mass inside each moment; a clip that is cut counts by the part inside.

    Args:
        attention: (B, S, N), sums to 1 over the real clips of (B, N) ``video_mask``.
        moments: (B, S, 2) fractions.

    Returns:
        (B, S)
    """
    count = video_mask.sum(1)[:, None, None]
    edges = moments * count
    clips = torch.arange(attention.shape[-1], device=attention.device)
    inside = torch.minimum(edges[..., 1:], clips + 1) - torch.maximum(edges[..., :1], clips)
    return (attention * inside.clamp(0, 1)).sum(-1)
