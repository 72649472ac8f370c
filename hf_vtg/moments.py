"""Arithmetic of segments: temporal IoU, generalised IoU, non-maximum suppression, fractions and seconds.

A moment is a pair (start, end), start <= end, on the last axis, in any unit (fractions, seconds, cells).
Every function takes torch tensors, numpy arrays or nested lists; tensors give tensors, the rest gives numpy.
Integers are computed in float64, floating inputs in their own (promoted) precision.
"""

import math
import numbers
from typing import Any

import numpy as np
import torch

from .errors import HFVTGError

ArrayLike = Any


def temporal_iou(a: ArrayLike, b: ArrayLike) -> torch.Tensor | np.ndarray:
    """Intersection over union of two broadcastable sets of moments.

    Args:
        a, b: (..., 2) moments; the leading axes broadcast against each other.

    Returns:
        (...) in [0, 1]; 0 for disjoint or touching moments and where the union has no length.
    """
    (a, b), is_numpy = _as_tensors(a, b)
    inter, hull, _ = _overlap(a, b)
    return _back(_divide(inter, hull), is_numpy)


def pairwise_iou(a: ArrayLike, b: ArrayLike) -> torch.Tensor | np.ndarray:
    """IoU of each moment of ``a`` (..., N, 2) with each of ``b`` (..., M, 2): (..., N, M)."""
    (a, b), is_numpy = _as_tensors(a, b)
    return _back(temporal_iou(a[..., :, None, :], b[..., None, :, :]), is_numpy)


def generalized_iou(a: ArrayLike, b: ArrayLike) -> torch.Tensor | np.ndarray:
    """IoU - (hull - union) / hull (Rezatofighi et al. 2019, in one dimension): in [-1, 1], 0 where hull is 0.

    Args:
        a, b: (..., 2) moments; the leading axes broadcast against each other. The gradient is always finite.
    """
    (a, b), is_numpy = _as_tensors(a, b)
    inter, hull, union = _overlap(a, b)
    return _back(_divide(inter, union) - _divide(hull - union, hull), is_numpy)


def temporal_nms(
    moments: ArrayLike, scores: ArrayLike, threshold: float, top_k: int | None = None
) -> torch.Tensor | np.ndarray:
    """Greedy non-maximum suppression of each row: keep the best, drop what has IoU > threshold with it.

    Args:
        moments: (..., K, 2), start <= end. The IoU and the comparison are in the precision of this tensor.
        scores: (..., K), higher is better; of equal scores the first comes first. ``-inf`` is never kept.
        threshold: IoU strictly greater than this is suppressed; 1 or more switches suppression off.
        top_k: stop when each row has this many; None = all survivors.

    Returns:
        (..., min(top_k, K)) int64 indices into K, best first, padded with -1.

    Raises:
        HFVTGError: NaN among scores or scored moments, shapes that do not fit, a bad threshold or top_k.
    """
    is_numpy = not (isinstance(moments, torch.Tensor) or isinstance(scores, torch.Tensor))
    (moments,), _ = _as_tensors(moments)
    scores = torch.as_tensor(scores, device=moments.device).detach()
    moments = moments.detach()
    if moments.shape[:-1] != scores.shape or scores.ndim == 0:
        raise HFVTGError(
            f"temporal_nms needs moments (..., K, 2) and scores (..., K); got {tuple(moments.shape)} and "
            f"{tuple(scores.shape)}"
        )
    if not threshold >= 0:
        raise HFVTGError(f"NMS threshold is {threshold!r}; give a number of at least 0 (1 = no suppression)")
    if top_k is not None and not (isinstance(top_k, numbers.Integral) and top_k >= 1):
        raise HFVTGError(f"top_k is {top_k!r}; give a positive whole number, or None for all survivors")

    lead, num = scores.shape[:-1], scores.shape[-1]
    width = num if top_k is None else min(int(top_k), num)
    rows = math.prod(lead)
    moments, scores = moments.reshape(rows, num, 2), scores.reshape(rows, num)
    ranked, order = torch.sort(scores, dim=-1, descending=True, stable=True)
    moments = moments.gather(1, order[..., None].expand(-1, -1, 2))
    alive = ranked > -torch.inf if ranked.is_floating_point() else torch.ones_like(ranked, dtype=torch.bool)
    if torch.isnan(ranked).any() or (torch.isnan(moments).any(-1) & alive).any():
        raise HFVTGError("temporal_nms got NaN among its scores or moments; look for the model's first NaN output")

    kept = order.new_full((order.shape[0], width), -1)
    rank = torch.arange(num, device=order.device)
    limit = torch.tensor(threshold, dtype=moments.dtype, device=moments.device)
    for column in range(width):
        first = torch.where(alive, rank, num).amin(-1, keepdim=True)
        live = first < num
        if not live.any():
            break
        first = first.clamp(max=num - 1)
        kept[:, column] = torch.where(live, order.gather(1, first), -1)[:, 0]
        best = moments.gather(1, first[..., None].expand(-1, -1, 2))
        alive &= temporal_iou(moments, best) <= limit
        alive.scatter_(1, first, False)
    return _back(kept.reshape(*lead, width), is_numpy)


