"""2D-TAN's published settings (specs/tan2d.md: the YAML files and the training script of microsoft/VideoX).

The published code lowers the rate when minus the loss of the validation split has not fallen for long, so while it
learns; the default waits for the loss itself. Where a benchmark has no validation split (Charades-STA) the rate stays.
"""

from ...recipe import Recipe, both_variants


def _tan2d(benchmark: str, *iou_thresholds: float) -> Recipe:
    return Recipe(
        method="tan2d",
        benchmark=benchmark,
        rows="sentence",
        epochs=100,
        optimizer="adam",
        learning_rate=1e-4,
        per_device_batch_size=32,
        schedule="plateau",
        gamma=0.8,
        patience=20,
        max_grad_norm=10.0,
        iou_thresholds=iou_thresholds,
    )


RECIPES = both_variants(
    _tan2d("charades_sta", 0.5, 0.7),
    _tan2d("activitynet_captions", 0.3, 0.5, 0.7),
    _tan2d("tacos", 0.1, 0.3, 0.5, 0.7),
    plateau="-loss",
)
