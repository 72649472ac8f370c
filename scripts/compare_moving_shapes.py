#!/usr/bin/env python
"""Trains one method on features of moving_shapes and reports it on test: one row of model_cards/README.md.

python scripts/train_moving_shapes.py --work W --out hf_vtg/assets/moving_shapes --stages videos features report
python scripts/compare_moving_shapes.py --features W/features --out W/compare --method hisa --seed 1
python scripts/compare_moving_shapes.py --features W/features --out W/compare --method hisa --blind query

``--set NAME=VALUE`` changes a field of the configuration, ``--recipe NAME=VALUE`` one of the recipe. The record is
written to OUT/METHOD_VARIANT_SEED[_blind][_LABEL].json.
"""

import argparse
import json
import sys
import time
from pathlib import Path

import torch
from huggingface_hub.errors import StrictDataclassError

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.cli.parser import assignment
from hf_vtg.errors import HFVTGError
from hf_vtg.features.store import FeatureStore
from hf_vtg.files import write_json
from hf_vtg.metrics import constant_moment_baseline
from scripts.lab.experiments import MOVING_SHAPES, experiment, methods_with
from scripts.lab.shapes_assets import JoinedStores
from scripts.lab.shapes_grounding import BlankFeatures, load_rows, report, train_grounding


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="folder with SPLIT_0_all.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder of records and checkpoints")
    parser.add_argument("--method", required=True, choices=methods_with(MOVING_SHAPES))
    parser.add_argument("--variant", default="default")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--blind", choices=("query", "video"))
    parser.add_argument(
        "--label", help="name of a run with changed settings; one of `also` of the experiment brings its own"
    )
    parser.add_argument("--set", action="append", type=assignment, default=[], metavar="NAME=VALUE")
    parser.add_argument("--recipe", action="append", type=assignment, default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    try:
        return run(options)
    except (HFVTGError, StrictDataclassError, OSError) as error:
        print(f"compare_moving_shapes: {error}", file=sys.stderr)
        return 1


def run(options) -> int:
    setting = experiment(options.method, MOVING_SHAPES)
    name = "_".join(
        str(part)
        for part in (options.method, options.variant, options.seed, options.blind, options.label)
        if part is not None
    )
    stores = {
        split: FeatureStore(options.features / f"{split}_0_all.safetensors")
        for split in ("train", "validation", "test")
    }
    recipe = setting.recipe.replace(seed=options.seed, **dict(options.recipe))
    changes = {**setting.also.get(options.label, {}), **dict(options.set)}
    joined = JoinedStores([stores["train"], stores["validation"]])
    started = time.monotonic()
    trainer = train_grounding(
        joined, options.out / name, options.method, options.variant, options.blind, recipe, **changes
    )
    seconds = time.monotonic() - started
    trainer.save_model(str(options.out / name / "model"))
    rows = load_rows(options.blind, rows=setting.rows)
    features = BlankFeatures(stores["test"]) if options.blind == "video" else stores["test"]
    figures = report(trainer.model, trainer.processing_class, features, rows["test"])
    record = {
        "method": options.method,
        "variant": options.variant,
        "benchmark": "moving_shapes",
        "rows": setting.rows,
        "split": "test",
        "seed": options.seed,
        "blind": options.blind,
        "label": options.label,
        "metrics": figures.pop("all"),
        "groups": figures,
        "constant_moment": constant_moment_baseline(rows["train"], rows["test"], ranks=(1,)),
        "validation": [entry for entry in trainer.state.log_history if "eval_mIoU" in entry],
        "seconds_per_epoch": seconds / recipe.epochs,
        "epochs": recipe.epochs,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "config_overrides": changes,
        "recipe": recipe.to_dict(),
        "feature_spec": stores["test"].spec.to_dict(),
        "torch": torch.__version__,
    }
    write_json(options.out / f"{name}.json", record)
    print(json.dumps({key: record[key] for key in ("metrics", "groups", "constant_moment")}, indent=2))
    print(f"{name}: {seconds:.0f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
