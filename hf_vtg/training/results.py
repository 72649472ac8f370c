"""What a run writes beside its model: ``results.json``."""

import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import transformers

from ..errors import HFVTGError
from ..files import check_version
from ..recipe import Recipe
from .trainer import VideoGroundingTrainer

VERSION = 2
# Field of a results.json -> what it is.
SCHEMA = {
    "version": "of this schema: 2 (in 1, which had none, 'version' was that of the annotations)",
    "method, benchmark, variant": "what was trained",
    "annotation_version": "of the annotations where there are several, or null",
    "rows": "'sentence', 'video' or 'paragraph'",
    "split": "of the metrics",
    "selected_on": "split that chose the weights; null: the last epoch's. 'test' is the papers' protocol",
    "metrics": "R@n,IoU=m and mIoU in percent, num_queries, num_unanswered",
    "convention": "'IoU > m' or 'IoU >= m'",
    "epochs, steps, best_checkpoint, seed": "of the run; the metrics are those of the best checkpoint",
    "seconds_per_epoch, precision": "of the training; fp32, bf16 or fp16 (losses are always fp32)",
    "missing_videos": "ids without features, whose rows were left out",
    "annotation_report": "split -> what its builder read, kept, dropped and clipped",
    "recipe, config_overrides": "every number of the training, as it was run",
    "training_overrides": "further training arguments that were given, without tokens",
    "annotations, features, text": "files or ids that it read, as they were given",
    "feature_spec": "what the features are",
    "parameters, versions": "size of the model; python, torch, transformers and hf_vtg",
    "git_revision": "of the package's checkout, '-dirty' with changes; null if installed from elsewhere",
}


def trainer_results(
    trainer: VideoGroundingTrainer, recipe: Recipe, prediction: Any, seconds: float | None
) -> dict[str, Any]:
    """The part of a ``results.json`` that the trainer knows.

    Args:
        prediction: of ``trainer.predict``, or None.
        seconds: that the training took; None if it was resumed.
    """
    arguments, state = trainer.args, trainer.state
    return {
        "version": VERSION,
        "metrics": _metrics(prediction),
        "convention": "IoU >= m" if arguments.inclusive else "IoU > m",
        "best_checkpoint": state.best_model_checkpoint,
        "epochs": state.epoch,
        "steps": state.global_step,
        "seconds_per_epoch": seconds / state.epoch if seconds and state.epoch else None,
        "precision": "bf16" if arguments.bf16 else "fp16" if arguments.fp16 else "fp32",
        "seed": arguments.seed,
        "recipe": recipe.to_dict() | arguments.recipe_fields(),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
    }


def environment() -> dict[str, Any]:
    """``versions`` and ``git_revision``."""
    try:
        own = importlib.metadata.version("hf-vtg")
    except importlib.metadata.PackageNotFoundError:
        own = None  # run from a folder that was never installed
    return {
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "hf_vtg": own,
        },
        "git_revision": git_revision(),
    }


def read_results(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The content of a ``results.json`` of this or an older version, in this one.

    Raises:
        HFVTGError: it is of a newer version, or no results.
    """
    if not isinstance(values, Mapping):
        raise HFVTGError(f"{where} holds a {type(values).__name__}, not the results of a run.")
    values = dict(values)
    if isinstance(values.get("version"), str | None):
        values.setdefault("annotation_version", values.pop("version", None))
    check_version(values.get("version"), VERSION, where)
    return {**values, "version": VERSION}


def plain_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """What of training arguments goes into a JSON file: everything but tokens; what JSON lacks as text."""
    kept = {name: value for name, value in arguments.items() if not name.endswith("_token")}
    return json.loads(json.dumps(kept, default=str))


def git_revision() -> str | None:
    """Commit of the checkout that this package lies in, with "-dirty" if files differ from it; None without one."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None
    try:
        commit, changes = (
            subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, check=True).stdout
            for arguments in (("rev-parse", "HEAD"), ("status", "--porcelain", "--untracked-files=no"))
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit.strip() + ("-dirty" if changes.strip() else "")


def _metrics(prediction: Any) -> dict[str, float]:
    """What does not depend on the machine or on how the rows were batched: no times, no loss."""
    if prediction is None:
        return {}
    named = {name.removeprefix("test_"): value for name, value in prediction.metrics.items()}
    return {name: value for name, value in named.items() if name.startswith(("R@", "mIoU", "num_"))}
