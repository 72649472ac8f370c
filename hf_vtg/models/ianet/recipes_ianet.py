"""IA-Net's published settings (specs/ianet.md, section 5: README and ``main.py`` of liudaizong/IA-Net).

A published batch holds (video, sentence) pairs.
"""

from collections.abc import Mapping
from pathlib import PurePath
from typing import Any

from ...recipe import Recipe

OFFICIAL_OPTIMIZER = "adamw_raw_epsilon"


def _ianet(benchmark: str, **fields) -> tuple[Recipe, ...]:
    """The variants of a benchmark: torch's AdamW, the published optimiser, and the learning rate of the paper."""
    paper_learning_rate = fields.pop("paper_learning_rate", fields["learning_rate"])
    own = Recipe(
        method="ianet", benchmark=benchmark, rows="sentence", schedule="inverse_sqrt", warmup_steps=300, **fields
    )
    return (
        own,
        own.replace(variant="official", optimizer=OFFICIAL_OPTIMIZER),
        own.replace(variant="paper", learning_rate=paper_learning_rate),
    )


RECIPES = (
    *_ianet(
        "charades_sta",
        epochs=80,
        learning_rate=4e-4,
        per_device_batch_size=64,
        warmup_start_lr=1e-7,
        weight_decay=1e-8,
        iou_thresholds=(0.5, 0.7),
    ),
    *_ianet(
        "activitynet_captions",
        epochs=20,
        learning_rate=8e-4,
        per_device_batch_size=128,
        warmup_start_lr=1e-6,
        weight_decay=1e-7,
        iou_thresholds=(0.3, 0.5, 0.7),
    ),
    *_ianet(
        "tacos",
        epochs=60,
        learning_rate=4e-4,
        paper_learning_rate=3e-4,
        per_device_batch_size=64,
        warmup_start_lr=1e-7,
        weight_decay=1e-8,
        metric="R@1,IoU=0.3",
        iou_thresholds=(0.1, 0.3, 0.5),
    ),
)


def official_recipe(official: Mapping[str, Any]) -> Recipe:
    """The recipe of an official training run, from the configuration of a golden training curve.

    One folder may hold curves of several optimisers; ``curve``, the manifest's entry, tells which is meant.
    """
    optimizer, schedule, training = (official[key] for key in ("optimizer", "schedule", "training"))
    name = optimizer["class"]
    if isinstance(name, Mapping):
        name = name[PurePath(official["curve"]["file"]).stem]
    return Recipe(
        method="ianet",
        variant="official",
        epochs=training["epochs"],
        optimizer="adamw" if name == "torch.optim.AdamW" else OFFICIAL_OPTIMIZER,
        learning_rate=optimizer["lr"],
        betas=tuple(optimizer["betas"]),
        epsilon=optimizer["eps"],
        weight_decay=optimizer["weight_decay"],
        schedule="inverse_sqrt",
        warmup_steps=schedule["warmup_updates"],
        warmup_start_lr=schedule["warmup_init_lr"],
    )
