"""Pieces that the losses of several methods share."""

import torch
import torch.distributed as dist


def upcast(x: torch.Tensor) -> torch.Tensor:
    """At least float32: similarities, logarithms and sums are not safe in half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


class _GatherWithGradient(torch.autograd.Function):
    """All-gather along dimension 0 whose backward sums the gradients of all ranks."""

    @staticmethod
    def forward(ctx, x):
        parts = [torch.empty_like(x) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, x.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(ctx, gradient):
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient.chunk(dist.get_world_size())[dist.get_rank()]


def world_size() -> int:
    """Number of processes that train together; 1 without torch.distributed."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def gather_padded(x: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, (N_0 + N_1 + ..., ...), in rank order, differentiable.

    Ranks may hold different numbers of rows: they are padded to the largest for the exchange.
    """
    if world_size() == 1:
        return x
    counts = [torch.zeros(1, dtype=torch.long, device=x.device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([x.shape[0]], device=x.device))
    largest = int(max(counts))
    padded = torch.cat([x, x.new_zeros(largest - x.shape[0], *x.shape[1:])])
    gathered = _GatherWithGradient.apply(padded) if x.is_floating_point() else _gather(padded)
    return torch.cat([part[: int(n)] for part, n in zip(gathered.chunk(world_size()), counts, strict=True)])


def _gather(x: torch.Tensor) -> torch.Tensor:
    parts = [torch.empty_like(x) for _ in range(world_size())]
    dist.all_gather(parts, x.contiguous())
    return torch.cat(parts)
