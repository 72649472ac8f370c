"""Masked convolutions over the sparse proposal map: the dense form, and the exact form that skips the irrelevant."""

import contextlib

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from ..errors import ModelError
from .buffers import ComputedBuffers
from .losses import upcast
from .map_geometry import Strip, map_geometry, on_strips
from .proposals import ProposalGrid

MAP_OPTIONS = ("channels_last", "fold_norm", "bfloat16")


# Values of the maps that are convolved together without gradient.
VALUES_AT_ONCE = 2**26


def maps_at_once(count: int, positions: int, channels: int) -> int:
    """How many of ``count`` maps are convolved together: all where gradients keep them, else what fits the memory."""
    return max(1, count if torch.is_grad_enabled() else VALUES_AT_ONCE // (positions * channels))


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
        valid: (N, N) bool, cells that count as valid; None = all of the grid.
        options: of ``MAP_OPTIONS``. ``"channels_last"``: that layout of memory; ``"fold_norm"``: outside training the
            normalisation is a part of the convolution (equal to rounding); ``"bfloat16"``: convolutions in bfloat16
            (three decimal digits), where the processor has instructions for it.
    """

    def __init__(
        self,
        grid: ProposalGrid,
        in_channels: int,
        channels: int,
        kernel_size: int,
        num_layers: int,
        implementation: str = "strips",
        norm: bool = True,
        valid: np.ndarray | None = None,
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
        valid = grid.valid if valid is None else valid
        self.geometry = map_geometry(valid, kernel_size, num_layers)
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
        exact = torch.promote_types(dtype, torch.float32)
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
