"""Configuration of HiSA (IEEE Transactions on Image Processing 31, 2022, doi 10.1109/TIP.2022.3191841)."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import VideoGroundingConfig

# What the published code makes of sentences; the default strips punctuation and lower-cases.
OFFICIAL_TEXT: dict[str, dict[str, Any]] = {
    "charades_sta": {"word_pattern": "punctuation", "lowercase": False},
    "activitynet_captions": {"word_pattern": "whitespace"},
    "tacos": {"word_pattern": "whitespace"},
}


@strict
class HiSAConfig(VideoGroundingConfig):
    """Configuration of :class:`HiSAForVideoGrounding`; the defaults are those of Charades-STA, but for its stride.

    Args:
        hidden_size: width of the video, query and localisation LSTM, per direction; clips and words are twice as wide.
        head_hidden_size: hidden width of the start, end and inside heads.
        query_lstm_bias, localization_lstm_bias: whether these LSTMs have biases (published: the query LSTM has none on
            Charades-STA).
        fusion: how attended words F and clips O meet: ``"cross_cos"`` = F * O, ``"cross_sub"`` = |F - O|.
        conv_kernel_size: of the three convolutions that take background and action apart; odd.
        disentangle_dropout: on the input of each of these convolutions. encoder_dropout: after both LSTMs.
        start_weight, end_weight, inside_weight, reconstruction_weight, contrast_weight: of the five losses.
        contrast_temperature: of the contrastive loss.
        contrast_pooling: ``"time_mean"`` over the moment; or ``"official_scalar"``: the published sum over time and
            channels, of which only the sign matters and whose gradient is zero. None = by ``variant``.
        contrast_detach_weights: the weights of the negatives carry no gradient. Otherwise (as the published formula
            with ``"time_mean"``) training finds that queries which are all alike have no negatives, and loses the
            query. None = by ``variant``.
        pad_invariant: a video's last real clip is its own neighbour, and padding enters neither convolutions nor
            losses. False: as published, a video's answer depends on the longest of its batch. None = by ``variant``.
        inside_divisor: of the inside loss over e - s + 1 clips: ``"span"`` = e - s (published), or ``"clips"``.
        target_rule: last clip of a moment: ``"floor"`` (Charades-STA) or ``"ceil"`` of its end (the other two).
        clip_stride: every ``clip_stride``-th row of the features is a clip (Charades-STA: 3).
        initial_gain: factor on the first weights of the projections of words and clips that are multiplied, and of the
            localisation LSTM's input. PyTorch's own (1) leave products of 0.01, and training on a plateau.
        num_candidates: best pairs of start and end clip that are returned.
        attention_elements: most elements of the clips x words tensor held at once; more leave the caches of a CPU.
    """

    model_type = "hisa"

    hidden_size: int = 256
    head_hidden_size: int = 256
    query_lstm_bias: bool = False
    localization_lstm_bias: bool = False
    fusion: Literal["cross_cos", "cross_sub"] = "cross_cos"
    conv_kernel_size: int = 5
    disentangle_dropout: float | int = 0.5
    encoder_dropout: float | int = 0.5
    start_weight: float | int = 1.0
    end_weight: float | int = 1.0
    inside_weight: float | int = 1.0
    reconstruction_weight: float | int = 50.0
    contrast_weight: float | int = 0.5
    contrast_temperature: float | int = 1.0
    contrast_pooling: Literal["time_mean", "official_scalar"] | None = None
    contrast_detach_weights: bool | None = None
    pad_invariant: bool | None = None
    inside_divisor: Literal["span", "clips"] = "span"
    target_rule: Literal["floor", "ceil"] = "floor"
    clip_stride: int = 1
    initial_gain: float | int = 1.0
    num_candidates: int = 512
    attention_elements: int = 2**21

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "charades_sta": {"clip_stride": 3},
        "activitynet_captions": {"feature_dim": 500, "query_lstm_bias": True, "target_rule": "ceil"},
        "tacos": {"query_lstm_bias": True, "target_rule": "ceil"},
    }
    variant_overrides: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"contrast_pooling": "time_mean", "contrast_detach_weights": True, "pad_invariant": True},
        "official": {"contrast_pooling": "official_scalar", "contrast_detach_weights": False, "pad_invariant": False},
    }
    processor_presets: ClassVar[dict[str, dict[str, Any]]] = {
        "charades_sta": {"resampling": "stride", "stride": 3, "nms_threshold": 0.5, "max_words": 30},
        "activitynet_captions": {"resampling": "none", "stride": 1, "nms_threshold": 0.5, "max_words": None},
        "tacos": {"resampling": "none", "stride": 1, "nms_threshold": 0.5, "max_words": None},
    }

    @classmethod
    def processor_defaults(cls, benchmark: str | None = None, variant: str = "default") -> dict[str, Any]:
        settings = super().processor_defaults(benchmark, variant)
        return settings | (OFFICIAL_TEXT.get(benchmark, {}) if variant == "official" else {})

    def processor_settings(self) -> dict[str, Any]:
        resampling = "stride" if self.clip_stride > 1 else "none"
        return super().processor_settings() | {"resampling": resampling, "stride": self.clip_stride}

    def validate_sizes(self):
        """The kernel must have a middle, strides and candidates must be counts."""
        if self.conv_kernel_size % 2 == 0:
            raise ValueError(f"conv_kernel_size={self.conv_kernel_size} must be odd, so that a clip is in the middle.")
        for name in ("clip_stride", "num_candidates", "attention_elements"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")
