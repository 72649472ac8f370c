"""moving_shapes: a synthetic benchmark of coloured shapes, from sentences to video files, made from seeds alone.

Annotations need no file: the builder computes them. :func:`render_split` writes the videos, named after their ids.
Each split is the head of its own range of seeds (``shapes_world.split_seeds``); another ``seed`` gives a new benchmark
of the same kind, with the same held-out triples and wordings.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, ClassVar

import datasets

from ..errors import AnnotationError
from .annotations import SplitReport
from .base import FEATURES, BenchmarkBuilder, BenchmarkConfig
from .shapes_render import render_frames, render_video
from .shapes_sampling import generate_scenario
from .shapes_text import VOCABULARY
from .shapes_world import GENERATOR_VERSION, SPLIT_SIZES, Scenario, split_seeds

__all__ = [
    "VOCABULARY",
    "MovingShapes",
    "MovingShapesConfig",
    "generate_scenario",
    "iter_scenarios",
    "render_frames",
    "render_split",
    "render_video",
    "scenario_seeds",
]

VERSION = datasets.Version(f"{GENERATOR_VERSION}.0.0")
EXTRA_FEATURES = {
    "action": datasets.List(datasets.Value("string")),
    "held_out": datasets.List(datasets.Value("bool")),
    "wording": datasets.List(datasets.Value("string")),
    "needs_context": datasets.List(datasets.Value("bool")),
}


@dataclass
class MovingShapesConfig(BenchmarkConfig):
    """``sentence``, ``paragraph``, or ``video``: a row a video with the stand-alone sentences of all its events.

    ``seed`` is the base seed; ``num_videos`` takes only the first videos of every split.
    """

    version: datasets.Version = VERSION
    seed: int = 0
    num_videos: int | None = None


class MovingShapes(BenchmarkBuilder):
    """moving_shapes: 1,200 train, 100 validation and 200 test videos, about 9 events each.

    Beside the row schema there are lists with one value a sentence: ``action``; ``held_out``, whether its (colour,
    shape, action) is absent from train and validation; ``wording``, "seen" or "held_out"; ``needs_context``, whether
    what the sentence says by itself fits several events of the video (in ``paragraph`` only).

    Args:
        config_name: ``sentence`` (default), ``paragraph`` or ``video``.
        seed, num_videos: see :class:`MovingShapesConfig`.

    Raises:
        AnnotationError: unknown config, a wrong seed or number, or a ``data_dir`` (there are no annotation files).
    """

    BUILDER_CONFIG_CLASS = MovingShapesConfig
    BUILDER_CONFIGS: ClassVar[list] = [MovingShapesConfig(name=name) for name in ("sentence", "paragraph", "video")]

    def __init__(self, *args: Any, seed: int = 0, num_videos: int | None = None, **kwargs: Any):
        for split in SPLIT_SIZES:
            scenario_seeds(split, num_videos, seed)  # refuses wrong values now, not in the middle of the preparation
        super().__init__(*args, seed=seed, num_videos=num_videos, **kwargs)

    def find_files(self, data_dir: Any) -> dict[str, tuple[Path, ...]]:
        if data_dir is not None:
            raise AnnotationError(f"moving_shapes is made from seeds: leave out data_dir={str(data_dir)!r}")
        return dict.fromkeys(SPLIT_SIZES, ())

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=datasets.Features({**FEATURES, **EXTRA_FEATURES}))

    def _rows(self, split: str, report: SplitReport) -> Iterator[dict[str, Any]]:
        size = min(self.config.num_videos or SPLIT_SIZES[split], SPLIT_SIZES[split])
        for seed in scenario_seeds(split, size, self.config.seed):
            rows = _cached_scenario(seed).rows(self.config.name)
            sentences = sum(len(row["sentences"]) for row in rows)
            report.videos_read, report.videos_kept = report.videos_read + 1, report.videos_kept + 1
            report.sentences_read += sentences
            report.sentences_kept += sentences
            yield from rows


def scenario_seeds(split: str, num_videos: int | None = None, seed: int = 0) -> range:
    """Seeds of the first ``num_videos`` scenarios of a split (default: all of the benchmark's split; 10 of demo)."""
    seeds = split_seeds(split, seed)
    count = SPLIT_SIZES.get(split, 10) if num_videos is None else num_videos
    if not 0 < count <= len(seeds):
        raise AnnotationError(f"num_videos must be 1 to {len(seeds)}, not {count}")
    return seeds[:count]


_cached_scenario = lru_cache(maxsize=sum(SPLIT_SIZES.values()))(generate_scenario)


def iter_scenarios(split: str, num_videos: int | None = None, seed: int = 0) -> Iterator[Scenario]:
    """The scenarios of a split in order; about 5 ms each."""
    return map(generate_scenario, scenario_seeds(split, num_videos, seed))


def render_split(
    out_dir: str | os.PathLike, split: str, num_videos: int | None = None, seed: int = 0, workers: int = 1
) -> Iterator[tuple[Path, bool]]:
    """Writes the videos of a split as ``out_dir/VIDEO_ID.mp4``; what is there already is not written again.

    Yields:
        (path, written) for each video, in order.
    """
    job = partial(_render_one, Path(out_dir))
    seeds = scenario_seeds(split, num_videos, seed)
    if workers <= 1:
        yield from map(job, seeds)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(job, seeds, chunksize=4)


def _render_one(out_dir: Path, seed: int) -> tuple[Path, bool]:
    scenario = generate_scenario(seed)
    path = out_dir / f"{scenario.video_id}.mp4"
    if path.exists():
        return path, False
    return render_video(scenario, path), True
