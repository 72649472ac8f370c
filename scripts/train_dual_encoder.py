"""Trains a small dual encoder of clips and sentences on moving_shapes by contrast, and grounds with it zero-shot.

FEATURES is the folder that the stages ``videos`` and ``features`` of train_moving_shapes.py fill (WORK/features):
python scripts/train_dual_encoder.py --features WORK/features --out outputs/dual_encoder
"""

import argparse
import json
import sys
import time
from pathlib import Path

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.benchmarks import load_benchmark
from hf_vtg.features.store import FeatureStore
from hf_vtg.metrics import constant_moment_baseline
from scripts.lab.shapes_dual_encoder import (
    DualEncoderTraining,
    evaluate_dual_encoder,
    save_dual_encoder,
    train_dual_encoder,
)


def main(arguments: list[str] | None = None) -> dict[str, float]:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--epochs", type=int, default=DualEncoderTraining.epochs)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--videos", type=int, help="of train and test; default: all")
    options = parser.parse_args(arguments)
    rows = {
        name: split.to_list()[: options.videos]
        for name, split in load_benchmark("moving_shapes", config="video").items()
    }
    start = time.perf_counter()
    settings = DualEncoderTraining(epochs=options.epochs, seed=options.seed)
    model, tokenizer = train_dual_encoder(
        FeatureStore(options.features / "train_0_all.safetensors"), rows["train"], settings
    )
    seconds = time.perf_counter() - start
    processor = save_dual_encoder(model, tokenizer, options.out)
    metrics = evaluate_dual_encoder(
        model, processor, FeatureStore(options.features / "test_0_all.safetensors"), rows["test"]
    )
    floor = constant_moment_baseline(rows["train"], rows["test"])
    print(json.dumps({"seconds": round(seconds), "zero-shot": metrics, "constant moment": floor}, indent=2))
    return metrics


if __name__ == "__main__":
    main()
