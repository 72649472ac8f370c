"""What is in a feature file, and whether it fits a benchmark: widths, lengths, damage, coverage, clip length."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import FeatureError
from .store import Coverage, FeatureStore


@dataclass
class FeatureReport:
    """Findings about a feature file.

    Args:
        path, spec: of the store.
        expected_dim: width that the spec states, if any.
        dims: width D -> videos of that width.
        lengths: (videos,) clips of each readable video.
        with_nan, unreadable: ids of videos with NaN or infinity, and id -> message of those that cannot be read.
        zero_rows: clips that are zero throughout, over all videos.
        coverage: split -> how many of its videos are there.
        clip_seconds: split -> duration / clips of each of its videos that is there.
    """

    path: str
    spec: str
    expected_dim: int | None = None
    dims: dict[int, int] = field(default_factory=dict)
    lengths: np.ndarray = field(default_factory=lambda: np.zeros(0, int))
    with_nan: list[str] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    zero_rows: int = 0
    coverage: dict[str, Coverage] = field(default_factory=dict)
    clip_seconds: dict[str, np.ndarray] = field(default_factory=dict)

    @property
    def is_sound(self) -> bool:
        """One width, that of the spec; every video readable and finite; some of the benchmark's."""
        return len(self.dims) == 1 and not (self.with_nan or self.unreadable or self.contradictions)

    @property
    def contradictions(self) -> list[str]:
        """What the file is not: of the width that its spec or preset states, or of the benchmark."""
        found = []
        if self.expected_dim is not None and set(self.dims) - {self.expected_dim}:
            found.append(f"the width is not {self.expected_dim}, as the spec or preset says: these are other features")
        if self.coverage and not any(coverage.found for coverage in self.coverage.values()):
            found.append("no video of the benchmark is in the file: other videos, or other names of them")
        return found

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "path": self.path,
            "spec": self.spec,
            "videos": len(self.lengths) + len(self.unreadable),
            "widths": {str(dim): count for dim, count in sorted(self.dims.items())},
            "clips": int(self.lengths.sum()),
            "zero_clips": self.zero_rows,
            "with_nan": self.with_nan,
            "unreadable": self.unreadable,
            "contradictions": self.contradictions,
            "missing": {split: list(coverage.missing) for split, coverage in self.coverage.items()},
            "is_sound": self.is_sound,
        }

    def __str__(self) -> str:
        lines = [
            f"{self.path}: {len(self.lengths) + len(self.unreadable)} videos, {self.spec}",
            f"width: {', '.join(f'{dim} ({count} videos)' for dim, count in sorted(self.dims.items())) or 'none'}",
            f"clips a video: {_spread(self.lengths)}; {int(self.lengths.sum())} in all, {self.zero_rows} of them zero",
            f"NaN or infinity: {_listed(self.with_nan)}",
            f"unreadable: {_listed(list(self.unreadable))}",
            *(f"  {message}" for message in list(self.unreadable.values())[:5]),
        ]
        lines += [f"contradiction: {text}" for text in self.contradictions]
        for split, coverage in self.coverage.items():
            lines.append(
                f"{split}: {coverage.found} of {coverage.wanted} videos; missing: {_listed(coverage.missing)}"
            )
            if len(self.clip_seconds[split]):
                lines.append(f"{split}: seconds a clip (duration / clips): {_spread(self.clip_seconds[split])}")
        return "\n".join(lines)


def inspect_features(
    store: FeatureStore, splits: Mapping[str, Iterable[Mapping[str, Any]]] | None = None
) -> FeatureReport:
    """Read every video of ``store`` once.

    Args:
        splits: split -> rows of a benchmark (``video_id``, ``duration``), for coverage and implied clip length.

    Returns:
        the findings; ``str()`` of them is for people.
    """
    report = FeatureReport(str(store.path), store.spec.describe(), store.spec.dim)
    lengths: dict[str, int] = {}
    for video_id in store:
        try:
            array = store.read_unchecked(video_id)
            numbers = array.ndim == 2 and array.size and array.dtype.kind in "fiu"
            if not numbers:
                raise FeatureError(f"{video_id!r} has shape {array.shape} of {array.dtype}; (T, D) numbers are needed")
        except FeatureError as error:
            report.unreadable[video_id] = str(error)
            continue
        lengths[video_id] = len(array)
        report.dims[array.shape[1]] = report.dims.get(array.shape[1], 0) + 1
        report.zero_rows += int((~array.any(1)).sum())
        if not np.isfinite(array).all():
            report.with_nan.append(video_id)
    report.lengths = np.array(list(lengths.values()), dtype=int)
    for split, rows in (splits or {}).items():
        durations = {row["video_id"]: row["duration"] for row in rows}
        report.coverage[split] = store.coverage(durations)
        report.clip_seconds[split] = np.array([t / lengths[v] for v, t in durations.items() if v in lengths])
    return report


def _spread(values: np.ndarray) -> str:
    if not len(values):
        return "none"
    low, middle, high = np.percentile(values, (5, 50, 95))
    return f"{middle:.4g} (5 % {low:.4g}, 95 % {high:.4g}, min {values.min():.4g}, max {values.max():.4g})"


def _listed(names: Iterable[str], limit: int = 5) -> str:
    names = list(names)
    shown = ", ".join(names[:limit]) + (", ..." if len(names) > limit else "")
    return f"{len(names)} ({shown})" if names else "none"
