"""The contract of every grounding model: five steps, the forward that calls them, and one output class."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from transformers.utils import ModelOutput
from transformers.utils.generic import can_return_tuple

from .errors import ModelError


@dataclass
class VideoGroundingOutput(ModelOutput):
    """Output of every grounding model; a method's subclass adds its own tensors.

    Args:
        loss: weighted sum of the losses, scalar; only with labels or targets.
        losses: name -> detached unweighted scalar; only with labels or targets.
        moments: (B, S, K, 2) candidate segments as fractions of the duration, start <= end.
        scores: (B, S, K), higher is better, ``-inf`` for padded or pruned candidates. Not comparable between
            methods.
        video_state: what :meth:`encode_video` returned, to be given back for further queries.
        text_state: what :meth:`encode_text` returned.
        paragraph_moments: (B, 2) the moment of each row's sentences together, of methods that predict one.
        word_clip_attention: (B, S, L, T) how much each of L tokens, the real ones first, and each clip have to do with
            each other; only with ``output_intermediates``, of models that say ``attends_words``.
    """

    loss: torch.Tensor | None = None
    losses: dict[str, torch.Tensor] | None = None
    moments: torch.Tensor | None = None
    scores: torch.Tensor | None = None
    video_state: ModelOutput | None = None
    text_state: ModelOutput | None = None
    paragraph_moments: torch.Tensor | None = None
    word_clip_attention: torch.Tensor | None = None

    # Fields of a subclass that ``ground_rows`` gives a row a sentence, besides moments, scores and attention.
    per_sentence: ClassVar[tuple[str, ...]] = ()


class GroundingSteps:
    """The five steps, the ``forward`` that calls them, and all that the pipeline asks of a model; for our own
    models and for adapters of others."""

    @property
    def feature_dim(self) -> int:
        """Width D of the clip features that the model takes."""
        return self.config.feature_dim

    @property
    def attends_words(self) -> bool:
        """Whether outputs have ``word_clip_attention`` when intermediates are asked for."""
        return False

    @property
    def reads_paragraphs(self) -> bool:
        """Whether the sentences of a batch row are read together; then ``config.max_sentences`` cuts long ones."""
        return False

    def random_weights(self) -> list[str]:
        """Names of the weights that a checkpoint lacked and nothing has written since: their answers are random."""
        return []

    def wrap_processor(self, processor: Any) -> Any:
        """A processor of another kind -> the VideoGroundingProcessor of this model. ModelError if there is none."""
        raise ModelError(
            f"The processor is a {type(processor).__name__}, but a {type(self).__name__} needs a "
            "VideoGroundingProcessor: VideoGroundingProcessor.from_model_config(model.config, tokenizer)."
        )

    def make_video_encoder(self, processor: Any, spec: Any, cache: Any) -> Any | None:
        """What turns a video file into this model's features; None: whatever the feature spec names."""
        return None

    def encode_video(
        self,
        video_features: torch.Tensor,
        video_mask: torch.Tensor | None = None,
        output_intermediates: bool = False,
    ) -> ModelOutput:
        """(B, T, D) features and (B, T) mask -> everything that does not depend on the query."""
        raise NotImplementedError

    def encode_text(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sentence_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_intermediates: bool = False,
    ) -> ModelOutput:
        """(B, S, L) ids or (B, S, L, E) embeddings -> everything that does not depend on the video."""
        raise NotImplementedError

    def select_videos(self, video_state: ModelOutput, rows: torch.Tensor) -> ModelOutput:
        """The state of the videos ``rows`` (R,), each as often as it is named, for queries in rows of their own."""
        return type(video_state)(**{name: value.index_select(0, rows) for name, value in video_state.items()})

    def ground(
        self, video_state: ModelOutput, text_state: ModelOutput, output_intermediates: bool = False
    ) -> VideoGroundingOutput:
        """Both states -> candidates and scores."""
        raise NotImplementedError

    def ground_every_candidate(
        self, video_state: ModelOutput, text_state: ModelOutput, output_intermediates: bool = False
    ) -> VideoGroundingOutput:
        """:meth:`ground` where losses follow; another one only in a method that skips candidates in evaluation."""
        return self.ground(video_state, text_state, output_intermediates)

    def build_targets(
        self,
        labels: torch.Tensor,
        sentence_mask: torch.Tensor,
        video_mask: torch.Tensor | None = None,
        source_length: torch.Tensor | None = None,
    ) -> dict[str, torch.Tensor]:
        """(B, S, 2) float64 fractions -> the method's discrete targets."""
        raise NotImplementedError

    def compute_losses(
        self, output: VideoGroundingOutput, targets: dict[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Unweighted losses by name; keys are those of ``loss_weights``."""
        raise NotImplementedError

    @can_return_tuple
    def forward(
        self,
        video_features: torch.Tensor | None = None,
        video_mask: torch.Tensor | None = None,
        source_length: torch.Tensor | None = None,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sentence_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        labels: torch.Tensor | None = None,
        targets: dict[str, torch.Tensor] | None = None,
        video_state: ModelOutput | None = None,
        output_intermediates: bool = False,
        return_dict: bool | None = None,
    ) -> VideoGroundingOutput:
        """Ground S sentences in each of B videos.

        Args:
            video_features: (B, T, D) clip features, right padded; taken in the model's own precision.
            video_mask: (B, T) bool, True = real clip; default all.
            source_length: (B,) rows of the feature file before resampling; default ``video_mask.sum(1)``.
            input_ids: (B, S, L) token ids; or ``inputs_embeds``.
            attention_mask: (B, S, L), nonzero = real token; default all.
            sentence_mask: (B, S) bool; default ``attention_mask.any(-1)``.
            inputs_embeds: (B, S, L, E) given word vectors instead of ids.
            labels: (B, S, 2) float64, start and end as fractions of the duration; asks for the losses.
            targets: ready-made discrete targets instead of ``labels``.
            video_state: state of an earlier call, instead of ``video_features``.
            output_intermediates: keep the method's heavy tensors.

        Raises:
            ModelError: for missing or contradictory inputs.
        """
        attention_mask, sentence_mask = self._check_text(input_ids, inputs_embeds, attention_mask, sentence_mask)
        inputs_embeds = None if inputs_embeds is None else inputs_embeds.to(self.dtype)
        if labels is not None or targets is not None:
            self._check_labels(labels, sentence_mask)
        if video_state is None:
            self._check_video(video_features, video_mask, len(sentence_mask))
            if video_mask is None:
                video_mask = torch.ones(video_features.shape[:2], dtype=torch.bool, device=video_features.device)
            video_state = self.encode_video(video_features.to(self.dtype), video_mask, output_intermediates)
        else:
            self._check_state(video_state, len(sentence_mask))
        text_state = self.encode_text(input_ids, attention_mask, sentence_mask, inputs_embeds, output_intermediates)
        if labels is None and targets is None:
            return self.ground(video_state, text_state, output_intermediates)
        output = self.ground_every_candidate(video_state, text_state, output_intermediates)
        if targets is None:
            if video_mask is None:
                video_mask = video_state.get("video_mask")
            if source_length is None and video_mask is not None:
                source_length = video_mask.sum(1)
            targets = self.build_targets(labels, sentence_mask, video_mask, source_length)
        # Losses of similarities and logarithms are not safe in half precision.
        with torch.autocast(device_type=output.scores.device.type, enabled=False):
            losses = self.compute_losses(_in_float32(output), targets)
            loss = sum(self.loss_weights[name] * value for name, value in losses.items())
        fields = {**output, "loss": loss, "losses": {name: value.detach() for name, value in losses.items()}}
        return type(output)(**fields)

    @staticmethod
    def _check_state(video_state: ModelOutput, num_videos: int) -> None:
        tensors = (value[0] if isinstance(value, (tuple, list)) else value for value in video_state.values())
        known = next((len(value) for value in tensors if isinstance(value, torch.Tensor) and value.dim()), num_videos)
        if known != num_videos:
            raise ModelError(
                f"video_state is of {known} videos, but the text of {num_videos}: give a row of sentences to each "
                "video (select_videos repeats or leaves out videos)."
            )

    def _check_video(self, video_features, video_mask, num_videos: int) -> None:
        if video_features is None:
            raise ModelError("Neither video_features nor video_state was given.")
        if video_features.dim() != 3 or video_features.shape[-1] != self.feature_dim:
            raise ModelError(
                f"video_features has shape {tuple(video_features.shape)}, but this {type(self).__name__} takes "
                f"(B, T, {self.feature_dim}). Extract features with the backbone named in the processor."
            )
        if len(video_features) != num_videos:
            raise ModelError(f"{len(video_features)} videos, but text of {num_videos}: give both of each video.")
        if video_mask is not None and video_mask.shape != video_features.shape[:2]:
            raise ModelError(
                f"video_mask has shape {tuple(video_mask.shape)}, expected {tuple(video_features.shape[:2])}."
            )
        if video_mask is not None and not bool(video_mask.any(1).all()):
            video = int((~video_mask.bool().any(1)).nonzero()[0])
            raise ModelError(f"Video {video} of the batch has no real clip: its mask is all padding. Leave it out.")

    def _check_text(self, input_ids, inputs_embeds, attention_mask, sentence_mask):
        if (input_ids is None) == (inputs_embeds is None):
            raise ModelError("Give either input_ids (B, S, L) or inputs_embeds (B, S, L, E).")
        tokens = input_ids if input_ids is not None else inputs_embeds[..., 0]
        if tokens.dim() != 3:
            raise ModelError(
                f"The text has shape {tuple(tokens.shape)}, expected (B, S, L): S sentences of L tokens a video. "
                "A single sentence is a paragraph of one."
            )
        if attention_mask is None:
            attention_mask = torch.ones(tokens.shape, dtype=torch.bool, device=tokens.device)
        if sentence_mask is None:
            sentence_mask = attention_mask.bool().any(-1)
        return attention_mask, sentence_mask.bool()

    def _check_labels(self, labels, sentence_mask) -> None:
        if labels is not None and labels.shape != (*sentence_mask.shape, 2):
            raise ModelError(
                f"labels have shape {tuple(labels.shape)}, expected {(*sentence_mask.shape, 2)}: start and end of "
                "each sentence as fractions of the duration."
            )
        if labels is not None:
            start, end = labels.unbind(-1)
            # Written so that NaN is wrong too; annotations may end somewhat behind their video.
            wrong = ~((start >= -1) & (start <= end) & (end <= 2)) & sentence_mask.to(labels.device)
            if wrong.any():
                video, sentence = wrong.nonzero()[0].tolist()
                raise ModelError(
                    f"The label of sentence {sentence} of video {video} is {labels[video, sentence].tolist()}: start "
                    "and end as fractions of the duration were expected. The processor makes them of seconds."
                )
        if not sentence_mask.any():
            raise ModelError("The batch has labels but no real sentence, so its losses are undefined. Leave it out.")


def _in_float32(output: VideoGroundingOutput) -> VideoGroundingOutput:
    """``output`` with its half-precision tensors in float32."""
    half = (torch.bfloat16, torch.float16)
    fields = {k: v.float() if torch.is_tensor(v) and v.dtype in half else v for k, v in output.items()}
    return type(output)(**fields)
