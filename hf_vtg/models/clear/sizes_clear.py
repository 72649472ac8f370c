"""CLEAR's small sizes: for tests, and for our own benchmarks on a CPU; not what a paper did."""

from ...recipe import Experiment, Sizes
from ..small_sizes import PLANTED, PLANTED_BINS, SHAPES, SHAPES_BINS, overfit_recipe, planted_recipe, shapes_recipe
from .recipes_clear import RECIPES

SIZES = Sizes(
    tiny={
        "feature_dim": 10,
        "num_pre_clips": 16,
        "num_clips": 8,
        "pooling_counts": [3, 2],
        "tcn_channels": [12, 12],
        "tcn_kernel": 3,
        "window_kernels": [1, 2, 5],
        "window_strides": [1, 1, 2],
        "coarse_dim": 8,
        "coarse_query_hidden": 14,
        "fine_hidden": 12,
        "fine_query_hidden": 10,
        "predictor_kernel": 3,
        "predictor_layers": 2,
    },
    prunes=True,
    experiments={
        "moving_shapes": Experiment(
            recipe=shapes_recipe(
                "clear",
                optimizer="adam",
                epochs=54,
                learning_rate=1.5e-3,
                milestones=(42, 50),
                # As published. The official coarse loss is a sum of squares of 256: one norm with it leaves nothing of
                # the fine branch's gradients.
                max_grad_norm=0.0,
                first_eval_epoch=6,
                eval_epochs=4,
            ),
            fields={
                "num_pre_clips": SHAPES,
                "num_clips": SHAPES // 2,
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
            processor={**SHAPES_BINS, "word_pattern": None},
            augmentation=("roll", "thin", "join"),
        ),
        "planted": Experiment(
            recipe=planted_recipe(
                "clear",
                epochs=24,  # at 60 it has learned the 2,000 videos by heart
                learning_rate=2e-3,
                optimizer="adam",
                lr_factors={"^coarse": 0.5},
                per_device_batch_size=64,
                milestones=(17, 22),
            ),
            fields={
                "num_pre_clips": PLANTED,
                "num_clips": 16,
                "pooling_counts": (15,),
                "tcn_channels": (64, 64),
                "tcn_kernel": 3,
                "tcn_dropout": 0.1,
                "window_kernels": (1, 2, 4, 8, 16),
                "window_strides": (1, 1, 1, 2, 4),
                "coarse_dim": 32,
                "coarse_query_hidden": 64,
                "fine_hidden": 64,
                "fine_query_hidden": 64,
                "query_layers": 1,
                "predictor_kernel": 3,
                "predictor_layers": 3,
                "prune": False,
            },
            processor={**PLANTED_BINS, "nms_threshold": 0.5, "max_words": None, "word_pattern": None},
            rows="sentence",
            whole_grid={"prune": False},
        ),
        "charades_real": Experiment(
            recipe=overfit_recipe(RECIPES, steps=300, learning_rate=0.002, lr_factors={"^coarse": 0.5}, milestones=()),
            fields={
                "num_pre_clips": 64,
                "num_clips": 16,
                "tcn_channels": [64, 64],
                "tcn_dropout": 0.0,
                "window_kernels": [1, 2, 4, 8, 16, 32],
                "window_strides": [1, 1, 1, 2, 4, 8],
                "coarse_dim": 32,
                "coarse_query_hidden": 64,
                "fine_hidden": 64,
                "fine_query_hidden": 64,
                "query_layers": 1,
                "predictor_kernel": 3,
                "predictor_layers": 3,
            },
        ),
    },
)
