"""A narrow configuration and a recipe of every method for planted features (:mod:`hf_vtg.benchmarks.planted`)."""

from .recipes import Recipe
from .shapes_methods import ShapesMethod

NUM_CLIPS = 32


def _recipe(method: str, **fields) -> Recipe:
    shared = {"per_device_batch_size": 16, "max_grad_norm": 5.0, "gamma": 0.2, "seed": 0}
    return Recipe(method=method, benchmark="jsonl", **{**shared, **fields})


BINS = {"resampling": "mean_bins", "num_clips": NUM_CLIPS, "legacy_resample": False, "l2_normalize": False}

PLANTED_METHODS: dict[str, ShapesMethod] = {
    "mmn": ShapesMethod(
        recipe=_recipe("mmn", epochs=10, learning_rate=1e-3, betas=(0.9, 0.99), weight_decay=1e-4, milestones=(7, 9)),
        fields={
            "num_pre_clips": NUM_CLIPS,
            "num_clips": 16,
            "pool_kernel_size": 2,
            "hidden_size": 96,
            "conv_hidden_size": 96,
            "joint_size": 96,
            "pooling_counts": (15,),
            "conv_kernel_size": 3,
            "num_conv_layers": 3,
            "query_encoder": "mean",
        },
        processor={**BINS, "nms_threshold": 0.5, "max_words": None},
    ),
}
