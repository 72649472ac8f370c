"""Trainer of grounding models: the recipe's optimiser and schedule, and an evaluation that loses no row."""

import contextlib
import json
import logging
import math
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import gather_object
from torch import nn
from torch.optim.lr_scheduler import LambdaLR
from torch.utils.data import DataLoader, Dataset
from transformers import Trainer
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR, EvalLoopOutput

from ..errors import ModelError
from ..files import atomic_path, cannot_write
from ..hub.cards import model_card
from ..hub.publishing import uploading
from ..metrics import grounding_metrics
from ..recipe import Recipe
from .arguments import VideoGroundingTrainingArguments
from .augmentation import CutAndJoined
from .callbacks import EvaluationEpochs, PlateauCallback, RecipeCallback
from .collator import VideoGroundingCollator
from .optimizers import PlateauFactor, build_optimizer
from .paragraph_rows import SampledEpochs, SampledSentences, evaluation_rows, training_rows

logger = logging.getLogger(__name__)

# Parts of a batch that describe it and are no model inputs.
DESCRIPTIONS = ("metadata", "durations")


class NumberedRows(Dataset):
    """Rows with their ``row_index``: equal rows are legitimate (TACoS), repeated ones are not."""

    def __init__(self, rows):
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        return {**self.rows[index], "row_index": index}


