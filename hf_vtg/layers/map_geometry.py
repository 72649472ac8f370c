"""The geometry of masked convolutions over a proposal map: which positions matter in which layer."""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

# More strips follow the triangle more closely, but every strip packs the weights again.
NUM_STRIPS = 4


class Strip(NamedTuple):
    """A rectangle of a layer's output: rows top..bottom - 1, columns left..right - 1."""

    top: int
    bottom: int
    left: int
    right: int


class MapGeometry(NamedTuple):
    """What the shape of the map alone decides, for each layer of a stack of masked convolutions.

    Args:
        counts: (side, side) int64 number of valid inputs under the kernel.
        train: strips that cover every position with an input, which the batch statistics see.
        eval: strips that cover every position which in addition can reach a valid cell.
    """

    counts: tuple[np.ndarray, ...]
    train: tuple[tuple[Strip, ...], ...]
    eval: tuple[tuple[Strip, ...], ...]


def map_geometry(valid: np.ndarray, kernel_size: int, num_layers: int, num_strips: int = NUM_STRIPS) -> MapGeometry:
    """Geometry of an (N, N) map of ``valid`` cells, bool, under ``num_layers`` convolutions; kept by its content."""
    return _geometry(valid.tobytes(), len(valid), kernel_size, num_layers, num_strips)


@lru_cache(maxsize=16)
def _geometry(valid: bytes, side: int, kernel_size: int, num_layers: int, num_strips: int) -> MapGeometry:
    needed = np.frombuffer(valid, dtype=bool).reshape(side, side)
    counts, train, evaluation = valid_inputs(needed, kernel_size, num_layers), [], []
    for count in reversed(counts):
        active = count > 0
        train.insert(0, cover(active, num_strips))
        evaluation.insert(0, cover(active & needed, num_strips))
        needed = reached_from(active & needed, kernel_size)
    return MapGeometry(tuple(counts), tuple(train), tuple(evaluation))


def reached_from(needed: np.ndarray, kernel_size: int) -> np.ndarray:
    """The positions of a layer's input that the ``needed`` positions of its output see."""
    padded = np.pad(needed, kernel_size - 1)
    return np.lib.stride_tricks.sliding_window_view(padded, (kernel_size, kernel_size)).any((-2, -1))


def valid_inputs(mask: np.ndarray, kernel_size: int, num_layers: int) -> list[np.ndarray]:
    """Valid inputs under the kernel at each position of each layer of a stack of masked map convolutions.

    The first layer pads by (kernel - 1) * layers // 2, the others not at all. A position without any is invalid in
    the next layer (2D-TAN, get_padded_mask_and_weight).
    """
    counts = []
    padding = (kernel_size - 1) * num_layers // 2
    for layer in range(num_layers):
        padded = np.pad(mask, padding if layer == 0 else 0).astype(np.int64)
        windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel_size, kernel_size))
        counts.append(windows.sum(axis=(-2, -1)))
        mask = counts[-1] > 0
    return counts


def cover(mask: np.ndarray, num_strips: int) -> tuple[Strip, ...]:
    """At most ``num_strips`` row strips that contain every True of ``mask``, of least total area."""
    rows = np.flatnonzero(mask.any(1))
    first, last = rows[0], rows[-1]
    inside = mask[first : last + 1]
    size = len(inside)
    width = mask.shape[1]
    lefts = np.where(inside.any(1), inside.argmax(1), width)
    rights = np.where(inside.any(1), width - inside[:, ::-1].argmax(1), 0)
    # area[a, b]: rows a..b in one strip.
    area = np.full((size, size), np.inf)
    for a in range(size):
        hull = np.maximum.accumulate(rights[a:]) - np.minimum.accumulate(lefts[a:])
        area[a, a:] = np.maximum(hull, 0) * np.arange(1, size - a + 1)
    best, cuts = area[0].copy(), []
    for _ in range(1, num_strips):
        with_cut = np.concatenate([[0], best[:-1]])[:, None] + area
        cuts.append(with_cut.argmin(0))
        best = with_cut.min(0)
    strips, end = [], size
    for cut in [*reversed(cuts), None]:
        start = 0 if cut is None else int(cut[end - 1])
        if start < end:
            left, right = int(lefts[start:end].min()), int(rights[start:end].max())
            strips.insert(0, Strip(int(first) + start, int(first) + end, left, right))
        end = start
        if end == 0:
            break
    return tuple(strips)


def on_strips(x: torch.Tensor, strips: tuple[Strip, ...]) -> tuple[torch.Tensor, ...]:
    """The parts of (..., side, side) that lie on the strips."""
    return tuple(x[..., top:bottom, left:right] for top, bottom, left, right in strips)
