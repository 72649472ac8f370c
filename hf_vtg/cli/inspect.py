"""``hf-vtg inspect``: what is in a feature file, and does it fit a benchmark?"""

from typing import Any

from ..errors import FeatureError
from .parser import add_command, print_json

EXAMPLES = """\
  hf-vtg inspect features.h5
  hf-vtg inspect sub_activitynet_v1-3.c3d.hdf5 --preset activitynet_c3d --benchmark activitynet_captions \\
      --data_dir activitynet_captions/
"""
DESCRIPTION = """\
What is in a feature file: width, lengths, NaNs; with a benchmark also how many videos of each split are there, and the
seconds a clip that follow from the durations. Exit status 1 if a video cannot be used or widths differ.
"""


def add(commands: Any) -> None:
    from ..benchmarks.facts import BENCHMARKS

    presets = "".join(
        f"  {name}: {known.source}\n"
        for benchmark in BENCHMARKS.values()
        for name, known in benchmark.features.items()
    )
    text = f"{DESCRIPTION}\npresets:\n{presets}"
    parser = add_command(commands, "inspect", run, "look into a feature file", text, EXAMPLES)
    parser.add_argument("features", metavar="FILE", help="HDF5, npz, safetensors, or a folder of files")
    parser.add_argument("--preset", help="name of a published set of features")
    parser.add_argument("--key-template", help="where a video is, as '{video_id}/c3d_features'")
    parser.add_argument("--benchmark")
    parser.add_argument("--data-dir", "--annotations", dest="annotations", help="the benchmark's official files")
    parser.add_argument("--version", help="of the annotations")


def run(options: Any) -> int:
    from ..benchmarks import benchmark_builder
    from ..features.inspection import inspect_features
    from ..features.store import FeatureStore

    if (options.benchmark is None) != (options.annotations is None):
        raise FeatureError("--benchmark and --data_dir belong together: the benchmark, and its official files.")
    splits = {}
    if options.benchmark is not None:
        builder = benchmark_builder(options.benchmark, options.annotations, "video", options.version)
        splits = {split: builder.rows(split)[0] for split in builder.files}
    store = FeatureStore(options.features, options.key_template, preset=options.preset)
    report = inspect_features(store, splits)
    if options.json:
        print_json(report.to_dict(), indent=2)
    else:
        print(report)
    return 0 if report.is_sound else 1
