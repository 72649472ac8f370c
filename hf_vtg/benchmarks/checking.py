"""Own annotation files before they are used: everything that is wrong or doubtful, where, and what to do about it."""

import difflib
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import AnnotationError, VideoError
from ..metrics import constant_moment_baseline
from .annotations import SplitReport, VideoAnnotation, clean, grouped_entries, jsonl_object, text_lines
from .finding import VIDEO_SUFFIXES, split_of

FIELDS = ("video_id", "duration", "sentences", "moments")
# What others call the fields.
ALIASES = {
    "video_id": ("vid", "id", "video", "name", "video_name", "file", "filename"),
    "duration": ("length", "dur", "seconds", "video_duration", "num_seconds"),
    "sentences": ("sentence", "query", "queries", "caption", "captions", "text", "description", "descriptions"),
    "moments": ("moment", "timestamps", "timestamp", "times", "segments", "windows", "relevant_windows", "spans"),
}
MAX_BROKEN = 10  # lines, after which a file is taken for something else
TOLERANCE = 1e-6  # seconds; less beyond the duration is rounding
MAX_DIFFERENCE = 1.0  # seconds between the duration of a row and that of its video file


@dataclass(frozen=True)
class Finding:
    """``level`` "error": the file cannot be used as it is; "warning": something is repaired or doubtful."""

    level: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.where}: {self.level}: {self.message}"


@dataclass
class DataReport:
    """All findings, and per file its statistics."""

    findings: list[Finding] = field(default_factory=list)
    statistics: dict[str, dict[str, Any]] = field(default_factory=dict)
    floor: dict[str, Any] | None = None

    @property
    def errors(self) -> int:
        return sum(finding.level == "error" for finding in self.findings)

    def error(self, where: str, message: str) -> None:
        self.findings.append(Finding("error", where, message))

    def warn(self, where: str, message: str) -> None:
        self.findings.append(Finding("warning", where, message))

    def to_dict(self) -> dict[str, Any]:
        return {
            "errors": self.errors,
            "warnings": len(self.findings) - self.errors,
            "findings": [vars(finding) for finding in self.findings],
            "statistics": self.statistics,
            "floor": self.floor,
        }


def check_annotations(
    paths: Sequence[str | Path],
    videos: Mapping[str, Path] | None = None,
    duration_of: Callable[[Path], float] | None = None,
    features: Collection[str] | None = None,
) -> DataReport:
    """Check annotation files: JSONL of ``{"video_id", "duration", "sentences", "moments"}`` or grouped json.

    Args:
        paths: files, one a split.
        videos: id -> file, which should have each video; ``duration_of`` tells a file's seconds, which are compared,
            or raises VideoError.
        features: ids with features, which should have each video (a FeatureStore).

    Returns:
        The findings, statistics of each file, and the floor: what a constant moment reaches, fitted on the train
        file where there is one, else on the file itself.

    Raises:
        AnnotationError: a file that cannot be read as text at all.
    """
    report, rows = DataReport(), {}
    for path in map(Path, paths):
        rows[path] = _check_file(path, report)
    _check_overlap(rows, report)
    if videos is not None:
        _check_videos(rows, videos, duration_of, report)
    if features is not None:
        _check_features(rows, features, report)
    for path, own in rows.items():
        report.statistics[str(path)] = _statistics(own)
    report.floor = _floor(rows)
    return report


def _check_file(path: Path, report: DataReport) -> list[VideoAnnotation]:
    """The usable rows of one file."""
    rows, first, foreign = [], {}, 0
    for where, entry in _grouped(path) if path.suffix == ".json" else _lines(path, report):
        row = _check_entry(entry, where, report)
        if row is None:
            continue
        if row.video_id in first:
            report.error(
                where,
                f"video {row.video_id!r} was given already at {first[row.video_id]}; put all sentences into one row",
            )
            continue
        first[row.video_id] = where
        foreign += len(set(entry) - set(FIELDS)) > 0
        _check_moments(row, report)
        if Path(row.video_id).suffix.lower() in VIDEO_SUFFIXES:
            report.warn(where, f"video_id {row.video_id!r} ends like a file; features are named {_stem(row)!r}")
        if (kept := clean(row, SplitReport())) is not None:
            rows.append(kept)
    if not rows:
        report.error(str(path), "holds no usable row")
    _check_units(path, rows, report)
    return rows


def _lines(path: Path, report: DataReport) -> Iterator[tuple[str, dict[str, Any]]]:
    broken = 0
    for number, line in text_lines(path):
        try:
            yield f"{path}:{number}", jsonl_object(line, path, number)
        except AnnotationError as error:
            where = f"{path}:{number}"
            message = str(error).removeprefix(f"{where}: ").removeprefix(f"{path}: ")
            if line.strip() in ("[", "{") or line.lstrip().startswith("[{"):
                report.error(where, "one JSON document over the file; write one object a line (jq -c '.[]' does it)")
                return
            hint = "names and texts stand in double quotes, without a comma at the end of the line"
            report.error(where, f"{message}; {hint}" if message.startswith("not JSON") else message)
            broken += 1
            if broken == MAX_BROKEN:
                report.error(where, f"{broken} lines that are no JSON objects: the rest is not read")
                return


