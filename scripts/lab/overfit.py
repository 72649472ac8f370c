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
from pathlib import Path
from typing import Any

from hf_vtg.benchmarks import load_benchmark
from hf_vtg.benchmarks.annotations import json_object
from hf_vtg.cli.parser import assignment
from hf_vtg.errors import HFVTGError
from hf_vtg.files import write_json
from hf_vtg.metrics import constant_moment_baseline
from hf_vtg.models.registry import get_recipe
from hf_vtg.recipe import Experiment
from hf_vtg.training.run import RunArguments, run_training

from .experiments import CHARADES_REAL, experiment, methods_with

ROOT = Path(__file__).resolve().parents[2]
# What every sentence becomes in a query-blind training.
BLANK = "person"
DATA = Path(os.environ.get("HF_VTG_SHARED", ROOT.parent / "shared")) / "data"
ANNOTATIONS = DATA / "features" / "charades_real" / "annotations.json"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True, choices=methods_with(CHARADES_REAL))
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
    setting = experiment(options.method, CHARADES_REAL)
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


def overfit(
    options: argparse.Namespace, setting: Experiment, changes: Mapping[str, Any]
) -> tuple[dict[str, Any], float]:
    """What ``scripts/train.py`` reports, on the training queries after the last step, and seconds."""
    features = DATA / "features" / "charades_real"
    own, usual = setting.recipe.to_dict(), get_recipe(f"{options.method}/charades_sta").to_dict()
    # Of a variant the recipe is its own, changed as that of the default is.
    recipe = {name: value for name, value in own.items() if value != usual[name]}
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
            recipe_overrides={**recipe, **dict(options.recipe), "seed": options.seed},
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
