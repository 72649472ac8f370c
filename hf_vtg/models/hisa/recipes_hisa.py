"""HiSA's published settings (specs/hisa.md, section 4: the YAML files, ``solver/build.py`` and ``engine/build.py``).

A published batch is of (video, sentence) pairs.
"""

from collections.abc import Mapping
from typing import Any

from ...recipe import TEXT_MODEL, Recipe, both_variants


def _hisa(benchmark: str, learning_rate: float, batch_size: int, iou_thresholds: tuple[float, ...]) -> Recipe:
    return Recipe(
        method="hisa",
        benchmark=benchmark,
        optimizer="adam",
        rows="sentence",
        epochs=50,
        learning_rate=learning_rate,
        per_device_batch_size=batch_size,
        weight_decay=1e-5,
        # A Hugging Face text model, which the published method does not have, takes smaller steps.
        lr_factors={TEXT_MODEL: 0.01, "bias": 2.0},
        decay_factors={"bias": 0.0},
        iou_thresholds=iou_thresholds,
    )


RECIPES = both_variants(
    _hisa("charades_sta", 1e-3, 64, (0.3, 0.5, 0.7)),
    _hisa("activitynet_captions", 1e-4, 8, (0.3, 0.5, 0.7)),
    _hisa("tacos", 1e-3, 16, (0.1, 0.3, 0.5)),
)


def official_recipe(official: Mapping[str, Any]) -> Recipe:
    """The recipe of an official training run, from the configuration of a golden training curve."""
    optimizer, training = official["optimizer"], official["training"]
    clip = official.get("clip_grad_norm") or {}
    return Recipe(
        method="hisa",
        variant="official",
        optimizer="adam",
        epochs=training["epochs"],
        learning_rate=optimizer["lr"],
        betas=tuple(optimizer["betas"]),
        epsilon=optimizer["eps"],
        weight_decay=optimizer["weight_decay"],
        lr_factors={"bias": optimizer["bias_lr_factor"]},
        decay_factors={"bias": optimizer["bias_weight_decay"] / optimizer["weight_decay"]},
        max_grad_norm=clip.get("max_norm", 0.0),
    )
