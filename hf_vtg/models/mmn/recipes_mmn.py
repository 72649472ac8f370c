"""MMN's published settings (specs/mmn.md, section 4: the YAML files and ``train_net.py`` of MCG-NJU/MMN)."""

from collections.abc import Mapping
from typing import Any

from ...recipe import TEXT_MODEL, LossStage, Recipe, both_variants


def _mmn(benchmark: str, **fields) -> Recipe:
    freeze, full = fields.pop("freeze_text"), fields.pop("contrastive_full_epochs")
    late = {"loss_vid": 0.01, "loss_sent": 0.01}
    return Recipe(
        method="mmn",
        benchmark=benchmark,
        betas=(0.9, 0.99),
        weight_decay=1e-5,
        lr_factors={TEXT_MODEL: 0.1},
        max_grad_norm=5.0,
        frozen_epochs={TEXT_MODEL: freeze},
        loss_stages=(LossStage(full + 1, late),),
        seed=25285,
        **fields,
    )


RECIPES = both_variants(
    _mmn(
        "charades_sta",
        epochs=18,
        learning_rate=1e-4,
        per_device_batch_size=12,
        num_processes=4,
        milestones=(8, 13),
        freeze_text=4,
        contrastive_full_epochs=7,
        iou_thresholds=(0.5, 0.7),
    ),
    _mmn(
        "activitynet_captions",
        epochs=18,
        learning_rate=8e-4,
        per_device_batch_size=8,
        num_processes=6,
        milestones=(7, 15),
        freeze_text=4,
        contrastive_full_epochs=6,
        first_eval_epoch=4,
        iou_thresholds=(0.3, 0.5, 0.7),
    ),
    _mmn(
        "tacos",
        epochs=250,
        learning_rate=1.5e-3,
        per_device_batch_size=2,
        num_processes=2,
        milestones=(130, 190),
        freeze_text=40,
        contrastive_full_epochs=100,
        eval_epochs=10,
        metric="R@1,IoU=0.3",
        iou_thresholds=(0.1, 0.3, 0.5),
    ),
)


def official_recipe(official: Mapping[str, Any]) -> Recipe:
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
