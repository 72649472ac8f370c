"""CLEAR: coarse-to-fine semantic alignment (IEEE Transactions on Image Processing 30, 2021).

Two networks without a shared parameter. The coarse one scores ranges that begin or end with the video, and so tells
where to look; the fine one scores the cells of a 2-D map of moments. They meet in the decoding.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils.parametrize import ParametrizationList
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...layers.clips import full_length
from ...layers.losses import iou_loss, scaled_iou, upcast
from ...layers.proposals import ProposalGrid
from ...layers.text_encoder import TextEncoder
from ...modeling import VideoGroundingPreTrainedModel
from ...moments import temporal_iou
from ...steps import VideoGroundingOutput
from .coarse_clear import RESIDUAL_STD, CLEARCoarseBranch, CLEARResidualConv
from .configuration_clear import CLEARConfig
from .decoding_clear import CLEARFusion, Region
from .fine_clear import CLEARFineBranch, FinePairs, window_size
from .losses_clear import coarse_loss


@dataclass
class CLEARVideoState(ModelOutput):
    """What does not depend on the query. P cells, T ranges, C and Db the fine and the coarse width.

    Args:
        range_embeds: (B, T, Db) embeddings of the ranges, not normalised.
        cell_embeds: (B, P, C) cells of the map after its 1x1 convolution.
        tcn_blocks: per block (B, C', num_pre_clips); with ``output_intermediates`` only, like all that follow.
        window_candidates: (B, C', candidates); range_projection: (B, T, C').
        clips: (B, C, N); map2d: (B, C, P) span maximum of each cell.
    """

    range_embeds: torch.Tensor | None = None
    cell_embeds: torch.Tensor | None = None
    tcn_blocks: tuple[torch.Tensor, ...] | None = None
    window_candidates: torch.Tensor | None = None
    range_projection: torch.Tensor | None = None
    clips: torch.Tensor | None = None
    map2d: torch.Tensor | None = None


@dataclass
class CLEARTextState(ModelOutput):
    """What does not depend on the video.

    Args:
        coarse_query, fine_query: (B, S, Db) and (B, S, C) sentence embeddings of the two branches.
        sentence_mask: (B, S) bool.
        coarse_last, coarse_projected, fine_last: (B, S, H) states of the query encoders; with
            ``output_intermediates`` only.
    """

    coarse_query: torch.Tensor | None = None
    fine_query: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None
    coarse_last: torch.Tensor | None = None
    coarse_projected: torch.Tensor | None = None
    fine_last: torch.Tensor | None = None


@dataclass
class CLEAROutput(VideoGroundingOutput):
    """Output of CLEAR; the K candidates are the P cells of the map in row-major order.

    Args:
        coarse_scores: (B, S, T) of the ranges, ``coarse_scale`` times an IoU.
        fine_logits: (B, S, P), -inf where the fine branch scores nothing: outside its mask, or pruned.
        coarse_scores_broadcast: (R, R, T) of the R real sentences on each other's videos; with ``pairs_only=False``.
        fused_map: (R, P + 2, C) products of cells and query; with ``output_intermediates`` only, like
        hidden_maps: per layer (R, C, side, side); of the dense convolution only.
    """

    coarse_scores: torch.Tensor | None = None
    fine_logits: torch.Tensor | None = None
    coarse_scores_broadcast: torch.Tensor | None = None
    fused_map: torch.Tensor | None = None
    hidden_maps: tuple[torch.Tensor, ...] | None = None

    per_sentence = ("coarse_scores", "fine_logits")


class CLEARForVideoGrounding(VideoGroundingPreTrainedModel):
    """Coarse-to-fine grounding.

    The features must be resampled to ``config.num_pre_clips`` rows, as :class:`VideoGroundingProcessor` does;
    every video is full length, so nothing is padded along time.
    """

    config: CLEARConfig
    text_state_class = CLEARTextState

    def __init__(self, config: CLEARConfig):
        super().__init__(config)
        self.text_encoder = TextEncoder(config.text_config)
        self.grid = ProposalGrid(config.num_clips, config.pooling_counts)
        self.fusion = CLEARFusion(config)
        self.coarse = CLEARCoarseBranch(config, self.fusion.num_ticks)
        self.fine = CLEARFineBranch(config, self.grid)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, ParametrizationList):
            # Weight norm: the weight itself is computed, what is learnt is its magnitude and its direction.
            init.kaiming_uniform_(module.original1, a=5**0.5)
            init.copy_(module.original0, module.original1.flatten(1).norm(dim=1).reshape(module.original0.shape))
        elif isinstance(module, CLEARResidualConv):
            init.normal_(module.weight, std=RESIDUAL_STD)

    def default_loss_weights(self) -> dict[str, float]:
        return {"loss_fine": 1.0, "loss_coarse": 1.0}

    def encode_video(self, video_features, video_mask=None, output_intermediates=False) -> CLEARVideoState:
        """(B, num_pre_clips, D) resampled features -> embeddings of ranges and cells.

        Raises:
            ModelError: unless there are exactly ``num_pre_clips`` real clips.
        """
        features = full_length(video_features, video_mask, self.config.num_pre_clips, "CLEAR")
        coarse = self.coarse.encode_video(features)
        fine = self.fine.encode_video(features, self.grid)
        return CLEARVideoState(
            range_embeds=coarse.embedding,
            cell_embeds=fine.cells,
            tcn_blocks=coarse.blocks if output_intermediates else None,
            window_candidates=coarse.windows if output_intermediates else None,
            range_projection=coarse.ranges if output_intermediates else None,
            clips=fine.clips if output_intermediates else None,
            map2d=fine.map2d if output_intermediates else None,
        )

    def encode_sentences(self, states, mask, output_intermediates=False) -> dict[str, torch.Tensor]:
        """Token states -> the sentence embeddings of both branches."""
        coarse, (coarse_last, coarse_projected) = self.coarse.encode_query(states, mask)
        fine_last, fine = self.fine.query(states, mask)
        kept = {"coarse_query": coarse, "fine_query": fine}
        if output_intermediates:
            kept |= {"coarse_last": coarse_last, "coarse_projected": coarse_projected, "fine_last": fine_last}
        return kept

    def ground_rows(self, pairs, video_state, text_state, output_intermediates=False) -> CLEAROutput:
        """Coarse scores, then fine scores where the coarse ones look, then both fused.

        In evaluation the cells that the coarse branch drops are not computed, unless losses need them.
        """
        queries, ranges = pairs.of_sentences(text_state.coarse_query), pairs.of_videos(video_state.range_embeds)
        coarse = (ranges @ queries.unsqueeze(-1)).squeeze(-1)
        iou_scale = upcast(coarse) / self.config.coarse_scale
        region = None
        if self.config.decode == "fused" and self.config.prune:
            region = self.fusion.region(iou_scale.detach())
        fine = FinePairs(video_state.cell_embeds, pairs.video, pairs.of_sentences(text_state.fine_query))
        skip = not (self.training or pairs.every_candidate) and self.config.map_convolution == "strips"
        logits = self._fine_logits(fine, region if skip else None)
        fused = self.fine.fuse(fine) if output_intermediates else None
        dense = output_intermediates and self.config.map_convolution == "dense"
        scores = self.fusion.scores(upcast(logits).sigmoid(), iou_scale, region)
        return CLEAROutput(
            moments=self.grid.moments(scores.dtype),
            scores=scores,
            coarse_scores=coarse,
            fine_logits=logits,
            coarse_scores_broadcast=None if self.config.pairs_only else queries @ ranges.transpose(1, 2),
            fused_map=fused,
            hidden_maps=self.fine.hidden_maps(fused) if dense else None,
        )

    def _fine_logits(self, pairs: FinePairs, region: Region | None) -> torch.Tensor:
        """(R, P) logits; of the rows whose outside cells are dropped only those of a window around the inside.

        The sizes of the windows are rounded up (:func:`window_size`), so that few occur and each is one batch.
        """
        if region is None:
            return self.fine.logits(pairs, self.grid)
        total = self.config.num_clips
        size = window_size(region.last - region.first + 1, total).where(region.factor == 0, total)
        logits = pairs.query.new_full((len(size), self.grid.num_cells), -torch.inf)
        for width in size.unique().tolist():
            rows = (size == width).nonzero()[:, 0]
            if self.fine.area(width) < self.fine.area():
                starts = region.first[rows].clamp(max=total - width)
                logits[rows] = self.fine.window_logits(pairs.select(rows), self.grid, starts, width)
            else:
                logits[rows] = self.fine.logits(pairs.select(rows), self.grid)
        # A window in which every probability underflows decides nothing: then the whole map counts.
        empty = (upcast(logits).sigmoid() == 0).all(1).nonzero()[:, 0]
        if len(empty):
            logits[empty] = self.fine.logits(pairs.select(empty), self.grid)
        return logits

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        """IoU of each sentence's moment with the cells of the map and with the coarse ranges.

        Returns:
            iou2d: (B, S, P); fine: (B, S, P) the same scaled from min_iou..max_iou to 0..1; coarse: (B, S, T). Rows of
            padded sentences have no meaning.
        """
        labels = labels.double().unsqueeze(-2)
        dtype = torch.promote_types(self.dtype, torch.float32)
        iou = temporal_iou(labels, self.grid.moments(torch.float64))
        return {
            "iou2d": iou.to(dtype),
            "fine": scaled_iou(iou, self.config.min_iou, self.config.max_iou).to(dtype),
            "coarse": temporal_iou(labels, self.fusion.tick_moments(torch.float64)).to(dtype),
        }

    def compute_losses(self, output: CLEAROutput, targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """loss_fine: binary cross entropy of the scaled IoU over the scored cells; loss_coarse: squared error of the
        coarse scores, of each pair or (``pairs_only=False``) of every query on every video."""
        mask, scored = output.text_state.sentence_mask, self.fine.scored
        iou = targets["coarse"][mask]
        if self.config.pairs_only:
            coarse = output.coarse_scores[mask]
        else:
            coarse, iou = output.coarse_scores_broadcast, iou.unsqueeze(1)
        return {
            "loss_fine": iou_loss(upcast(output.fine_logits[mask])[:, scored], targets["fine"][mask][:, scored]),
            "loss_coarse": coarse_loss(upcast(coarse), iou, self.config.coarse_scale, self.config.coarse_reduction),
        }
