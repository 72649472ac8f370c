"""Rows of all processes, with gradient: the contrastive losses of MMN may take negatives from everywhere."""

import torch
import torch.distributed as dist


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


def _row_counts(count: int, device: torch.device) -> list[int]:
    counts = [torch.zeros(1, dtype=torch.long, device=device) for _ in range(world_size())]
    dist.all_gather(counts, torch.tensor([count], device=device))
    return torch.cat(counts).tolist()


def rows_before(count: int, device: torch.device) -> int:
    """How many rows the processes of lower rank hold, when this one holds ``count``."""
    return sum(_row_counts(count, device)[: dist.get_rank()])


def gather_padded(x: torch.Tensor) -> torch.Tensor:
    """Rows of all processes, (N_0 + N_1 + ..., ...), in rank order, differentiable.

    Ranks may hold different numbers of rows: they are padded to the largest for the exchange.
    """
    counts = _row_counts(x.shape[0], x.device)
    padded = torch.cat([x, x.new_zeros(max(counts) - x.shape[0], *x.shape[1:])])
    parts = _GatherWithGradient.apply(padded).chunk(len(counts))
    return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])
