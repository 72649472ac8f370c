"""Features and sentences to the batch of the contract, and candidates back to moments in seconds."""

import copy
import numbers
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, PreTrainedConfig, PreTrainedTokenizerBase
from transformers.processing_utils import ProcessorMixin

from .benchmarks.facts import longest_training_video
from .errors import AnnotationError, HFVTGError, ModelError, QueryError
from .features.resampling import (
    VideoGroundingFeatureExtractor,
    resample_linspace_bins,
    resample_mean_bins,
    resample_stride,
)
from .features.spec import FeatureSpec
from .files import SavedInFolder, check_version
from .hub.publishing import PushesToHub
from .moments import clip_moments, temporal_nms, to_fractions, to_seconds
from .text.sentences import nest_sentences, sentence_words, tokenize_sentences
from .text.tokenization import WordVectors

__all__ = [
    "VideoGroundingFeatureExtractor",
    "VideoGroundingProcessor",
    "resample_linspace_bins",
    "resample_mean_bins",
    "resample_stride",
    "tokenize_sentences",
]

# Columns of a row of the data schema.
SCHEMA = ("video_id", "duration", "sentences", "moments")
FEATURE_SETTINGS = ("resampling", "num_clips", "stride", "l2_normalize", "legacy_resample", "padding_value")
# Of a processor_config.json; raise it when older code could not read what is saved.
VERSION = 1
PROCESSOR_SETTINGS = ("nms_threshold", "max_words", "pad_words", "unknown_words", "trained_seconds")
TEXT_SETTINGS = ("word_pattern", "lowercase")


