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
        rows: ``video``, all stand-alone sentences of a video in a row; or ``paragraph``, for methods that read one.
    """

    recipe: Recipe
    fields: Mapping[str, Any] = field(default_factory=dict)
    repairs: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    rows: str = "video"


def _recipe(method: str, **fields) -> Recipe:
    shared = {"per_device_batch_size": 8, "max_grad_norm": 5.0, "gamma": 0.2, "seed": 0}
    return Recipe(method=method, benchmark="moving_shapes", **{**shared, **fields})


BINS = {"resampling": "mean_bins", "num_clips": NUM_CLIPS, "legacy_resample": False, "l2_normalize": False}

SHAPES_METHODS: dict[str, ShapesMethod] = {
    "hscnet": ShapesMethod(
        recipe=_recipe(
            "hscnet",
            epochs=40,
            learning_rate=5e-4,
            optimizer="adam",
            per_device_batch_size=16,
            max_grad_norm=10.0,
            milestones=(28, 36),
            eval_epochs=4,
            first_eval_epoch=20,
        ),
        fields={
            "num_clips": NUM_CLIPS,
            "hidden_size": 128,
            "num_attention_heads": 4,
            "intermediate_size": 256,
            "num_feature_layers": 1,
            # "It", "so does the star": a sentence leans on the one before, which a random part would leave out.
            "sample_sentences": False,
            "max_sentences": None,
        },
        processor={**BINS, "word_pattern": None},
        rows="paragraph",
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
    ),
}
