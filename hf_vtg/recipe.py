"""What a method's folder says about its trainings, as data: recipes, small sizes, and what the paper states.

A :class:`Recipe` is everything that changes the numbers of a training: optimiser, groups, schedule, clipping,
freezing, loss stages, batch and accumulation. :class:`VideoGroundingTrainer` applies it; nothing of it is hidden in
code.
"""

import dataclasses
import difflib
import logging
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .errors import ModelError

logger = logging.getLogger(__name__)

OPTIMIZERS = ("adamw", "adam", "adamw_raw_epsilon")
SCHEDULES = ("milestones", "inverse_sqrt", "plateau")
# What the schedule "plateau" waits for to fall: the loss of the evaluation, or (2D-TAN as published) minus that loss.
PLATEAUS = ("loss", "-loss")
ROWS = ("sentence", "video", "paragraph")
# Least and greatest possible value of a field, or of each of its items.
RANGES = {
    "epochs": (1, 10**6),
    "learning_rate": (1e-12, 1e3),
    "per_device_batch_size": (1, 10**6),
    "num_processes": (1, 10**6),
    "betas": (0, 1 - 1e-9),
    "epsilon": (0, 1),
    "weight_decay": (0, 1e3),
    "warmup_steps": (0, 10**9),
    "warmup_start_lr": (0, 1e3),
    "milestones": (0, 10**6),
    "gamma": (0, 1e3),
    "patience": (0, 10**6),
    "max_grad_norm": (0, 1e9),
    "eval_epochs": (1, 10**6),
    "first_eval_epoch": (1, 10**6),
    "iou_thresholds": (0, 1),
    "seed": (0, 2**32 - 1),
}
# Parameters of the text encoder: of a Hugging Face model, and no parameter at all of a word table.
TEXT_MODEL = r"^text_encoder\.model\."


@dataclass(frozen=True)
class LossStage:
    """From ``first_epoch`` (counted from 1) on, the weight of each named loss is multiplied by its factor."""

    first_epoch: int
    factors: Mapping[str, float]


