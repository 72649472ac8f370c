"""Configuration of 2D-TAN (Zhang, Peng, Fu, Luo, AAAI 2020, arXiv 1912.03590; official ``experiments/*/*.yaml``)."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import VideoGroundingConfig

# IoU above which the lower ranked of two moments is dropped; the official files differ by kind of proposal.
NMS_THRESHOLDS = {
    "charades_sta": {"pool": 0.45, "conv": 0.5},
    "activitynet_captions": {"pool": 0.5, "conv": 0.5},
    "tacos": {"pool": 0.4, "conv": 0.5},
}
# Words as the official data sets cut them: at blanks, and on Charades-STA without the full stop that ends a sentence.
WORD_PATTERNS = {
    "charades_sta": r"(?!\.$)\S+?(?=\.?$|\s)",
    "activitynet_captions": "whitespace",
    "tacos": "whitespace",
}


@strict
class TAN2DConfig(VideoGroundingConfig):
    """Configuration of :class:`TAN2DForVideoGrounding`; the defaults are those of Charades-STA.

    Args:
        num_pre_clips: clips M that the processor resamples a video to.
        num_clips: side N of the proposal map; M must be a multiple of N, whose quotient is averaged.
        proposals: what a cell of the map knows of its span: ``"pool"`` the maximum over its clips, ``"conv"`` what
            learned convolutions make of them. The NMS threshold of a preset follows.
        proposal_start: first weights of the convolutions of ``"conv"``: ``"average"``, each cell starts as a mean over
            its clips; or ``"random"``, PyTorch's own (published), which shrink what they get by 1.7 a layer, so that
            a longer moment starts as biases alone.
        pooling_counts: diagonals of each scale of the map, beside the main one (which ``NUM_SCALE_LAYERS`` of the
            official files counts in their first scale). A single scale of N - 1 is the dense map.
        hidden_size, conv_hidden_size: width of clips and cells, and of the convolutions over the map.
        query_hidden_size, query_layers: of the LSTM over the words.
        conv_kernel_size, num_conv_layers: the stack of masked convolutions over the map.
        map_convolution: ``"strips"`` skips positions of the map that cannot matter, ``"dense"`` is the published form;
            equal results.
        min_iou, max_iou: the target of a cell is its IoU scaled from this range to 0..1.
    """

    model_type = "tan2d"

    feature_dim: int = 4096
    num_pre_clips: int = 256
    num_clips: int = 16
    proposals: Literal["pool", "conv"] = "pool"
    proposal_start: Literal["average", "random"] | None = None
    pooling_counts: list[int] | tuple[int, ...] = (15,)
    hidden_size: int = 512
    conv_hidden_size: int = 512
    query_hidden_size: int = 512
    query_layers: int = 3
    conv_kernel_size: int = 5
    num_conv_layers: int = 8
    map_convolution: Literal["strips", "dense"] = "strips"
    min_iou: float | int = 0.5
    max_iou: float | int = 1.0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "charades_sta": {},
        "activitynet_captions": {
            "feature_dim": 500,
            "num_clips": 64,
            "pooling_counts": (15, 8, 8),
            "conv_kernel_size": 9,
            "num_conv_layers": 4,
        },
        "tacos": {"num_clips": 128, "pooling_counts": (15, 8, 8, 8), "min_iou": 0.3, "max_iou": 0.7},
    }
    variant_overrides: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {"proposal_start": "average"},
        "official": {"proposal_start": "random"},
    }
    processor_presets: ClassVar[dict[str, dict[str, Any]]] = {
        benchmark: {
            "resampling": "mean_bins",
            "num_clips": 256,
            "l2_normalize": True,
            "legacy_resample": True,
            "nms_threshold": NMS_THRESHOLDS[benchmark]["pool"],
            "max_words": None,
            "word_pattern": pattern,
        }
        for benchmark, pattern in WORD_PATTERNS.items()
    }
    processor_fields: ClassVar[dict[str, str]] = {"num_clips": "num_pre_clips", "nms_threshold": "nms_threshold"}
    usual_benchmark: ClassVar[str | None] = "charades_sta"

    @property
    def nms_threshold(self) -> float:
        """That of the official experiment with these proposals."""
        known = self.benchmark if self.benchmark in NMS_THRESHOLDS else self.usual_benchmark
        return NMS_THRESHOLDS[known][self.proposals]

    def validate_clips(self):
        """The average pooling must lead from num_pre_clips to num_clips."""
        if self.num_clips < 1 or self.num_pre_clips < 1 or self.num_pre_clips % self.num_clips:
            raise ValueError(
                f"num_clips={self.num_clips} does not divide num_pre_clips={self.num_pre_clips}: each clip of the map "
                "is the mean of equally many resampled ones. Give a divisor."
            )

    def validate_diagonals(self):
        """Every scale after the first adds a diagonal, and none lies beyond the cell of the whole video."""
        counts = list(self.pooling_counts)
        if not counts or counts[0] < 0 or min(counts[1:], default=1) < 1:
            raise ValueError(
                f"pooling_counts={counts}: give at least one scale, none negative, and a diagonal or more to each "
                "after the first."
            )
        last = sum(count << scale for scale, count in enumerate(counts))
        if last >= self.num_clips:
            raise ValueError(
                f"pooling_counts={counts} ask for moments of {last + 1} clips, of num_clips={self.num_clips}. Lower "
                "the counts (the main diagonal is not counted), or raise num_clips."
            )

    def validate_sizes(self):
        """Widths and layers exist, and the convolutions give back a map of the same size."""
        for name in (
            "feature_dim",
            "hidden_size",
            "conv_hidden_size",
            "query_hidden_size",
            "query_layers",
            "num_conv_layers",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give at least 1.")
        if self.conv_kernel_size < 1 or (self.conv_kernel_size - 1) * self.num_conv_layers % 2:
            raise ValueError(
                f"conv_kernel_size={self.conv_kernel_size} with num_conv_layers={self.num_conv_layers} shifts the map "
                "by half a cell. Give an odd kernel, or an even number of layers."
            )

    def validate_iou_range(self):
        """Some IoU lies between the targets 0 and 1."""
        if not 0 <= self.min_iou < self.max_iou <= 1:
            raise ValueError(
                f"min_iou={self.min_iou} and max_iou={self.max_iou} leave no range to scale targets from. Give "
                "0 <= min_iou < max_iou <= 1."
            )
