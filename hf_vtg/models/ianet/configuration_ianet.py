"""Configuration of IA-Net (Progressively Guide to Attend, EMNLP 2021)."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import VideoGroundingConfig

# What a variant decides; a field given by hand wins. "paper": sections 3.1 to 3.5 and equations 1 to 16 as printed.
_DEFAULT = {
    "num_none_tokens": 3,
    "mask_padding": True,
    "positional_encoding": "none",
    "num_local_attention_layers": 2,
    "fusion": "additive",
    "positive_rule": "absolute",
    "normalize_iou_targets": True,
    "count_illegal_anchors": False,
    "boundary_reduction": "mean",
    "prune_illegal_anchors": True,
    "stretch_label_at_last_frame": False,
    "eval_boundary_loss": "positives",
    "round_anchors_in_loss": False,
}
_PAPER = _DEFAULT | {
    "positional_encoding": "sinusoidal",
    "num_local_attention_layers": 0,
    "fusion": "cosine",
    "normalize_iou_targets": False,
    "boundary_reduction": "sum",
}
_OFFICIAL = _DEFAULT | {
    "num_none_tokens": 0,
    "mask_padding": False,
    "count_illegal_anchors": True,
    "prune_illegal_anchors": False,
    "stretch_label_at_last_frame": True,
    "eval_boundary_loss": "best_anchor",
    "round_anchors_in_loss": True,
}

# Presets that hold for one benchmark in one variant.
_EXCEPTIONS = {
    ("activitynet_captions", "official"): {"positive_rule": "relative"},
    ("tacos", "paper"): {"anchor_widths": (8, 16, 32, 64, 128)},
}


@strict
class IANetConfig(VideoGroundingConfig):
    """Configuration of :class:`IANetForVideoGrounding`; the defaults are those of Charades-STA.

    Fields that are None take the value of the variant: ``default`` (three learnable padding tokens, masked padding),
    ``official`` (the published code) or ``paper`` (its equations).

    Args:
        num_clips: clips T that the processor resamples a video to; the model itself takes any T.
        max_words: words N of a sentence that the processor keeps.
        frame_size: width of the clips inside the video encoder.
        project_features: map the features to ``frame_size`` linearly; None = if their width differs.
        hidden_size: width d of clips and words after the recurrent encoders, both directions together.
        num_attention_heads: heads of the inter- and intra-modal attention.
        num_local_attention_layers, num_local_attention_heads, local_window: self-attention over the clips within this
            distance of each other, before the recurrent encoder (in the code, not in the paper).
        positional_encoding: ``"sinusoidal"`` is added to clips and words before the encoders (in the paper, not in
            the code).
        num_blocks: blocks of inter- and intra-modal attention.
        num_none_tokens: learnable rows K that the inter-modal attention may look at instead of a clip or word.
        use_intra, use_calibration_inter, use_calibration_intra: the paper's ablations; without calibration what was
            attended is added.
        mask_padding: attention does not see padded clips and words, and an anchor ends before the padding. The
            published code takes padding as given.
        fusion: how each clip gathers words at the end: ``"additive"`` attention or ``"cosine"`` similarity.
        cosine_temperature: divides the cosines before the softmax (the paper gives none).
        localizer: ``"gru"`` over the fused clips, or ``"mlp"``.
        dropout: on features, words, local attention and the outputs of the recurrent encoders.
        anchor_widths, anchor_scale: an anchor of width w covers (w - 1) * anchor_scale + 1 clips. Charades-STA and
            TACoS were published with 0.25; on Charades-STA 1.0 covers the moments far better.
        positive_rule: anchors of IoU >= positive_iou (``"absolute"``) or >= relative_positive_iou times the best
            (``"relative"``) learn the boundaries.
        normalize_iou_targets: the score target is IoU / best IoU of the sentence, not IoU.
        count_illegal_anchors: anchors that leave the video count in the mean of the score loss.
        boundary_reduction: smooth L1 of start and end, their ``"mean"`` or ``"sum"``.
        boundary_weight: alpha, weight of the boundary loss.
        prune_illegal_anchors: their score is ``-inf``; else 0, so that they still take part in NMS.
        stretch_label_at_last_frame: the published slip: a moment whose end, before resampling, is clip T - 1 reaches
            to the end of the video.
        eval_boundary_loss: what the boundary loss measures in evaluation mode: ``"positives"`` as in training, or the
            ``"best_anchor"`` alone (published).
        round_anchors_in_loss: the boundary loss adds the offsets to the anchors without their fractions of a clip, as
            published; predictions add them to the anchors as they are.
        attention_chunk: elements of the additive fusion computed at a time; at most 16 times as many are kept for the
            backward pass.
    """

    model_type = "ianet"
    variants: ClassVar[tuple[str, ...]] = ("default", "official", "paper")
    variant_overrides: ClassVar[dict[str, dict[str, Any]]] = {
        "default": _DEFAULT,
        "official": _OFFICIAL,
        "paper": _PAPER,
    }

    variant: Literal["default", "official", "paper"] = "default"
    num_clips: int = 64
    max_words: int = 20
    frame_size: int = 500
    project_features: bool | None = None
    hidden_size: int = 512
    num_attention_heads: int = 4
    num_local_attention_layers: int | None = None
    num_local_attention_heads: int = 4
    local_window: int = 3
    positional_encoding: Literal["none", "sinusoidal"] | None = None
    num_blocks: int = 3
    num_none_tokens: int | None = None
    use_intra: bool = True
    use_calibration_inter: bool = True
    use_calibration_intra: bool = True
    mask_padding: bool | None = None
    fusion: Literal["additive", "cosine"] | None = None
    cosine_temperature: float | int = 1.0
    localizer: Literal["gru", "mlp"] = "gru"
    dropout: float | int = 0.2
    anchor_widths: list[int] | tuple[int, ...] = (16, 24, 32, 40)
    anchor_scale: float | int = 0.25
    positive_rule: Literal["absolute", "relative"] | None = None
    positive_iou: float | int = 0.45
    relative_positive_iou: float | int = 0.8
    normalize_iou_targets: bool | None = None
    count_illegal_anchors: bool | None = None
    boundary_reduction: Literal["mean", "sum"] | None = None
    boundary_weight: float | int = 0.005
    prune_illegal_anchors: bool | None = None
    stretch_label_at_last_frame: bool | None = None
    eval_boundary_loss: Literal["positives", "best_anchor"] | None = None
    round_anchors_in_loss: bool | None = None
    attention_chunk: int = 2**20

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "charades_sta": {},
        "activitynet_captions": {
            "feature_dim": 500,
            "num_clips": 200,
            "anchor_widths": (16, 32, 64, 96, 128, 160, 192),
            "anchor_scale": 1.0,
            "boundary_weight": 0.001,
        },
        "tacos": {"feature_dim": 4096, "num_clips": 200, "anchor_widths": (8, 16, 32, 64)},
    }
    processor_presets: ClassVar[dict[str, dict[str, Any]]] = {
        name: {
            "resampling": "linspace_bins",
            "num_clips": clips,
            "max_words": 20,
            "unknown_words": "drop",
            "nms_threshold": 0.45,
        }
        for name, clips in (("charades_sta", 64), ("activitynet_captions", 200), ("tacos", 200))
    }

    processor_fields: ClassVar[dict[str, str]] = {"num_clips": "num_clips", "max_words": "max_words"}
    usual_benchmark: ClassVar[str | None] = "charades_sta"

    def __post_init__(self, **kwargs):
        super().__post_init__(**kwargs)
        if self.project_features is None:
            self.project_features = self.feature_dim != self.frame_size

    @classmethod
    def _preset(cls, benchmark: str | None, variant: str) -> dict[str, Any]:
        return super()._preset(benchmark, variant) | _EXCEPTIONS.get((benchmark, variant), {})

    @classmethod
    def processor_defaults(cls, benchmark: str | None = None, variant: str = "default") -> dict[str, Any]:
        """See the base class. The published code sees its padding, so ``official`` pads every sentence alike."""
        return super().processor_defaults(benchmark, variant) | {"pad_words": variant == "official"}

    @property
    def num_anchors(self) -> int:
        """Anchors A centred on each clip."""
        return len(self.anchor_widths)

    def validate_widths(self):
        """Heads must divide the widths that they split."""
        if self.hidden_size < 2 or self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"hidden_size={self.hidden_size} must be even, for two directions, and a multiple of "
                f"num_attention_heads={self.num_attention_heads}."
            )
        if self.num_local_attention_layers and self.frame_size % self.num_local_attention_heads:
            raise ValueError(
                f"frame_size={self.frame_size} must be a multiple of num_local_attention_heads="
                f"{self.num_local_attention_heads}."
            )

    def validate_counts(self):
        """There must be a block, a clip and a word."""
        for name in ("num_blocks", "num_clips", "max_words", "attention_chunk"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} must be at least 1.")

    def validate_projection(self):
        """Features that are not projected must have the encoder's width."""
        if self.project_features is False and self.feature_dim != self.frame_size:
            raise ValueError(
                f"feature_dim={self.feature_dim} differs from frame_size={self.frame_size}: set project_features=True."
            )

    def validate_anchors(self):
        """There must be anchors, of positive width."""
        if not self.anchor_widths or min(self.anchor_widths) < 1 or self.anchor_scale <= 0:
            raise ValueError(
                f"anchor_widths={self.anchor_widths}, anchor_scale={self.anchor_scale}: give at least one width "
                "of at least 1, and a positive scale."
            )