def _grouped(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    for video_id, entry, where in grouped_entries(path):
        values = {("moments" if name == "timestamps" else name): value for name, value in entry.items()}
        yield where, {"video_id": video_id, **values}


def _check_entry(entry: dict[str, Any], where: str, report: DataReport) -> VideoAnnotation | None:
    missing = [name for name in FIELDS if name not in entry]
    for name in missing:
        others = [key for key in entry if key not in FIELDS]
        near = next((key for key in others if key.lower() in ALIASES[name]), None)
        near = near or next(iter(difflib.get_close_matches(name, others, n=1)), None)
        found = ", ".join(map(repr, entry)) or "nothing"
        report.error(where, f"lacks {name!r}; " + (f"rename {near!r} to it" if near else f"it has {found}"))
    if missing:
        return None
    try:
        return VideoAnnotation.checked(*(entry[name] for name in FIELDS), where)
    except AnnotationError as error:
        report.error(where, str(error).removeprefix(f"{where}: "))
        return None


def _check_moments(row: VideoAnnotation, report: DataReport) -> None:
    """What ``clean`` drops or cuts, and what it cannot know to be wrong."""
    for sentence, (start, end) in zip(row.sentences, row.moments, strict=True):
        text = f"{start:g} - {end:g} s of {row.duration:g} s, {sentence[:60]!r}"
        if not sentence.strip():
            report.warn(row.where, f"{text}: an empty sentence is dropped")
        elif end < start:
            report.warn(row.where, f"{text}: ends before it starts and is dropped; swap the two numbers")
        elif end == start:
            report.warn(row.where, f"{text}: has no length and is dropped")
        elif start >= row.duration:
            report.warn(row.where, f"{text}: lies behind the end of the video and is dropped")
        elif end > row.duration + TOLERANCE or start < -TOLERANCE:
            report.warn(row.where, f"{text}: is cut to the video; is the duration right?")
    pairs = Counter((sentence, *moment) for sentence, moment in zip(row.sentences, row.moments, strict=True))
    for (sentence, *_), count in pairs.items():
        if count > 1:
            report.warn(row.where, f"{sentence[:60]!r} stands {count} times with the same moment; leave one")


def _check_units(path: Path, rows: list[VideoAnnotation], report: DataReport) -> None:
    if not rows:
        return
    ends = np.array([end for row in rows for _, end in row.moments])
    durations = np.array([row.duration for row in rows])
    if ends.max() <= 1 and np.median(durations) > 3:
        report.warn(str(path), "no moment ends after 1 s: are they fractions? Multiply them by the duration")
    if np.median(durations) > 36_000:
        report.warn(
            str(path), f"the median duration is {np.median(durations):g} s: are they milliseconds? Give seconds"
        )


def _check_overlap(rows: Mapping[Path, list[VideoAnnotation]], report: DataReport) -> None:
    seen: dict[str, Path] = {}
    for path, own in rows.items():
        shared = [row.video_id for row in own if seen.get(row.video_id, path) != path]
        if shared:
            report.warn(
                str(path),
                f"{len(shared)} videos also stand in {seen[shared[0]]}, such as {shared[0]!r}; figures on videos that "
                "were trained on mean nothing",
            )
        seen.update({row.video_id: path for row in own})


def _check_videos(
    rows: Mapping[Path, list[VideoAnnotation]],
    files: Mapping[str, Path],
    duration_of: Callable[[Path], float],
    report: DataReport,
) -> None:
    for row in _unique(rows):
        file = files.get(row.video_id)
        if file is None:
            report.error(row.where, f"no file of video {row.video_id!r}{_near(row.video_id, files)}")
            continue
        try:
            seconds = duration_of(file)
        except VideoError as error:
            report.error(row.where, str(error))
            continue
        if abs(seconds - row.duration) > MAX_DIFFERENCE:
            report.warn(row.where, f"duration is {row.duration:g} s, {file} is {seconds:.2f} s long")


def _check_features(rows: Mapping[Path, list[VideoAnnotation]], store: Collection[str], report: DataReport) -> None:
    for row in _unique(rows):
        if row.video_id not in store:
            near = _near(row.video_id, list(store))
            report.error(row.where, f"no features of video {row.video_id!r}{near}; extract them")


def _unique(rows: Mapping[Path, list[VideoAnnotation]]) -> list[VideoAnnotation]:
    return list({row.video_id: row for own in rows.values() for row in own}.values())


def _near(name: str, known: Any) -> str:
    close = difflib.get_close_matches(name, list(known), n=1)
    return f"; there is {close[0]!r}" if close else ""


def _stem(row: VideoAnnotation) -> str:
    return Path(row.video_id).stem


def _statistics(rows: list[VideoAnnotation]) -> dict[str, Any]:
    if not rows:
        return {"videos": 0, "sentences": 0}
    lengths = np.array([end - start for row in rows for start, end in row.moments])
    fractions = np.array([(end - start) / row.duration for row in rows for start, end in row.moments])
    words = np.array([len(sentence.split()) for row in rows for sentence in row.sentences])
    durations = np.array([row.duration for row in rows])
    return {
        "videos": len(rows),
        "sentences": len(lengths),
        "hours": float(durations.sum() / 3600),
        "duration": _spread(durations),
        "sentences_a_video": _spread(np.array([len(row.sentences) for row in rows])),
        "words": _spread(words),
        "moment_seconds": _spread(lengths),
        "moment_fraction": _spread(fractions),
        "distinct_words": len({word for row in rows for s in row.sentences for word in s.lower().split()}),
    }


def _spread(values: np.ndarray) -> dict[str, float]:
    return {"min": float(values.min()), "median": float(np.median(values)), "max": float(values.max())}


def _floor(rows: Mapping[Path, list[VideoAnnotation]]) -> dict[str, Any] | None:
    """What the best constant moment reaches on the last file that is not the train split."""
    usable = {path: [vars(row) for row in own] for path, own in rows.items() if own}
    if not usable:
        return None
    train = next((path for path in usable if split_of(path.name) == "train"), None)
    test = next((path for path in reversed(usable) if path != train), train)
    train = train or test
    figures = constant_moment_baseline(usable[train], usable[test], ranks=(1,))
    return {"fitted_on": str(train), "measured_on": str(test), **figures}