class VideoGroundingTrainer(Trainer):
    """``transformers.Trainer`` for grounding models.

    Args:
        model: any :class:`VideoGroundingPreTrainedModel`.
        args: :class:`VideoGroundingTrainingArguments`; see its ``from_recipe``.
        recipe: what changes over time, the groups and the schedule; None = the Trainer's own optimiser and schedule.
        processing_class: the :class:`VideoGroundingProcessor`; saved with every checkpoint, decodes the evaluation.
        data_collator: :class:`VideoGroundingCollator`; default one of the processor, for rows that carry their
            ``video_features``.
        kwargs: as in ``Trainer``. Datasets are indexable: rows of the data schema are small, so nothing is streamed.
    """

    # Losses are means over the micro-batch, as published.
    loss_is_scaled_for_ga = False

    def __init__(
        self, model=None, args: VideoGroundingTrainingArguments = None, recipe: Recipe | None = None, **kwargs
    ):
        self.recipe = recipe
        if args is not None and not isinstance(args, VideoGroundingTrainingArguments):
            raise ModelError(f"args is of {type(args).__name__}: VideoGroundingTrainingArguments are needed.")
        if kwargs.get("compute_metrics") is not None:
            raise ModelError(
                "compute_metrics would not be called: this Trainer computes R@n,IoU=m and mIoU itself. Others can be "
                "computed from the predictions of predict()."
            )
        args = VideoGroundingTrainingArguments(output_dir="tmp_trainer") if args is None else args
        for name in "train_dataset", "eval_dataset":
            kwargs[name] = _indexed(kwargs.get(name), name)
        if kwargs.get("data_collator") is None and kwargs.get("processing_class") is not None:
            kwargs["data_collator"] = VideoGroundingCollator(kwargs["processing_class"])
        super().__init__(model=model, args=args, **kwargs)
        if self.eval_dataset is not None:
            self._check_decodes()
        self._loss_sums: dict[str, list[float]] = {}
        self._note_trained_length()
        self.train_dataset = training_rows(self.train_dataset, self.model.config, self.args.seed)
        if isinstance(self.train_dataset, SampledSentences):
            self.add_callback(SampledEpochs(self.train_dataset))
        if recipe is not None:
            self.add_callback(RecipeCallback(recipe))
            self.add_callback(EvaluationEpochs(recipe))
            if recipe.schedule == "plateau":
                self.add_callback(PlateauCallback(recipe))

    def _check_decodes(self) -> None:
        if not hasattr(self.processing_class, "post_process_video_grounding"):
            raise ModelError(
                f"processing_class is {type(self.processing_class).__name__}: give the VideoGroundingProcessor, which "
                "makes moments of the model's outputs. Nothing can be evaluated without it."
            )

    def _note_trained_length(self) -> None:
        """The processor learns how long the videos of the training are; see its ``trained_seconds``."""
        processor, rows = self.processing_class, self.train_dataset
        if processor is None or rows is None:
            return
        if isinstance(rows, CutAndJoined):
            rows = rows.rows
        if hasattr(rows, "column_names"):
            durations = rows["duration"] if "duration" in rows.column_names else []
        else:
            # A dataset that makes its rows when they are asked for is not read through for this.
            durations = [row["duration"] for row in rows] if isinstance(rows, list) else []
        longest = float(max([*durations, processor.trained_seconds or 0]))
        processor.trained_seconds = longest or None

    def create_optimizer(self, model: nn.Module | None = None) -> torch.optim.Optimizer:
        """The recipe's optimiser; without a recipe that of the arguments."""
        if self.recipe is None:
            return super().create_optimizer() if model is None else super().create_optimizer(model)
        if self.optimizer is None:
            self.optimizer = build_optimizer(self.model if model is None else model, self.recipe, self.args)
        return self.optimizer

    def create_scheduler(self, num_training_steps: int, optimizer: torch.optim.Optimizer | None = None):
        """The recipe's multipliers, counted in optimiser steps so that a resumed run goes on exactly."""
        if self.recipe is None:
            return super().create_scheduler(num_training_steps, optimizer)
        if self.lr_scheduler is None:
            optimizer = self.optimizer if optimizer is None else optimizer
            self.lr_scheduler = LambdaLR(optimizer, self._multiplier(num_training_steps))
            self._created_lr_scheduler = True
        return self.lr_scheduler

    def _multiplier(self, num_training_steps: int) -> Callable[[int], float]:
        """Factor on every learning rate by optimiser step."""
        if self.recipe.schedule == "plateau":
            return PlateauFactor(self.recipe.gamma, self.recipe.patience)
        steps_per_epoch = self._steps_per_epoch(num_training_steps)
        return lambda step: self.recipe.lr_multiplier(step, steps_per_epoch)

    def _steps_per_epoch(self, num_training_steps: int) -> int:
        if self.args.max_steps <= 0:
            return max(1, round(num_training_steps / self.args.num_train_epochs))
        batch = self.args.train_batch_size * self.args.world_size * self.args.gradient_accumulation_steps
        return max(1, math.ceil(len(self.train_dataset) / batch))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        """The model's own weighted loss; its parts are averaged into the log.

        Raises:
            ModelError: no labels, or in training a loss that is not finite.
        """
        inputs = {name: value for name, value in inputs.items() if name not in DESCRIPTIONS}
        output = model(**inputs)
        if output.loss is None:
            raise ModelError("The batch has neither labels nor targets, so there is no loss to train on.")
        if model.training:
            if not bool(output.loss.isfinite()):
                parts = ", ".join(f"{name} {value.item():.4g}" for name, value in output.losses.items())
                raise ModelError(
                    f"The loss of step {self.state.global_step + 1} is {output.loss.item()} ({parts}). Training on "
                    "would spoil every weight: lower learning_rate, clip the gradients (max_grad_norm), train without "
                    "bf16 or fp16, or look for NaN in the features (hf-vtg inspect)."
                )
            for name, value in output.losses.items():
                self._loss_sums.setdefault(name, []).append(value)
        return (output.loss, output) if return_outputs else output.loss

    def _save_checkpoint(self, model, trial) -> None:
        """As in ``Trainer``; where it fails, the incomplete checkpoint is removed and earlier ones are unchanged."""
        try:
            super()._save_checkpoint(model, trial)
        except (OSError, RuntimeError) as error:
            # torch.save reports a full disk as RuntimeError.
            folder = Path(self._get_output_dir(trial=trial)) / f"{PREFIX_CHECKPOINT_DIR}-{self.state.global_step}"
            shutil.rmtree(folder, ignore_errors=True)
            raise cannot_write(folder, error) from error

    def push_to_hub(self, *args, **kwargs):
        """As in ``Trainer``: the output folder with a card of ours; raises HubError where it fails."""
        with uploading(f"The run {self.args.output_dir}", self.hub_model_id or self.args.hub_model_id or "the Hub"):
            return super().push_to_hub(*args, **kwargs)

    def create_model_card(
        self, model_name: str | None = None, license: str | None = None, tags: list[str] | None = None, **kwargs
    ) -> None:
        """Write ``README.md`` to the output folder, with the metrics of ``results.json`` or the last evaluation."""
        if self.is_world_process_zero():
            output = Path(self.args.output_dir)
            repo_id = self.hub_model_id or model_name or output.name
            card = model_card(repo_id, self.model, self.processing_class, self._last_results(), license, tags)
            with atomic_path(output / "README.md") as path:
                card.save(path)

    def _last_results(self) -> dict[str, Any] | None:
        written = Path(self.args.output_dir) / "results.json"
        if written.exists():
            return json.loads(written.read_text(encoding="utf-8"))
        prefix = "eval_"
        for logged in reversed(self.state.log_history):
            metrics = {name.removeprefix(prefix): value for name, value in logged.items() if name.startswith(prefix)}
            metrics = {name: value for name, value in metrics.items() if name.startswith(("R@", "mIoU", "num_"))}
            if metrics:
                return {
                    "benchmark": self.recipe.benchmark if self.recipe is not None else "own data",
                    "metrics": metrics,
                    "convention": "IoU >= m" if self.args.inclusive else "IoU > m",
                    "seed": self.args.seed,
                }
        return None

    def get_eval_dataloader(self, eval_dataset=None) -> DataLoader:
        if isinstance(eval_dataset, str):
            eval_dataset = self.eval_dataset[eval_dataset]
        dataset = self.eval_dataset if eval_dataset is None else eval_dataset
        with self._every_row():
            return super().get_eval_dataloader(None if dataset is None else self._numbered(dataset))

    def get_test_dataloader(self, test_dataset) -> DataLoader:
        with self._every_row():
            return super().get_test_dataloader(self._numbered(test_dataset))

    @contextlib.contextmanager
    def _every_row(self):
        """``dataloader_drop_last`` is for training: an evaluation loses no row."""
        given, self.args.dataloader_drop_last = self.args.dataloader_drop_last, False
        try:
            yield
        finally:
            self.args.dataloader_drop_last = given

    def _numbered(self, dataset) -> NumberedRows:
        return NumberedRows(evaluation_rows(_indexed(dataset, "the dataset"), self.model.config))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        if "loss" in logs and self._loss_sums:
            logs = {**logs, **{name: float(torch.stack(v).mean()) for name, v in self._loss_sums.items()}}
            self._loss_sums = {}
        super().log(logs, start_time)

    def evaluation_loop(
        self,
        dataloader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """Predict every row once, on any number of processes.

        Returns:
            predictions: one dict a (video, sentence) in the prediction schema; metrics over all sentences, with
            ``num_queries``; the loss is the mean over videos of their batch's loss.
        """
        self._check_decodes()
        model = self._wrap_model(self.model, training=False, dataloader=dataloader)
        model.eval()
        rows = []
        for inputs in dataloader:
            rows += self._predict_batch(model, inputs)
            self.control = self.callback_handler.on_prediction_step(self.args, self.state, self.control)
        if self.args.world_size > 1:
            rows = gather_object(rows)
        # The samplers of several processes repeat rows to make the shares equal.
        rows = [row for _, row in sorted({row["row_index"]: row for row in rows}.items())]
        predictions = _number_queries(rows)
        metrics = self._metrics(rows, predictions)
        losses = [row["loss"] for row in rows if row["loss"] is not None]
        if losses:
            metrics["loss"] = sum(losses) / len(losses)
        return EvalLoopOutput(
            predictions=predictions,
            label_ids=None,
            metrics={f"{metric_key_prefix}_{name}": value for name, value in metrics.items()},
            num_samples=len(rows),
        )

    def _predict_batch(self, model, inputs: dict[str, Any]) -> list[dict[str, Any]]:
        metadata = inputs["metadata"]
        inputs = self._prepare_inputs({k: v for k, v in inputs.items() if k not in DESCRIPTIONS})
        with torch.no_grad(), self.compute_loss_context_manager():
            output = model(**inputs)
        moments = self.processing_class.post_process_video_grounding(
            output,
            [row["duration"] for row in metadata],
            top_k=self.args.top_k,
            nms_threshold=self.args.nms_threshold,
            sentence_mask=inputs["sentence_mask"],
        )
        loss = None if output.loss is None else float(output.loss)
        return [{**row, "loss": loss, "predictions": ranked} for row, ranked in zip(metadata, moments, strict=True)]

    def _metrics(self, rows, predictions) -> dict[str, float]:
        references = [moment for row in rows for moment in (row["moments"] or ())]
        if len(references) != len(predictions):
            if references:
                logger.warning(
                    "%d of %d sentences have moments: no recall is computed. Leave the others out.",
                    len(references),
                    len(predictions),
                )
            return {}
        return grounding_metrics(
            [[(m["start"], m["end"]) for m in p["moments"]] for p in predictions],
            references,
            ranks=self.args.ranks,
            iou_thresholds=self.args.iou_thresholds,
            inclusive=self.args.inclusive,
        )


def _indexed(rows: Any, name: str) -> Any:
    """``rows`` (or a dict of such) of Python's own values: torch's and numpy's formats of datasets round float64."""
    if rows is None:
        return None
    if isinstance(rows, dict):
        return {split: _indexed(part, f"{name}[{split!r}]") for split, part in rows.items()}
    if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")):
        raise ModelError(
            f"{name} is of {type(rows).__name__}, which has no length or index. Load the rows without streaming."
        )
    if not hasattr(rows, "with_format") or rows.format["type"] is None:
        return rows
    features = [column for column in rows.column_names if column == "video_features"]
    return rows.with_format(rows.format["type"], features, True) if features else rows.with_format(None)


def _number_queries(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Predictions in the schema of ``scripts/evaluate.py``; a query's number counts the sentences of its video."""
    counts: Counter = Counter()
    predictions = []
    for row in rows:
        video_id = row["video_id"]
        for sentence, moments in zip(row["sentences"], row["predictions"], strict=True):
            query_id = f"{video_id}/{counts[video_id]}"
            counts[video_id] += 1
            predictions.append({"video_id": video_id, "query_id": query_id, "sentence": sentence, "moments": moments})
    return predictions
