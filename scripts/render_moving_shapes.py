"""Renders the video files of the synthetic benchmark moving_shapes, and its annotations on request.

Example: python scripts/render_moving_shapes.py --out outputs/moving_shapes --split test --workers 2
"""

import argparse
import json
import sys
import time
from pathlib import Path

from hf_vtg.errors import HFVTGError
from hf_vtg.files import atomic_path
from hf_vtg.moving_shapes.render import render_split
from hf_vtg.moving_shapes.scenarios import iter_scenarios
from hf_vtg.moving_shapes.world import SPLIT_NAMES


def write_annotations(path: Path, config: str, args: argparse.Namespace) -> None:
    """Writes the rows of a config as JSONL: complete or not at all."""
    with atomic_path(path) as part, part.open("w", encoding="utf-8") as file:
        for scenario in iter_scenarios(args.split, args.num_videos, args.seed):
            file.writelines(json.dumps(row) + "\n" for row in scenario.rows(config))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the files")
    parser.add_argument("--split", choices=SPLIT_NAMES, default="test")
    parser.add_argument("--num_videos", type=int, help="only the first ones of the split (default: all)")
    parser.add_argument("--seed", type=int, default=0, help="base seed: another one is another benchmark (default 0)")
    parser.add_argument("--workers", type=int, default=1, help="processes")
    parser.add_argument(
        "--annotations",
        nargs="*",
        default=[],
        choices=("sentence", "video", "paragraph"),
        help="also write OUT/SPLIT_CONFIG.jsonl for these configs",
    )
    args = parser.parse_args()
    started, written, present = time.perf_counter(), 0, 0
    try:
        for config in args.annotations:
            write_annotations(args.out / f"{args.split}_{config}.jsonl", config, args)
        for _, is_new in render_split(args.out, args.split, args.num_videos, args.seed, args.workers):
            written, present = written + is_new, present + (not is_new)
    except (HFVTGError, OSError) as error:
        sys.exit(f"error: {error}")
    seconds = time.perf_counter() - started
    print(f"{args.out}: {written} videos of {args.split} written, {present} already there, {seconds:.1f} s")


if __name__ == "__main__":
    main()