def clip_moments(seconds: ArrayLike, duration: ArrayLike) -> torch.Tensor | np.ndarray:
    """The parts of moments within [0, duration]; arguments as in :func:`to_seconds`."""
    seconds, duration, is_numpy = _with_duration(seconds, duration)
    return _back(torch.minimum(seconds.clamp(min=0), duration.to(seconds.dtype)), is_numpy)


def to_seconds(fractions: ArrayLike, duration: ArrayLike) -> torch.Tensor | np.ndarray:
    """Fractions of a video -> seconds.

    Args:
        fractions: (..., 2) or any shape whose leading axes are those of ``duration``.
        duration: scalar, or (B, ...) one duration in seconds for each leading index. A tensor promotes the
            result to its own precision; anything else takes that of ``fractions``.
    """
    fractions, duration, is_numpy = _with_duration(fractions, duration)
    return _back(fractions * duration, is_numpy)


def to_fractions(seconds: ArrayLike, duration: ArrayLike) -> torch.Tensor | np.ndarray:
    """Seconds -> fractions of the video; arguments as in :func:`to_seconds`."""
    seconds, duration, is_numpy = _with_duration(seconds, duration)
    return _back(seconds / duration, is_numpy)


def _as_tensors(*values: ArrayLike) -> tuple[list[torch.Tensor], bool]:
    device = next((v.device for v in values if isinstance(v, torch.Tensor)), None)
    out = []
    for value in values:
        if not isinstance(value, torch.Tensor):
            value = np.asarray(value)
            # torch refuses negative strides and warns on read-only memory
            value = torch.as_tensor(value.copy() if value.dtype != object else value.astype(float), device=device)
        value = value if value.is_floating_point() else value.to(torch.float64)
        if value.ndim == 0 or value.shape[-1] != 2:
            raise HFVTGError(f"moments have (start, end) on their last axis; got shape {tuple(value.shape)}")
        out.append(value)
    return out, device is None


def _with_duration(moments: ArrayLike, duration: ArrayLike) -> tuple[torch.Tensor, torch.Tensor, bool]:
    is_numpy = not isinstance(moments, torch.Tensor)
    (moments,), _ = _as_tensors(moments)
    if not isinstance(duration, torch.Tensor):
        duration = torch.as_tensor(np.array(duration, dtype=np.float64)).to(moments.dtype)
    duration = duration.to(moments.device)
    if duration.shape != moments.shape[: duration.ndim]:
        raise HFVTGError(
            f"durations {tuple(duration.shape)} do not fit the leading axes of moments {tuple(moments.shape)}"
        )
    if not (torch.isfinite(duration).all() and (duration > 0).all()):
        raise HFVTGError(f"a duration must be positive and finite; got {duration.tolist()}")
    return moments, duration.reshape(duration.shape + (1,) * (moments.ndim - duration.ndim)), is_numpy


def _overlap(a: torch.Tensor, b: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Lengths of intersection, hull and union. Of overlapping moments the hull is the union, rounded once."""
    inter = (torch.minimum(a[..., 1], b[..., 1]) - torch.maximum(a[..., 0], b[..., 0])).clamp(min=0)
    hull = torch.maximum(a[..., 1], b[..., 1]) - torch.minimum(a[..., 0], b[..., 0])
    union = (a[..., 1] - a[..., 0]) + (b[..., 1] - b[..., 0]) - inter
    return inter, hull, union


def _divide(part: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """part / whole, and 0 with a zero gradient where ``whole`` is not positive. NaN stays NaN."""
    empty = whole <= 0
    return torch.where(empty, 0, part / torch.where(empty, 1, whole))


def _back(value: torch.Tensor, is_numpy: bool) -> torch.Tensor | np.ndarray:
    return value.numpy() if is_numpy else value
