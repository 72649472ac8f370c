"""From coarse to fine: where the coarse branch looks, and scores that both branches share (specification, section 7).

The IoU of a moment [s, e] with the ranges [0, x] is largest at x = e, with the ranges [x, end] at x = s: the best
prefix tells the end, the best suffix the start.
"""

from typing import NamedTuple

import numpy as np
import torch

from ...layers.buffers import ComputedBuffers
from ...layers.losses import scaled_iou
from ...layers.proposals import proposal_cells
from .configuration_clear import CLEARConfig

# Factor on the outside cells at a moderate gain (the code multiplies the inside by ten).
DAMPING = 0.1
# The gain is relative to at least this score of the whole video.
LEAST_SCORE = 1e-6


class Region(NamedTuple):
    """Where the coarse branch looks, of R queries.

    Args:
        start, end: (R,) cell of the best suffix and of the best prefix.
        gain: (R,) relative gain of the better one over the whole video.
        factor: (R,) on the scores of outside cells: 1 = no pruning, 0.1 = damped, 0 = dropped.
        first, last: (R,) inside are the cells i, j with i >= first and j <= last.
    """

    start: torch.Tensor
    end: torch.Tensor
    gain: torch.Tensor
    factor: torch.Tensor
    first: torch.Tensor
    last: torch.Tensor


class PruneRule(NamedTuple):
    """From a gain of ``mu`` on outside cells are damped, above ``alpha`` dropped; ``margin`` cells of tolerance."""

    mu: float
    alpha: float
    margin: int

    @classmethod
    def from_config(cls, config: CLEARConfig) -> "PruneRule":
        return cls(config.prune_mu, config.prune_alpha, config.margin)


class CLEARFusion(ComputedBuffers):
    """Fused scores of the P cells of the map.

    Buffers, derived from the configuration:
        ticks: (T, 2) first and last clip of the coarse ranges: the prefixes, then the suffixes; the whole video twice.
        cells: (P, 2) first and last clip of each cell.
        prefix, suffix: (T / 2,) the cell of each range among the P.
        boundary, corner: (P,) cells of the first row and the last column; those of one clip.
    """

    def __init__(self, config: CLEARConfig):
        super().__init__()
        self.config = config
        self.register_computed_buffers()

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        cells = proposal_cells(self.config.num_clips, self.config.pooling_counts)
        starts, ends = cells[:, 0] == 0, cells[:, 1] == self.config.num_clips - 1
        prefix, suffix = np.flatnonzero(starts), np.flatnonzero(ends)
        buffers = {
            "cells": cells,
            "ticks": cells[np.concatenate([prefix, suffix])],
            "prefix": prefix,
            "suffix": suffix,
            "boundary": starts | ends,
            "corner": (starts | ends) & (cells[:, 0] == cells[:, 1]),
        }
        return {name: torch.from_numpy(value) for name, value in buffers.items()}

    @property
    def num_ticks(self) -> int:
        """T."""
        return len(self.ticks)

    def tick_moments(self, dtype: torch.dtype) -> torch.Tensor:
        """(T, 2) coarse ranges as fractions of the video."""
        last = 1 if self.config.tick_convention == "inclusive" else 0
        return (self.ticks + self.ticks.new_tensor([0, last])).to(dtype) / self.config.num_clips

    def region(self, coarse: torch.Tensor, rule: PruneRule | None = None) -> Region:
        """(R, T) coarse scores on the scale of an IoU -> where to look.

        Args:
            rule: default the configuration's.
        """
        rule = rule or PruneRule.from_config(self.config)
        prefix, suffix = coarse.chunk(2, dim=1)
        whole = (prefix[:, -1] + suffix[:, 0]) / 2
        (best_prefix, end), (best_suffix, start) = prefix.max(1), suffix.max(1)
        end, start = self.cells[self.prefix[end], 1], self.cells[self.suffix[start], 0]
        gain = (torch.maximum(best_prefix, best_suffix) - whole) / whole.abs().clamp(min=LEAST_SCORE)
        damped = (start <= end) & (gain >= rule.mu)
        dropped = damped & (gain > rule.alpha)
        factor = torch.ones_like(gain).masked_fill(damped, DAMPING).masked_fill(dropped, 0)
        first, last = (start - rule.margin).clamp(min=0), (end + rule.margin).clamp(max=self.config.num_clips - 1)
        return Region(start, end, gain, factor, first, last)

    def scores(self, fine: torch.Tensor, coarse: torch.Tensor, region: Region | None) -> torch.Tensor:
        """Scores of the candidates, -inf for cells that are none.

        Args:
            fine: (R, P) probabilities of the fine branch, 0 where it scores nothing.
            coarse: (R, T) on the scale of an IoU.
            region: None = no pruning.

        Returns:
            (R, P). Where nothing inside the region scores, the whole map counts; where nothing scores at all, the
            whole video is the only candidate, with score 0.
        """
        if self.config.decode == "fused" and self.config.boundary_fill:
            fine = self._fill_boundary(fine, coarse)
        scores = fine
        if region is not None:
            inside = (self.cells[:, 0] >= region.first[:, None]) & (self.cells[:, 1] <= region.last[:, None])
            scores = torch.where(inside, fine, fine * region.factor[:, None])
            scores = torch.where((scores > 0).any(1, keepdim=True), scores, fine)
        candidate = scores > 0
        whole = torch.arange(len(self.cells), device=fine.device) == self.prefix[-1]
        alone = whole & ~candidate.any(1, keepdim=True)
        return torch.where(candidate | alone, scores, -torch.inf)

    def _fill_boundary(self, fine: torch.Tensor, coarse: torch.Tensor) -> torch.Tensor:
        """Boundary cells with the score of their range, rescaled as the fine targets are."""
        least, most = self.config.min_iou, self.config.max_iou
        prefix, suffix = scaled_iou(coarse, least, most).chunk(2, dim=1)
        filled = torch.zeros_like(fine).index_copy(1, self.prefix, prefix)
        filled = torch.maximum(filled, torch.zeros_like(fine).index_copy(1, self.suffix, suffix))
        return torch.where(self.boundary & ~self.corner, filled, torch.maximum(fine, filled))
