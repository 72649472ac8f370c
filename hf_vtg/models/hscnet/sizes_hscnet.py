"""HSCNet's small sizes: for tests, and for our own benchmarks on a CPU; not what a paper did."""

from ...recipe import Experiment, Sizes
from ..small_sizes import PLANTED, PLANTED_BINS, SHAPES, SHAPES_BINS, overfit_recipe, planted_recipe, shapes_recipe
from .recipes_hscnet import RECIPES

SIZES = Sizes(
    tiny={
        "feature_dim": 10,
        "num_clips": 16,
        "hidden_size": 12,
        "num_attention_heads": 2,
        "intermediate_size": 20,
        "num_feature_layers": 1,
    },
    experiments={
        "moving_shapes": Experiment(
            recipe=shapes_recipe(
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
                "num_clips": SHAPES,
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
            processor=SHAPES_BINS,
            word_norm=1.0,
            augmentation=("roll", "thin"),
        ),
        "planted": Experiment(
            recipe=planted_recipe(
                "hscnet",
                epochs=60,
                learning_rate=1e-3,
                weight_decay=0.1,
                warmup_steps=100,
                max_grad_norm=10.0,
                milestones=(46, 55),
            ),
            fields={
                "num_clips": PLANTED,
                # Wider, with attention among the clips or with less dropout it learns the 2,000 videos by heart.
                "hidden_size": 64,
                "num_attention_heads": 4,
                "intermediate_size": 128,
                "num_feature_layers": 0,
                "dropout": 0.3,
                "temperature": 0.1,
                "grounding_weight": 5.0,
                "sample_sentences": False,
                "max_sentences": None,
            },
            repairs={"initial_gain": 20.0},
            processor={**PLANTED_BINS, "word_pattern": None},
            rows="paragraph",
        ),
        "charades_real": Experiment(
            recipe=overfit_recipe(RECIPES, steps=250, learning_rate=0.0005),
            fields={
                "num_clips": 64,
                "hidden_size": 128,
                "intermediate_size": 512,
                "dropout": 0.0,
                "sample_sentences": False,
            },
        ),
    },
)
