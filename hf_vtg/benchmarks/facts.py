"""What is known of each benchmark, one record each: names, builder, ids, lengths, published features."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from ..errors import FeatureError


@dataclass(frozen=True)
class PublishedFeatures:
    """A published set of features.

    Args:
        spec: fields of a :class:`~hf_vtg.features.spec.FeatureSpec`, as the release states them; one that is left out
            is not documented there. The width is checked.
        key_template: where a video is in one file of all (:class:`~hf_vtg.features.store.FeatureStore`); None = under
            its id. In a folder of files, one a video, the name of a file is the id.
        id_suffix: ending of the benchmark's video ids that files and names may lack.
        source: whose release, and the usual name of the file.
    """

    spec: Mapping[str, Any]
    key_template: str | None = None
    id_suffix: str = ""
    source: str = ""


@dataclass(frozen=True)
class Usual:
    """What is usual there: seconds of a video, rows of its published features, and sentences of a row by kind."""

    duration: float
    rows: int
    sentences: Mapping[str, int]


@dataclass(frozen=True)
class Benchmark:
    """One benchmark.

    Args:
        title: as people write it.
        builder: module beside this one and class that reads it.
        is_published: whether papers state figures for it.
        video_ids: regular expression of its video ids; a file of another benchmark is refused by them.
        longest_training_video: seconds, of the official annotations' train split.
        features: published sets of features by name.
        usual: for measurements on random rows of its shape.
    """

    title: str
    builder: tuple[str, str]
    is_published: bool = False
    video_ids: str | None = None
    longest_training_video: float | None = None
    features: Mapping[str, PublishedFeatures] = field(default_factory=dict)
    usual: Usual | None = None


BENCHMARKS: dict[str, Benchmark] = {
    "charades_sta": Benchmark(
        title="Charades-STA",
        builder=("charades_sta", "CharadesSTA"),
        is_published=True,
        video_ids=r"[A-Z0-9]{5}",
        longest_training_video=194.33,
        features={
            "charades_vgg": PublishedFeatures(
                {"backbone": "vgg16", "dim": 4096}, source="2D-TAN: vgg_rgb_features.hdf5 (MMN, CLEAR)"
            ),
            "charades_i3d": PublishedFeatures(
                {"backbone": "i3d", "dim": 1024},
                source="TMLGA (HiSA): one feature about every 8.37 frames at 24 fps; a folder of VIDEO.npy (IA-Net)",
            ),
        },
        usual=Usual(30.0, 90, {"sentence": 1, "video": 3, "paragraph": 3}),
    ),
    "activitynet_captions": Benchmark(
        title="ActivityNet Captions",
        builder=("activitynet_captions", "ActivityNetCaptions"),
        is_published=True,
        video_ids=r"v_[\w-]{11}",
        longest_training_video=755.11,
        features={
            "activitynet_c3d": PublishedFeatures(
                {"backbone": "c3d", "window": 16, "stride": 8, "dim": 500, "pooling": "fc7, PCA to 500"},
                key_template="{video_id}/c3d_features",
                source="ActivityNet challenge: sub_activitynet_v1-3.c3d.hdf5 (2D-TAN, MMN, HiSA, CLEAR, HSCNet); "
                "a folder of VIDEO.h5 with one dataset (IA-Net)",
            ),
        },
        usual=Usual(120.0, 450, {"sentence": 1, "video": 4, "paragraph": 4}),
    ),
    "tacos": Benchmark(
        title="TACoS",
        builder=("tacos", "TACoS"),
        is_published=True,
        video_ids=r"s\d+-d\d+(?:\.avi)?",
        longest_training_video=1402.18,
        features={
            "tacos_c3d": PublishedFeatures(
                {"backbone": "c3d", "dim": 4096},
                id_suffix=".avi",
                source="TALL: tall_c3d_features.hdf5 (2D-TAN, MMN, CLEAR, HSCNet); a folder of VIDEO.npy, no .avi "
                "(IA-Net)",
            ),
            "tacos_i3d": PublishedFeatures({"backbone": "i3d", "dim": 1024}, id_suffix=".avi", source="ACRM (HiSA)"),
        },
        usual=Usual(290.0, 1050, {"sentence": 1, "video": 130, "paragraph": 8}),
    ),
    "jsonl": Benchmark(title="own data", builder=("jsonl", "JsonlBenchmark")),
    "moving_shapes": Benchmark(title="moving_shapes", builder=("moving_shapes", "MovingShapes")),
}
# Those that papers state figures for.
PUBLISHED = tuple(name for name, benchmark in BENCHMARKS.items() if benchmark.is_published)
# Name -> benchmark of every published set of features.
FEATURES: dict[str, str] = {name: key for key, benchmark in BENCHMARKS.items() for name in benchmark.features}


def title_of(name: str) -> str:
    """A benchmark as people write it; an unknown name as it is."""
    return BENCHMARKS[name].title if name in BENCHMARKS else name


def longest_training_video(name: str | None) -> float | None:
    """Seconds; None where it is not known."""
    return BENCHMARKS[name].longest_training_video if name in BENCHMARKS else None


def published_features(name: str) -> PublishedFeatures:
    """The published features of that name. FeatureError for an unknown one, with the nearest known."""
    if name not in FEATURES:
        near = difflib.get_close_matches(name, FEATURES, n=1, cutoff=0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise FeatureError(f"unknown feature preset {name!r}; {hint}Known: {', '.join(FEATURES)}")
    return BENCHMARKS[FEATURES[name]].features[name]
