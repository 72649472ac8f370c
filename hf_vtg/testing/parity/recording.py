"""A training run on stored batches that writes down what each step did."""

import math
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn
from torch.utils.data import Dataset, SequentialSampler
from transformers import PrinterCallback, TrainerCallback

from ...recipe import Recipe
from ...training.arguments import VideoGroundingTrainingArguments
from ...training.trainer import VideoGroundingTrainer


class StoredBatches(Dataset):
    """An epoch of ready-made batches; ``order`` is the index of the batch of each step of the whole run."""

    def __init__(self, batches: Mapping[int, dict[str, Any]], order: list[int], steps_per_epoch: int):
        self.batches, self.order, self.steps_per_epoch = batches, order, steps_per_epoch
        self.epoch = 0

    def __len__(self) -> int:
        return self.steps_per_epoch

    def __getitem__(self, index: int) -> dict[str, Any]:
        batch = self.order[self.epoch * self.steps_per_epoch + index]
        return {**self.batches[batch], "metadata": [{"batch": batch}]}

    def set_epoch(self, epoch: int) -> None:
        self.epoch = epoch


class StepRecorder(TrainerCallback):
    """What is visible before and after the optimiser's step.

    Args:
        group_of: name of one of our parameters -> group of the published code.
    """

    def __init__(self, model: nn.Module, group_of: Callable[[str], str]):
        self.group_of = group_of
        self.start = {name: p.detach().clone() for name, p in model.named_parameters()}
        self.groups = sorted({group_of(name) for name in self.start})
        self.steps: list[dict[str, Any]] = []
        self.epoch = 0

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.epoch += 1

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        # The Trainer has clipped by now.
        norm = self.steps[-1]["grad_norm"]
        self.steps[-1]["clipped"] = _norm(p.grad for p in model.parameters()) < norm * (1 - 1e-6)

    def on_step_end(self, args, state, control, model=None, **kwargs):
        moved = {name: p.detach().double() - self.start[name].double() for name, p in model.named_parameters()}
        self.steps[-1]["distance_from_start"] = {
            group: _norm(d for name, d in moved.items() if self.group_of(name) == group) for group in self.groups
        }

    def gradients(self, model: nn.Module) -> dict[str, float | None]:
        """L2 norms before clipping, over all parameters and over each group; None where nothing has a gradient."""
        parameters = {name: p for name, p in model.named_parameters() if p.grad is not None}
        norms: dict[str, float | None] = {"grad_norm": _norm(p.grad for p in parameters.values())}
        for group in self.groups:
            members = [p.grad for name, p in parameters.items() if self.group_of(name) == group]
            norms[f"grad_norm_{group}"] = _norm(members) if members else None
        return norms

    def learning_rates(self, model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, float]:
        """The rate of each group; NaN if its parameters are stepped at different rates, or not at all."""
        rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
        found: dict[str, set[float]] = {group: set() for group in self.groups}
        for name, parameter in model.named_parameters():
            found[self.group_of(name)].add(rates.get(id(parameter), math.nan))
        return {group: values.pop() if len(values) == 1 else math.nan for group, values in found.items()}


class RecordingTrainer(VideoGroundingTrainer):
    """The package's trainer, watched."""

    def __init__(self, *args, recorder: StepRecorder, observe: Callable[..., dict[str, Any]], **kwargs):
        super().__init__(*args, **kwargs)
        self.recorder, self.observe = recorder, observe
        self.add_callback(recorder)

    def _get_train_sampler(self, train_dataset=None):
        return SequentialSampler(self.train_dataset)

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        loss, output = super().compute_loss(model, inputs, True, num_items_in_batch)
        self.recorder.steps.append(
            {
                "step": len(self.recorder.steps) + 1,
                "epoch": self.recorder.epoch,
                "phase": self.recipe.phase(len(self.recorder.steps)),
                "batch": inputs["metadata"][0]["batch"],
                "lr": self.recorder.learning_rates(model, self.optimizer),
                "total": float(loss.detach()),
                **{name: float(value) for name, value in output.losses.items()},
                **self.observe(model, output, inputs, len(self.recorder.steps) + 1),
            }
        )
        return (loss, output) if return_outputs else loss

    def training_step(self, model, *args, **kwargs):
        loss = super().training_step(model, *args, **kwargs)
        self.recorder.steps[-1].update(self.recorder.gradients(model))
        return loss


def _norm(tensors) -> float:
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors if t is not None))


def record_training(
    model: nn.Module,
    recipe: Recipe,
    batches: Mapping[int, dict[str, Any]],
    order: list[int],
    steps_per_epoch: int,
    group_of: Callable[[str], str],
    observe: Callable[..., dict[str, Any]],
) -> list[dict[str, Any]]:
    """Train ``model`` by ``recipe`` on stored batches, in place.

    Returns:
        one dict a step: step, epoch, phase, batch, losses, total, lr, gradient norms before clipping, whether clipping
        was active, distance from the start after the step, and what ``observe(model, output, inputs, step)`` adds.
    """
    recorder = StepRecorder(model, group_of)
    with tempfile.TemporaryDirectory(prefix="hf_vtg_parity_") as folder:
        arguments = VideoGroundingTrainingArguments.from_recipe(
            recipe,
            folder,
            per_device_train_batch_size=1,
            gradient_accumulation_steps=1,
            eval_strategy="no",
            save_strategy="no",
            logging_strategy="no",
            load_best_model_at_end=False,
            disable_tqdm=True,
            use_cpu=True,
        )
        trainer = RecordingTrainer(
            model=model,
            args=arguments,
            recipe=recipe,
            train_dataset=StoredBatches(batches, order, steps_per_epoch),
            data_collator=_only_row,
            recorder=recorder,
            observe=observe,
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return recorder.steps


def _only_row(rows: list[dict[str, Any]]) -> dict[str, Any]:
    return rows[0]
