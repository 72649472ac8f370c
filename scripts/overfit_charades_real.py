#!/usr/bin/env python
"""Can a method learn 23 real queries by heart? Trains it on features/charades_real and tests it on the same.

python scripts/overfit_charades_real.py --method ianet [--blind] [--set NAME=VALUE] [--recipe NAME=VALUE] [--out DIR]

15 videos of Charades-STA with CLIP features, sentences as GloVe 840B vectors; the Trainer, one batch an epoch.
A predictor that never reads the query reaches at most 22 of 23 at IoU 0.5 and 19 at 0.7; ``--blind`` trains one, on
sentences that are all the same. With ``--out`` the record is written to DIR/METHOD_VARIANT_SEED.json, for
``scripts/make_model_card.py``.
"""

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hf_vtg.benchmarks import load_benchmark
from hf_vtg.benchmarks.annotations import json_object
from hf_vtg.cache import write_json
from hf_vtg.cli.parser import assignment
from hf_vtg.errors import HFVTGError
from hf_vtg.metrics import constant_moment_baseline
from hf_vtg.training.run import RunArguments, run_training

ROOT = Path(__file__).resolve().parent.parent
# What every sentence becomes in a query-blind training.
BLANK = "person"
DATA = Path(os.environ.get("HF_VTG_SHARED", ROOT.parent / "shared")) / "data"
ANNOTATIONS = DATA / "features" / "charades_real" / "annotations.json"


@dataclass(frozen=True)
class Setting:
    """What fits 15 videos and a CPU; an epoch is one step.

    Args:
        steps: optimiser steps.
        fields, recipe: of the configuration and of the recipe.
        also: further runs to be printed beside, name -> fields that differ.
    """

    steps: int
    fields: Mapping[str, Any] = field(default_factory=dict)
    recipe: Mapping[str, Any] = field(default_factory=dict)
    also: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


SETTINGS: dict[str, Setting] = {
    "clear": Setting(
        steps=300,
        fields={
            "num_pre_clips": 64,
            "num_clips": 16,
            "tcn_channels": [64, 64],
            "tcn_dropout": 0.0,
            "window_kernels": [1, 2, 4, 8, 16, 32],
            "window_strides": [1, 1, 1, 2, 4, 8],
            "coarse_dim": 32,
            "coarse_query_hidden": 64,
            "fine_hidden": 64,
            "fine_query_hidden": 64,
            "query_layers": 1,
            "predictor_kernel": 3,
            "predictor_layers": 3,
        },
        recipe={"learning_rate": 2e-3, "lr_factors": {"^coarse": 0.5}, "milestones": []},
    ),
    "hisa": Setting(
        steps=110,
        fields={
            "feature_dim": 768,
            "hidden_size": 128,
            "head_hidden_size": 128,
            "clip_stride": 2,
            "encoder_dropout": 0.0,
            "disentangle_dropout": 0.0,
        },
        recipe={"rows": "video", "learning_rate": 1e-3, "schedule": "inverse_sqrt", "warmup_steps": 15},
    ),
    "hscnet": Setting(
        steps=250,
        fields={
            "num_clips": 64,
            "hidden_size": 128,
            "intermediate_size": 512,
            "dropout": 0.0,
            "sample_sentences": False,
        },
        recipe={"learning_rate": 5e-4},
    ),
    "ianet": Setting(
        steps=450,
        fields={
            "num_clips": 64,
            "hidden_size": 128,
            "frame_size": 128,
            "dropout": 0.0,
            "anchor_scale": 1.0,
            "boundary_weight": 0.05,
        },
        recipe={"learning_rate": 1e-3, "warmup_steps": 40},
        also={"official anchors": {"anchor_scale": 0.25}},
    ),
    "mmn": Setting(
        steps=150,
        fields={
            "num_pre_clips": 64,
            "num_clips": 32,
            "pool_kernel_size": 2,
            "pooling_counts": [15, 8],
            "hidden_size": 96,
            "conv_hidden_size": 96,
            "joint_size": 96,
            "conv_kernel_size": 3,
            "num_conv_layers": 2,
            "query_encoder": "lstm",
        },
        recipe={"learning_rate": 1.5e-3, "milestones": []},
    ),
}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True, choices=sorted(SETTINGS))
    parser.add_argument("--variant", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--set", action="append", type=assignment, default=[], metavar="NAME=VALUE", help="of the configuration"
    )
    parser.add_argument(
        "--recipe", action="append", type=assignment, default=[], metavar="NAME=VALUE", help="of the recipe"
    )
    parser.add_argument("--blind", action="store_true", help="hide the sentences: a floor")
    parser.add_argument("--out", type=Path, help="folder of records")
    options = parser.parse_args(arguments)
    setting = SETTINGS[options.method]
    try:
        for name, changes in {"": {}, **setting.also}.items():
            results, seconds = overfit(options, setting, changes)
            what = " ".join(filter(None, (options.method, options.variant, name, "blind" * options.blind)))
            report(what, results["metrics"], seconds)
            if options.out is not None:
                write_record(options.out, name, options.blind, results)
    except (HFVTGError, OSError) as error:
        print(f"overfit_charades_real: {error}", file=sys.stderr)
        return 1
    return 0


