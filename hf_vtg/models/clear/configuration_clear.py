"""Configuration of CLEAR (Hu et al., IEEE Transactions on Image Processing 30, 2021)."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import VideoGroundingConfig

# Kernel and stride of the 25 window convolutions of the ActivityNet tree; the TACoS tree has the first 14.
WINDOW_KERNELS = (1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13, 16, 19, 23, 28, 34, 41, 50, 61, 75, 92, 113, 139, 171, 211)
WINDOW_STRIDES = (*(1,) * 13, 2, 2, 3, 4, 4, 6, 7, 9, 11, 13, 17, 21)

# The TACoS tree; Charades-STA, which the authors did not run, takes its networks, being of the same feature width.
TACOS_BRANCHES = {
    "feature_dim": 4096,
    "tcn_channels": (2048, 1024, 512, 256),
    "tcn_kernel": 3,
    "window_kernels": WINDOW_KERNELS[:14],
    "window_strides": WINDOW_STRIDES[:14],
    "coarse_dim": 128,
    "predictor_kernel": 5,
    "predictor_layers": 8,
}


@strict
class CLEARConfig(VideoGroundingConfig):
    """Configuration of :class:`CLEARForVideoGrounding`; the defaults are those of ActivityNet Captions.

    The numbers of window candidates and of coarse ranges follow from the rest: ``num_candidates``, and twice the
    cells of the map's first row.

    Args:
        num_pre_clips: clips P that the processor resamples a video to; a multiple of ``num_clips``.
        num_clips: side N of the proposal map.
        pooling_counts: diagonals of each scale of the map; they must reach the cell of the whole video.
        tcn_channels, tcn_kernel, tcn_dropout: temporal blocks of the coarse branch; block l has dilation 2 ** l.
        window_kernels, window_strides: the multi-scale windows over the temporal blocks' output. A window longer than
            P is not used.
        coarse_dim, coarse_query_hidden: width of the coarse embeddings and of the coarse branch's LSTM.
        fine_hidden, fine_query_hidden: width of the map and of the fine branch's LSTM.
        query_layers, query_bidirectional: of both LSTMs. The code is unidirectional, its README says Bi-LSTM.
        predictor_kernel, predictor_layers: the stack of masked convolutions over the map.
        map_convolution: ``"strips"`` skips positions of the map that cannot matter, ``"dense"`` is the published form;
            equal results.
        min_iou, max_iou: the target of a cell is its IoU scaled from this range to 0..1.
        coarse_scale: a coarse score is this times an IoU.
        coarse_reduction: ``"mean"`` over (score / scale - IoU) ** 2, or ``"sum"`` over (score - scale * IoU) ** 2
            (published; its gradients dwarf those of the fine branch, so clip no norm over both).
        tick_convention: the coarse range of ticks i, j is ``"inclusive"`` [i, j + 1] as the cells of the map are, or
            ``"exclusive"`` [i, j] (published: the first and the last range are empty).
        pairs_only: compare each query with its own video; False (published): the loss regresses every query of the
            batch, on every video, to the target of the video's own query.
        fine_mask: cells that the fine branch scores: ``"interior"`` (published) leaves first row and last column to
            the coarse branch, ``"full"`` leaves none.
        decode: ``"fused"`` scores from both branches, or ``"release"``: those of the fine branch alone.
        prune, boundary_fill: parts of the fused decoding: cells outside the coarse range are dropped or damped; cells
            of the first row and the last column take coarse scores.
        prune_mu, prune_alpha: from a relative gain of mu on, outside cells are damped; above alpha they are dropped.
        prune_margin: cells of tolerance around the coarse range; None = an eighth of ``num_clips``.
    """

    model_type = "clear"

    feature_dim: int = 500
    num_pre_clips: int = 256
    num_clips: int = 64
    pooling_counts: list[int] | tuple[int, ...] = (15, 8, 8)
    tcn_channels: list[int] | tuple[int, ...] = (448, 416, 384, 352, 320, 288, 256)
    tcn_kernel: int = 7
    tcn_dropout: float | int = 0.3
    window_kernels: list[int] | tuple[int, ...] = WINDOW_KERNELS
    window_strides: list[int] | tuple[int, ...] = WINDOW_STRIDES
    coarse_dim: int = 256
    coarse_query_hidden: int = 1024
    fine_hidden: int = 512
    fine_query_hidden: int = 512
    query_layers: int = 3
    query_bidirectional: bool = False
    predictor_kernel: int = 9
    predictor_layers: int = 4
    map_convolution: Literal["strips", "dense"] = "strips"
    min_iou: float | int = 0.5
    max_iou: float | int = 1.0
    coarse_scale: float | int = 256.0
    coarse_reduction: Literal["mean", "sum"] | None = None
    tick_convention: Literal["inclusive", "exclusive"] | None = None
    pairs_only: bool | None = None
    fine_mask: Literal["interior", "full"] = "interior"
    decode: Literal["fused", "release"] | None = None
    prune: bool = True
    boundary_fill: bool = True
    prune_mu: float | int = 0.015
    prune_alpha: float | int = 0.05
    prune_margin: int | None = None

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "charades_sta": {
            "num_clips": 16,
            "pooling_counts": (15,),
            **TACOS_BRANCHES,
        },
        "activitynet_captions": {},
        "tacos": {
            "num_clips": 128,
            "pooling_counts": (15, 8, 8, 8),
            "prune_alpha": 0.02,
            **TACOS_BRANCHES,
        },
    }
    variant_overrides: ClassVar[dict[str, dict[str, Any]]] = {
        "default": {
            "coarse_reduction": "mean",
            "tick_convention": "inclusive",
            "pairs_only": True,
            "decode": "fused",
        },
        "official": {
            "coarse_reduction": "sum",
            "tick_convention": "exclusive",
            "pairs_only": False,
            "decode": "release",
        },
    }
    processor_presets: ClassVar[dict[str, dict[str, Any]]] = {
        name: {
            "resampling": "mean_bins",
            "num_clips": 256,
            "l2_normalize": True,
            "legacy_resample": True,
            "nms_threshold": 0.5,
            "max_words": None,
            "word_pattern": "whitespace",
        }
        for name in ("charades_sta", "activitynet_captions", "tacos")
    }
    processor_fields: ClassVar[dict[str, str]] = {"num_clips": "num_pre_clips"}

    @property
    def num_candidates(self) -> int:
        """C, the positions of all window convolutions together."""
        windows = zip(self.window_kernels, self.window_strides, strict=True)
        return sum((self.num_pre_clips - k) // s + 1 for k, s in windows if k <= self.num_pre_clips)

    @property
    def margin(self) -> int:
        """Cells of tolerance around the coarse range."""
        return max(1, self.num_clips // 8) if self.prune_margin is None else self.prune_margin

    def validate_clips(self):
        """The average pooling must lead from num_pre_clips to num_clips."""
        if self.num_pre_clips % self.num_clips:
            raise ValueError(
                f"num_pre_clips={self.num_pre_clips} must be a multiple of num_clips={self.num_clips}: the fine "
                "branch averages their quotient."
            )

    def validate_map(self):
        """The coarse ranges end with the whole video, so the map must have its cell."""
        reach = sum(count * 2**scale for scale, count in enumerate(self.pooling_counts))
        if reach != self.num_clips - 1:
            raise ValueError(
                f"pooling_counts={list(self.pooling_counts)} reach offset {reach}, but CLEAR's coarse ranges need the "
                f"cell of the whole video, offset num_clips - 1 = {self.num_clips - 1}."
            )

    def validate_windows(self):
        """Each window has a stride, and one fits the video."""
        if len(self.window_kernels) != len(self.window_strides) or not self.num_candidates:
            raise ValueError(
                f"{len(self.window_kernels)} window_kernels and {len(self.window_strides)} window_strides: give as "
                f"many, and at least one kernel up to num_pre_clips={self.num_pre_clips}."
            )

    def validate_blocks(self):
        """Temporal blocks keep the length of the video."""
        if not self.tcn_channels or self.tcn_kernel % 2 == 0:
            raise ValueError(
                f"tcn_channels={list(self.tcn_channels)} and tcn_kernel={self.tcn_kernel}: give at least one block "
                "and an odd kernel."
            )

    def validate_thresholds(self):
        """The IoU range of the targets must not be empty; damping comes before dropping."""
        if not self.min_iou < self.max_iou or not self.prune_mu <= self.prune_alpha:
            raise ValueError(
                f"min_iou={self.min_iou} must be below max_iou={self.max_iou}, and prune_mu={self.prune_mu} not above "
                f"prune_alpha={self.prune_alpha}."
            )