@dataclass(frozen=True)
class Recipe:
    """One experiment. Epochs are counted from 1; patterns are regular expressions searched in parameter names.

    Args:
        optimizer: "adamw"; "adam", whose decay is added to the gradient (L2); or "adamw_raw_epsilon"
            (:class:`AdamWRawEpsilon`).
        lr_factors: pattern -> factor on the learning rate; the first match decides, others take 1.
        decay_factors: pattern -> factor on the weight decay, likewise.
        schedule: "milestones", constant between them; "inverse_sqrt", falling as sqrt(``warmup_steps`` / step); or
            "plateau", multiplied by ``gamma`` after more than ``patience`` evaluations without a lower ``plateau``
            (torch's ReduceLROnPlateau; without evaluations it stays constant).
        warmup_steps: first optimiser steps, in which the learning rate rises linearly from ``warmup_start_lr``.
        milestones: epochs after which the learning rate is multiplied by ``gamma``.
        frozen_epochs: pattern -> number of first epochs in which these parameters do not train. They have no gradient
            then, hence no decay and no optimiser state.
        frozen_in_eval: also switch off the dropout of frozen modules (the published codes keep it on).
        loss_stages: changes of the loss weights over time.
        per_device_batch_size, num_processes: videos of one process's step, and how many processes the published run
            had. Fewer processes accumulate instead (:meth:`accumulation_steps`).
        rows: configuration of the benchmark that a published batch is made of: ``sentence``, ``video`` (all sentences
            of a video together) or ``paragraph``.
        eval_epochs: evaluate every so many epochs, from epoch ``first_eval_epoch`` on.
    """

    method: str
    benchmark: str | None = None
    variant: str = "default"
    epochs: int = 10
    learning_rate: float = 1e-4
    per_device_batch_size: int = 8
    num_processes: int = 1
    optimizer: str = "adamw"
    betas: tuple[float, float] = (0.9, 0.999)
    epsilon: float = 1e-8
    weight_decay: float = 0.0
    lr_factors: Mapping[str, float] = field(default_factory=dict)
    decay_factors: Mapping[str, float] = field(default_factory=dict)
    schedule: str = "milestones"
    warmup_steps: int = 0
    warmup_start_lr: float = 0.0
    milestones: tuple[int, ...] = ()
    gamma: float = 0.1
    patience: int = 10
    plateau: str = "loss"
    max_grad_norm: float = 0.0
    frozen_epochs: Mapping[str, int] = field(default_factory=dict)
    frozen_in_eval: bool = False
    loss_stages: tuple[LossStage, ...] = ()
    rows: str = "video"
    eval_epochs: int = 1
    first_eval_epoch: int = 1
    metric: str = "R@1,IoU=0.5"
    iou_thresholds: tuple[float, ...] = (0.3, 0.5, 0.7)
    seed: int = 42

    def __post_init__(self):
        choices = {"optimizer": OPTIMIZERS, "schedule": SCHEDULES, "rows": ROWS, "plateau": PLATEAUS}
        for name, known in choices.items():
            if getattr(self, name) not in known:
                raise ModelError(f"{name}={getattr(self, name)!r} of a recipe is not known: {', '.join(known)}.")
        for name, (low, high) in RANGES.items():
            value = getattr(self, name)
            items = value if isinstance(value, (list, tuple)) else [value]
            if not all(isinstance(item, (int, float)) and low <= item <= high for item in items):
                raise ModelError(f"{name}={value!r} of a recipe: {low:g} to {high:g} is possible.")
        if self.schedule == "plateau":
            for name in ("warmup_steps", "milestones"):
                if getattr(self, name):
                    raise ModelError(f"{name}={getattr(self, name)} of a recipe: the schedule 'plateau' has none.")
            if not 0 < self.gamma < 1:
                raise ModelError(f"gamma={self.gamma} of a recipe: 'plateau' multiplies the rate by 0 < gamma < 1.")
        if len(self.betas) != 2:
            raise ModelError(f"betas={self.betas!r} of a recipe: two numbers are needed.")
        thresholds = ["mIoU", *(f"IoU={threshold:g}" for threshold in self.iou_thresholds)]
        if self.metric.rpartition(",")[2] not in thresholds:
            raise ModelError(f"metric={self.metric!r} of a recipe ends in none of {', '.join(thresholds)}.")
        for pattern in (*self.lr_factors, *self.decay_factors, *self.frozen_epochs):
            try:
                re.compile(pattern)
            except re.error as error:
                raise ModelError(f"{pattern!r} of a recipe is no regular expression: {error}.") from error

    @property
    def name(self) -> str:
        """``method/benchmark``, with the variant unless it is the default."""
        parts = (self.method, self.benchmark, None if self.variant == "default" else self.variant)
        return "/".join(part for part in parts if part)

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
        if "loss_stages" in changes:
            changes["loss_stages"] = tuple(_loss_stage(stage) for stage in changes["loss_stages"])
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
        return _first_match(self.lr_factors, name)

    def decay_factor(self, name: str) -> float:
        """Weight-decay factor of a parameter."""
        return _first_match(self.decay_factors, name)

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

    def phase(self, step: int) -> str:
        """What the schedule does in optimiser step ``step`` (from 0): ``warmup``, or its own name."""
        return "warmup" if step < self.warmup_steps else self.schedule

    def lr_multiplier(self, step: int, steps_per_epoch: int) -> float:
        """Factor on every learning rate in optimiser step ``step`` (from 0)."""
        if step < self.warmup_steps:
            start = self.warmup_start_lr / self.learning_rate
            return start + (1 - start) * step / self.warmup_steps
        if self.schedule == "inverse_sqrt":
            return math.sqrt(max(self.warmup_steps, 1) / max(step, 1))
        if self.schedule == "plateau":
            return 1.0  # what evaluations make of it is :class:`training.optimizers.PlateauFactor`
        passed = sum(step >= milestone * steps_per_epoch for milestone in self.milestones)
        return math.pow(self.gamma, passed)


