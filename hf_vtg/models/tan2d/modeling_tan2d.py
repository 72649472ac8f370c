"""2D-TAN: 2-D temporal adjacent networks (AAAI 2020, arXiv 1912.03590; official folder 2D-TAN of microsoft/VideoX).

All moments of a video lie on a map, first clip by last clip. Each sentence is multiplied into the cells of the map,
and convolutions over it let every moment see those that begin or end near it.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...layers.buffers import ComputedBuffers
from ...layers.clips import ClipPooling, full_length
from ...layers.losses import iou_loss, scaled_iou, upcast
from ...layers.map_convolution import MaskedMapConv, maps_at_once
from ...layers.proposals import ProposalGrid, proposal_cells
from ...layers.recurrent import PackedRecurrent, last_states
from ...layers.text_encoder import TextEncoder
from ...modeling import VideoGroundingPreTrainedModel
from ...moments import temporal_iou
from ...steps import VideoGroundingOutput
from .configuration_tan2d import TAN2DConfig


class TAN2DAveragingConv(nn.Conv1d):
    """A convolution that starts as the mean of each channel over its kernel."""

    def reset_parameters(self) -> None:
        same = torch.eye(self.out_channels, dtype=self.weight.dtype, device=self.weight.device)
        init.copy_(self.weight, (same / self.kernel_size[0]).unsqueeze(-1).expand_as(self.weight))
        init.zeros_(self.bias)


class TAN2DProposalConv(ComputedBuffers):
    """Cells from learned convolutions: each diagonal is made of the one before (official ``sparse.SparsePropConv``).

    The first scale begins with a kernel of 1, which gives the main diagonal; a later one with a kernel of 3 and a
    stride of 2. All others join two neighbours. There is no activation in between.

    Args:
        start: see ``proposal_start`` of the configuration.

    Buffers, derived from the configuration:
        order: (P,) place of each cell of the grid in the diagonals, one behind the other.
    """

    def __init__(self, channels: int, num_clips: int, pooling_counts: list[int] | tuple[int, ...], start: str):
        super().__init__()
        conv = TAN2DAveragingConv if start == "average" else nn.Conv1d
        self.num_clips, self.pooling_counts = num_clips, tuple(pooling_counts)
        self.scales = nn.ModuleList()
        for scale, count in enumerate(self.pooling_counts):
            opening = conv(channels, channels, 3, stride=2) if scale else conv(channels, channels, 1)
            joining = [conv(channels, channels, 2) for _ in range(count - bool(scale))]
            self.scales.append(nn.ModuleList([opening, *joining]))
        self.register_computed_buffers()

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        cells = torch.from_numpy(proposal_cells(self.num_clips, self.pooling_counts))
        first, last = cells.unbind(1)
        # Diagonal by diagonal, on each from the start of the video.
        return {"order": ((last - first) * self.num_clips + first).argsort().argsort()}

    def forward(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, C, N) clips -> (B, C, P) cells in the order of the grid."""
        diagonals = []
        for scale in self.scales:
            for layer in scale:
                diagonals.append(layer(diagonals[-1] if diagonals else clips))
        return torch.cat(diagonals, dim=-1).index_select(-1, self.order)


@dataclass
class TAN2DVideoState(ModelOutput):
    """What does not depend on the query.

    Args:
        cell_embeds: (B, P, C) the P valid cells after the map's 1x1 convolution, not normalised.
    """

    cell_embeds: torch.Tensor | None = None


@dataclass
class TAN2DTextState(ModelOutput):
    """What does not depend on the video.

    Args:
        sentence_embeds: (B, S, C) by which the cells are multiplied.
        sentence_mask: (B, S) bool.
    """

    sentence_embeds: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None


@dataclass
class TAN2DOutput(VideoGroundingOutput):
    """Output of 2D-TAN; the K candidates are the P valid cells in row-major order.

    Args:
        logits: (B, S, P); the scores are their sigmoid.
    """

    logits: torch.Tensor | None = None

    per_sentence = ("logits",)


