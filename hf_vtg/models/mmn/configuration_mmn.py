"""Configuration of MMN (Mutual Matching Network, AAAI 2022, arXiv 2109.04872)."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import DistilBertConfig, PreTrainedConfig

from ...configuration import VideoGroundingConfig, WordVectorConfig


@strict
class MMNConfig(VideoGroundingConfig):
    """Configuration of :class:`MMNForVideoGrounding`; the defaults are those of Charades-STA.

    Args:
        num_pre_clips: clips M that the processor resamples a video to.
        num_clips: side N of the proposal map; M must be a multiple of N.
        pool_kernel_size: kernel of the average pooling from M to N; its stride is M // N.
        hidden_size, conv_hidden_size, joint_size: width of the clips, of the map and of the two joint spaces.
        pooling_counts: diagonals of each scale of the map.
        conv_kernel_size, num_conv_layers: the stack of masked convolutions over the map.
        map_convolution: ``"strips"`` skips positions of the map that cannot matter, ``"dense"`` is the published form;
            equal results.
        map_options: ``"channels_last"``, ``"fold_norm"`` and ``"bfloat16"`` of :class:`MaskedMapConv`, for speed on
            other machines than ours.
        query_encoder: ``"mean"`` over token states (published, with a Transformer) or a bidirectional ``"lstm"``
            before it; None = ``"lstm"`` for word vectors, else ``"mean"``.
        min_iou, max_iou: the target of a cell is its IoU scaled from this range to 0..1.
        num_positives: best cells of each sentence that are positives of the contrastive losses.
        negative_iou: cells of the own video below this IoU are full negatives.
        sentence_removal_iou: sentences of one video whose moments overlap by this or more are no negatives of each
            other.
        video_temperature, sentence_temperature, margin, contrastive_weight: of the contrastive losses.
        score_power: exponent of the contrastive score at inference.
        intra_video_mask: ``"zero"`` (published: similarities of overlapping cells are multiplied by 0, each still
            adds exp(0) to the denominator) or ``"exclude"``.
        exclude_positive_from_negatives: drop a positive cell that overlaps too little from the negatives of its own
            sentence (the published code keeps it).
        gather_negatives: take contrastive negatives from all processes (the published code does not).
    """

    model_type = "mmn"

    feature_dim: int = 4096
    num_pre_clips: int = 32
    num_clips: int = 16
    pool_kernel_size: int = 2
    hidden_size: int = 512
    conv_hidden_size: int = 512
    joint_size: int = 256
    pooling_counts: list[int] | tuple[int, ...] = (15,)
    conv_kernel_size: int = 5
    num_conv_layers: int = 8
    map_convolution: Literal["strips", "dense"] = "strips"
    map_options: list[str] | tuple[str, ...] = ()
    query_encoder: Literal["mean", "lstm"] | None = None
    min_iou: float | int = 0.5
    max_iou: float | int = 1.0
    num_positives: int = 1
    negative_iou: float | int = 0.5
    sentence_removal_iou: float | int = 0.5
    video_temperature: float | int = 0.1
    sentence_temperature: float | int = 0.1
    margin: float | int = 0.4
    contrastive_weight: float | int = 0.05
    score_power: float | int = 0.5
    intra_video_mask: Literal["zero", "exclude"] = "zero"
    exclude_positive_from_negatives: bool = False
    gather_negatives: bool = False

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "charades_sta": {},
        "activitynet_captions": {
            "feature_dim": 500,
            "num_pre_clips": 256,
            "num_clips": 64,
            "pool_kernel_size": 4,
            "pooling_counts": (15, 8, 8),
            "conv_kernel_size": 9,
            "num_conv_layers": 4,
            "margin": 0.3,
            "contrastive_weight": 0.1,
        },
        "tacos": {
            "num_pre_clips": 256,
            "num_clips": 128,
            "pooling_counts": (15, 8, 8, 8),
            "min_iou": 0.3,
            "max_iou": 0.7,
            "num_positives": 3,
            "margin": 0.1,
            "contrastive_weight": 0.1,
            "score_power": 0.3,
        },
    }
    processor_presets: ClassVar[dict[str, dict[str, Any]]] = {
        name: {
            "resampling": "mean_bins",
            "num_clips": clips,
            "l2_normalize": True,
            "legacy_resample": True,
            "nms_threshold": threshold,
            "max_words": None,
        }
        for name, clips, threshold in (
            ("charades_sta", 32, 0.5),
            ("activitynet_captions", 256, 0.5),
            ("tacos", 256, 0.4),
        )
    }
    processor_fields: ClassVar[dict[str, str]] = {"num_clips": "num_pre_clips"}
    usual_benchmark: ClassVar[str | None] = "charades_sta"

    @classmethod
    def default_text_config(cls) -> PreTrainedConfig:
        return DistilBertConfig()

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.query_encoder is None:
            self.query_encoder = "lstm" if isinstance(self.text_config, WordVectorConfig) else "mean"

    def validate_pooling(self):
        """The average pooling must lead from num_pre_clips to num_clips."""
        stride = self.num_pre_clips // self.num_clips
        if stride < 1 or (self.num_pre_clips - self.pool_kernel_size) // stride + 1 != self.num_clips:
            raise ValueError(
                f"pool_kernel_size={self.pool_kernel_size} with stride num_pre_clips // num_clips = {stride} does not "
                f"lead from num_pre_clips={self.num_pre_clips} to num_clips={self.num_clips} clips."
            )

    def validate_thresholds(self):
        """The IoU range of the targets must not be empty."""
        if not self.min_iou < self.max_iou:
            raise ValueError(f"min_iou={self.min_iou} must be below max_iou={self.max_iou}.")
