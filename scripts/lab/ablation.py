"""Which levels of HSCNet matter on the paragraphs of moving_shapes: trains each variant and prints a row of test.

python scripts/train_moving_shapes.py --work W --out hf_vtg/assets/moving_shapes --stages videos features report
python scripts/ablate_hscnet.py --features W/features --out W/ablation --seeds 0 1 2
python scripts/ablate_hscnet.py --features W/features --out W/ablation --rows "all" "no alignment" --set dropout=0.2

Columns: R@1,IoU=0.5 and mIoU over all sentences; R@1,IoU=0.5 of the sentences that need their neighbours (what they
say by themselves fits several events of the video), of the others, and of all when a model that has learned paragraphs
is asked every sentence by itself. "sentences alone" is trained and asked so. Means over the seeds, with the standard
deviation behind. A finished run leaves OUT/ROW_SEED.json and is not repeated.
"""

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hf_vtg.cli.parser import assignment
from hf_vtg.errors import HFVTGError
from hf_vtg.features.store import FeatureStore
from hf_vtg.files import write_json

from .experiments import MOVING_SHAPES, experiment
from .shapes_assets import JoinedStores
from .shapes_grounding import load_rows, predict, train_grounding

# Row -> fields of the configuration, after the paper's tables of levels, alignment losses and decoders.
ROWS: dict[str, dict[str, Any]] = {
    "all": {},
    "levels S": {"levels": ["S"]},
    "levels S+P": {"levels": ["S", "P"]},
    "levels W+S": {"levels": ["W", "S"]},
    "no alignment": {"align_levels": []},
    "alignment P": {"align_levels": ["P"]},
    "alignment S": {"align_levels": ["S"]},
    "alignment W": {"align_levels": ["W"]},
    "alignment S+P": {"align_levels": ["S", "P"]},
    "alignment W+P": {"align_levels": ["W", "P"]},
    "alignment W+S": {"align_levels": ["W", "S"]},
    "decoders S": {"decoder_levels": ["S"]},
    "decoders S+P": {"decoder_levels": ["S", "P"]},
    "decoders W+S": {"decoder_levels": ["W", "S"]},
    "sentences alone": {"max_sentences": 1},
}
# Sentences in a paragraph: a batch of the row that reads them alone holds as many sentences as the others'.
SENTENCES_PER_ROW = 6
COLUMNS = ("R@1,IoU=0.5", "mIoU", "need neighbours", "need none", "asked alone")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True, help="folder with SPLIT_0_all.safetensors")
    parser.add_argument("--out", type=Path, required=True, help="folder of records and checkpoints")
    parser.add_argument(
        "--rows", nargs="+", default=list(ROWS), choices=list(ROWS), metavar="ROW", help=f"{list(ROWS)}"
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument(
        "--set", action="append", type=assignment, default=[], metavar="NAME=VALUE", help="of the configuration"
    )
    parser.add_argument(
        "--recipe", action="append", type=assignment, default=[], metavar="NAME=VALUE", help="of the recipe"
    )
    options = parser.parse_args(arguments)
    try:
        stores = {
            split: FeatureStore(options.features / f"{split}_0_all.safetensors")
            for split in ("train", "validation", "test")
        }
        print(f"{'row':18s}" + "".join(f"{name:>22s}" for name in COLUMNS), flush=True)
        for row in options.rows:
            records = [run(options, stores, row, seed) for seed in options.seeds]
            print(f"{row:18s}" + "".join(cell([record[name] for record in records]) for name in COLUMNS), flush=True)
    except (HFVTGError, OSError) as error:
        print(f"ablate_hscnet: {error}", file=sys.stderr)
        return 1
    return 0


def run(options: argparse.Namespace, stores: Mapping[str, FeatureStore], row: str, seed: int) -> dict[str, Any]:
    """The record of one training, from its file if there is one."""
    name = re.sub(r"\W+", "_", f"{row}_{seed}")
    file = options.out / f"{name}.json"
    if file.exists():
        return json.loads(file.read_text(encoding="utf-8"))
    recipe = experiment("hscnet", MOVING_SHAPES).recipe.replace(seed=seed, **dict(options.recipe))
    if row == "sentences alone":
        recipe = recipe.replace(per_device_batch_size=recipe.per_device_batch_size * SENTENCES_PER_ROW)
    changes = {**dict(options.set), **ROWS[row]}
    started = time.monotonic()
    trainer = train_grounding(
        JoinedStores([stores["train"], stores["validation"]]),
        options.out / name,
        "hscnet",
        recipe=recipe,
        rows="paragraph",
        **changes,
    )
    record = {
        "row": row,
        "seed": seed,
        "config_overrides": changes,
        "recipe": recipe.to_dict(),
        **measure(trainer.model, trainer.processing_class, stores["test"], row == "sentences alone"),
        "parameters": sum(p.numel() for p in trainer.model.parameters()),
        "seconds": time.monotonic() - started,
    }
    write_json(file, record)
    return record


def measure(model, processor, store: FeatureStore, only_alone: bool) -> dict[str, Any]:
    """The columns of a row, in percent, and how many sentences there are of each kind."""
    rows = load_rows(rows="paragraph")["test"]
    alone = predict(model, processor, store, rows, alone=True)
    own = alone if only_alone else predict(model, processor, store, rows)
    needs = own.columns["needs_context"].astype(bool)
    metrics = own.metrics()
    return {
        "R@1,IoU=0.5": metrics["R@1,IoU=0.5"],
        "mIoU": metrics["mIoU"],
        "need neighbours": own.metrics(needs)["R@1,IoU=0.5"],
        "need none": own.metrics(~needs)["R@1,IoU=0.5"],
        "asked alone": alone.metrics()["R@1,IoU=0.5"],
        "num_queries": len(needs),
        "num_that_need_neighbours": int(needs.sum()),
    }


def cell(values: list[float]) -> str:
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return f"{statistics.mean(values):>14.2f} +- {spread:4.2f}"
