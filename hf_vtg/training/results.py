"""What a run writes beside its model: ``results.json``, whose schema is in :func:`.run.run_training`."""

import importlib.metadata
import json
import platform
import subprocess
from pathlib import Path
from typing import Any

import torch
import transformers

from .recipes import Recipe
from .trainer import VideoGroundingTrainer


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
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "transformers": transformers.__version__,
            "hf_vtg": importlib.metadata.version("hf-vtg"),
        },
        "git_revision": git_revision(),
    }


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
