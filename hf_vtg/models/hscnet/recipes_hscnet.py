"""HSCNet's settings (specs/hscnet.md, section 7): the paper's optimiser and batches; epochs and clipping as in PRVG.

The paper names no schedule, so there is none. It does not use
Charades-STA: the values are those of ActivityNet Captions.
"""

from ...recipe import Recipe, both_variants


def _hscnet(benchmark: str, **fields) -> Recipe:
    return Recipe(
        method="hscnet",
        benchmark=benchmark,
        optimizer="adam",
        rows="paragraph",
        learning_rate=1e-4,
        max_grad_norm=10.0,
        metric="mIoU",
        seed=0,
        **fields,
    )


RECIPES = both_variants(
    _hscnet("charades_sta", epochs=50, per_device_batch_size=32),
    _hscnet("activitynet_captions", epochs=50, per_device_batch_size=32),
    _hscnet("tacos", epochs=100, per_device_batch_size=16, iou_thresholds=(0.1, 0.3, 0.5)),
)
