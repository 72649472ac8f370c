"""IA-Net: Progressively Guide to Attend (EMNLP 2021).

Clips and words attend to each other and to themselves in blocks, each followed by a calibration gate. The words that a
clip gathers are fused into it, a recurrent layer reads the clips, and every clip scores and refines its anchors.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...errors import ModelError
from ...layers.losses import upcast
from ...layers.positions import sinusoidal_positions
from ...layers.recurrent import PackedRecurrent
from ...layers.text_encoder import TextEncoder
from ...modeling import VideoGroundingPreTrainedModel
from ...steps import VideoGroundingOutput
from .anchors_ianet import anchor_iou, anchor_windows, clip_labels, legal_anchors
from .configuration_ianet import IANetConfig
from .layers_ianet import AdditiveFusion, CosineFusion, IANetAttention, IANetBlock, InterAttention, LocalSelfAttention
from .losses_ianet import best_anchor_loss, boundary_loss, score_loss


@dataclass
class IANetVideoState(ModelOutput):
    """What does not depend on the query: everything before the words come in, and the first block's share of it.

    Args:
        clips: (B, T, d) encoded clips, zeros at padding.
        video_mask: (B, T) bool.
        own_calibration: (B, T, 2 d) part of the first calibration that the clips decide alone, if there is one.
        projected: (B, T, F) projected features; with ``output_intermediates`` only, like what follows.
        local_attention: per layer (B, T, F), what local attention adds.
    """

    clips: torch.Tensor | None = None
    video_mask: torch.Tensor | None = None
    own_calibration: torch.Tensor | None = None
    projected: torch.Tensor | None = None
    local_attention: tuple[torch.Tensor, ...] | None = None


@dataclass
class IANetTextState(ModelOutput):
    """What does not depend on the video.

    Args:
        words: (B, S, N, d) encoded words, zeros at padding.
        attention_mask: (B, S, N) bool; sentence_mask: (B, S) bool.
    """

    words: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None


@dataclass
class IANetOutput(VideoGroundingOutput):
    """Output of IA-Net; the K = T * A candidates are the refined anchors, index t * A + a.

    Args:
        anchor_logits: (B, S, K).
        anchor_scores: (B, S, K) sigmoid of the logits, 0 for illegal anchors.
        offsets: (B, S, K, 2) clips added to start and end of each anchor.
        boxes: (B, S, K, 2) refined anchors: first and last clip, inclusive, neither rounded nor clamped.
        legal_mask: (B, K) bool, anchors within the video.
        attentions: inter- and intra-modal steps of all blocks; with ``output_intermediates`` only, like what follows.
        fused_query: (B, S, T, d) words that each clip gathered.
        localized: (B, S, T, d) output of the localizer.
    """

    anchor_logits: torch.Tensor | None = None
    anchor_scores: torch.Tensor | None = None
    offsets: torch.Tensor | None = None
    boxes: torch.Tensor | None = None
    legal_mask: torch.Tensor | None = None
    attentions: tuple[IANetAttention, ...] | None = None
    fused_query: torch.Tensor | None = None
    localized: torch.Tensor | None = None

    per_sentence = ("anchor_logits", "anchor_scores", "offsets", "boxes", "fused_query", "localized")


class IANetVideoEncoder(nn.Module):
    """Projection, local self-attention and a bidirectional GRU over the clips."""

    def __init__(self, config: IANetConfig):
        super().__init__()
        width = config.frame_size
        self.sinusoidal = config.positional_encoding == "sinusoidal"
        self.projection = nn.Linear(config.feature_dim, width) if config.project_features else None
        self.attention = nn.ModuleList(
            LocalSelfAttention(width, config.num_local_attention_heads, config.local_window)
            for _ in range(config.num_local_attention_layers)
        )
        self.encoder = PackedRecurrent("gru", width, config.hidden_size // 2, bidirectional=True)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, features: torch.Tensor, mask: torch.Tensor, visible: torch.Tensor | None):
        """(B, T, D) features -> (B, T, d) clips, (B, T, F) projected features, and what each layer adds to them.

        Args:
            mask: (B, T) real clips; visible: those that local attention sees, None = all.
        """
        clips = self.dropout(features)
        if self.projection is not None:
            clips = self.projection(clips)
        if self.sinusoidal:
            clips = clips + sinusoidal_positions(clips.shape[1], clips.shape[2], clips)
        projected, added = clips, []
        for layer in self.attention:
            added.append(layer(clips, visible))
            clips = clips + self.dropout(added[-1])
        return self.dropout(self.encoder(clips, mask)), projected, tuple(added)


class IANetForVideoGrounding(VideoGroundingPreTrainedModel):
    """IA-Net with refined anchors as candidates. Takes any number of clips; the processor resamples to
    ``config.num_clips``, as the anchors' widths are in clips."""

    config: IANetConfig
    text_state_class = IANetTextState
    supports_gradient_checkpointing = True

    def __init__(self, config: IANetConfig):
        super().__init__(config)
        size = config.hidden_size
        self.dropout = nn.Dropout(config.dropout)
        self.video_encoder = IANetVideoEncoder(config)
        self.text_encoder = TextEncoder(config.text_config)
        self.query_encoder = PackedRecurrent("gru", config.text_hidden_size, size // 2, bidirectional=True)
        self.blocks = nn.ModuleList(IANetBlock(config) for _ in range(config.num_blocks))
        self.fusion = {"additive": AdditiveFusion, "cosine": CosineFusion}[config.fusion](config)
        if config.localizer == "gru":
            self.localizer = PackedRecurrent("gru", 2 * size, size // 2, bidirectional=True)
        else:
            self.localizer = nn.Sequential(nn.Linear(2 * size, size), nn.ReLU(), nn.Linear(size, size), nn.ReLU())
        self.score_head = nn.Linear(size, config.num_anchors)
        self.offset_head = nn.Linear(size, 2 * config.num_anchors)
        self.post_init()

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, LocalSelfAttention):
            for projection in (module.in_proj, module.out_proj):
                init.xavier_uniform_(projection.weight)
                init.zeros_(projection.bias)
        if isinstance(module, InterAttention) and module.none_video is not None:
            init.xavier_uniform_(module.none_video)
            init.xavier_uniform_(module.none_query)

    @property
    def attends_words(self) -> bool:
        return True

    def default_loss_weights(self) -> dict[str, float]:
        return {"cls_loss": 1.0, "reg_loss": self.config.boundary_weight}

    def encode_video(self, video_features, video_mask=None, output_intermediates=False) -> IANetVideoState:
        """(B, T, D) features -> encoded clips. Unless padding is taken as given, T becomes that of the longest
        video."""
        mask = self._cut(self.real_clips(video_features, video_mask))
        features = video_features[:, : mask.shape[1]]
        clips, projected, added = self.video_encoder(features, mask, self._visible(mask))
        calibration = self.blocks[0].inter.video_calibration
        return IANetVideoState(
            clips=clips,
            video_mask=mask,
            own_calibration=None if calibration is None else calibration.own(clips),
            projected=projected if output_intermediates else None,
            local_attention=added if output_intermediates else None,
        )

    def _cut(self, mask: torch.Tensor) -> torch.Tensor:
        return mask[:, : int(mask.sum(1).max())] if self.config.mask_padding else mask

    def _visible(self, mask: torch.Tensor) -> torch.Tensor | None:
        """The mask that attention obeys; None where it would hide nothing."""
        return mask if self.config.mask_padding and not bool(mask.all()) else None

    def _lengths(self, mask: torch.Tensor) -> torch.Tensor:
        """(B,) clips that count as video: the real ones, or all if padding is taken as given."""
        return (
            mask.sum(1) if self.config.mask_padding else mask.new_full((len(mask),), mask.shape[1], dtype=torch.long)
        )

    def encode_sentences(self, states, mask, output_intermediates=False) -> dict[str, torch.Tensor]:
        """Token states -> encoded words."""
        states = self.dropout(states)
        if self.config.positional_encoding == "sinusoidal":
            states = states + sinusoidal_positions(states.shape[1], states.shape[2], states)
        return {"words": self.dropout(self.query_encoder(states, mask)), "attention_mask": mask}

    def ground_rows(self, pairs, video_state, text_state, output_intermediates=False) -> IANetOutput:
        """Refined anchors and their scores."""
        mask = video_state.video_mask
        words_mask, query = pairs.of_sentences(text_state.attention_mask), pairs.of_sentences(text_state.words)
        video, own = pairs.of_videos(video_state.clips), pairs.of_videos(video_state.own_calibration)
        seen, seen_words = pairs.of_videos(self._visible(mask)), self._visible(words_mask)
        steps = [] if output_intermediates else None
        for block in self.blocks:
            video, query = block(video, query, seen, seen_words, own, steps)
            own = None
        gathered = self.fusion(video, query, words_mask)
        fused = torch.cat([video, gathered], dim=-1)
        clip_mask = pairs.of_videos(mask)
        hidden = self.localizer(fused) if self.config.localizer == "mlp" else self.localizer(fused, clip_mask)
        localized = self.dropout(hidden)
        logits = upcast(self.score_head(localized)).flatten(1)
        offsets = upcast(self.offset_head(localized)).flatten(1).unflatten(1, (-1, 2))

        windows, legal = self._anchors(mask, logits.dtype)
        boxes, own_legal = windows + offsets, pairs.of_videos(legal)
        scores = logits.sigmoid() * own_legal
        pruned = ~own_legal if self.config.prune_illegal_anchors else torch.zeros_like(own_legal)
        return IANetOutput(
            moments=self._moments(boxes, pairs.of_videos(self._lengths(mask))),
            scores=scores.masked_fill(pruned, -torch.inf),
            anchor_logits=logits,
            anchor_scores=scores,
            offsets=offsets,
            boxes=boxes,
            legal_mask=legal,
            word_clip_attention=self._last_look(steps) if output_intermediates else None,
            attentions=tuple(steps) if output_intermediates else None,
            fused_query=gathered if output_intermediates else None,
            localized=localized if output_intermediates else None,
        )

    def _last_look(self, steps: list[IANetAttention]) -> torch.Tensor:
        """(R, N, T) where the words look in the last inter-modal step; what they give to none tokens is left out."""
        last = steps[-2 if self.config.use_intra else -1]
        return last.query_map[..., : last.video.shape[1]]

    def _anchors(self, mask: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
        """(K, 2) windows and (B, K) which of them are legal."""
        config = self.config
        windows = anchor_windows(mask.shape[1], config.anchor_widths, config.anchor_scale, torch.float64, mask.device)
        return windows.to(dtype), legal_anchors(windows, self._lengths(mask), config.num_anchors)

    @staticmethod
    def _moments(boxes: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
        """(R, K, 2) inclusive clips -> fractions; a refined start behind its end changes places with it."""
        bounds = (boxes + boxes.new_tensor([0, 1])) / lengths[:, None, None].to(boxes.dtype)
        return bounds.clamp(0, 1).sort(-1).values

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        """What each anchor should say (official ``dataloaders/clip_loader.py``).

        Args:
            source_length: (B,) rows of the features before resampling, which decide the clip of a second.

        Returns:
            boundary: (B, S, 2) first and last clip; iou: (B, S, K) float64; scores: (B, S, K) targets of the scores;
            positives: (B, S, K) bool, anchors that learn the boundary; legal: (B, K) bool. Rows of padded sentences
            have no meaning.

        Raises:
            ModelError: without ``video_mask``, which holds the number of clips.
        """
        if video_mask is None:
            raise ModelError("The targets of IA-Net need video_mask (B, T): it says how many clips a video has.")
        config, mask = self.config, self._cut(video_mask.bool())
        lengths = self._lengths(mask)
        windows, legal = self._anchors(mask, torch.float64)
        source = lengths if source_length is None else source_length
        boundary = clip_labels(labels, source, lengths, mask.shape[1], config.stretch_label_at_last_frame)
        iou = anchor_iou(windows, boundary, legal)
        best = iou.amax(-1, keepdim=True)
        scores = iou / best.clamp(min=torch.finfo(iou.dtype).tiny) if config.normalize_iou_targets else iou
        relative = config.positive_rule == "relative"
        least = config.relative_positive_iou * best if relative else config.positive_iou
        return {
            "boundary": boundary,
            "iou": iou,
            "scores": scores.to(torch.promote_types(self.dtype, torch.float32)),
            "positives": (iou >= least) & (iou > 0),
            "legal": legal,
        }

    def loss_boxes(self, output: IANetOutput) -> torch.Tensor:
        """(B, S, K, 2) refined anchors as the boundary loss sees them."""
        if not self.config.round_anchors_in_loss:
            return output.boxes
        return output.offsets + self._anchors(output.video_state.video_mask, output.offsets.dtype)[0].trunc()

    def compute_losses(self, output: IANetOutput, targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """cls_loss: binary cross entropy of the anchors' scores; reg_loss: smooth L1 of the refined boundaries, a mean
        over the positive anchors of all sentences."""
        config, real = self.config, output.text_state.sentence_mask
        legal = targets["legal"].bool().unsqueeze(1).expand_as(output.anchor_logits)[real]
        boxes, boundary = self.loss_boxes(output)[real], targets["boundary"][real]
        if config.eval_boundary_loss == "best_anchor" and not self.training:
            scores = output.anchor_scores[real]
            regression = best_anchor_loss(boxes, boundary, scores, config.boundary_reduction)
        else:
            regression = boundary_loss(boxes, boundary, targets["positives"][real], config.boundary_reduction)
        logits = output.anchor_logits[real]
        classification = score_loss(logits, targets["scores"][real], legal, config.count_illegal_anchors)
        return {"cls_loss": classification, "reg_loss": regression}
