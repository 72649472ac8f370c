"""CLEAR's published settings (specs/clear.md, section 6: ``train/*.py`` of Huyp777/CSUN); Charades-STA is our choice.

The published runs train on train and val together; here the best epoch on val is kept (``train_split="train"``).
"""

from ...recipe import Recipe, both_variants


def _clear(benchmark: str, **fields) -> Recipe:
    return Recipe(
        method="clear", benchmark=benchmark, optimizer="adam", rows="sentence", per_device_batch_size=32, **fields
    )


RECIPES = both_variants(
    _clear("charades_sta", epochs=16, learning_rate=5e-4, milestones=(7, 11, 14), iou_thresholds=(0.5, 0.7)),
    _clear("activitynet_captions", epochs=6, learning_rate=5e-4, milestones=(3, 5), iou_thresholds=(0.3, 0.5, 0.7)),
    _clear("tacos", epochs=16, learning_rate=1.3e-3, milestones=(7, 11, 14), iou_thresholds=(0.1, 0.3, 0.5)),
)
