"""TVP of transformers, a model that nobody here wrote, as five steps.

TVP takes a fixed number of frames of the whole video and predicts one segment a sentence, without a confidence. Here a
clip feature is the grid of one frame after the visual prompt, so that frames are encoded once for all sentences. The
weights, and what they compute, are those of ``transformers.TvpForVideoGrounding``.
"""

from dataclasses import dataclass
from typing import Any

import torch
from transformers import TvpForVideoGrounding
from transformers.utils import ModelOutput

from ...errors import ModelError
from ...features.resampling import VideoGroundingFeatureExtractor
from ...features.spec import FeatureSpec
from ...layers.padding import restore_sentences
from ...processing import VideoGroundingProcessor
from ...steps import GroundingSteps, VideoGroundingOutput
from .encoder_tvp import TvpFrameEncoder


@dataclass
class TvpVideoState(ModelOutput):
    """``visual_embeds`` (B, places, C): the mean grid of the frames, with its positions."""

    visual_embeds: torch.Tensor | None = None


@dataclass
class TvpTextState(ModelOutput):
    """``input_ids``, ``attention_mask`` (B, S, L), ``sentence_mask`` (B, S): TVP reads text and video jointly."""

    input_ids: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None


@dataclass
class TvpOutput(VideoGroundingOutput):
    """One candidate a sentence with score 1, and the ``logits`` (B, S, 2) of TVP: start and end as fractions."""

    logits: torch.Tensor | None = None


class TvpSteps(GroundingSteps, TvpForVideoGrounding):
    """``TvpForVideoGrounding`` with the batch and the output of this package; inference only."""

    main_input_name = "video_features"
    accepts_loss_kwargs = False

    def __init__(self, config):
        super().__init__(config)
        self._grid: tuple[int, int] | None = None

    @property
    def grid(self) -> tuple[int, int]:
        """Height and width of the grid of a frame."""
        if self._grid is None:
            side = self.config.max_img_size
            with torch.no_grad():
                blank = torch.zeros(1, 1, 3, side, side, dtype=self.dtype, device=self.device)
                self._grid = tuple(self.model.vision_model(blank).shape[2:4])
        return self._grid

    @property
    def feature_dim(self) -> int:
        """Width of a frame's grid, flattened: height * width * channels."""
        return self.grid[0] * self.grid[1] * self.config.hidden_size

    def encode_video(
        self,
        video_features: torch.Tensor,
        video_mask: torch.Tensor | None = None,
        output_intermediates: bool = False,
    ) -> TvpVideoState:
        """(B, num_frames, D) flattened grids."""
        frames = self.config.num_frames
        whole = video_mask is None or bool(video_mask[:, :frames].all() and not video_mask[:, frames:].any())
        if video_features.shape[1] < frames or not whole:
            raise ModelError(
                f"TVP takes exactly {frames} frames of a video, got features of shape {tuple(video_features.shape)}. "
                "Give the pipeline the video file, or sample that many frames."
            )
        grid = video_features[:, :frames].unflatten(2, (*self.grid, self.config.hidden_size))
        # The positions of TVP's own embedding fit a batch of one only.
        return TvpVideoState(visual_embeds=torch.cat([self.model.visual_embeddings(video) for video in grid.split(1)]))

    def encode_text(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sentence_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_intermediates: bool = False,
    ) -> TvpTextState:
        """Passed on: TVP has no text encoder of its own."""
        if inputs_embeds is not None:
            raise ModelError("TVP takes input_ids of its own tokenizer, not inputs_embeds.")
        if sentence_mask is None:
            sentence_mask = attention_mask.bool().any(-1)
        return TvpTextState(input_ids=input_ids, attention_mask=attention_mask, sentence_mask=sentence_mask)

    def ground(
        self, video_state: TvpVideoState, text_state: TvpTextState, output_intermediates: bool = False
    ) -> TvpOutput:
        """The layers of ``TvpModel`` over prompt, words and places, for every real sentence."""
        mask = text_state.sentence_mask
        ids, tokens = text_state.input_ids[mask], text_state.attention_mask[mask]
        visual = video_state.visual_embeds[mask.nonzero()[:, 0]]
        tvp = self.model
        prompt = tvp.text_prompt.expand(len(ids), -1, -1)
        states = torch.cat([prompt, tvp.embeddings(input_ids=ids), visual], dim=1)
        before, after = prompt.shape[1], visual.shape[1]
        real = torch.nn.functional.pad(tokens.bool(), (before, after), value=True)[:, None, None]
        blocked = torch.zeros(real.shape, dtype=states.dtype, device=states.device)
        blocked = blocked.masked_fill(~real, torch.finfo(states.dtype).min)
        hidden = tvp.encoder(states, attention_mask=blocked, return_dict=True).last_hidden_state
        logits = restore_sentences(self.video_grounding_head(tvp.pooler(hidden)), mask)
        scores = torch.ones(*mask.shape, 1, dtype=logits.dtype, device=logits.device)
        return TvpOutput(
            moments=logits.sort(-1).values[..., None, :],
            scores=scores.masked_fill(~mask[..., None], -torch.inf),
            video_state=video_state,
            logits=logits,
        )

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        raise ModelError("TVP is here for inference. Train transformers.TvpForVideoGrounding with its own labels.")

    def wrap_processor(self, processor: Any) -> VideoGroundingProcessor:
        """A ``TvpProcessor`` -> a processor that emits our batches and names the frames' encoder."""
        spec = FeatureSpec(
            backbone=self.config.name_or_path or None,
            revision=getattr(self.config, "_commit_hash", None),
            dim=self.feature_dim,
            pooling=f"grid of {self.config.num_frames} frames",
        )
        extractor = VideoGroundingFeatureExtractor(feature_dim=self.feature_dim, feature_spec=spec)
        return VideoGroundingProcessor(extractor, processor.tokenizer, nms_threshold=None)

    def make_video_encoder(self, processor: Any, spec: FeatureSpec, cache: Any) -> TvpFrameEncoder:
        """What turns a video file into this model's features."""
        return TvpFrameEncoder(self, processor.image_processor, spec, cache)
