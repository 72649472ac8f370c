"""The base class of our own methods: what opens and closes every method's steps is done here, once."""

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.utils import ModelOutput

from .configuration import VideoGroundingConfig
from .errors import ModelError
from .files import SavedInFolder
from .hub.publishing import PushesToHub
from .layers.buffers import ComputedBuffers
from .layers.padding import restore_sentences, select_sentences
from .layers.text_encoder import WordVectorTable, load_text_model
from .steps import GroundingSteps, VideoGroundingOutput

# The steps, and what a method may write instead of a whole one: the base class does the rest.
STEPS = {
    "encode_video": (),
    "encode_text": ("encode_sentences",),
    "ground": ("ground_rows",),
    "build_targets": (),
    "compute_losses": (),
}


@dataclass(frozen=True)
class Pairs:
    """The R real sentences of a batch, each with its video, in the order of ``sentence_mask.nonzero()``.

    Args:
        sentence_mask: (B, S) bool; video: (R,) the video of each sentence.
        alone: every video has one sentence, so that its tensors serve as they are.
        every_candidate: losses follow, so no candidate may be skipped.
    """

    sentence_mask: torch.Tensor
    video: torch.Tensor
    alone: bool
    every_candidate: bool = False

    @classmethod
    def of(cls, sentence_mask: torch.Tensor, every_candidate: bool = False) -> "Pairs":
        """Those of a mask."""
        video = sentence_mask.nonzero()[:, 0]
        alone = sentence_mask.shape[1] == 1 and len(video) == len(sentence_mask)
        return cls(sentence_mask, video, alone, every_candidate)

    def of_videos(self, x: torch.Tensor | None) -> torch.Tensor | None:
        """(B, ...) of the videos -> (R, ...)"""
        return x if self.alone or x is None else x[self.video]

    def of_sentences(self, x: torch.Tensor) -> torch.Tensor:
        """(B, S, ...) of the sentences -> (R, ...)"""
        return x[self.sentence_mask]


