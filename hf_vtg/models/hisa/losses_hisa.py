"""Losses of HiSA (official ``localization_HiSA.py``). R sentences, each with its own clips; T clips."""

import torch
from torch.nn import functional as F

from ...layers.losses import upcast


def span_mask(start: torch.Tensor, end: torch.Tensor, length: int) -> torch.Tensor:
    """(R,) first clips and ends, exclusive -> (R, T) which clips lie between; at least the first."""
    positions = torch.arange(length, device=start.device)
    stop = torch.maximum(end, start + 1)
    return (positions >= start.unsqueeze(1)) & (positions < stop.unsqueeze(1))


def boundary_nll(probability: torch.Tensor, index: torch.Tensor) -> torch.Tensor:
    """(R, T) probabilities, (R,) clips -> (R,) negative log likelihoods."""
    return -probability.gather(1, index.unsqueeze(1)).squeeze(1).log()


def inside_nll(probability: torch.Tensor, start: torch.Tensor, end: torch.Tensor, divisor: str) -> torch.Tensor:
    """(R,) sums of the negative log likelihood over the clips start .. end, both included.

    Args:
        divisor: ``"span"``: divided by end - start (at least 1), as published; ``"clips"``: by their number.
    """
    inside = span_mask(start, end + 1, probability.shape[1])
    total = -(probability.log() * inside).sum(1)
    return total / (end - start + (divisor == "clips")).clamp(min=1)


def pool_span(clips: torch.Tensor, start: torch.Tensor, end: torch.Tensor, pooling: str) -> torch.Tensor:
    """(R, T, C) clips -> one vector for the clips start .. end - 1 of each row.

    Returns:
        (R, C) means over time (``"time_mean"``), or (R, 1) sums over time and channels divided by the number of clips
        (``"official_scalar"``; the published code repeats them over the channels, which changes no cosine).
    """
    inside = span_mask(start, end, clips.shape[1]).to(clips.dtype)
    pooled = torch.einsum("rtc,rt->rc", clips, inside) / inside.sum(1, keepdim=True)
    return pooled if pooling == "time_mean" else pooled.sum(1, keepdim=True)


def contrast(
    query: torch.Tensor, video: torch.Tensor, temperature: float, detach_weights: bool = False
) -> torch.Tensor:
    """Cross-guided contrast between the (R, C) query side and the (R, C) video side of each moment, scalar.

    Each side is to find its own partner among all rows; a negative whose own side looks alike is weighted down by
    1 - cosine. 0 for a single row.

    Args:
        detach_weights: the weights carry no gradient. With it, as published, the loss also falls when all queries
            become alike: then there are no negatives left.
    """
    query, video = F.normalize(upcast(query), dim=1), F.normalize(upcast(video), dim=1)
    cosine = query @ video.T
    alike = [side @ side.T for side in (query, video)]
    if detach_weights:
        alike = [side.detach() for side in alike]
    return _one_way(cosine, alike[0], temperature) + _one_way(cosine.T, alike[1], temperature)


def _one_way(cosine: torch.Tensor, alike: torch.Tensor, temperature: float) -> torch.Tensor:
    """Mean over rows of -log(e_ii / sum_j w_ij e_ij), e = exp(cosine / temperature), w_ii = 1, w_ij = 1 - alike_ij."""
    logits = cosine / temperature
    negatives = (1 - alike) * (logits - logits.diagonal().unsqueeze(1)).exp()
    others = ~torch.eye(len(cosine), dtype=torch.bool, device=cosine.device)
    return (negatives * others).sum(1).log1p().mean()


def reconstruction_loss(
    clips: torch.Tensor, reconstruction: torch.Tensor, lengths: torch.Tensor, weights: torch.Tensor
) -> torch.Tensor:
    """Mean absolute error of (B, T, D) reconstructions over the first ``lengths`` (B,) clips of each video.

    Args:
        weights: (B,) how often each video counts: its sentences.
    """
    error = (upcast(clips) - upcast(reconstruction)).abs().sum(-1)
    share = (torch.arange(clips.shape[1], device=clips.device) < lengths.unsqueeze(1)) * weights.unsqueeze(1)
    return (error * share).sum() / (share.sum() * clips.shape[-1])
