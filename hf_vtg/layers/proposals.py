"""The sparse 2-D proposal map of 2D-TAN: which cells exist, and the maximum over the span of each."""

import numpy as np
import torch

from ..errors import ModelError
from .buffers import ComputedBuffers


def proposal_cells(num_clips: int, pooling_counts: list[int] | tuple[int, ...]) -> np.ndarray:
    """Valid cells of the map in row-major order.

    The diagonal always; then for scale s = 0, 1, ... with stride 2**s, ``pooling_counts[s]`` diagonals, each
    raising the offset by the stride; on a diagonal of offset o the cells (i, i + o) for i = 0, stride, ... < N - o
    (2D-TAN, SparseMaxPool).

    Returns:
        (P, 2) int64 array of (first clip, last clip), both inclusive.
    """
    cells = {(i, i) for i in range(num_clips)}
    offset = 0
    for scale, count in enumerate(pooling_counts):
        stride = 2**scale
        for _ in range(count):
            offset += stride
            cells.update((i, i + offset) for i in range(0, num_clips - offset, stride))
    if offset >= num_clips:
        raise ModelError(
            f"pooling_counts={list(pooling_counts)} reach offset {offset}, beyond the last of {num_clips} clips. "
            "Lower the counts or raise num_clips."
        )
    return np.array(sorted(cells), dtype=np.int64)


class ProposalGrid(ComputedBuffers):
    """The valid cells of an N x N map, and the span maximum over them.

    Buffers are derived from the configuration and not saved:
        cell_index: (P,) position of each cell in the flattened map, row-major.
        cells: (P, 2) first and last clip of each cell.
        left, right: (P,) the two power-of-two windows whose maximum is the maximum over the cell's span.
    """

    def __init__(self, num_clips: int, pooling_counts: list[int] | tuple[int, ...]):
        super().__init__()
        self.num_clips = num_clips
        self.pooling_counts = tuple(pooling_counts)
        self.register_computed_buffers()

    @property
    def num_cells(self) -> int:
        """P, the number of valid cells."""
        return self.cell_index.shape[0]

    @property
    def valid(self) -> np.ndarray:
        """(N, N) bool: which cells exist."""
        valid = np.zeros((self.num_clips, self.num_clips), dtype=bool)
        valid[tuple(proposal_cells(self.num_clips, self.pooling_counts).T)] = True
        return valid

    def moments(self, dtype: torch.dtype) -> torch.Tensor:
        """(P, 2) moments of the cells as fractions of the video, exact in ``dtype`` whatever the model's is."""
        return (self.cells + self.cells.new_tensor([0, 1])).to(dtype) / self.num_clips

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        cells = proposal_cells(self.num_clips, self.pooling_counts)
        level = np.log2(cells[:, 1] - cells[:, 0] + 1).astype(np.int64)
        level_starts = np.concatenate([[0], np.cumsum(self._level_widths())])[:-1]
        return {
            "cell_index": torch.from_numpy(cells[:, 0] * self.num_clips + cells[:, 1]),
            "cells": torch.from_numpy(cells),
            "left": torch.from_numpy(level_starts[level] + cells[:, 0]),
            "right": torch.from_numpy(level_starts[level] + cells[:, 1] + 1 - 2**level),
        }

    def _level_widths(self) -> list[int]:
        return [self.num_clips - 2**k + 1 for k in range(self.num_clips.bit_length()) if 2**k <= self.num_clips]

    def span_max(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, C, N) clips -> (B, C, P) elementwise maximum over the clips of each cell."""
        levels = [clips]
        for width in self._level_widths()[1:]:
            last = levels[-1]
            levels.append(torch.maximum(last[..., :width], last[..., -width:]))
        windows = torch.cat(levels, dim=-1)
        return torch.maximum(windows.index_select(-1, self.left), windows.index_select(-1, self.right))

    def to_map(self, cells: torch.Tensor) -> torch.Tensor:
        """(..., P) values of the valid cells -> (..., N, N) map, zero elsewhere."""
        flat = cells.new_zeros(*cells.shape[:-1], self.num_clips**2)
        flat.index_copy_(-1, self.cell_index, cells)
        return flat.unflatten(-1, (self.num_clips, self.num_clips))

    def from_map(self, full: torch.Tensor) -> torch.Tensor:
        """(..., N, N) map -> (..., P) values of the valid cells."""
        return full.flatten(-2).index_select(-1, self.cell_index)
