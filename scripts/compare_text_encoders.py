#!/usr/bin/env python
"""Word vectors against a small Transformer as text encoder of each method, trained and measured on moving_shapes.

python scripts/train_moving_shapes.py --work W --out hf_vtg/assets/moving_shapes --stages videos features report
python scripts/compare_text_encoders.py --features W/features --out W/text
python scripts/compare_text_encoders.py --features W/features --out W/text --methods mmn --recipe epochs=2

Everything but the text encoder is the same: configuration, recipe, seed, features. The table is printed as Markdown;
each run's figures are in OUT/METHOD_TEXT.json, and a run that is there is not repeated.
"""

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.cli.parser import assignment
from hf_vtg.errors import HFVTGError
from hf_vtg.features.store import FeatureStore
from hf_vtg.files import write_json
from scripts.lab.experiments import MOVING_SHAPES, experiment, methods_with
from scripts.lab.shapes_assets import JoinedStores
from scripts.lab.shapes_grounding import TEXTS, load_rows, predict, train_grounding

COLUMNS = ("R@1,IoU=0.5", "R@1,IoU=0.7", "mIoU")


def compare(method: str, text: str, options: Any) -> dict[str, Any]:
    """Train one method with one text encoder; its figures on test."""
    setting = experiment(method, MOVING_SHAPES)
    recipe = setting.recipe.replace(seed=options.seed, **dict(options.recipe))
    train, validation, test = (
        FeatureStore(options.features / f"{split}_0_all.safetensors") for split in ("train", "validation", "test")
    )
    rows = load_rows(rows=setting.rows)
    if options.num_rows:
        rows = {split: part.select(range(min(options.num_rows, len(part)))) for split, part in rows.items()}
    begun = time.monotonic()
    trainer = train_grounding(
        JoinedStores([train, validation]),
        options.out / f"{method}_{text}",
        method,
        recipe=recipe,
        splits=rows,
        text=text,
    )
    seconds = time.monotonic() - begun
    metrics = predict(trainer.model, trainer.processing_class, test, rows["test"]).metrics()
    parameters = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
    return {"metrics": metrics, "parameters": parameters, "seconds": seconds, "recipe": recipe.to_dict()}


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="folder with SPLIT_0_all.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder of figures and checkpoints")
    parser.add_argument(
        "--methods", nargs="+", default=methods_with(MOVING_SHAPES), choices=methods_with(MOVING_SHAPES)
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--recipe", action="append", type=assignment, default=[], metavar="NAME=VALUE")
    parser.add_argument("--num_rows", type=int, help="only the first rows of each split")
    options = parser.parse_args(arguments)
    print(f"| method | text | {' | '.join(COLUMNS)} | queries | trained parameters | seconds |")
    print("|---" * (len(COLUMNS) + 5) + "|", flush=True)
    try:
        for method in options.methods:
            for text in TEXTS:
                record = options.out / f"{method}_{text}.json"
                if record.exists():
                    result = json.loads(record.read_text())
                else:
                    result = compare(method, text, options)
                    write_json(record, result)
                figures = " | ".join(f"{result['metrics'][name]:.1f}" for name in COLUMNS)
                queries, parameters = result["metrics"]["num_queries"], result["parameters"]
                print(
                    f"| {method} | {text} | {figures} | {queries} | {parameters:,} | {result['seconds']:.0f} |",
                    flush=True,
                )
    except (HFVTGError, OSError) as error:
        print(f"compare_text_encoders: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
