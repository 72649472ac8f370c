"""The losses of MMN over valid cells only (official ``mmn/modeling/mmn/loss.py``)."""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch.nn import functional as F

from .gathering_mmn import gather_padded, rows_before, world_size

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


class Pool(NamedTuple):
    """What the own sentences and moments are compared with.

    Args:
        moments: (all B, P, J); sentences: (all R, J); video: (all R,) the video of each sentence in ``moments``.
        own_rows: (R,) the own sentences among all; own_video: (R,) their videos.
        weight: of this process's mean, so that the average over processes is the mean over all sentences.
    """

    moments: torch.Tensor
    sentences: torch.Tensor
    video: torch.Tensor
    own_rows: torch.Tensor
    own_video: torch.Tensor
    weight: float


def gather_pool(moments: torch.Tensor, sentences: torch.Tensor, video: torch.Tensor) -> Pool | None:
    """Moments and sentences of all processes, with gradient; None if there is only one process."""
    if world_size() == 1:
        return None
    first_video = rows_before(len(moments), moments.device)
    first_row = rows_before(len(sentences), sentences.device)
    all_sentences = gather_padded(sentences)
    return Pool(
        moments=gather_padded(moments),
        sentences=all_sentences,
        video=gather_padded(video + first_video),
        own_rows=torch.arange(len(sentences), device=video.device) + first_row,
        own_video=video + first_video,
        weight=len(sentences) * world_size() / len(all_sentences),
    )


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
    pool = gather_pool(moments, sentences, video) if settings.gather_negatives else None
    if pool is None:
        pool = Pool(moments, sentences, video, rows, video, 1.0)
    video = pool.own_video

    # (R, all videos, P): own sentences against all moments.
    similarity = torch.einsum("rj,bpj->rbp", sentences, pool.moments)
    own = similarity[rows, video]
    positive = own.gather(1, positives) - settings.margin

    # (all sentences, R, k): every sentence against the positive moments of each own sentence.
    positive_moments = pool.moments[video.unsqueeze(1), positives]
    to_sentences = torch.einsum("tj,rkj->trk", pool.sentences, positive_moments)
    itself = torch.arange(len(pool.sentences), device=rows.device).unsqueeze(1) == pool.own_rows
    near = pool.video.unsqueeze(1) == video
    near[pool.own_rows] &= sentence_iou.T >= settings.sentence_removal_iou
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
    is_own = F.one_hot(video, len(pool.moments)).bool().unsqueeze(-1)
    negatives = torch.where(is_own, own_negatives.unsqueeze(1), similarity) / settings.sentence_temperature
    scaled = positive / settings.sentence_temperature
    rest = negatives.flatten(1).logsumexp(1, keepdim=True)
    rest = torch.logaddexp(rest, rest.new_tensor(math.log(DENOMINATOR_EPS)))
    sentence_loss = (torch.logaddexp(scaled, rest) - scaled).mean()
    return video_loss * pool.weight, sentence_loss * pool.weight
