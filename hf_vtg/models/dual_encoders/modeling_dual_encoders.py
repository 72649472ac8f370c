"""Dual encoders of transformers as grounding models: frames and sentences meet in a cosine, nothing is trained.

A clip feature is the embedding of the frame on the screen; the curve of its cosine with a sentence's embedding is
compared with every segment of a multi-scale grid (contrast.py). Each class is the model of transformers with our
steps, so that its checkpoints load unchanged.
"""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch.nn import functional as F
from transformers import (
    ChineseCLIPModel,
    CLIPModel,
    MetaClip2Model,
    Siglip2Model,
    SiglipModel,
    VisionTextDualEncoderModel,
)
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.utils import ModelOutput

from ...errors import ModelError
from ...features.resampling import VideoGroundingFeatureExtractor
from ...features.spec import FeatureSpec
from ...layers.losses import upcast
from ...layers.padding import restore_sentences, select_sentences
from ...processing import VideoGroundingProcessor
from ...steps import GroundingSteps, VideoGroundingOutput
from ...video.cache import FeatureCache
from ...video.encoder import VideoEncoder
from .contrast import best_segments

FPS = 2.0
NUM_CANDIDATES = 4096
NMS_THRESHOLD = 0.5


@dataclass
class DualEncoderVideoState(ModelOutput):
    """``frame_embeds`` (B, T, D) of length 1; ``video_mask`` (B, T) bool."""

    frame_embeds: torch.Tensor | None = None
    video_mask: torch.Tensor | None = None


@dataclass
class DualEncoderTextState(ModelOutput):
    """``sentence_embeds`` (B, S, D) of length 1; ``sentence_mask`` (B, S) bool."""

    sentence_embeds: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None


@dataclass
class DualEncoderOutput(VideoGroundingOutput):
    """Candidates, and ``similarity`` (B, S, T): the cosine of each sentence with each frame, 0 for padding."""

    similarity: torch.Tensor | None = None


class DualEncoderGrounding(GroundingSteps):
    """Mixed into a model of transformers that has ``get_text_features`` and ``get_image_features``."""

    main_input_name = "video_features"
    accepts_loss_kwargs = False

    @property
    def feature_dim(self) -> int:
        """Width D of the joint space."""
        config = self.config
        return getattr(config, "projection_dim", None) or config.vision_config.hidden_size

    def encode_video(
        self,
        video_features: torch.Tensor,
        video_mask: torch.Tensor | None = None,
        output_intermediates: bool = False,
    ) -> DualEncoderVideoState:
        """(B, T, D) frame embeddings, as ``get_image_features`` gives them."""
        if video_mask is None:
            video_mask = video_features.new_ones(video_features.shape[:2], dtype=torch.bool)
        return DualEncoderVideoState(frame_embeds=_unit(video_features), video_mask=video_mask.bool())

    def encode_text(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sentence_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_intermediates: bool = False,
    ) -> DualEncoderTextState:
        """(B, S, L) ids -> one embedding a sentence."""
        if inputs_embeds is not None:
            raise ModelError(f"{type(self).__name__} takes input_ids of its own tokenizer, not inputs_embeds.")
        if sentence_mask is None:
            sentence_mask = attention_mask.bool().any(-1)
        ids, tokens, _ = select_sentences(sentence_mask, input_ids, attention_mask)
        output = self.text_features(ids, tokens.long())
        embeds = output if isinstance(output, torch.Tensor) else output.pooler_output
        return DualEncoderTextState(
            sentence_embeds=restore_sentences(_unit(embeds), sentence_mask), sentence_mask=sentence_mask
        )

    def text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        """(R, L) ids and mask -> what ``get_text_features`` gives."""
        return self.get_text_features(input_ids=input_ids, attention_mask=attention_mask)

    def ground(
        self,
        video_state: DualEncoderVideoState,
        text_state: DualEncoderTextState,
        output_intermediates: bool = False,
    ) -> DualEncoderOutput:
        """Cosines along time, and the segments that stand out from the rest of the video."""
        video_mask = video_state.video_mask
        similarity = text_state.sentence_embeds @ video_state.frame_embeds.transpose(1, 2)
        similarity = similarity.masked_fill(~video_mask[:, None], 0)
        moments, scores = best_segments(similarity, video_mask, NUM_CANDIDATES)
        return DualEncoderOutput(
            moments=moments,
            scores=scores.masked_fill(~text_state.sentence_mask[..., None], -torch.inf),
            video_state=video_state,
            similarity=similarity,
        )

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        raise ModelError(
            f"{type(self).__name__} grounds without training, so it takes no labels. Train one of the methods of "
            "hf_vtg on its features instead."
        )

    def wrap_processor(self, processor: Any) -> VideoGroundingProcessor:
        """The model's own processor (or tokenizer) -> one that emits our batches and names the frames' encoder."""
        name = self.config.name_or_path
        spec = FeatureSpec(
            backbone=name or None,
            revision=getattr(self.config, "_commit_hash", None),
            fps=FPS,
            window=1,
            stride=1,
            dim=self.feature_dim,
            pooling="image_embeds",
        )
        extractor = VideoGroundingFeatureExtractor(feature_dim=self.feature_dim, feature_spec=spec)
        tokenizer = getattr(processor, "tokenizer", processor)
        return VideoGroundingProcessor(extractor, tokenizer, nms_threshold=NMS_THRESHOLD)

    def make_video_encoder(self, processor: Any, spec: FeatureSpec, cache: FeatureCache | None) -> VideoEncoder:
        """The encoder of video files that uses this very model."""
        spec = replace(spec, backbone=self.config.name_or_path, revision=getattr(self.config, "_commit_hash", None))
        return VideoEncoder(spec, device=self.device, dtype=self.dtype, cache=cache, model=self)


