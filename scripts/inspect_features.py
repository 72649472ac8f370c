#!/usr/bin/env python
"""What is in a feature file: width, lengths, NaNs; and whether it fits a benchmark.

python scripts/inspect_features.py features.h5
python scripts/inspect_features.py sub_activitynet_v1-3.c3d.hdf5 --preset activitynet_c3d \\
    --benchmark activitynet_captions --annotations activitynet_captions/

With a benchmark also: how many videos of each split are there, and the seconds a clip that follow from the durations.
Exit status 1 if a video cannot be used or widths differ.
"""

import argparse
import sys

from hf_vtg.benchmarks import benchmark_builder
from hf_vtg.benchmarks.feature_presets import FEATURE_PRESETS
from hf_vtg.benchmarks.feature_store import FeatureStore
from hf_vtg.benchmarks.inspection import inspect_features
from hf_vtg.errors import HFVTGError


def main(arguments: list[str] | None = None) -> int:
    presets = "\n".join(f"  {name}: {preset.source}" for name, preset in FEATURE_PRESETS.items())
    parser = argparse.ArgumentParser(
        description=__doc__,
        epilog=f"presets:\n{presets}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("features", metavar="FILE", help="HDF5, npz, safetensors, or a folder of files")
    parser.add_argument("--preset", help="name of a published set of features")
    parser.add_argument("--key_template", help="where a video is, as '{video_id}/c3d_features'")
    parser.add_argument("--benchmark")
    parser.add_argument("--annotations", help="the benchmark's official files")
    parser.add_argument("--version", help="of the annotations")
    options = parser.parse_args(arguments)
    if (options.benchmark is None) != (options.annotations is None):
        parser.error("--benchmark and --annotations belong together")
    try:
        splits = {}
        if options.benchmark is not None:
            builder = benchmark_builder(options.benchmark, options.annotations, "video", options.version)
            splits = {split: builder.rows(split)[0] for split in builder.files}
        store = FeatureStore(options.features, options.key_template, preset=options.preset)
        report = inspect_features(store, splits)
    except (HFVTGError, OSError) as error:
        print(f"inspect_features: {error}", file=sys.stderr)
        return 2
    print(report)
    return 0 if report.is_sound else 1


if __name__ == "__main__":
    sys.exit(main())
