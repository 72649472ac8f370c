"""IA-Net's small sizes: for tests, and for our own benchmarks on a CPU; not what a paper did."""

from ...recipe import Experiment, Sizes
from ..small_sizes import PLANTED, SHAPES, SHAPES_BINS, overfit_recipe, planted_recipe, shapes_recipe
from .recipes_ianet import RECIPES

SIZES = Sizes(
    tiny={
        "feature_dim": 10,
        "num_clips": 16,
        "frame_size": 8,
        "hidden_size": 8,
        "num_attention_heads": 2,
        "num_local_attention_heads": 2,
        "num_blocks": 2,
        "anchor_widths": [2, 5, 9],
        "anchor_scale": 1.0,
    },
    prunes=True,
    experiments={
        "moving_shapes": Experiment(
            recipe=shapes_recipe(
                "ianet", epochs=26, learning_rate=1e-3, warmup_steps=200, milestones=(18, 23), first_eval_epoch=12
            ),
            fields={
                "num_clips": SHAPES,
                "frame_size": 128,
                "hidden_size": 96,
                "num_blocks": 2,
                "dropout": 0.0,
                "anchor_widths": (4, 6, 9, 13, 18),
                "anchor_scale": 1.0,
                "boundary_weight": 0.02,
            },
            processor=SHAPES_BINS,
        ),
        "planted": Experiment(
            recipe=planted_recipe(
                "ianet",
                epochs=40,
                learning_rate=1e-3,
                schedule="inverse_sqrt",
                warmup_steps=100,
                per_device_batch_size=64,
            ),
            fields={
                "num_clips": PLANTED,
                "hidden_size": 128,
                "frame_size": 128,
                "num_blocks": 2,
                "anchor_widths": (4, 7, 10, 14, 20),
                "anchor_scale": 1.0,
                "dropout": 0.1,
            },
            processor={"num_clips": PLANTED, "nms_threshold": 0.5, "word_pattern": None},
            rows="sentence",
        ),
        "charades_real": Experiment(
            recipe=overfit_recipe(RECIPES, steps=450, learning_rate=0.001, warmup_steps=40),
            fields={
                "num_clips": 64,
                "hidden_size": 128,
                "frame_size": 128,
                "dropout": 0.0,
                "anchor_scale": 1.0,
                "boundary_weight": 0.05,
            },
            also={"official anchors": {"anchor_scale": 0.25}},
        ),
    },
)
