"""Masked convolutions over the sparse proposal map: the dense form, and the exact form that skips the irrelevant."""

import contextlib
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import ModelError
from .buffers import ComputedBuffers
from .losses import upcast
from .proposals import ProposalGrid, interior_cells, proposal_cells

# More strips follow the triangle more closely, but every strip packs the weights again.
NUM_STRIPS = 4
MAP_OPTIONS = ("channels_last", "fold_norm", "bfloat16")


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


@lru_cache(maxsize=16)
def map_geometry(
    num_clips: int,
    pooling_counts: tuple[int, ...],
    kernel_size: int,
    num_layers: int,
    num_strips: int = NUM_STRIPS,
    interior: bool = False,
) -> MapGeometry:
    """Geometry of the map of :func:`proposal_cells` (of its :func:`interior_cells`) under ``num_layers``
    convolutions."""
    cells = proposal_cells(num_clips, pooling_counts)
    cells = cells[interior_cells(cells, num_clips)] if interior else cells
    valid = np.zeros((num_clips, num_clips), dtype=bool)
    valid[cells[:, 0], cells[:, 1]] = True
    counts = valid_inputs(valid, kernel_size, num_layers)
    needed, train, evaluation = valid, [], []
    for count in reversed(counts):
        active = count > 0
        train.insert(0, cover(active, num_strips))
        evaluation.insert(0, cover(active & needed, num_strips))
        needed = _reached_from(active & needed, kernel_size)
    return MapGeometry(tuple(counts), tuple(train), tuple(evaluation))


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
        needed = _reached_from(active & needed, kernel_size)
    return tuple(strips)


def strips_area(layers: tuple[tuple[Strip, ...], ...]) -> int:
    """Positions that are convolved, of all layers together."""
    return sum((strip.bottom - strip.top) * (strip.right - strip.left) for strips in layers for strip in strips)


def _reached_from(needed: np.ndarray, kernel_size: int) -> np.ndarray:
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


def _layout(x: torch.Tensor) -> torch.memory_format:
    last = x.is_contiguous(memory_format=torch.channels_last) and not x.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


# Slicing and padding would allocate a whole map for the gradient of each strip; these two allocate one for all.


class Cut(torch.autograd.Function):
    """:func:`on_strips` of a (B, C, side, side) map; the gradient is :class:`Pasted`."""

    @staticmethod
    def forward(ctx, x, strips):
        ctx.side, ctx.strips = x.shape[-1], strips
        # A slice would be copied for the convolution and once more for its gradient.
        return tuple(part.contiguous(memory_format=_layout(x)) for part in on_strips(x, strips))

    @staticmethod
    def backward(ctx, *gradients):
        return Pasted.apply(ctx.side, ctx.strips, *gradients), None


class Pasted(torch.autograd.Function):
    """The sum of parts that lie on strips of a (B, C, side, side) map, else zero; the gradient is :class:`Cut`."""

    @staticmethod
    def forward(ctx, side, strips, *parts):
        ctx.strips = strips
        like = {"dtype": parts[0].dtype, "device": parts[0].device, "memory_format": _layout(parts[0])}
        x = torch.empty((*parts[0].shape[:2], side, side), **like).zero_()
        for target, part in zip(on_strips(x, strips), parts, strict=True):
            target += part
        return x

    @staticmethod
    def backward(ctx, gradient):
        return None, None, *Cut.apply(gradient, ctx.strips)