class VideoGroundingProcessor(SavedInFolder, PushesToHub, ProcessorMixin):
    """Features, sentences and, for training, moments -> batch; model outputs -> moments in seconds.

    Args:
        feature_extractor: None = one that passes features on as they are.
        tokenizer: word-level (``WordVectors.build_tokenizer``) or any of Hugging Face.
        nms_threshold: IoU above which the lower ranked of two moments is dropped; None = keep all.
        max_words: word limit of a sentence; None = the tokenizer's own limit.
        unknown_words: "keep" them as the unknown token, or "drop" them (IA-Net).
        pad_words: pad every batch to ``max_words``, not to its longest sentence (published IA-Net sees its padding).
        trained_seconds: the longest video of the training; the pipeline grounds longer ones in overlapping windows of
            this length. None = a video of any length is grounded as a whole.

    ``counts`` tells how many sentences were "truncated" or "unknown_only", and how many moments were "clipped".
    """

    def __init__(
        self,
        feature_extractor: VideoGroundingFeatureExtractor | None = None,
        tokenizer: PreTrainedTokenizerBase | None = None,
        nms_threshold: float | None = 0.5,
        max_words: int | None = None,
        unknown_words: str = "keep",
        pad_words: bool = False,
        trained_seconds: float | None = None,
    ):
        if tokenizer is None:
            raise QueryError("The processor needs a tokenizer: WordVectors(...).build_tokenizer() or AutoTokenizer.")
        if unknown_words not in ("keep", "drop"):
            raise QueryError(f"unknown_words={unknown_words!r}: give 'keep' or 'drop'.")
        if max_words is not None and max_words < 1:
            raise QueryError(f"max_words={max_words!r}: give at least 1, or None for no limit.")
        if pad_words and max_words is None:
            raise QueryError("pad_words=True pads to max_words: give max_words too.")
        if trained_seconds is not None and not 0 < trained_seconds < float("inf"):
            raise QueryError(f"trained_seconds={trained_seconds!r}: give seconds above 0, or None.")
        self.nms_threshold = nms_threshold
        self.max_words = max_words
        self.unknown_words = unknown_words
        self.trained_seconds = trained_seconds
        self.pad_words = pad_words
        self.counts = Counter()
        super().__init__(feature_extractor or VideoGroundingFeatureExtractor(), tokenizer)

    @classmethod
    def from_model_config(
        cls,
        config: PreTrainedConfig,
        tokenizer: PreTrainedTokenizerBase | WordVectors,
        feature_spec: FeatureSpec | Mapping[str, Any] | None = None,
        **changes: Any,
    ) -> "VideoGroundingProcessor":
        """The processor that ``config.processor_settings()`` and ``config.feature_dim`` describe.

        Args:
            tokenizer: or WordVectors, whose tokenizer is then built with the settings ``word_pattern`` and
                ``lowercase``. It cuts sentences at the text model's number of positions.
            changes: settings that win over those of the configuration.

        Raises:
            ModelError: a setting that nobody knows.
        """
        settings = {**config.processor_settings(), **changes}
        known = (*FEATURE_SETTINGS, *PROCESSOR_SETTINGS, *TEXT_SETTINGS)
        unknown = sorted(set(settings) - set(known))
        if unknown:
            raise ModelError(f"{type(config).__name__}: unknown processor settings {unknown}; known are {known}.")
        if isinstance(tokenizer, WordVectors):
            tokenizer = tokenizer.build_tokenizer(settings.get("word_pattern"), settings.get("lowercase", True))
        positions = getattr(getattr(config, "text_config", None), "max_position_embeddings", None)
        if positions is not None and tokenizer.model_max_length > positions:
            tokenizer = copy.deepcopy(tokenizer)
            tokenizer.model_max_length = positions
        extractor = VideoGroundingFeatureExtractor(
            feature_dim=config.feature_dim, feature_spec=feature_spec, **_pick(settings, FEATURE_SETTINGS)
        )
        settings = {"trained_seconds": longest_training_video(getattr(config, "benchmark", None)), **settings}
        return cls(extractor, tokenizer, **_pick(settings, PROCESSOR_SETTINGS))

    def __call__(
        self,
        video_features: Any = None,
        text: str | Sequence[str] | Sequence[Sequence[str]] | None = None,
        durations: Sequence[float] | None = None,
        moments: Sequence[Sequence[Sequence[float]]] | None = None,
        metadata: Sequence[Mapping[str, Any]] | None = None,
        spec: FeatureSpec | Mapping[str, Any] | None = None,
        return_tensors: str | None = "pt",
    ) -> BatchFeature:
        """Anything of a batch that is given.

        Args:
            video_features: (T_i, D) arrays of B videos, or one array.
            text: for each video a list of sentences. A flat list is one sentence for each video (several
                sentences of one video are ``[[...]]``); a string is one sentence of one video.
            durations: B seconds.
            moments: for each video and sentence (start, end) in seconds; needs ``durations``. Parts outside
                [0, duration] are cut off and counted.
            metadata: rows of the data schema; they fill in text, durations and moments that are not given, and
                are passed on.
            spec: what the features are.

        Returns:
            video_features, video_mask, source_length; input_ids, attention_mask (B, S, L), sentence_mask (B, S);
            labels (B, S, 2) float64 fractions, 0 for padded sentences; metadata.

        Raises:
            FeatureError, QueryError, AnnotationError: what is wrong, and in which video and sentence.
        """
        if metadata is not None:
            metadata = [{k: _plain(v) if k in SCHEMA else v for k, v in row.items()} for row in metadata]
            text = _column(metadata, "sentences") if text is None else text
            durations = _column(metadata, "duration") if durations is None else durations
            moments = _column(metadata, "moments") if moments is None else moments
        if video_features is None and text is None:
            raise QueryError("Nothing to process: give video_features, text, or both.")
        data: dict[str, Any] = {}
        if video_features is not None:
            ids = None if metadata is None else _column(metadata, "video_id")
            data.update(self.feature_extractor(video_features, spec=spec, video_ids=ids))
        if text is not None:
            sentences = nest_sentences(text)
            if video_features is not None and len(sentences) != len(data["source_length"]):
                raise QueryError(
                    f"{len(data['source_length'])} videos, but sentences for {len(sentences)}. "
                    "Several sentences of one video are given as text=[[first, second]]."
                )
            drop = self.unknown_words == "drop"
            width = self.max_words if self.pad_words else 1
            data.update(tokenize_sentences(self.tokenizer, sentences, self.max_words, drop, self.counts, width))
        if moments is not None:
            if text is None:
                raise AnnotationError("Moments were given without text: each belongs to a sentence.")
            data["labels"] = self._labels(moments, durations, [len(video) for video in sentences])
        batch = BatchFeature(data, tensor_type=return_tensors)
        if metadata is not None:
            batch["metadata"] = metadata
        return batch

    def post_process_video_grounding(
        self,
        outputs: Any,
        durations: Sequence[float] | torch.Tensor,
        top_k: int | None = 5,
        nms_threshold: float | None = None,
        nms_space: str = "fractions",
        sentence_mask: torch.Tensor | None = None,
    ) -> list[list[list[dict[str, float]]]]:
        """Rank, suppress overlaps, convert to seconds.

        Args:
            outputs: with ``moments`` (B, S, K, 2) fractions and ``scores`` (B, S, K), -inf for what is no candidate.
            durations: B seconds.
            top_k: moments a sentence; None = all that survive.
            nms_threshold: None = the stored one; 1 = no suppression.
            nms_space: "fractions", or "seconds": float32 seconds first, whose rounding decides IoU ties as in the
                official code.
            sentence_mask: (B, S) real sentences. None = those with a candidate.

        Returns:
            per video, per real sentence, ``{"start", "end", "score"}`` in seconds within the video, best first.
        """
        if nms_space not in ("fractions", "seconds"):
            raise HFVTGError(f"nms_space={nms_space!r}: give 'fractions' or 'seconds'.")
        moments, scores = (
            outputs[name] if isinstance(outputs, Mapping) else getattr(outputs, name) for name in ("moments", "scores")
        )
        packed = torch.cat([moments.detach().float(), scores.detach().float()[..., None]], dim=-1).cpu()
        moments, scores = packed[..., :2], packed[..., 2]
        durations = torch.as_tensor(durations, dtype=torch.float64).cpu()
        seconds = to_seconds(moments, durations.float()) if nms_space == "seconds" else moments
        threshold = self.nms_threshold if nms_threshold is None else nms_threshold
        kept = temporal_nms(seconds, scores, 1.0 if threshold is None else threshold, top_k)
        if nms_space == "fractions":
            seconds = to_seconds(moments.double(), durations)
        limit = durations[:, None, None, None]
        index = kept.clamp(min=0)
        chosen = torch.minimum(seconds.gather(2, index[..., None].expand(*index.shape, 2)).double(), limit)
        ranked = torch.cat([chosen.clamp(min=0), scores.gather(2, index)[..., None].double()], dim=-1).tolist()
        found = (kept >= 0).sum(-1)
        real = (found > 0 if sentence_mask is None else torch.as_tensor(sentence_mask).cpu().bool()).tolist()
        names = ("start", "end", "score")
        return [
            [
                [dict(zip(names, moment, strict=True)) for moment in sentence[:count]]
                for sentence, count, is_real in zip(video, counts, mask, strict=True)
                if is_real
            ]
            for video, counts, mask in zip(ranked, found.tolist(), real, strict=True)
        ]

    def words(self, sentences: Sequence[str]) -> list[list[str | None]]:
        """What each token of a batch's ``input_ids`` stands for in its sentence (:func:`sentence_words`)."""
        return sentence_words(self.tokenizer, sentences, self.max_words, self.unknown_words == "drop")

    def to_dict(self) -> dict[str, Any]:
        """As in transformers, with the ``version`` of what is saved."""
        return {**super().to_dict(), "version": VERSION}

    @classmethod
    def from_args_and_dict(cls, args: Any, processor_dict: dict[str, Any], **kwargs: Any):
        """As in transformers. HFVTGError for a ``version`` that is newer than this code."""
        processor_dict = dict(processor_dict)
        check_version(processor_dict.pop("version", None), VERSION, "The processor_config.json")
        return super().from_args_and_dict(args, processor_dict, **kwargs)

    @property
    def model_input_names(self) -> list[str]:
        return [*self.feature_extractor.model_input_names, "input_ids", "attention_mask", "sentence_mask"]

    def _labels(self, moments, durations, per_video: list[int]) -> np.ndarray:
        if durations is None:
            raise AnnotationError("Moments were given without durations: add durations=[seconds of each video].")
        if not len(moments) == len(durations) == len(per_video):
            raise AnnotationError(
                f"{len(per_video)} videos with sentences, {len(moments)} with moments, {len(durations)} durations."
            )
        durations = _plain(durations)
        labels = np.zeros((len(per_video), max(per_video), 2))
        for v, (rows, duration, count) in enumerate(zip(moments, durations, per_video, strict=True)):
            if not (isinstance(duration, numbers.Real) and np.isfinite(duration) and duration > 0):
                raise AnnotationError(f"The duration of video {v} of the batch is {duration!r}: give its seconds.")
            given, rows = rows, _as_moments(rows)
            if rows.shape != (count, 2) or not (np.isfinite(rows).all() and (rows[:, 0] <= rows[:, 1]).all()):
                raise AnnotationError(
                    f"Moments of video {v} of the batch are {given!r}: (start, end) with start <= end was expected "
                    f"for each of its {count} sentences."
                )
            clipped = clip_moments(rows, float(duration))
            labels[v, :count] = to_fractions(clipped, float(duration))
            self.counts["clipped"] += int((clipped != rows).any(1).sum())
        return labels


def _plain(value: Any) -> Any:
    """Python's own numbers, texts and lists instead of arrays and tensors (rows of ``with_format("torch")``)."""
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return value.tolist() if hasattr(value, "tolist") else value


def _as_moments(rows: Any) -> np.ndarray:
    """Numbers as float64; an empty array of what is none."""
    try:
        return np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError):
        return np.empty(0)


def _column(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any] | None:
    values = [row.get(name) for row in rows]
    return None if any(value is None for value in values) else values


def _pick(settings: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: settings[name] for name in names if name in settings}
