"""The map convolution of CLEAR's fine branch, which pruning lets look at windows of the map alone."""

from functools import lru_cache

import numpy as np
import torch

from ...layers.map_convolution import MaskedMapConv
from ...layers.map_geometry import NUM_STRIPS, Strip, cover, reached_from


@lru_cache(maxsize=256)
def window_geometry(
    size: int, kernel_size: int, num_layers: int, num_strips: int = NUM_STRIPS
) -> tuple[tuple[Strip, ...], ...]:
    """For each layer the strips that the cells of a window need, wherever it lies on the diagonal of a map.

    The window holds the cells (a + i, a + j) with 0 <= i <= j < ``size``; the first layer's input is ``size +
    num_layers * (kernel_size - 1)`` wide. Any map is a part of the whole upper triangle, so its strips serve every
    map and every a.
    """
    needed = np.triu(np.ones((size, size), dtype=bool))
    strips = []
    for layer in reversed(range(num_layers)):
        row, column = np.indices(needed.shape)
        active = column - row >= -(layer + 1) * (kernel_size - 1)
        strips.insert(0, cover(active & needed, num_strips))
        needed = reached_from(active & needed, kernel_size)
    return tuple(strips)


def strips_area(layers: tuple[tuple[Strip, ...], ...]) -> int:
    """Positions that are convolved, of all layers together."""
    return sum((strip.bottom - strip.top) * (strip.right - strip.left) for strips in layers for strip in strips)


class CLEARMapConv(MaskedMapConv):
    """:class:`MaskedMapConv` without normalisation, of the whole map or of windows on its diagonal."""

    def masked_weights(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """1 / count is rounded to float32 in a float64 model too, as the published code has it."""
        return [weight.to(dtype) for weight in super().masked_weights(torch.float32)]

    def forward_windows(self, padded: torch.Tensor, starts: torch.Tensor) -> torch.Tensor:
        """The valid cells of a window of the map, a square on its diagonal; the window of each row is its own.

        Args:
            padded: (B, C, n + 2 padding, n + 2 padding) parts of padded maps.
            starts: (B,) first row and column of each window in its map.

        Returns:
            (B, C', n, n), equal to those rows and columns of :meth:`forward_strips` at the valid cells.
        """
        size = padded.shape[-1] - 2 * self.padding
        weights = []
        for weight in self.masked_weights(padded.dtype):
            side = size + weight.shape[-1] - self.geometry.counts[-1].shape[-1]
            index = starts[:, None] + torch.arange(side, device=starts.device)
            weights.append(weight[index[:, :, None], index[:, None, :]].unsqueeze(1))
        strips = window_geometry(size, self.kernel_size, len(self.layers))
        return self._run_strips(padded, weights, strips)
