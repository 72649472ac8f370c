"""Recipes of official training runs, read from the configuration that golden training curves carry."""

from collections.abc import Mapping
from typing import Any

from ..errors import ModelError
from .recipes import TEXT_MODEL, LossStage, Recipe


def official_recipe(method: str, official: Mapping[str, Any]) -> Recipe:
    """The recipe of an official run of ``method``.

    Raises:
        ModelError: for a method whose runs are not known.
    """
    if method not in READERS:
        raise ModelError(f"No official training run of method {method!r} is known. Known: {', '.join(READERS)}.")
    return READERS[method](official)


def mmn_recipe(official: Mapping[str, Any]) -> Recipe:
    """The recipe of an official training run, from the flat configuration of a golden training curve."""
    optimizer, schedule, training = (official[key] for key in ("optimizer", "schedule", "training"))
    late = training["late_contrastive_factor"]
    return Recipe(
        method="mmn",
        variant="official",
        epochs=training["epochs"],
        learning_rate=optimizer["lr"],
        betas=tuple(optimizer["betas"]),
        epsilon=optimizer["eps"],
        weight_decay=optimizer["weight_decay"],
        lr_factors={TEXT_MODEL: next(g["lr_factor"] for g in optimizer["groups"] if g["name"] == "bert")},
        milestones=tuple(schedule["milestones"]),
        gamma=schedule["gamma"],
        max_grad_norm=official["clip_grad_norm"]["max_norm"],
        frozen_epochs={TEXT_MODEL: training["freeze_bert_epochs"]},
        loss_stages=(
            LossStage(training["last_epoch_with_full_contrastive"] + 1, {"loss_vid": late, "loss_sent": late}),
        ),
    )


READERS = {"mmn": mmn_recipe}
