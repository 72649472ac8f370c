"""Training arguments of grounding models."""

from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import TrainingArguments

from ..errors import ModelError
from ..recipe import Recipe


@dataclass
class VideoGroundingTrainingArguments(TrainingArguments):
    """``TrainingArguments`` with defaults that keep a grounding batch whole, and the metric's settings.

    Everything that a :class:`Recipe` names is taken from the recipe; :meth:`from_recipe` fills both.
    """

    remove_unused_columns: bool = field(default=False, metadata={"help": "The collator needs every column."})
    iou_thresholds: list[float] = field(
        default_factory=lambda: [0.3, 0.5, 0.7], metadata={"help": "Thresholds m of R@n,IoU=m."}
    )
    ranks: list[int] = field(default_factory=lambda: [1, 5], metadata={"help": "Ranks n of R@n,IoU=m."})
    inclusive: bool = field(default=False, metadata={"help": "Count IoU >= m as a hit instead of IoU > m."})
    top_k: int = field(default=10, metadata={"help": "Moments kept a sentence in predictions."})
    nms_threshold: float | None = field(default=None, metadata={"help": "Default: the processor's."})

    def __post_init__(self):
        super().__post_init__()
        if self.remove_unused_columns:
            raise ModelError("remove_unused_columns=True would take from the collator what it needs: leave it False.")
        if not self.ranks or min(self.ranks) < 1:
            raise ModelError(f"ranks={self.ranks}: give the n of R@n, at least one and from 1 on.")
        if not all(0 < threshold <= 1 for threshold in self.iou_thresholds):
            raise ModelError(f"iou_thresholds={self.iou_thresholds}: give the m of IoU=m, above 0 and at most 1.")
        if self.nms_threshold is not None and not 0 < self.nms_threshold <= 1:
            raise ModelError(f"nms_threshold={self.nms_threshold}: give an IoU above 0 and at most 1.")
        if self.top_k < max(self.ranks):
            raise ModelError(
                f"top_k={self.top_k} moments a sentence cannot be measured at rank {max(self.ranks)}: raise top_k, or "
                f"change ranks={self.ranks}."
            )

    @property
    def metric_names(self) -> list[str]:
        """What an evaluation gives: of these one can choose the weights."""
        recalls = [f"R@{rank},IoU={threshold:g}" for rank in self.ranks for threshold in self.iou_thresholds]
        return [*recalls, "mIoU", "loss"]

    @classmethod
    def from_recipe(cls, recipe: Recipe, output_dir: str, world_size: int = 1, **overrides):
        """Arguments that repeat ``recipe`` on ``world_size`` processes; ``overrides`` win."""
        metric = overrides.get("metric_for_best_model") or recipe.metric
        fields = {
            "output_dir": output_dir,
            "num_train_epochs": recipe.epochs,
            "learning_rate": recipe.learning_rate,
            "weight_decay": recipe.weight_decay,
            "adam_beta1": recipe.betas[0],
            "adam_beta2": recipe.betas[1],
            "adam_epsilon": recipe.epsilon,
            "max_grad_norm": recipe.max_grad_norm,
            "per_device_train_batch_size": recipe.per_device_batch_size,
            "per_device_eval_batch_size": recipe.per_device_batch_size,
            "gradient_accumulation_steps": recipe.accumulation_steps(world_size),
            "seed": recipe.seed,
            "iou_thresholds": list(recipe.iou_thresholds),
            "eval_strategy": "epoch",
            "save_strategy": "epoch",
            "logging_strategy": "epoch",
            "metric_for_best_model": recipe.metric,
            "greater_is_better": metric.removeprefix("eval_") != "loss",
            "load_best_model_at_end": True,
            "save_total_limit": 2,
            "report_to": "none",
            "logging_nan_inf_filter": False,
            "use_cpu": not torch.cuda.is_available(),
        }
        return cls(**{**fields, **overrides})

    def recipe_fields(self) -> dict[str, Any]:
        """The fields of a recipe that the Trainer takes from these arguments: what is really run."""
        epochs = self.num_train_epochs
        return {
            "epochs": int(epochs) if epochs == int(epochs) else epochs,
            "learning_rate": self.learning_rate,
            "weight_decay": self.weight_decay,
            "betas": [self.adam_beta1, self.adam_beta2],
            "epsilon": self.adam_epsilon,
            "max_grad_norm": self.max_grad_norm,
            "per_device_batch_size": self.per_device_train_batch_size,
            "num_processes": self.gradient_accumulation_steps * self.world_size,
            "seed": self.seed,
            "iou_thresholds": list(self.iou_thresholds),
            "metric": self.metric_for_best_model,
        }