class VideoGroundingPreTrainedModel(SavedInFolder, PushesToHub, GroundingSteps, PreTrainedModel):
    """Base of all methods. ``forward`` only calls the five steps; a subclass implements them.

    A method writes ``encode_video``, ``build_targets`` and ``compute_losses``; of the text ``encode_sentences`` and of
    the grounding ``ground_rows``, both for real sentences alone, one a row, unless it needs the whole step. The base
    refuses a subclass that lacks a step, a ``config`` annotation (or ``config_class``), or whose configuration lacks a
    ``model_type``.
    """

    config: VideoGroundingConfig
    base_model_prefix = "model"
    main_input_name = "video_features"
    input_modalities = ("video", "text")
    accepts_loss_kwargs = False
    _supports_sdpa = True
    # What the tensors of ``encode_sentences`` become: a ModelOutput with their names and ``sentence_mask``.
    text_state_class: ClassVar[type[ModelOutput] | None] = None

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        writable = {" or ".join(names): names for names in ((*parts, step) for step, parts in STEPS.items())}
        missing = [
            known
            for known, names in writable.items()
            if all(getattr(cls, name) is getattr(VideoGroundingPreTrainedModel, name) for name in names)
        ]
        if missing:
            raise ModelError(
                f"{cls.__name__} lacks the step(s) {', '.join(missing)}. A method writes {', '.join(writable)}."
            )
        if cls.encode_text is VideoGroundingPreTrainedModel.encode_text and cls.text_state_class is None:
            raise ModelError(
                f"{cls.__name__} has no text_state_class: name the ModelOutput that encode_sentences fills."
            )
        config_class = cls.config_class
        if config_class in (None, VideoGroundingConfig) or not issubclass(config_class, VideoGroundingConfig):
            raise ModelError(f"{cls.__name__} has no config_class. Annotate it: `config: YourConfig`.")
        if not config_class.model_type:
            raise ModelError(f"{config_class.__name__} has no model_type. Give it one, in lower case.")

    def __init__(self, config: VideoGroundingConfig):
        super().__init__(config)
        self.loss_weights: dict[str, float] = dict(self.default_loss_weights())
        self._drawn: dict[str, int] = {}

    @classmethod
    def from_pretrained(cls, *args: Any, output_loading_info: bool = False, **kwargs: Any):
        """As in transformers: weights that the checkpoint lacks are drawn anew and reported (``random_weights``).

        Raises:
            ModelError: it is no folder or repository of such a model, or a damaged one.
        """
        model, info = super().from_pretrained(*args, output_loading_info=True, **kwargs)
        tensors = model.state_dict(keep_vars=True)
        absent = {*info["missing_keys"], *(name for name, *_ in info["mismatched_keys"])}
        model._drawn = {name: tensors[name]._version for name in sorted(absent & tensors.keys())}
        return (model, info) if output_loading_info else model

    def random_weights(self) -> list[str]:
        """Names of the weights that the checkpoint lacked and that no training or loading has written since."""
        tensors = self.state_dict(keep_vars=True)
        return [name for name, version in self._drawn.items() if tensors[name]._version == version]

    @property
    def reads_paragraphs(self) -> bool:
        return self.config.reads_paragraphs

    @staticmethod
    def real_clips(video_features: torch.Tensor, video_mask: torch.Tensor | None) -> torch.Tensor:
        """(B, T) bool; all, if no mask is given."""
        if video_mask is None:
            return torch.ones(video_features.shape[:2], dtype=torch.bool, device=video_features.device)
        return video_mask.bool()

    def token_states(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sentence_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The text encoder on the R real sentences: (R, L, E) states, (R, L) bool mask, (B, S) bool sentence mask."""
        if sentence_mask is None:
            sentence_mask = attention_mask.bool().any(-1)
        ids, tokens, embeds = select_sentences(sentence_mask, input_ids, attention_mask, inputs_embeds)
        tokens = tokens.bool()
        return self.text_encoder(ids, tokens, embeds), tokens, sentence_mask

    def encode_text(
        self,
        input_ids: torch.Tensor | None = None,
        attention_mask: torch.Tensor | None = None,
        sentence_mask: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        output_intermediates: bool = False,
    ) -> ModelOutput:
        """(B, S, L) ids or (B, S, L, E) embeddings -> what :meth:`encode_sentences` makes of the real sentences,
        zeros at the others."""
        states, tokens, sentence_mask = self.token_states(input_ids, attention_mask, sentence_mask, inputs_embeds)
        rows = self.encode_sentences(states, tokens, output_intermediates)
        fields = {name: restore_sentences(x, sentence_mask) for name, x in rows.items()}
        return self.text_state_class(sentence_mask=sentence_mask, **fields)

    def encode_sentences(
        self, states: torch.Tensor, mask: torch.Tensor, output_intermediates: bool = False
    ) -> dict[str, torch.Tensor]:
        """(R, L, E) token states of the real sentences and (R, L) bool mask -> name -> (R, ...)."""
        raise NotImplementedError

    def ground(
        self, video_state: ModelOutput, text_state: ModelOutput, output_intermediates: bool = False
    ) -> VideoGroundingOutput:
        """Both states -> candidates and scores of :meth:`ground_rows`; padded sentences have none."""
        return self._ground(video_state, text_state, output_intermediates, every_candidate=False)

    def ground_every_candidate(
        self, video_state: ModelOutput, text_state: ModelOutput, output_intermediates: bool = False
    ) -> VideoGroundingOutput:
        if type(self).ground is not VideoGroundingPreTrainedModel.ground:
            return self.ground(video_state, text_state, output_intermediates)
        return self._ground(video_state, text_state, output_intermediates, every_candidate=True)

    def ground_rows(
        self, pairs: Pairs, video_state: ModelOutput, text_state: ModelOutput, output_intermediates: bool = False
    ) -> VideoGroundingOutput:
        """Candidates and scores of R pairs of a video and a sentence.

        Returns:
            an output whose ``scores`` are (R, K), ``moments`` (R, K, 2), or (K, 2) where they are the same of all, and
            whose ``per_sentence`` fields are (R, ...); the states are added to it.
        """
        raise NotImplementedError

    def _ground(self, video_state, text_state, output_intermediates: bool, every_candidate: bool):
        pairs = Pairs.of(text_state.sentence_mask, every_candidate)
        rows = self.ground_rows(pairs, video_state, text_state, output_intermediates)
        fields = dict(rows)
        for name in ("moments", "scores", "word_clip_attention", *rows.per_sentence):
            if name in fields and not (name == "moments" and rows.moments.dim() == 2):
                fields[name] = restore_sentences(fields[name], pairs.sentence_mask)
        fields["scores"] = fields["scores"].masked_fill(~pairs.sentence_mask.unsqueeze(-1), -torch.inf)
        if rows.moments.dim() == 2:
            fields["moments"] = rows.moments.expand(*fields["scores"].shape, 2)
        return type(rows)(**{**fields, "video_state": video_state, "text_state": text_state})

    def default_loss_weights(self) -> dict[str, float]:
        """Loss name -> weight at the start of training. A plain dict, changed by the recipe's callback only."""
        raise NotImplementedError

    def post_init(self) -> None:
        """As in transformers, which looks for tied weights (T5's embeddings) in direct children only."""
        super().post_init()
        self.all_tied_weights_keys.update(self.get_expanded_tied_weights_keys(all_submodels=True))

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        if isinstance(module, (nn.Linear, nn.Conv1d, nn.Conv2d, nn.LSTM, nn.GRU, nn.Embedding)):
            # The published methods start from PyTorch's own defaults. transformers guards the functions that
            # reset_parameters calls, so loaded tensors stay as they are.
            module.reset_parameters()
        else:
            super()._init_weights(module)
        if isinstance(module, WordVectorTable):
            init.zeros_(module.vectors)
        if isinstance(module, ComputedBuffers):
            for name, value in module.computed_buffers().items():
                init.copy_(getattr(module, name), value)

    def set_word_vectors(self, table: torch.Tensor | Any) -> None:
        """Fill the frozen word table: (vocab_size, E), row 0 = PAD, row 1 = UNK.

        Raises:
            ModelError: if the text encoder is no word table, or the shape differs.
        """
        self.text_encoder.set_word_vectors(table)

    @classmethod
    def from_text_pretrained(
        cls, text_model: str, config: VideoGroundingConfig | None = None, **kwargs
    ) -> "VideoGroundingPreTrainedModel":
        """A new grounding model whose text encoder carries the pretrained weights of ``text_model``.

        Args:
            text_model: id or folder of any Hugging Face text model.
            config: configuration of the method; its ``text_config`` is replaced.
            kwargs: passed to the text model's ``from_pretrained`` (revision, token...).
        """
        pretrained = load_text_model(text_model, **kwargs)
        config = cls.config_class() if config is None else config
        fields = {**config.to_dict(), "text_config": pretrained.config}
        model = cls(cls.config_class.from_dict(fields))
        model.text_encoder.model.load_state_dict(pretrained.state_dict())
        return model