@dataclass(frozen=True)
class Experiment:
    """How a method is trained on a benchmark of our own making, at a size that fits a CPU.

    Args:
        recipe: of the training.
        fields: of the configuration, whatever the variant.
        repairs: fields of the default variant alone.
        processor: processor settings that win over the configuration's.
        word_norm: length of the random word vectors of moving_shapes; published GloVe vectors have about 6.
        augmentation: kinds of :class:`~hf_vtg.training.augmentation.CutAndJoined` while training.
        rows: ``sentence``; ``video``, all stand-alone sentences of a video in a row; or ``paragraph``.
        whole_grid: fields under which a model answers with every candidate of its grid, whatever it has learned.
        also: further runs to be printed beside, name -> fields that differ.
    """

    recipe: Recipe
    fields: Mapping[str, Any] = field(default_factory=dict)
    repairs: Mapping[str, Any] = field(default_factory=dict)
    processor: Mapping[str, Any] = field(default_factory=dict)
    word_norm: float = 6.0
    augmentation: tuple[str, ...] = ()
    rows: str = "video"
    whole_grid: Mapping[str, Any] = field(default_factory=dict)
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True)
class Sizes:
    """The small sizes of a method.

    Args:
        tiny: fields of the smallest useful configuration, for tests
            (:class:`hf_vtg.testing.VideoGroundingModelTester`).
        prunes: whether ``-inf`` may also be the score of a candidate of a real sentence.
        zero_gradients: parameters whose gradient is zero in exact arithmetic, such as the bias before a softmax.
        experiments: name of one of our benchmarks -> how the method learns it.
    """

    tiny: Mapping[str, Any] = field(default_factory=dict)
    prunes: bool = False
    zero_gradients: tuple[str, ...] = ()
    experiments: Mapping[str, Experiment] = field(default_factory=dict)


@dataclass(frozen=True)
class Paper:
    """A method's publication, for tables and cards.

    Args:
        name: of the method, as its authors write it.
        title, venue, url: of the paper; code: of the official code, if there is any.
        features: of the paper; text: encoders that the package offers.
        parity: what was compared with the official code.
        note: what a reader of its figures must know.
        results: figures that the paper or the official code states, a dict a table: ``benchmark``, ``features``,
            ``source`` and ``metrics`` (R@n,IoU=m and mIoU, in percent); ``label`` where there are several.
    """

    name: str
    title: str
    venue: str
    url: str = ""
    code: str = ""
    features: str = ""
    text: str = "word vectors, any HF text model"
    parity: str = ""
    note: str = ""
    results: tuple[Mapping[str, Any], ...] = ()


def both_variants(*recipes: Recipe, **official: Any) -> tuple[Recipe, ...]:
    """Each recipe as given, and as that of the published code, in which ``official`` fields differ."""
    return tuple(r for own in recipes for r in (own, own.replace(variant="official", **official)))


def _loss_stage(stage: Any) -> LossStage:
    if isinstance(stage, LossStage):
        return stage
    if not isinstance(stage, Mapping) or set(stage) != {"first_epoch", "factors"}:
        raise ModelError(f"{stage!r} of loss_stages: {{'first_epoch': 3, 'factors': {{'loss_vid': 0.5}}}} is needed.")
    return LossStage(**stage)


def _first_match(factors: Mapping[str, float], name: str) -> float:
    return next((factor for pattern, factor in factors.items() if re.search(pattern, name)), 1.0)


def _is_like(value: Any, current: Any) -> bool:
    """Whether ``value`` has the type of a recipe's ``current`` one; whole numbers are real ones, lists are tuples."""
    if isinstance(current, (bool, str, Mapping)) or current is None:
        return isinstance(value, (bool, str, Mapping)) and (current is None or isinstance(value, type(current)))
    if isinstance(current, tuple):
        return isinstance(value, (list, tuple)) and not any(isinstance(item, str) for item in value)
    kinds = (int, float) if isinstance(current, float) else int
    return isinstance(value, kinds) and not isinstance(value, bool)
