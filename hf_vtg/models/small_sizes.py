"""What the small sizes of all methods share: recipes and resampling of our own benchmarks (``sizes_<method>.py``)."""

from collections.abc import Iterable

from ..recipe import Recipe

# Clips of a video.
SHAPES, PLANTED = 64, 32
SHAPES_BINS = {"resampling": "mean_bins", "num_clips": SHAPES, "legacy_resample": False, "l2_normalize": False}
PLANTED_BINS = {**SHAPES_BINS, "num_clips": PLANTED}
SHARED = {"max_grad_norm": 5.0, "gamma": 0.2, "seed": 0}


def shapes_recipe(method: str, **fields) -> Recipe:
    """For moving_shapes: 1,200 videos."""
    return Recipe(method=method, benchmark="moving_shapes", **{**SHARED, "per_device_batch_size": 8, **fields})


def planted_recipe(method: str, **fields) -> Recipe:
    """For features that are planted into 2,000 videos of Charades-STA."""
    return Recipe(method=method, benchmark="jsonl", **{**SHARED, "per_device_batch_size": 16, **fields})


def overfit_recipe(recipes: Iterable[Recipe], steps: int, **fields) -> Recipe:
    """For learning the 15 videos of charades_real by heart: the method's own for Charades-STA, one batch an epoch."""
    own = next(recipe for recipe in recipes if (recipe.benchmark, recipe.variant) == ("charades_sta", "default"))
    batch = {"per_device_batch_size": 15, "num_processes": 1, "iou_thresholds": (0.5, 0.7), "seed": 0}
    return own.replace(epochs=steps, **{**batch, **fields})
