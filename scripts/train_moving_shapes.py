#!/usr/bin/env python
"""Makes the shipped model from nothing: videos, clip encoder, features of the files, grounding model, report.

python scripts/train_moving_shapes.py --work outputs/moving_shapes --out outputs/moving_shapes/assets
python scripts/train_moving_shapes.py --work outputs/moving_shapes --stages grounding report --blind query
python scripts/train_moving_shapes.py --work W --out hf_vtg/assets/moving_shapes --stages report --seed 1

A stage that was done is done again only if it is named. ``--blind`` trains the floors: all sentences the same
(query), all features zero (video).
"""

import argparse
import json
import sys
import time
from pathlib import Path

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.errors import HFVTGError
from scripts.lab import shapes_assets

STAGES = ("videos", "encoder", "features", "grounding", "report")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder of videos, features and reports")
    parser.add_argument("--out", type=Path, help="folder of encoder and model (WORK/assets)")
    parser.add_argument("--stages", nargs="+", choices=STAGES, default=list(STAGES))
    parser.add_argument("--blind", choices=("query", "video"), help="train a floor; kept apart in WORK/blind_NAME")
    parser.add_argument("--steps", type=int, help="batches of the encoder's training")
    parser.add_argument("--epochs", type=int, help="of the grounding model")
    parser.add_argument("--num_train", type=int, help="train on the first videos only (and validate on a twelfth)")
    parser.add_argument("--split", default="test", choices=("test", "validation"), help="of the report")
    parser.add_argument("--seed", type=int, default=0, help="base seed of the reported videos (0)")
    parser.add_argument("--num_videos", type=int, help="report the first ones only")
    parser.add_argument("--workers", type=int, default=2, help="processes of rendering and encoding")
    options = parser.parse_args(arguments)
    run = shapes_assets.AssetsRun(
        work=options.work,
        out=options.out or options.work / "assets",
        blind=options.blind,
        encoder_steps=options.steps,
        epochs=options.epochs,
        num_train=options.num_train,
        split=options.split,
        seed=options.seed,
        num_videos=options.num_videos,
        workers=options.workers,
    )
    try:
        for stage in options.stages:
            started = time.monotonic()
            result = getattr(run, stage)()
            print(f"{stage}: {time.monotonic() - started:.0f} s", flush=True)
            if result is not None:
                print(json.dumps(result, indent=2))
    except (HFVTGError, OSError) as error:
        print(f"train_moving_shapes: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
