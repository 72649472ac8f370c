#!/usr/bin/env python
"""Writes a benchmark's annotations as Parquet with a dataset card, for plain datasets.load_dataset(FOLDER).

python scripts/export_benchmark.py activitynet_captions --data_dir activitynet_captions/ --out outputs/anet
python scripts/export_benchmark.py tacos --version tall --data_dir tacos_tall/ --configs video --out outputs/tall

In Python then: ``load_dataset("outputs/anet")`` is the first config, ``load_dataset("outputs/anet", "paragraph")``
another.
"""

import argparse
import sys
from pathlib import Path

from hf_vtg.benchmarks.export import export_benchmark
from hf_vtg.errors import HFVTGError


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("benchmark")
    parser.add_argument("--data_dir", help="the official files; none for moving_shapes")
    parser.add_argument("--version", help="of the annotations")
    parser.add_argument("--configs", nargs="+", help="default: all that the version has")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")
    options = parser.parse_args(arguments)
    try:
        sizes = export_benchmark(
            options.benchmark, options.data_dir, options.out, options.configs, version=options.version
        )
    except (HFVTGError, OSError) as error:
        print(f"export_benchmark: {error}", file=sys.stderr)
        return 2
    for config, splits in sizes.items():
        print(f"{config}: {', '.join(f'{count} {split}' for split, count in splits.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
