"""MMN: Mutual Matching Network (AAAI 2022, arXiv 2109.04872).

Moments and sentences meet only in a dot product: one map of moment embeddings a video, one embedding a sentence, in
two joint spaces (contrastive and IoU).
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers.utils import ModelOutput

from ...layers.clips import ClipPooling, full_length
from ...layers.losses import iou_loss, scaled_iou, upcast
from ...layers.map_convolution import MaskedMapConv
from ...layers.proposals import ProposalGrid
from ...layers.recurrent import PackedRecurrent
from ...layers.text_encoder import TextEncoder
from ...modeling import VideoGroundingPreTrainedModel
from ...moments import temporal_iou
from ...steps import VideoGroundingOutput
from .configuration_mmn import MMNConfig
from .losses_mmn import ContrastiveSettings, contrastive_losses


@dataclass
class MMNVideoState(ModelOutput):
    """What does not depend on the query. P valid cells, C and C' hidden widths, J the joint width.

    Args:
        map2d_contrastive, map2d_iou: (B, P, J) moment embeddings of the two spaces, not normalised.
        pooled_feats: (B, C, N) clips; with ``output_intermediates`` only, like all that follow.
        map2d: (B, C, P) span maximum of each valid cell.
        bn_out: per layer (B, C', side, side) batch-norm output; of the dense convolution only.
        masked_weight: per layer (side, side) 1 / count.
    """

    map2d_contrastive: torch.Tensor | None = None
    map2d_iou: torch.Tensor | None = None
    pooled_feats: torch.Tensor | None = None
    map2d: torch.Tensor | None = None
    bn_out: tuple[torch.Tensor, ...] | None = None
    masked_weight: tuple[torch.Tensor, ...] | None = None


@dataclass
class MMNTextState(ModelOutput):
    """What does not depend on the video.

    Args:
        sent_contrastive, sent_iou: (B, S, J) sentence embeddings of the two spaces, not normalised.
        sentence_mask: (B, S) bool.
        token_states: (B, S, L, E) states of the text encoder; with ``output_intermediates`` only.
    """

    sent_contrastive: torch.Tensor | None = None
    sent_iou: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None
    token_states: torch.Tensor | None = None


@dataclass
class MMNOutput(VideoGroundingOutput):
    """Output of MMN; the K candidates are the P valid cells in row-major order.

    Args:
        contrastive_scores: (B, S, P) cosine in the contrastive space.
        iou_logits: (B, S, P), 10 times the cosine in the IoU space.
        iou_scores: (B, S, P), sigmoid of the logits.
    """

    contrastive_scores: torch.Tensor | None = None
    iou_logits: torch.Tensor | None = None
    iou_scores: torch.Tensor | None = None


class MMNForVideoGrounding(VideoGroundingPreTrainedModel):
    """Mutual Matching Network with contrastive and IoU heads.

    The features must be resampled to ``config.num_pre_clips`` rows, as :class:`VideoGroundingProcessor` does;
    every video is full length, so nothing is padded along time.
    """

    config: MMNConfig
    text_state_class = MMNTextState

    def __init__(self, config: MMNConfig):
        super().__init__(config)
        stride = config.num_pre_clips // config.num_clips
        self.clip_pooling = ClipPooling(config.feature_dim, config.hidden_size, config.pool_kernel_size, stride)
        self.grid = ProposalGrid(config.num_clips, config.pooling_counts)
        self.map_conv = MaskedMapConv(
            self.grid,
            config.hidden_size,
            config.conv_hidden_size,
            config.conv_kernel_size,
            config.num_conv_layers,
            config.map_convolution,
            options=tuple(config.map_options),
        )
        self.moment_contrastive = nn.Linear(config.conv_hidden_size, config.joint_size)
        self.moment_iou = nn.Linear(config.conv_hidden_size, config.joint_size)

        width = config.text_hidden_size
        self.text_encoder = TextEncoder(config.text_config)
        self.query_encoder = None
        if config.query_encoder == "lstm":
            self.query_encoder = PackedRecurrent("lstm", width, config.hidden_size // 2, bidirectional=True)
            width = config.hidden_size // 2 * 2
        self.sentence_norm = nn.LayerNorm(width)
        self.sentence_contrastive = nn.Linear(width, config.joint_size)
        self.sentence_iou = nn.Linear(width, config.joint_size)
        self.post_init()

    def default_loss_weights(self) -> dict[str, float]:
        weight = self.config.contrastive_weight
        return {"loss_iou": 1.0, "loss_vid": weight, "loss_sent": weight}

    def encode_video(self, video_features, video_mask=None, output_intermediates=False) -> MMNVideoState:
        """(B, M, D) resampled features -> moment embeddings of the P valid cells.

        Raises:
            ModelError: unless there are exactly ``num_pre_clips`` real clips.
        """
        features = full_length(video_features, video_mask, self.config.num_pre_clips, "MMN")
        clips = self.clip_pooling(features)
        cells = self.grid.span_max(clips)
        normed = [] if output_intermediates else None
        hidden = self.map_conv(self.grid, cells, normed).transpose(1, 2)
        state = MMNVideoState(
            map2d_contrastive=self.moment_contrastive(hidden),
            map2d_iou=self.moment_iou(hidden),
            pooled_feats=clips if output_intermediates else None,
            map2d=cells if output_intermediates else None,
            bn_out=tuple(normed) if normed else None,
            masked_weight=tuple(self.map_conv.masked_weights(cells.dtype)) if output_intermediates else None,
        )
        return state

    def encode_sentences(self, states, mask, output_intermediates=False) -> dict[str, torch.Tensor]:
        """Token states -> sentence embeddings of both spaces."""
        hidden = states if self.query_encoder is None else self.query_encoder(states, mask)
        pooled = self.sentence_norm(masked_mean(hidden, mask))
        embeds = {"sent_contrastive": self.sentence_contrastive(pooled), "sent_iou": self.sentence_iou(pooled)}
        return embeds | ({"token_states": states} if output_intermediates else {})

    @staticmethod
    def cell_index_of(config: MMNConfig) -> torch.Tensor:
        """(P,) position of each valid cell in the flattened N x N map of ``config``."""
        return ProposalGrid(config.num_clips, config.pooling_counts).cell_index

    def get_moment_embeds(self, video_state: MMNVideoState) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit-length moment embeddings (B, P, J) of the contrastive and the IoU space, for an index of moments."""
        return _unit(video_state.map2d_contrastive), _unit(video_state.map2d_iou)

    def get_sentence_embeds(self, text_state: MMNTextState) -> tuple[torch.Tensor, torch.Tensor]:
        """Unit-length sentence embeddings (B, S, J) of the contrastive and the IoU space."""
        return _unit(text_state.sent_contrastive), _unit(text_state.sent_iou)

    def ground(self, video_state, text_state, output_intermediates=False) -> MMNOutput:
        """Cosines in both spaces; score = (0.5 cos + 0.5) ** score_power * sigmoid(10 cos of the IoU space)."""
        with torch.autocast(device_type=video_state.map2d_iou.device.type, enabled=False):
            moments_c, moments_i = self.get_moment_embeds(video_state)
            sentences_c, sentences_i = self.get_sentence_embeds(text_state)
            contrastive = sentences_c @ moments_c.transpose(1, 2)
            logits = 10 * (sentences_i @ moments_i.transpose(1, 2))
            probabilities = logits.sigmoid()
            # A cosine may fall below -1 by rounding.
            scores = (0.5 * contrastive + 0.5).clamp(min=0) ** self.config.score_power * probabilities
        padded = ~text_state.sentence_mask.unsqueeze(-1)
        return MMNOutput(
            moments=self.grid.moments(scores.dtype).expand(*scores.shape, 2),
            scores=scores.masked_fill(padded, -torch.inf),
            video_state=video_state,
            contrastive_scores=contrastive,
            iou_logits=logits,
            iou_scores=probabilities,
            text_state=text_state,
        )

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        """IoU of each sentence's moment with each valid cell.

        Returns:
            iou2d: (B, S, P); topk_index: (B, S, k) best cells; sentence_iou: (B, S, S) between the moments of one
            video. Rows of padded sentences have no meaning.
        """
        labels = labels.double()
        dtype = torch.promote_types(self.dtype, torch.float32)
        cells = self.grid.moments(torch.float64)
        iou = temporal_iou(labels.unsqueeze(-2), cells).to(dtype)
        return {
            "iou2d": iou,
            "topk_index": iou.topk(self.config.num_positives).indices,
            "sentence_iou": temporal_iou(labels.unsqueeze(-2), labels.unsqueeze(-3)).to(dtype),
        }

    def compute_losses(self, output: MMNOutput, targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """loss_iou: binary cross entropy of the scaled IoU; loss_vid, loss_sent: contrastive, moment to sentences and
        sentence to moments (official ``mmn/modeling/mmn/loss.py``)."""
        mask = output.text_state.sentence_mask
        iou = targets["iou2d"][mask]
        scaled = scaled_iou(iou, self.config.min_iou, self.config.max_iou)
        moments = self.get_moment_embeds(output.video_state)[0]
        sentences = self.get_sentence_embeds(output.text_state)[0][mask]
        video, position = mask.nonzero(as_tuple=True)
        video_loss, sentence_loss = contrastive_losses(
            moments,
            sentences,
            video,
            iou,
            targets["topk_index"][mask],
            targets["sentence_iou"][video, position][:, position],
            ContrastiveSettings.from_config(self.config),
        )
        return {
            "loss_iou": iou_loss(upcast(output.iou_logits)[mask], scaled),
            "loss_vid": video_loss,
            "loss_sent": sentence_loss,
        }


def _unit(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(upcast(x), dim=-1)


def masked_mean(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """(R, L, E) states, (R, L) mask -> (R, E) mean over real tokens."""
    weights = mask.to(states.dtype).unsqueeze(-1)
    return (states * weights).sum(1) / weights.sum(1).clamp(min=1)