class MaskedConvLayer(nn.Module):
    """Convolution, batch normalisation (unless ``norm`` is False), ReLU, then the weight 1 / count of valid inputs."""

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int,
        padding: int,
        norm: bool = True,
        options: tuple[str, ...] = (),
    ):
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, kernel_size, padding=padding)
        self.norm = nn.BatchNorm2d(out_channels) if norm else None
        self.options = options

    @property
    def is_folded(self) -> bool:
        """Whether the convolution does the normalisation as well: with running statistics it is a part of it."""
        return "fold_norm" in self.options and self.norm is not None and not self.norm.training

    def kernel(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight and bias that are convolved with."""
        weight, bias = self.conv.weight, self.conv.bias
        if self.is_folded:
            scale = upcast(self.norm.weight) * torch.rsqrt(upcast(self.norm.running_var) + self.norm.eps)
            folded = (upcast(bias) - upcast(self.norm.running_mean)) * scale + upcast(self.norm.bias)
            weight = (upcast(weight) * scale[:, None, None, None]).to(weight.dtype)
            bias = folded.to(bias.dtype)
        if "channels_last" in self.options:
            weight = weight.contiguous(memory_format=torch.channels_last)
        return weight, bias

    def forward(self, x: torch.Tensor, weight: torch.Tensor, normed: list[torch.Tensor] | None = None) -> torch.Tensor:
        """The dense form: (B, C, side, side) -> (B, C', side', side')."""
        x = F.conv2d(x, *self.kernel(), padding=self.conv.padding)
        x = x if self.norm is None or self.is_folded else self.norm(x)
        if normed is not None:
            normed.append(x)
        return x.relu() * weight

    def forward_strips(self, x: torch.Tensor, weight: torch.Tensor, strips: tuple[Strip, ...]) -> torch.Tensor:
        """The same on ``strips`` only; other positions are zero. ``x`` is already padded.

        Args:
            weight: (side, side), or (B, 1, side, side) one of each row.
        """
        reach = self.conv.kernel_size[0] - 1
        windows = tuple(Strip(top, bottom + reach, left, right + reach) for top, bottom, left, right in strips)
        kernel = self.kernel()
        parts = [F.conv2d(window, *kernel) for window in Cut.apply(x, windows)]
        if self.norm is not None and self.norm.training:
            parts = self._normalise(parts, x.shape[0] * weight.numel())
        elif self.norm is not None and not self.is_folded:
            parts = [self.norm(part) for part in parts]
        parts = [part.relu() * on_strip for part, on_strip in zip(parts, on_strips(weight, strips), strict=True)]
        return Pasted.apply(weight.shape[-1], strips, *parts)

    def _normalise(self, parts: list[torch.Tensor], count: int) -> list[torch.Tensor]:
        """Batch normalisation whose statistics run over the whole map of ``count`` positions.

        Outside the strips the convolution sees zeros only, so its value there is its bias.
        """
        norm, bias = self.norm, upcast(self.conv.bias)
        wide = [upcast(part) for part in parts]
        outside = count - sum(part.numel() // part.shape[1] for part in parts)
        mean = (sum(part.sum((0, 2, 3)) for part in wide) + outside * bias) / count
        column = mean[:, None, None]
        squares = sum(((part - column) ** 2).sum((0, 2, 3)) for part in wide)
        variance = (squares + outside * (bias - mean) ** 2) / count
        with torch.no_grad():
            norm.num_batches_tracked.add_(1)
            norm.running_mean.lerp_(mean.to(norm.running_mean.dtype), norm.momentum)
            unbiased = variance * (count / max(count - 1, 1))
            norm.running_var.lerp_(unbiased.to(norm.running_var.dtype), norm.momentum)
        scale = upcast(norm.weight) * torch.rsqrt(variance + norm.eps)
        shift = upcast(norm.bias) - mean * scale
        return [
            torch.addcmul(shift[:, None, None], part, scale[:, None, None]).to(own.dtype)
            for part, own in zip(wide, parts, strict=True)
        ]


class MaskedMapConv(ComputedBuffers):
    """Stack of masked convolutions over the proposal map (2D-TAN / MMN ProposalConv without its heads).

    ``implementation`` is ``"dense"`` (every position of the padded map, as published) or ``"strips"``: the same values
    at the valid cells, the same batch statistics and gradients, without the positions that have no input or, unless
    batch statistics see them, no way to a valid cell.

    Args:
        norm: batch normalisation in each layer (MMN), or none (2D-TAN, CLEAR).
        interior: only the :func:`interior_cells` of the grid are valid.
        options: of ``MAP_OPTIONS``. ``"channels_last"``: that layout of memory; ``"fold_norm"``: outside training the
            normalisation is a part of the convolution (equal to rounding); ``"bfloat16"``: convolutions in bfloat16
            (three decimal digits), where the processor has instructions for it.
    """

    float32_weights = False  # whether 1 / count is rounded to float32 in a float64 model too, as CLEAR's code has it

    def __init__(
        self,
        grid: ProposalGrid,
        in_channels: int,
        channels: int,
        kernel_size: int,
        num_layers: int,
        implementation: str = "strips",
        norm: bool = True,
        interior: bool = False,
        options: tuple[str, ...] = (),
    ):
        super().__init__()
        unknown = sorted(set(options) - set(MAP_OPTIONS))
        if unknown:
            raise ModelError(f"Unknown options {unknown} of the map; known are {', '.join(MAP_OPTIONS)}.")
        if num_layers < 1 or (kernel_size - 1) * num_layers % 2:
            raise ModelError(
                f"kernel_size={kernel_size} and num_layers={num_layers} do not keep the size of the map: "
                "(kernel_size - 1) * num_layers must be even and there must be a layer."
            )
        self.implementation = implementation
        self.padding = (kernel_size - 1) * num_layers // 2
        self.kernel_size = kernel_size
        self.has_norm = norm
        self.options = tuple(options)
        self.geometry = map_geometry(grid.num_clips, grid.pooling_counts, kernel_size, num_layers, interior=interior)
        self.layers = nn.ModuleList(
            MaskedConvLayer(
                channels if k else in_channels, channels, kernel_size, 0 if k else self.padding, norm, self.options
            )
            for k in range(num_layers)
        )
        self.register_computed_buffers()

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        # Integers stay exact in a model of any dtype; copies, since the geometry is shared between models.
        return {f"count_{k}": torch.from_numpy(count.copy()) for k, count in enumerate(self.geometry.counts)}

    def masked_weights(self, dtype: torch.dtype) -> list[torch.Tensor]:
        """Of each layer the map 1 / count, 0 where there are no valid inputs."""
        counts = [getattr(self, f"count_{k}") for k in range(len(self.layers))]
        exact = torch.float32 if self.float32_weights else torch.promote_types(dtype, torch.float32)
        return [((count > 0) / count.clamp(min=1).to(exact)).to(dtype) for count in counts]

    def forward(
        self, grid: ProposalGrid, cells: torch.Tensor, normed: list[torch.Tensor] | None = None
    ) -> torch.Tensor:
        """(B, C, P) cells -> (B, C', P) cells.

        Args:
            normed: collects each layer's batch-norm output over the whole map; the dense form only has it.
        """
        x = grid.to_map(cells)
        if self.implementation == "dense":
            return grid.from_map(self.forward_dense(x, normed))
        return grid.from_map(self.forward_strips(F.pad(x, (self.padding,) * 4)))

    def forward_dense(self, x: torch.Tensor, normed: list[torch.Tensor] | None = None) -> torch.Tensor:
        """(B, C, N, N) map -> (B, C', N, N), every position computed."""
        dtype = x.dtype
        with self._computing(x):
            x = self._laid_out(x)
            for layer, weight in zip(self.layers, self.masked_weights(dtype), strict=True):
                x = layer(x, weight, normed)
        return x.to(dtype)

    def forward_strips(self, padded: torch.Tensor) -> torch.Tensor:
        """(B, C, N + 2 padding, N + 2 padding) map -> (B, C', N, N), right at the valid cells."""
        strips = self.geometry.train if self.training and self.has_norm else self.geometry.eval
        return self._run_strips(padded, self.masked_weights(padded.dtype), strips)

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

    def _run_strips(self, x, weights, strips) -> torch.Tensor:
        dtype = x.dtype
        with self._computing(x):
            x = self._laid_out(x)
            for layer, weight, covering in zip(self.layers, weights, strips, strict=True):
                x = layer.forward_strips(x, weight, covering)
        return x.to(dtype)

    def _computing(self, x: torch.Tensor):
        half = "bfloat16" in self.options
        return torch.autocast(x.device.type, torch.bfloat16) if half else contextlib.nullcontext()

    def _laid_out(self, x: torch.Tensor) -> torch.Tensor:
        return x.contiguous(memory_format=torch.channels_last) if "channels_last" in self.options else x