def overfit(options: argparse.Namespace, setting: Setting, changes: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """What ``scripts/train.py`` reports, on the training queries after the last step, and seconds."""
    features = DATA / "features" / "charades_real"
    recipe = {"epochs": setting.steps, "per_device_batch_size": 15, "num_processes": 1, "iou_thresholds": (0.5, 0.7)}
    with tempfile.TemporaryDirectory() as folder:
        run = RunArguments(
            method=options.method,
            variant=options.variant,
            annotations=str(blank_annotations(Path(folder)) if options.blind else ANNOTATIONS),
            features=str(features / "clip_vit_l14_1.5fps.h5"),
            word_vectors=str(DATA / "text" / "glove840b_charades"),
            output_dir=str(Path(folder) / "run"),
            eval_split="train",
            config_overrides={"feature_dim": 768, **setting.fields, **changes, **dict(options.set)},
            recipe_overrides={**recipe, **setting.recipe, **dict(options.recipe), "seed": options.seed},
        )
        quiet = {"eval_strategy": "no", "save_strategy": "no", "load_best_model_at_end": False, "use_cpu": True}
        start = time.perf_counter()
        results = run_training(
            run, {**quiet, "logging_strategy": "no", "disable_tqdm": True, "dataloader_num_workers": 0}
        )
        return results, time.perf_counter() - start


def blank_annotations(folder: Path) -> Path:
    """The annotations with :data:`BLANK` for every sentence."""
    videos = json_object(ANNOTATIONS)
    for video in videos.values():
        video["sentences"] = [BLANK] * len(video["sentences"])
    write_json(folder / ANNOTATIONS.name, videos)
    return folder / ANNOTATIONS.name


def write_record(folder: Path, label: str, blind: bool, results: Mapping[str, Any]) -> None:
    """As a record of ``model_cards/results.jsonl``."""
    rows = load_benchmark("jsonl", str(ANNOTATIONS), split="train")
    record = {
        **results,
        "benchmark": "charades_real",
        "label": label or None,
        "blind": "query" if blind else None,
        "constant_moment": constant_moment_baseline(rows, rows, ranks=(1,)),
    }
    words = [record["method"], record["variant"], str(record["seed"]), *label.split(), *["blind"] * blind]
    write_json(folder / f"{'_'.join(words)}.json", record)


def report(name: str, metrics: Mapping[str, Any], seconds: float) -> None:
    count = metrics["num_queries"]
    hits = ", ".join(f"R@1,IoU={m} {round(metrics[f'R@1,IoU={m}'] * count / 100)}/{count}" for m in ("0.5", "0.7"))
    print(f"{name}: {hits}, mIoU {metrics['mIoU']:.1f}, {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
