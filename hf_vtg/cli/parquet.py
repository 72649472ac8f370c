"""``hf-vtg parquet``: a benchmark's annotations as a folder for plain ``datasets.load_dataset``."""

from pathlib import Path
from typing import Any

from .parser import add_command, print_json

EXAMPLES = """\
  hf-vtg parquet activitynet_captions --data_dir activitynet_captions/ --out outputs/anet
  hf-vtg parquet tacos --version tall --data_dir tacos_tall/ --configs video --out outputs/tall
"""
DESCRIPTION = """\
Writes a benchmark's annotations as Parquet with a dataset card. In Python then: load_dataset("outputs/anet") is the
first config, load_dataset("outputs/anet", "paragraph") another.
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "parquet", run, "write a benchmark as Parquet", DESCRIPTION, EXAMPLES)
    parser.add_argument("benchmark")
    parser.add_argument("--data-dir", help="the official files; none for moving_shapes")
    parser.add_argument("--version", help="of the annotations")
    parser.add_argument("--configs", nargs="+", help="default: all that the version has")
    parser.add_argument("--out", type=Path, required=True, help="a new folder")


def run(options: Any) -> int:
    from ..benchmarks.export import export_benchmark

    sizes = export_benchmark(
        options.benchmark, options.data_dir, options.out, options.configs, version=options.version
    )
    if options.json:
        print_json(sizes, indent=2)
        return 0
    for config, splits in sizes.items():
        print(f"{config}: {', '.join(f'{count} {split}' for split, count in splits.items())}")
    return 0
