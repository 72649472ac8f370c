#!/usr/bin/env python
"""Does a method learn what can be learned? Trains it on planted features and prints R@1,IoU=0.5 beside the bounds.

python scripts/learn_planted.py --data outputs/planted --out outputs/planted_mmn --method mmn [--shuffled]

``--shuffled`` deals the sentences out anew, in train and in test: what is left is what a model learns without reading.
``--set NAME=VALUE`` changes a field of the configuration, ``--recipe NAME=VALUE`` one of the recipe. The record is
written to OUT.json.
"""

import argparse
import sys
import time
from pathlib import Path

from huggingface_hub.errors import StrictDataclassError

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.cli.parser import assignment
from hf_vtg.errors import HFVTGError
from hf_vtg.features.store import FeatureStore
from hf_vtg.files import write_json
from hf_vtg.text.tokenization import WordVectors
from scripts.lab import planted_grounding
from scripts.lab.experiments import PLANTED, experiment, methods_with


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of scripts/plant_features.py")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--method", required=True, choices=methods_with(PLANTED))
    parser.add_argument("--shuffled", action="store_true")
    parser.add_argument(
        "--label", help="name of a run with changed settings; one of `also` of the experiment brings its own"
    )
    parser.add_argument("--set", action="append", type=assignment, default=[], metavar="NAME=VALUE")
    parser.add_argument("--recipe", action="append", type=assignment, default=[], metavar="NAME=VALUE")
    options = parser.parse_args(arguments)
    try:
        run(options)
    except (HFVTGError, StrictDataclassError, OSError) as error:
        print(f"learn_planted: {error}", file=sys.stderr)
        return 1
    return 0


def run(options) -> None:
    setting = experiment(options.method, PLANTED)
    recipe = setting.recipe.replace(**dict(options.recipe))
    changes = {**setting.also.get(options.label, {}), **dict(options.set)}
    started, cpu = time.monotonic(), time.process_time()
    trainer, metrics = planted_grounding.learn(
        options.method, options.data, options.out, options.shuffled, recipe, **changes
    )
    seconds, cpu = time.monotonic() - started, time.process_time() - cpu
    floor = planted_grounding.floor(options.data)
    bound = planted_grounding.oracle_bound(
        options.method,
        WordVectors.load(options.data / planted_grounding.WORDS),
        FeatureStore(options.data / planted_grounding.FEATURES),
        planted_grounding.load_rows(options.data)["test"],
    )
    record = {
        "method": options.method,
        "benchmark": "planted_charades_sta",
        "split": "test",
        "shuffled": options.shuffled,
        "label": options.label,
        "seed": recipe.seed,
        "metrics": {name: value for name, value in metrics.items() if name.startswith(("R@", "mIoU", "num_"))},
        "constant_moment": floor,
        "oracle_bound": bound,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "epochs": recipe.epochs,
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "recipe": recipe.to_dict(),
        "config_overrides": changes,
    }
    write_json(options.out.with_suffix(".json"), record)
    name, reached = "R@1,IoU=0.5", metrics["R@1,IoU=0.5"]
    kind = "shuffled sentences" if options.shuffled else "planted"
    print(
        f"{options.method}, {kind}: {name} {reached:.2f} of {metrics['num_queries']} queries; floor {floor[name]:.2f} "
        f"({reached - floor[name]:+.2f}), oracle {bound:.2f}; {seconds:.0f} s, {cpu:.0f} s of CPU"
    )


if __name__ == "__main__":
    sys.exit(main())
