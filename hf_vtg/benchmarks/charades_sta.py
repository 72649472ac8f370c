"""Charades-STA (Gao et al. 2017): official text and csv files, or the grouped json of 2D-TAN and MMN."""

import csv
import io
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from ..errors import AnnotationError
from .annotations import SplitReport, VideoAnnotation, read_grouped_json, read_text, refuse_foreign_video, text_lines
from .base import BenchmarkBuilder
from .finding import ExpectedFiles

_LINE = re.compile(r"(?P<video>\S+) +(?P<start>\S+) +(?P<end>[^\s#]+) *##(?P<sentence>[^\r]*)")


def _names(split: str) -> list[tuple[str, ...]]:
    text = (f"charades_sta_{split}.txt", f"Charades_v1_{split}.csv")
    return [text, (f"mmn_charades_{split}.json",), (f"charades_{split}.json",), (f"{split}.json",)]


class CharadesSTA(BenchmarkBuilder):
    """Charades-STA: train and test (there is no validation split).

    ``charades_sta_{train,test}.txt`` has lines ``VIDEO start end##sentence``; the duration of a video is the column
    ``length`` of ``Charades_v1_{train,test}.csv``. The text form is preferred where both forms are in a folder; the
    grouped form has the same rows and times, already clean, and about a dozen corrected spellings.
    Rows come video by video as in the file, whose sentences are not in the order of their times; a paragraph is all
    sentences of a video, sorted by (start, end).
    """

    FILES: ClassVar[ExpectedFiles] = {split: _names(split) for split in ("train", "test")}

    def read_split(self, split: str, files: tuple[Path, ...]) -> Iterator[VideoAnnotation]:
        tables = [path for path in files if path.suffix == ".csv"]
        for path in files:
            if path.suffix == ".json":
                yield from read_grouped_json(path, "charades_sta")
            elif path.suffix == ".txt":
                yield from _read_lines(path, _durations(tables), tables)
            elif path.suffix != ".csv":
                raise AnnotationError(f"{path}: Charades-STA annotations are .txt with a .csv, or grouped .json")

    def paragraphs(self, video: VideoAnnotation, split: str, report: SplitReport) -> Iterator[VideoAnnotation]:
        yield video.part(sorted(range(len(video.moments)), key=video.moments.__getitem__))


def _read_lines(path: Path, durations: dict[str, float], tables: list[Path]) -> Iterator[VideoAnnotation]:
    videos: dict[str, list[tuple[str, float, float]]] = {}
    first_line: dict[str, int] = {}
    for number, line in text_lines(path):
        match = _LINE.fullmatch(line.strip())
        try:
            start, end = float(match["start"]), float(match["end"])
        except (TypeError, ValueError):
            raise AnnotationError(
                f"{path}:{number}: expected 'VIDEO start end##sentence', got {line[:100]!r}"
            ) from None
        video = match["video"]
        refuse_foreign_video("charades_sta", video, f"{path}:{number}")
        if video not in durations:
            where = ", ".join(map(str, tables)) or "no .csv file was given"
            raise AnnotationError(f"{path}:{number}: the length of video {video!r} is unknown ({where})")
        videos.setdefault(video, []).append((match["sentence"], start, end))
        first_line.setdefault(video, number)
    for video, rows in videos.items():
        yield VideoAnnotation.checked(
            video,
            durations[video],
            [sentence for sentence, _, _ in rows],
            [[start, end] for _, start, end in rows],
            f"{path}, from line {first_line[video]}",
        )


def _durations(tables: list[Path]) -> dict[str, float]:
    """Video id -> length in seconds."""
    lengths: dict[str, float] = {}
    for path in tables:
        table = csv.DictReader(io.StringIO(read_text(path), newline=""))
        try:
            if not {"id", "length"} <= set(table.fieldnames or ()):
                raise AnnotationError(f"{path}: needs columns 'id' and 'length'; it has {table.fieldnames}")
            for row in table:
                video, length = row["id"], _length(row["length"])
                where = f"{path}:{table.line_num}"
                if length is None:
                    raise AnnotationError(
                        f"{where}: length of {video!r} is {row['length']!r}, not a positive number of seconds"
                    )
                if lengths.setdefault(video, length) != length:
                    raise AnnotationError(
                        f"{where}: length of {video!r} is {length:g}, but {lengths[video]:g} before; leave one row"
                    )
        except csv.Error as error:
            raise AnnotationError(
                f"{path}: not CSV after line {table.line_num} ({error}); download it again"
            ) from error
    return lengths


def _length(text: str | None) -> float | None:
    try:
        length = float(text or "")
    except ValueError:
        return None
    return length if 0 < length < float("inf") else None