class PadsToFullLength(DualEncoderGrounding):
    """SigLIP reads the last of always 64 positions, and saw padding as text in its training.

    With what and on which side is the tokenizer's business; before one is known, as the configuration says and right.
    """

    padding_id: int | None = None
    padding_side = "right"

    def text_features(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> Any:
        text = self.config.text_config
        padding = text.pad_token_id if self.padding_id is None else self.padding_id
        ids = input_ids.new_full((len(input_ids), text.max_position_embeddings), padding)
        lengths = attention_mask.sum(1, keepdim=True)
        real = torch.arange(ids.shape[1], device=ids.device) < lengths
        ids[real.flip(1) if self.padding_side == "left" else real] = input_ids[attention_mask.bool()]
        return self.get_text_features(input_ids=ids)

    def wrap_processor(self, processor: Any) -> VideoGroundingProcessor:
        wrapped = super().wrap_processor(processor)
        self.padding_id, self.padding_side = wrapped.tokenizer.pad_token_id, wrapped.tokenizer.padding_side
        return wrapped


class CLIPForVideoGrounding(DualEncoderGrounding, CLIPModel):
    """CLIP, zero-shot."""


class SiglipForVideoGrounding(PadsToFullLength, SiglipModel):
    """SigLIP, zero-shot."""


class Siglip2ForVideoGrounding(PadsToFullLength, Siglip2Model):
    """SigLIP 2, zero-shot."""


class MetaClip2ForVideoGrounding(DualEncoderGrounding, MetaClip2Model):
    """MetaCLIP 2, zero-shot."""


class ChineseCLIPForVideoGrounding(DualEncoderGrounding, ChineseCLIPModel):
    """Chinese-CLIP, zero-shot."""


class VisionTextDualEncoderForVideoGrounding(DualEncoderGrounding, VisionTextDualEncoderModel):
    """Any vision and any text model of transformers that were joined by projections, zero-shot.

    The last map of a convolutional vision model, which transformers' own class cannot project, is reduced to its
    maximum over the places.
    """

    def get_image_features(self, pixel_values: torch.Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        output = self.vision_model(pixel_values=pixel_values, return_dict=True, **kwargs)
        hidden = output.last_hidden_state
        pooled = hidden.amax((2, 3)) if hidden.dim() == 4 else output.pooler_output
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=self.visual_projection(pooled))


def _unit(x: torch.Tensor) -> torch.Tensor:
    return F.normalize(upcast(x), dim=-1)
