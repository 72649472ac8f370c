"""MMN's small sizes: for tests, and for our own benchmarks on a CPU; not what a paper did."""

from ...recipe import Experiment, Sizes
from ..small_sizes import PLANTED, PLANTED_BINS, SHAPES, SHAPES_BINS, overfit_recipe, planted_recipe, shapes_recipe
from .recipes_mmn import RECIPES

SIZES = Sizes(
    tiny={
        "feature_dim": 10,
        "num_pre_clips": 16,
        "num_clips": 8,
        "pooling_counts": [3, 2],
        "hidden_size": 12,
        "conv_hidden_size": 14,
        "joint_size": 8,
        "conv_kernel_size": 3,
        "num_conv_layers": 2,
    },
    experiments={
        "moving_shapes": Experiment(
            recipe=shapes_recipe(
                "mmn",
                epochs=14,
                learning_rate=1.5e-3,
                betas=(0.9, 0.99),
                weight_decay=1e-4,
                milestones=(9, 12),
                first_eval_epoch=8,
            ),
            fields={
                "num_pre_clips": SHAPES,
                "num_clips": SHAPES,
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
            processor={**SHAPES_BINS, "nms_threshold": 0.5, "max_words": None},
            word_norm=1.0,
        ),
        "planted": Experiment(
            recipe=planted_recipe(
                "mmn", epochs=8, learning_rate=2e-3, betas=(0.9, 0.99), weight_decay=1e-4, milestones=(6,)
            ),
            fields={
                "num_pre_clips": PLANTED,
                "num_clips": 16,
                "pool_kernel_size": 2,
                "hidden_size": 64,
                "conv_hidden_size": 48,
                "joint_size": 64,
                "pooling_counts": (15,),
                "conv_kernel_size": 3,
                "num_conv_layers": 2,
                "query_encoder": "mean",
            },
            processor={**PLANTED_BINS, "nms_threshold": 0.5, "max_words": None},
        ),
        "charades_real": Experiment(
            recipe=overfit_recipe(RECIPES, steps=150, learning_rate=0.0015, milestones=()),
            fields={
                "num_pre_clips": 64,
                "num_clips": 32,
                "pool_kernel_size": 2,
                "pooling_counts": [15, 8],
                "hidden_size": 96,
                "conv_hidden_size": 96,
                "joint_size": 96,
                "conv_kernel_size": 3,
                "num_conv_layers": 2,
                "query_encoder": "lstm",
            },
        ),
    },
)
