"""HiSA's small sizes: for tests, and for our own benchmarks on a CPU; not what a paper did."""

from ...recipe import Experiment, Sizes
from ..small_sizes import SHAPES_BINS, overfit_recipe, planted_recipe, shapes_recipe
from .recipes_hisa import RECIPES

SIZES = Sizes(
    tiny={
        "feature_dim": 10,
        "hidden_size": 6,
        "head_hidden_size": 7,
        "query_lstm_bias": True,
        "clip_stride": 3,
        "num_candidates": 40,
    },
    zero_gradients=("attention.score.bias", "start_head.2.bias", "end_head.2.bias", "inside_head.2.bias"),
    experiments={
        "moving_shapes": Experiment(
            recipe=shapes_recipe(
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
            processor=SHAPES_BINS,
            augmentation=("roll", "thin"),
        ),
        "planted": Experiment(
            recipe=planted_recipe(
                "hisa",
                epochs=12,
                learning_rate=1e-3,
                optimizer="adam",
                lr_factors={"bias": 2.0},
                per_device_batch_size=32,
                milestones=(9, 11),
            ),
            fields={
                "hidden_size": 64,
                "head_hidden_size": 64,
                "clip_stride": 2,
                "query_lstm_bias": True,
                "reconstruction_weight": 1.0,
                "disentangle_dropout": 0.1,
                "encoder_dropout": 0.2,
            },
            processor={"nms_threshold": 0.5, "max_words": None, "word_pattern": None},
            rows="sentence",
            whole_grid={"num_candidates": 10**6},
        ),
        "charades_real": Experiment(
            recipe=overfit_recipe(
                RECIPES, steps=110, rows="video", learning_rate=0.001, schedule="inverse_sqrt", warmup_steps=15
            ),
            fields={
                "feature_dim": 768,
                "hidden_size": 128,
                "head_hidden_size": 128,
                "clip_stride": 2,
                "encoder_dropout": 0.0,
                "disentangle_dropout": 0.0,
            },
        ),
    },
)