class TAN2DForVideoGrounding(VideoGroundingPreTrainedModel):
    """A map of moments a video, convolved anew for each sentence.

    It takes ``config.num_pre_clips`` rows of features a video, which the processor makes; no video is padded.
    """

    config: TAN2DConfig
    text_state_class = TAN2DTextState

    def __init__(self, config: TAN2DConfig):
        super().__init__(config)
        width, average = config.hidden_size, config.num_pre_clips // config.num_clips
        self.clip_pooling = ClipPooling(config.feature_dim, width, average, average)
        self.grid = ProposalGrid(config.num_clips, config.pooling_counts)
        self.proposal_conv = None
        if config.proposals == "conv":
            self.proposal_conv = TAN2DProposalConv(
                width, config.num_clips, config.pooling_counts, config.proposal_start
            )
        self.cell_projection = nn.Linear(width, width)
        self.text_encoder = TextEncoder(config.text_config)
        self.words = PackedRecurrent("lstm", config.text_hidden_size, config.query_hidden_size, config.query_layers)
        self.sentence_projection = nn.Linear(config.query_hidden_size, width)
        self.map_conv = MaskedMapConv(
            self.grid,
            in_channels=width,
            channels=config.conv_hidden_size,
            kernel_size=config.conv_kernel_size,
            num_layers=config.num_conv_layers,
            implementation=config.map_convolution,
            norm=False,
        )
        self.scorer = nn.Linear(config.conv_hidden_size, 1)
        self.post_init()

    def default_loss_weights(self) -> dict[str, float]:
        return {"loss_iou": 1.0}

    def encode_video(self, video_features, video_mask=None, output_intermediates=False) -> TAN2DVideoState:
        """(B, num_pre_clips, D) resampled features -> the cells (``frame_pool.py``, ``prop_modules/*``, and the visual
        half of ``base_fusion.py``).

        Raises:
            ModelError: unless there are exactly ``num_pre_clips`` real clips.
        """
        clips = self.clip_pooling(full_length(video_features, video_mask, self.config.num_pre_clips, "2D-TAN"))
        cells = self.grid.span_max(clips) if self.proposal_conv is None else self.proposal_conv(clips)
        return TAN2DVideoState(cell_embeds=self.cell_projection(cells.transpose(1, 2)))

    def encode_sentences(self, states, mask, output_intermediates=False) -> dict[str, torch.Tensor]:
        """(R, L, E) words -> (R, C) the LSTM's state after the last real one, projected (``base_fusion.py``)."""
        return {"sentence_embeds": self.sentence_projection(last_states(self.words(states, mask), mask))}

    def ground_rows(self, pairs, video_state, text_state, output_intermediates=False) -> TAN2DOutput:
        """Scores (R, P): the probability that a cell is the moment."""
        sentences = pairs.of_sentences(text_state.sentence_embeds)
        side = self.config.num_clips + 2 * self.map_conv.padding
        widest = max(self.config.hidden_size, self.config.conv_hidden_size)
        at_once = maps_at_once(len(sentences), side**2, widest)
        logits = torch.cat(
            [
                self._logits(video_state.cell_embeds[videos], part)
                for videos, part in zip(pairs.video.split(at_once), sentences.split(at_once), strict=True)
            ]
        )
        scores = upcast(logits).sigmoid()
        return TAN2DOutput(moments=self.grid.moments(scores.dtype), scores=scores, logits=logits)

    def _logits(self, cells: torch.Tensor, sentences: torch.Tensor) -> torch.Tensor:
        """(R, P, C) cells and (R, C) sentences -> (R, P): unit-length products, convolved and scored
        (``base_fusion.py``, ``map_conv.py``)."""
        fused = F.normalize(upcast(cells * sentences.unsqueeze(1)), dim=-1).to(cells.dtype)
        return self.scorer(self.map_conv(self.grid, fused.transpose(1, 2)).transpose(1, 2)).squeeze(-1)

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        """iou2d: (B, S, P) IoU of each sentence's moment with each cell; without meaning for padded sentences."""
        iou = temporal_iou(labels.double().unsqueeze(-2), self.grid.moments(torch.float64))
        return {"iou2d": iou.to(torch.promote_types(self.dtype, torch.float32))}

    def compute_losses(self, output: TAN2DOutput, targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """loss_iou: cross entropy of the logits with the scaled IoU, the mean over the cells of all real sentences
        (``loss.py``, bce_rescale_loss)."""
        real = output.text_state.sentence_mask
        wanted = scaled_iou(targets["iou2d"][real], self.config.min_iou, self.config.max_iou)
        return {"loss_iou": iou_loss(upcast(output.logits[real]), wanted)}
