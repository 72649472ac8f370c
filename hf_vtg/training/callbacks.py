"""What a recipe changes over time."""

import logging

from torch import nn
from transformers import TrainerCallback, TrainerState

from ..recipe import Recipe

logger = logging.getLogger(__name__)


class RecipeCallback(TrainerCallback):
    """At each epoch's begin: freezes and thaws parameters, and sets the loss weights of the stage."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.hooks = []

    def on_train_begin(self, args, state, control, model=None, **kwargs):
        # Weights that the user froze for good stay frozen.
        self.trainable = {name for name, p in model.named_parameters() if p.requires_grad}

    def on_epoch_begin(self, args, state, control, model=None, **kwargs):
        apply_recipe(model, self.recipe, started_epochs(state) + 1, self.trainable)
        self._remove_hooks()
        if self.recipe.frozen_in_eval:
            self.hooks = [m.register_forward_pre_hook(_to_eval) for m in _frozen_modules(model)]

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self._remove_hooks()
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name in self.trainable)
        model.loss_weights = dict(model.default_loss_weights())

    def _remove_hooks(self):
        for hook in self.hooks:
            hook.remove()
        self.hooks = []


class PlateauCallback(TrainerCallback):
    """After an evaluation: the schedule "plateau" sees its loss, and the rates follow at once."""

    def __init__(self, recipe: Recipe):
        self.sign = -1.0 if recipe.plateau == "-loss" else 1.0
        self.is_training = False

    def on_train_begin(self, args, state, control, **kwargs):
        self.is_training = True

    def on_train_end(self, args, state, control, **kwargs):
        self.is_training = False

    def on_evaluate(self, args, state, control, metrics=None, optimizer=None, lr_scheduler=None, **kwargs):
        if not self.is_training:
            return
        if "eval_loss" not in (metrics or {}):
            logger.warning("The schedule 'plateau' waits for eval_loss, which this evaluation does not give.")
            return
        schedule = getattr(lr_scheduler, "scheduler", lr_scheduler)
        for factor in {id(f): f for f in schedule.lr_lambdas}.values():
            factor.observe(self.sign * metrics["eval_loss"])
        for group, base, factor in zip(
            schedule.optimizer.param_groups, schedule.base_lrs, schedule.lr_lambdas, strict=True
        ):
            group["lr"] = base * factor.factor


class EvaluationEpochs(TrainerCallback):
    """Skips the evaluations that the recipe does not ask for; the last epoch is always evaluated."""

    def __init__(self, recipe: Recipe):
        self.recipe = recipe

    def on_epoch_end(self, args, state, control, **kwargs):
        epoch = round(state.epoch)
        due = epoch >= self.recipe.first_eval_epoch and epoch % self.recipe.eval_epochs == 0
        if not due and state.global_step < state.max_steps:
            control.should_evaluate = False
            control.should_save = False
        return control


def started_epochs(state: TrainerState) -> int:
    """Whole epochs behind a run, also where it goes on in the middle of one."""
    return int((state.epoch or 0) + 1e-6)


def apply_recipe(model: nn.Module, recipe: Recipe, epoch: int, trainable: set[str] | None = None) -> None:
    """Put ``model`` into the recipe's state of ``epoch`` (from 1): ``requires_grad`` and loss weights.

    Args:
        trainable: names of the parameters that may train at all; default every one.
    """
    for name, parameter in model.named_parameters():
        if trainable is None or name in trainable:
            parameter.requires_grad_(not recipe.is_frozen(name, epoch))
    factors = recipe.loss_factors(epoch)
    weights = model.default_loss_weights()
    model.loss_weights = {name: weight * factors.get(name, 1.0) for name, weight in weights.items()}


def _frozen_modules(module: nn.Module) -> list[nn.Module]:
    """The topmost modules whose every parameter is frozen."""
    parameters = list(module.parameters())
    if parameters and not any(p.requires_grad for p in parameters):
        return [module]
    return [frozen for child in module.children() for frozen in _frozen_modules(child)]


def _to_eval(module: nn.Module, inputs) -> None:
    module.eval()
