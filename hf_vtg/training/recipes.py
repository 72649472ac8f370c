"""The papers' training settings as data.

A recipe says everything that changes the numbers: optimiser, groups, schedule, clipping, freezing, loss stages, batch
and accumulation. :class:`VideoGroundingTrainer` applies it; nothing of it is hidden in code.
"""

import dataclasses
import difflib
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import ModelError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LossStage:
    """From ``first_epoch`` (counted from 1) on, the weight of each named loss is multiplied by its factor."""

    first_epoch: int
    factors: Mapping[str, float]


@dataclass(frozen=True)
class Recipe:
    """One experiment. Epochs are counted from 1; patterns are regular expressions searched in parameter names.

    Args:
        lr_factors: pattern -> factor on the learning rate; the first match decides, others take 1.
        milestones: epochs after which the learning rate is multiplied by ``gamma``.
        frozen_epochs: pattern -> number of first epochs in which these parameters do not train. They have no gradient
            then, hence no decay and no optimiser state.
        frozen_in_eval: also switch off the dropout of frozen modules (the published codes keep it on).
        loss_stages: changes of the loss weights over time.
        per_device_batch_size, num_processes: videos of one process's step, and how many processes the published run
            had. Fewer processes accumulate instead (:meth:`accumulation_steps`).
        eval_epochs: evaluate every so many epochs, from epoch ``first_eval_epoch`` on.
    """

    method: str
    benchmark: str | None = None
    variant: str = "default"
    epochs: int = 10
    learning_rate: float = 1e-4
    per_device_batch_size: int = 8
    num_processes: int = 1
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    max_grad_norm: float = 0.0
    frozen_epochs: Mapping[str, int] = field(default_factory=dict)
    frozen_in_eval: bool = False
    loss_stages: tuple[LossStage, ...] = ()
    eval_epochs: int = 1
    first_eval_epoch: int = 1
    metric: str = "R@1,IoU=0.5"
    iou_thresholds: tuple[float, ...] = (0.3, 0.5, 0.7)
    seed: int = 42

    def replace(self, **changes) -> "Recipe":
        """A copy with other values.

        Raises:
            ModelError: for a field that does not exist, or a value of another type.
        """
        names = [f.name for f in dataclasses.fields(self)]
        for name in changes:
            if name not in names:
                near = difflib.get_close_matches(name, names, n=1)
                hint = f" Did you mean {near[0]!r}?" if near else ""
                raise ModelError(f"A recipe has no field {name!r}.{hint} Fields: {', '.join(names)}.")
            if not _is_like(changes[name], getattr(self, name)):
                raise ModelError(
                    f"{name}={changes[name]!r} of a recipe: a value like {getattr(self, name)!r} is needed."
                )
        return dataclasses.replace(self, **changes)

    def to_dict(self) -> dict[str, Any]:
        """JSON-able, as it is saved beside a run."""
        return dataclasses.asdict(self)

    def accumulation_steps(self, world_size: int) -> int:
        """Micro-batches a step so that ``world_size`` processes see the published global batch.

        Where they do not divide it, the nearest below is taken, with a warning that names both.
        """
        steps = max(1, self.num_processes // world_size)
        if steps * world_size != self.num_processes:
            logger.warning(
                "%d processes cannot share the published batch of %d videos evenly: a step sees %d.",
                world_size,
                self.num_processes * self.per_device_batch_size,
                steps * world_size * self.per_device_batch_size,
            )
        return steps

    def lr_factor(self, name: str) -> float:
        """Learning-rate factor of a parameter."""
        return next((factor for pattern, factor in self.lr_factors.items() if re.search(pattern, name)), 1.0)

    def is_frozen(self, name: str, epoch: int) -> bool:
        """Whether a parameter is frozen in ``epoch`` (from 1)."""
        return any(epoch <= last and re.search(pattern, name) for pattern, last in self.frozen_epochs.items())

    def loss_factors(self, epoch: int) -> dict[str, float]:
        """Product of the factors of all stages that have begun, by loss name."""
        factors: dict[str, float] = {}
        for stage in self.loss_stages:
            if epoch >= stage.first_epoch:
                for name, factor in stage.factors.items():
                    factors[name] = factors.get(name, 1.0) * factor
        return factors

    def lr_multiplier(self, step: int, steps_per_epoch: int) -> float:
        """Factor on every learning rate in optimiser step ``step`` (from 0)."""
        passed = sum(step >= milestone * steps_per_epoch for milestone in self.milestones)
        return math.pow(self.gamma, passed)


def _is_like(value: Any, current: Any) -> bool:
    """Whether ``value`` has the type of a recipe's ``current`` one; whole numbers are real ones, lists are tuples."""
    if isinstance(current, (bool, str, Mapping)) or current is None:
        return isinstance(value, (bool, str, Mapping)) and (current is None or isinstance(value, type(current)))
    if isinstance(current, tuple):
        return isinstance(value, (list, tuple)) and not any(isinstance(item, str) for item in value)
    kinds = (int, float) if isinstance(current, float) else int
    return isinstance(value, kinds) and not isinstance(value, bool)


TEXT_MODEL = r"^text_encoder\.model\."


def _mmn(benchmark: str, **fields) -> Recipe:
    """MMN's published settings (specs/mmn.md, section 4)."""
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


_RECIPES = (
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

RECIPES: dict[str, Recipe] = {f"{r.method}/{r.benchmark}": r for r in _RECIPES}


def get_recipe(name: str, **changes) -> Recipe:
    """The recipe ``method/benchmark``, with ``changes`` applied.

    Raises:
        ModelError: for an unknown name, with the nearest known one.
    """
    if name not in RECIPES:
        near = difflib.get_close_matches(name, RECIPES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"Unknown recipe {name!r}.{hint} Known: {', '.join(RECIPES)}.")
    return RECIPES[name].replace(**changes)
