"""The losses of MMN over valid cells only (official ``mmn/modeling/mmn/loss.py``)."""

import math
from dataclasses import dataclass

import torch
from torch.nn import functional as F

from ...layers.losses import gather_padded

# The published code adds this to the denominator of loss_sent.
DENOMINATOR_EPS = 1e-6


@dataclass(frozen=True)
class ContrastiveSettings:
    """The part of :class:`MMNConfig` that the contrastive losses read."""

    video_temperature: float
    sentence_temperature: float
    margin: float
    negative_iou: float
    sentence_removal_iou: float
    intra_video_mask: str
    exclude_positive_from_negatives: bool
    gather_negatives: bool

    @classmethod
    def from_config(cls, config) -> "ContrastiveSettings":
        return cls(**{name: getattr(config, name) for name in cls.__dataclass_fields__})


def iou_loss(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Mean binary cross entropy over (R, P) sentences x cells."""
    return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype))


def contrastive_losses(
    moments: torch.Tensor,
    sentences: torch.Tensor,
    video: torch.Tensor,
    iou: torch.Tensor,
    positives: torch.Tensor,
    sentence_iou: torch.Tensor,
    settings: ContrastiveSettings,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Both contrastive terms from one similarity tensor.

    Args:
        moments: (B, P, J) unit-length moment embeddings.
        sentences: (R, J) unit-length embeddings of the real sentences.
        video: (R,) the video of each sentence.
        iou: (R, P) IoU of each sentence's moment with each cell of its video.
        positives: (R, k) best cells of each sentence.
        sentence_iou: (R, R) IoU between moments; only pairs of the same video are read.

    Returns:
        loss_vid (moment to sentences) and loss_sent (sentence to moments), scalars.
    """
    rows = torch.arange(len(sentences), device=sentences.device)
    own_rows, all_video = rows, video
    all_moments, all_sentences = moments, sentences
    if settings.gather_negatives:
        all_moments, all_sentences, all_video, own_rows, video = _gather(moments, sentences, video)

    # (R, all videos, P): own sentences against all moments.
    similarity = torch.einsum("rj,bpj->rbp", sentences, all_moments)
    own = similarity[rows, video]
    positive = own.gather(1, positives) - settings.margin

    # (all sentences, R, k): every sentence against the positive moments of each own sentence.
    positive_moments = all_moments[video.unsqueeze(1), positives]
    to_sentences = torch.einsum("tj,rkj->trk", all_sentences, positive_moments)
    itself = torch.arange(len(all_sentences), device=rows.device).unsqueeze(1) == own_rows
    near = all_video.unsqueeze(1) == video
    near[own_rows] &= sentence_iou.T >= settings.sentence_removal_iou
    removed = near & ~itself
    logits = (to_sentences - settings.margin * itself.to(sentences.dtype).unsqueeze(-1)) / settings.video_temperature
    logits = logits.masked_fill(removed.unsqueeze(-1), -math.inf)
    video_loss = (logits.logsumexp(0) - positive / settings.video_temperature).mean()

    # The own video's overlapping cells are multiplied by 0 (each adds exp(0)) or excluded.
    overlapping = iou >= settings.negative_iou
    if settings.intra_video_mask == "zero":
        own_negatives = own.masked_fill(overlapping, 0)
    else:
        own_negatives = own.masked_fill(overlapping, -math.inf)
    if settings.exclude_positive_from_negatives:
        low = torch.zeros_like(overlapping).scatter(1, positives, True) & ~overlapping
        own_negatives = own_negatives.masked_fill(low, -math.inf)
    is_own = F.one_hot(video, len(all_moments)).bool().unsqueeze(-1)
    negatives = torch.where(is_own, own_negatives.unsqueeze(1), similarity) / settings.sentence_temperature
    scaled = positive / settings.sentence_temperature
    rest = negatives.flatten(1).logsumexp(1, keepdim=True)
    rest = torch.logaddexp(rest, rest.new_tensor(math.log(DENOMINATOR_EPS)))
    sentence_loss = (torch.logaddexp(scaled, rest) - scaled).mean()
    return video_loss, sentence_loss


def _gather(moments, sentences, video):
    """Moments and sentences of all processes, and where the own ones lie among them."""
    import torch.distributed as dist

    from ...layers.losses import world_size

    if world_size() == 1:
        rows = torch.arange(len(sentences), device=sentences.device)
        return moments, sentences, video, rows, video
    rank = dist.get_rank()
    all_moments = gather_padded(moments)
    all_sentences = gather_padded(sentences)
    # Videos of this rank follow those of the ranks before it.
    ranks = gather_padded(torch.full((len(moments),), rank, device=video.device))
    video = video + int((ranks < rank).sum())
    all_video = gather_padded(video)
    owners = gather_padded(torch.full((len(sentences),), rank, device=video.device))
    own_rows = torch.arange(len(sentences), device=video.device) + int((owners < rank).sum())
    return all_moments, all_sentences, all_video, own_rows, video
