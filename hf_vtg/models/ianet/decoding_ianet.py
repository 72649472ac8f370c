"""The published decoding of IA-Net: rounded windows, NMS and recall in whole clips (official ``eval_new``)."""

from dataclasses import dataclass

import torch

IOU_THRESHOLDS = (0.1, 0.3, 0.5, 0.7)
TOP_N = (1, 5)
# NMS drops what overlaps by more than the recall's threshold less this.
MARGIN = 0.05


@dataclass
class OfficialDecoding:
    """M thresholds, k picks.

    Args:
        windows: (R, K, 2) int32, whole clips.
        picks: (R, M, k) int64 indices into K, best first, -1 behind the last survivor.
    """

    windows: torch.Tensor
    picks: torch.Tensor


def official_decode(
    scores: torch.Tensor,
    boxes: torch.Tensor,
    num_clips: torch.Tensor,
    overlaps: tuple[float, ...] = tuple(m - MARGIN for m in IOU_THRESHOLDS),
    top_k: int = max(TOP_N),
) -> OfficialDecoding:
    """Windows and NMS picks as published; illegal anchors take part with their score of 0.

    Args:
        scores: (R, K), 0 for illegal anchors.
        boxes: (R, K, 2) anchors + offsets in clips.
        num_clips: (R,) real clips of the video.
    """
    windows = official_windows(boxes, num_clips)
    return OfficialDecoding(windows, official_nms(windows, scores, overlaps, top_k))


def official_windows(boxes: torch.Tensor, num_clips: torch.Tensor) -> torch.Tensor:
    """(R, K, 2) clips -> int32: rounded, a start below 0 becomes 0, an end beyond the last clip the last clip.

    The other way round nothing is clamped, so that a start may exceed its end.
    """
    start, end = boxes.round().int().unbind(-1)
    last = (num_clips - 1).int().unsqueeze(1)
    return torch.stack([start.clamp(min=0), torch.minimum(end, last)], dim=-1)


def official_nms(
    windows: torch.Tensor, scores: torch.Tensor, overlaps: tuple[float, ...], top_k: int = max(TOP_N)
) -> torch.Tensor:
    """(R, K, 2) windows, (R, K) scores -> (R, M, top_k) picks, one sort for all ``overlaps``.

    Of equal scores the larger index comes first. A window goes if its overlap, without the recall's + 1, exceeds the
    threshold, or is 0 / 0, as between two windows of no length.
    """
    rows, count = scores.shape
    order = count - 1 - scores.flip(1).sort(dim=1, descending=True, stable=True).indices
    ranked = windows.double().gather(1, order.unsqueeze(-1).expand(-1, -1, 2)).unsqueeze(1)
    limits = torch.tensor(overlaps, dtype=torch.float64, device=scores.device)[:, None]
    alive = torch.ones(rows, len(overlaps), count, dtype=torch.bool, device=scores.device)
    picks = order.new_full((rows, len(overlaps), top_k), -1)
    order = order.unsqueeze(1).expand(-1, len(overlaps), -1)
    for place in range(top_k):
        found, first = alive.max(-1, keepdim=True)
        picks[..., place] = torch.where(found, order.gather(-1, first), -1).squeeze(-1)
        best = ranked.expand(-1, len(overlaps), -1, -1).gather(2, first.unsqueeze(-1).expand(-1, -1, -1, 2))
        # A comparison with NaN is false.
        alive &= _overlap(ranked, best) <= limits
        alive.scatter_(-1, first, False)
    return picks


def _overlap(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    inter = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    return inter / ((a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - inter)


def official_recall(
    windows: torch.Tensor,
    picks: torch.Tensor,
    moments: torch.Tensor,
    thresholds: tuple[float, ...] = IOU_THRESHOLDS,
    top_n: tuple[int, ...] = TOP_N,
) -> torch.Tensor:
    """(R, len(top_n), M) 1.0 where one of the first n picks of threshold m has an inclusive IoU of at least m.

    Args:
        windows: (R, K, 2); picks: (R, M, k) from NMS for each threshold; moments: (R, 2) first and last clip.
    """
    chosen = windows.double().unsqueeze(1).expand(-1, picks.shape[1], -1, -1)
    chosen = chosen.gather(2, picks.clamp(min=0).unsqueeze(-1).expand(-1, -1, -1, 2))
    moment = moments.double()[:, None, None]
    overlap = torch.minimum(chosen[..., 1], moment[..., 1]) - torch.maximum(chosen[..., 0], moment[..., 0]) + 1
    hull = torch.maximum(chosen[..., 1], moment[..., 1]) - torch.minimum(chosen[..., 0], moment[..., 0]) + 1
    limits = torch.tensor(thresholds, dtype=torch.float64, device=windows.device)[:, None]
    hits = ((overlap / hull).clamp(min=0) >= limits) & (picks >= 0)
    return torch.stack([hits[..., :n].any(-1) for n in top_n], dim=1).double()
