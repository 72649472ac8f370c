"""moving_shapes: annotations of the simulator's scenarios, computed from seeds alone.

Annotations need no file, and :func:`hf_vtg.moving_shapes.render.render_split` writes the videos, named after their
ids. Each split is the head of its own range of seeds (``moving_shapes.world.split_seeds``); another ``seed`` gives a
new benchmark of the same kind, with the same held-out triples and wordings.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import datasets

from ..errors import AnnotationError
from ..moving_shapes.scenarios import generate_scenario, scenario_seeds
from ..moving_shapes.world import GENERATOR_VERSION, SPLIT_SIZES
from .annotations import SplitReport
from .base import FEATURES, BenchmarkBuilder, BenchmarkConfig

VERSION = datasets.Version(f"{GENERATOR_VERSION}.0.0")
EXTRA_FEATURES = {
    "action": datasets.List(datasets.Value("string")),
    "held_out": datasets.List(datasets.Value("bool")),
    "wording": datasets.List(datasets.Value("string")),
    "needs_context": datasets.List(datasets.Value("bool")),
}


_cached_scenario = lru_cache(maxsize=sum(SPLIT_SIZES.values()))(generate_scenario)


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
