"""A small configuration and a recipe of every method for moving_shapes: what fits a CPU, not what a paper did."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .recipes import Recipe

NUM_CLIPS = 64


@dataclass(frozen=True)
class ShapesMethod:
    """How a method is trained on moving_shapes.

    Args:
        recipe: of the training.
        fields: of the configuration, whatever the variant.
        repairs: fields of the default variant alone.
        processor: processor settings that win over the configuration's.
        word_norm: length of the random word vectors; published GloVe vectors have about 6.
        augmentation: kinds of :class:`~hf_vtg.training.augmentation.CutAndJoined` while training.
        rows: ``video``, all stand-alone sentences of a video in a row; or ``paragraph``, for methods that read one.
    """

    recipe: Recipe
    fields: Mapping[str, Any] = field(default_factory=dict)
    repairs: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    word_norm: float = 6.0
    augmentation: tuple[str, ...] = ()
    rows: str = "video"


def _recipe(method: str, **fields) -> Recipe:
    shared = {"per_device_batch_size": 8, "max_grad_norm": 5.0, "gamma": 0.2, "seed": 0}
    return Recipe(method=method, benchmark="moving_shapes", **{**shared, **fields})


BINS = {"resampling": "mean_bins", "num_clips": NUM_CLIPS, "legacy_resample": False, "l2_normalize": False}

SHAPES_METHODS: dict[str, ShapesMethod] = {
    "clear": ShapesMethod(
        recipe=_recipe(
            "clear",
            optimizer="adam",
            epochs=54,
            learning_rate=1.5e-3,
            milestones=(42, 50),
            # As published. The official coarse loss is a sum of squares of 256: one norm with it leaves nothing of the
            # fine branch's gradients.
            max_grad_norm=0.0,
            first_eval_epoch=6,
            eval_epochs=4,
        ),
        fields={
            "num_pre_clips": NUM_CLIPS,
            "num_clips": NUM_CLIPS // 2,
            "pooling_counts": (15, 8),
            "tcn_channels": (96, 96, 96, 96),
            "tcn_kernel": 3,
            "tcn_dropout": 0.0,
            "window_kernels": (1, 2, 3, 4, 6, 8, 11, 16),
            "window_strides": (1, 1, 1, 1, 1, 2, 2, 4),
            "coarse_dim": 96,
            "coarse_query_hidden": 128,
            "fine_hidden": 64,
            "fine_query_hidden": 192,
            "query_layers": 1,
            "query_bidirectional": True,
            "predictor_kernel": 3,
            "predictor_layers": 2,
            # Of eight moments a video the coarse branch mistakes one for another more often than the fine branch.
            "prune": False,
        },
        # The published words end in the sentence's full stop, and the action is often the last.
        processor={**BINS, "word_pattern": None},
        augmentation=("roll", "thin", "join"),
    ),
    "hisa": ShapesMethod(
        recipe=_recipe(
            "hisa",
            optimizer="adam",
            epochs=18,
            learning_rate=1e-3,
            warmup_steps=30,
            milestones=(12, 16),
            first_eval_epoch=6,
            eval_epochs=2,
        ),
        fields={
            "hidden_size": 64,
            "head_hidden_size": 96,
            "query_lstm_bias": True,
            "target_rule": "floor",
            "clip_stride": 1,
            "disentangle_dropout": 0.0,
            "encoder_dropout": 0.0,
            "reconstruction_weight": 0.5,
        },
        repairs={"initial_gain": 2.0},
        processor=BINS,
        augmentation=("roll", "thin"),
    ),
    "ianet": ShapesMethod(
        recipe=_recipe(
            "ianet", epochs=26, learning_rate=1e-3, warmup_steps=200, milestones=(18, 23), first_eval_epoch=12
        ),
        fields={
            "num_clips": NUM_CLIPS,
            "frame_size": 128,
            "hidden_size": 96,
            "num_blocks": 2,
            "dropout": 0.0,
            "anchor_widths": (4, 6, 9, 13, 18),
            "anchor_scale": 1.0,
            "boundary_weight": 0.02,
        },
        processor=BINS,
    ),
    "hscnet": ShapesMethod(
        recipe=_recipe(
            "hscnet",
            optimizer="adam",
            epochs=90,
            learning_rate=1e-3,
            warmup_steps=100,
            per_device_batch_size=16,
            milestones=(66, 82),
            first_eval_epoch=66,
            eval_epochs=4,
            max_grad_norm=10.0,
        ),
        fields={
            "num_clips": NUM_CLIPS,
            "hidden_size": 128,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "num_feature_layers": 1,
            "dropout": 0.0,
            "temperature": 0.1,
            "grounding_weight": 5.0,
            # "It", "so does the star": a sentence leans on the one before, which a random part would leave out.
            "sample_sentences": False,
            "max_sentences": None,
            "strip_punctuation": True,
        },
        processor=BINS,
        word_norm=1.0,
        augmentation=("roll", "thin"),
    ),
    "mmn": ShapesMethod(
        recipe=_recipe(
            "mmn",
            epochs=14,
            learning_rate=1.5e-3,
            betas=(0.9, 0.99),
            weight_decay=1e-4,
            milestones=(9, 12),
            first_eval_epoch=8,
        ),
        fields={
            "num_pre_clips": NUM_CLIPS,
            "num_clips": NUM_CLIPS,
            "pool_kernel_size": 1,
            "hidden_size": 96,
            "conv_hidden_size": 96,
            "joint_size": 96,
            "pooling_counts": (21,),  # moments of moving_shapes take at most 0.3 of a video
            "conv_kernel_size": 3,
            "num_conv_layers": 3,
            "query_encoder": "lstm",
            "contrastive_weight": 0.1,
        },
        repairs={"exclude_positive_from_negatives": True, "intra_video_mask": "exclude"},
        processor={**BINS, "nms_threshold": 0.5, "max_words": None},
        word_norm=1.0,
    ),
}
