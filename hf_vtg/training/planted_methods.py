"""A narrow configuration and a recipe of every method for planted features (:mod:`hf_vtg.benchmarks.planted`)."""

from .recipes import Recipe
from .shapes_methods import ShapesMethod

NUM_CLIPS = 32


def _recipe(method: str, **fields) -> Recipe:
    shared = {"per_device_batch_size": 16, "max_grad_norm": 5.0, "gamma": 0.2, "seed": 0}
    return Recipe(method=method, benchmark="jsonl", **{**shared, **fields})


BINS = {"resampling": "mean_bins", "num_clips": NUM_CLIPS, "legacy_resample": False, "l2_normalize": False}

# Under these fields a model answers with every candidate of its grid, whatever it has learned.
WHOLE_GRID = {"clear": {"prune": False}, "hisa": {"num_candidates": 10**6}}

PLANTED_METHODS: dict[str, ShapesMethod] = {
    "clear": ShapesMethod(
        recipe=_recipe(
            "clear",
            epochs=24,  # at 60 it has learned the 2,000 videos by heart
            learning_rate=2e-3,
            optimizer="adam",
            lr_factors={"^coarse": 0.5},
            per_device_batch_size=64,
            milestones=(17, 22),
        ),
        fields={
            "num_pre_clips": NUM_CLIPS,
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
        processor={**BINS, "nms_threshold": 0.5, "max_words": None, "word_pattern": None},
        rows="sentence",
    ),
    "hisa": ShapesMethod(
        recipe=_recipe(
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
    ),
    "hscnet": ShapesMethod(
        recipe=_recipe(
            "hscnet",
            epochs=60,
            learning_rate=1e-3,
            weight_decay=0.1,
            warmup_steps=100,
            max_grad_norm=10.0,
            milestones=(46, 55),
        ),
        fields={
            "num_clips": NUM_CLIPS,
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
        processor={**BINS, "word_pattern": None},
        rows="paragraph",
    ),
    "ianet": ShapesMethod(
        recipe=_recipe(
            "ianet",
            epochs=40,
            learning_rate=1e-3,
            schedule="inverse_sqrt",
            warmup_steps=100,
            per_device_batch_size=64,
        ),
        fields={
            "num_clips": NUM_CLIPS,
            "hidden_size": 128,
            "frame_size": 128,
            "num_blocks": 2,
            "anchor_widths": (4, 7, 10, 14, 20),
            "anchor_scale": 1.0,
            "dropout": 0.1,
        },
        processor={"num_clips": NUM_CLIPS, "nms_threshold": 0.5, "word_pattern": None},
        rows="sentence",
    ),
    "mmn": ShapesMethod(
        recipe=_recipe("mmn", epochs=8, learning_rate=2e-3, betas=(0.9, 0.99), weight_decay=1e-4, milestones=(6,)),
        fields={
            "num_pre_clips": NUM_CLIPS,
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
        processor={**BINS, "nms_threshold": 0.5, "max_words": None},
    ),
}
