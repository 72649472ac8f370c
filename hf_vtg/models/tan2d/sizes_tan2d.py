"""2D-TAN's small sizes: for tests, and for our own benchmarks on a CPU; not what a paper did."""

from ...recipe import Experiment, Sizes
from ..small_sizes import PLANTED, PLANTED_BINS, SHAPES, SHAPES_BINS, overfit_recipe, planted_recipe, shapes_recipe
from .recipes_tan2d import RECIPES

CONV = {"conv": {"proposals": "conv"}}
# Proposals that start as averages are good already: what is behind them learns first.
SLOW_CONV = {"^proposal_conv": 0.1}
# On our own benchmarks no word ends in a full stop, and moments of the same IoU are dropped whatever the proposals.
DECODING = {"nms_threshold": 0.5, "max_words": None, "word_pattern": None}

SIZES = Sizes(
    tiny={
        "feature_dim": 10,
        "num_pre_clips": 16,
        "num_clips": 8,
        "proposals": "conv",
        "pooling_counts": [3, 2],
        "hidden_size": 12,
        "conv_hidden_size": 14,
        "query_hidden_size": 10,
        "query_layers": 2,
        "conv_kernel_size": 3,
        "num_conv_layers": 2,
    },
    experiments={
        "moving_shapes": Experiment(
            recipe=shapes_recipe(
                "tan2d",
                optimizer="adam",
                epochs=14,
                learning_rate=1.5e-3,
                lr_factors=SLOW_CONV,
                per_device_batch_size=4,
                milestones=(9, 12),
                first_eval_epoch=4,
            ),
            fields={
                "num_pre_clips": SHAPES,
                "num_clips": SHAPES // 2,
                "pooling_counts": (10,),  # moments of moving_shapes take at most 0.3 of a video
                "hidden_size": 64,
                "conv_hidden_size": 48,
                "query_hidden_size": 128,
                "query_layers": 1,
                "conv_kernel_size": 3,
                "num_conv_layers": 2,
            },
            processor={**SHAPES_BINS, **DECODING},
            also=CONV,
        ),
        "planted": Experiment(
            recipe=planted_recipe(
                "tan2d",
                optimizer="adam",
                epochs=18,
                learning_rate=2e-3,
                lr_factors=SLOW_CONV,
                per_device_batch_size=64,
                milestones=(13, 16),
            ),
            fields={
                "num_pre_clips": PLANTED,
                "num_clips": 16,
                "pooling_counts": (15,),
                "hidden_size": 64,
                "conv_hidden_size": 64,
                "query_hidden_size": 64,
                "query_layers": 1,
                "conv_kernel_size": 3,
                "num_conv_layers": 3,
            },
            processor={**PLANTED_BINS, **DECODING},
            rows="sentence",
            also=CONV,
        ),
        "charades_real": Experiment(
            recipe=overfit_recipe(RECIPES, steps=250, learning_rate=2e-3, lr_factors=SLOW_CONV),
            fields={
                "num_pre_clips": 64,
                "num_clips": 16,
                "hidden_size": 64,
                "conv_hidden_size": 64,
                "query_hidden_size": 64,
                "query_layers": 1,
                "conv_kernel_size": 3,
                "num_conv_layers": 3,
            },
            also=CONV,
        ),
    },
)
