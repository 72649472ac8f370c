"""The fine branch of CLEAR: a sparse map of moments, fused with each query and scored by masked convolutions.

Official ``fineGraind/*`` (Huyp777/CSUN), a 2D-TAN. Cells outside the map are not zero there: they carry the bias of
the 1x1 convolution, fused with the query like any other, and the convolutions see them.
"""

from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ...layers.buffers import ComputedBuffers
from ...layers.clips import pool_clips
from ...layers.map_convolution import maps_at_once
from ...layers.proposals import ProposalGrid, proposal_cells
from .configuration_clear import CLEARConfig
from .query_clear import CLEARQueryEncoder
from .windows_clear import CLEARMapConv, strips_area, window_geometry

# Sizes of the windows that pruning leaves are multiples of this part of the map.
WINDOW_PARTS = 16


def window_size(cells: torch.Tensor, num_clips: int) -> torch.Tensor:
    """Clips of the windows that hold so many."""
    step = max(1, num_clips // WINDOW_PARTS)
    return ((cells + step - 1) // step * step).clamp(max=num_clips)


def interior_cells(cells: np.ndarray, num_clips: int) -> np.ndarray:
    """(P,) bool: cells that neither begin nor end with the video, and the two single clips that do (CLEAR)."""
    first, last = cells.T
    return ((first > 0) & (last < num_clips - 1)) | ((first == last) & ((first == 0) | (last == num_clips - 1)))


def scored_map(config: CLEARConfig) -> np.ndarray:
    """(N, N) bool: cells that the fine branch scores, see ``fine_mask``."""
    cells = proposal_cells(config.num_clips, config.pooling_counts)
    if config.fine_mask == "interior":
        cells = cells[interior_cells(cells, config.num_clips)]
    scored = np.zeros((config.num_clips, config.num_clips), dtype=bool)
    scored[tuple(cells.T)] = True
    return scored


class FineVideo(NamedTuple):
    """The fine branch's view of a video.

    Args:
        cells: (B, P, C) span maximum of each cell after the 1x1 convolution.
        clips: (B, C, N); map2d: (B, C, P) span maximum.
    """

    cells: torch.Tensor
    clips: torch.Tensor
    map2d: torch.Tensor


class FinePairs(NamedTuple):
    """R pairs of a video and a query.

    Args:
        cells: (B, P, C) of all videos; video: (R,) which one; query: (R, C).
    """

    cells: torch.Tensor
    video: torch.Tensor
    query: torch.Tensor

    def select(self, rows: torch.Tensor) -> "FinePairs":
        return FinePairs(self.cells, self.video[rows], self.query[rows])


class CLEARFineBranch(ComputedBuffers):
    """Logits of the P cells of the map.

    Buffers, derived from the configuration:
        scored: (P,) cells that the branch scores, see ``fine_mask``.
        lookup: (side, side) of the padded map: which cell lies there; P = outside the map, P + 1 = padding.
    """

    def __init__(self, config: CLEARConfig, grid: ProposalGrid):
        super().__init__()
        self.config = config
        width = config.fine_hidden
        self.clip_projection = nn.Conv1d(config.feature_dim, width, 1)
        self.query = CLEARQueryEncoder(
            config.text_hidden_size, config.fine_query_hidden, width, config.query_layers, config.query_bidirectional
        )
        self.map_projection = nn.Linear(width, width)
        self.map_conv = CLEARMapConv(
            grid,
            width,
            width,
            config.predictor_kernel,
            config.predictor_layers,
            config.map_convolution,
            norm=False,
            valid=scored_map(config),
        )
        self.predictor = nn.Linear(width, 1)
        self.register_computed_buffers()

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        size, padding = self.config.num_clips, self.map_conv.padding
        cells = proposal_cells(size, self.config.pooling_counts)
        inside = np.full((size, size), len(cells))
        inside[cells[:, 0], cells[:, 1]] = np.arange(len(cells))
        return {
            "scored": torch.from_numpy(scored_map(self.config)[tuple(cells.T)]),
            "lookup": torch.from_numpy(np.pad(inside, padding, constant_values=len(cells) + 1)),
        }

    def encode_video(self, features: torch.Tensor, grid: ProposalGrid) -> FineVideo:
        """(B, num_pre_clips, D) features -> the cells."""
        stride = features.shape[1] // grid.num_clips
        clips = pool_clips(features, self.clip_projection, stride, stride)
        map2d = grid.span_max(clips)
        if self.config.fine_mask == "interior":
            # The published code empties the last column and keeps the features of the first row.
            map2d = map2d * (grid.cells[:, 1] < grid.num_clips - 1)
        return FineVideo(self.map_projection(map2d.transpose(1, 2)), clips, map2d)

    def fuse(self, pairs: FinePairs) -> torch.Tensor:
        """(R, P + 2, C): unit-length products of query and cells, query and what lies outside the map, and the zeros
        of the padding."""
        query = pairs.query[:, None]
        fused = torch.cat([pairs.cells[pairs.video] * query, self.map_projection.bias * query], dim=1)
        return F.pad(F.normalize(fused, dim=-1), (0, 0, 0, 1))

    def hidden_maps(self, fused: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Output of each convolution over the whole map, as published."""
        inner = slice(self.map_conv.padding, self.map_conv.padding + self.config.num_clips)
        maps = [self._padded_map(fused)[..., inner, inner]]
        for layer, weight in zip(self.map_conv.layers, self.map_conv.masked_weights(fused.dtype), strict=True):
            maps.append(layer(maps[-1], weight))
        return tuple(maps[1:])

    def logits(self, pairs: FinePairs, grid: ProposalGrid) -> torch.Tensor:
        """(R, P) logits of R pairs, -inf where the branch scores nothing."""
        padding = self.map_conv.padding
        inner = slice(padding, padding + grid.num_clips)
        parts = []
        for part in self._chunks(pairs, self.lookup.numel()):
            padded = self._padded_map(self.fuse(part))
            if self.map_conv.implementation == "dense":
                hidden = self.map_conv.forward_dense(padded[..., inner, inner])
            else:
                hidden = self.map_conv.forward_strips(padded)
            parts.append(self.predictor(grid.from_map(hidden).transpose(1, 2)).squeeze(-1))
        return torch.cat(parts).masked_fill(~self.scored, -torch.inf)

    def window_logits(self, pairs: FinePairs, grid: ProposalGrid, starts: torch.Tensor, size: int) -> torch.Tensor:
        """:meth:`logits` of the cells from clip ``starts`` (R,) to ``starts + size - 1``, -inf elsewhere.

        Only what these cells need is convolved.
        """
        reach = torch.arange(size + 2 * self.map_conv.padding, device=starts.device)
        chunks = self._chunks(pairs, len(reach) ** 2)
        parts = []
        for part, first in zip(chunks, starts.split([len(c.query) for c in chunks]), strict=True):
            index = first[:, None] + reach
            positions = self.lookup[index[:, :, None], index[:, None, :]]
            hidden = self.map_conv.forward_windows(self._gather(self.fuse(part), positions), first)
            local = grid.cells - first[:, None, None]
            inside = (local[..., 0] >= 0) & (local[..., 1] < size)
            flat = (local[..., 0] * size + local[..., 1]).clamp(0, size**2 - 1)
            scores = self.predictor(hidden.permute(0, 2, 3, 1)).flatten(1)
            parts.append(scores.gather(1, flat).masked_fill(~(inside & self.scored), -torch.inf))
        return torch.cat(parts)

    def area(self, size: int | None = None) -> int:
        """Positions that are convolved for one query: of the whole map, or of a window of ``size`` clips."""
        if size is None:
            return strips_area(self.map_conv.geometry.eval)
        return strips_area(window_geometry(size, self.map_conv.kernel_size, len(self.map_conv.layers)))

    @staticmethod
    def _chunks(pairs: FinePairs, positions: int) -> list[FinePairs]:
        """``pairs`` in parts whose maps of so many positions fit the memory; whole where gradients keep them."""
        count = maps_at_once(len(pairs.query), positions, pairs.query.shape[-1])
        parts = (x.split(count) for x in (pairs.video, pairs.query))
        return [FinePairs(pairs.cells, video, query) for video, query in zip(*parts, strict=True)]

    def _padded_map(self, fused: torch.Tensor) -> torch.Tensor:
        rows = fused.index_select(1, self.lookup.flatten())
        return rows.unflatten(1, self.lookup.shape).permute(0, 3, 1, 2)

    def _gather(self, fused: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        offset = torch.arange(len(fused), device=fused.device)[:, None, None] * fused.shape[1]
        return F.embedding(positions + offset, fused.flatten(0, 1)).permute(0, 3, 1, 2)
