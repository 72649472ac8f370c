"""Annotation files into checked rows: what is read, what is repaired, what is dropped, and the count of each."""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ..errors import AnnotationError
from .facts import BENCHMARKS

EMPTY_MOMENT = "end not after start"
EMPTY_SENTENCE = "empty sentence"
# Ends beyond the duration by less are rounding of the file's own numbers: cut, but not counted.
ROUNDING = 1e-6
MAX_EXAMPLES = 20
# Longer whole numbers are beyond every float: they count as infinite, and Python refuses to read the longest.
MAX_DIGITS = sys.float_info.max_10_exp


@dataclass
class VideoAnnotation:
    """One video (or one paragraph of it): sentences and their (start, end) in seconds, as read.

    ``where`` is the place in the file for messages. :meth:`checked` is the constructor for data from outside.
    """

    video_id: str
    duration: float
    sentences: list[str]
    moments: list[list[float]]
    where: str = ""

    @classmethod
    def checked(cls, video_id: Any, duration: Any, sentences: Any, moments: Any, where: str) -> "VideoAnnotation":
        """Types, lengths, text and finite numbers are checked; times are not yet compared with the duration.

        Raises:
            AnnotationError: naming the place, the field and the value.
        """
        if not isinstance(video_id, str) or not video_id:
            raise AnnotationError(f"{where}: video_id is {video_id!r}; it must be a non-empty string")
        _refuse_half_characters(video_id, f"{where}: video_id")
        if not _is_number(duration) or duration <= 0:
            raise AnnotationError(
                f"{where}: duration of {video_id!r} is {duration!r}; it must be a positive number of seconds"
            )
        if not isinstance(sentences, list) or not isinstance(moments, list) or len(sentences) != len(moments):
            raise AnnotationError(
                f"{where}: {video_id!r} needs as many moments as sentences, in two lists; "
                f"got {_size(moments)} moments and {_size(sentences)} sentences"
            )
        for sentence, moment in zip(sentences, moments, strict=True):
            if not isinstance(sentence, str):
                raise AnnotationError(f"{where}: a sentence of {video_id!r} is {sentence!r}, not a string")
            _refuse_half_characters(sentence, f"{where}: a sentence of {video_id!r}")
            if not (isinstance(moment, list | tuple) and len(moment) == 2 and all(map(_is_number, moment))):
                raise AnnotationError(
                    f"{where}: moment {moment!r} of {video_id!r} is not a pair of finite numbers (start, end)"
                )
        return cls(video_id, float(duration), sentences, [[float(s), float(e)] for s, e in moments], where)

    def part(self, indices: Sequence[int]) -> "VideoAnnotation":
        """The video with these of its sentences alone, in this order."""
        sentences, moments = [self.sentences[i] for i in indices], [self.moments[i] for i in indices]
        return VideoAnnotation(self.video_id, self.duration, sentences, moments, self.where)


@dataclass
class SplitReport:
    """What happened to the sentences of a split on their way from the file into rows; all counts of sentences.

    ``videos_*`` count paragraphs where a video has several. ``clipped_starts`` and ``clipped_ends`` count starts
    below 0 and ends beyond the duration (by more than a rounding error) among all sentences read, those dropped later
    included. ``examples`` holds the first few dropped ones with their place.
    """

    videos_read: int = 0
    videos_kept: int = 0
    sentences_read: int = 0
    sentences_kept: int = 0
    clipped_starts: int = 0
    clipped_ends: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)

    @property
    def num_dropped(self) -> int:
        return sum(self.dropped.values())

    @property
    def is_clean(self) -> bool:
        return not (self.dropped or self.clipped_starts or self.clipped_ends)

    def drop(self, reason: str, example: str, count: int = 1) -> None:
        """Count ``count`` sentences as dropped for ``reason``."""
        self.dropped[reason] = self.dropped.get(reason, 0) + count
        if len(self.examples) < MAX_EXAMPLES:
            self.examples.append(f"{example}: {reason}")

    def drop_video(self, video: VideoAnnotation, reason: str) -> None:
        """Count a video or paragraph as read, and all its sentences as dropped for ``reason``."""
        self.videos_read += 1
        self.sentences_read += len(video.sentences)
        self.drop(reason, f"{video.where}: {video.video_id}, {len(video.sentences)} sentences", len(video.sentences))

    def describe(self) -> str:
        """One line for the log."""
        reasons = ", ".join(f"{count} {reason}" for reason, count in self.dropped.items())
        return (
            f"{self.sentences_kept} of {self.sentences_read} sentences, "
            f"{self.videos_kept} of {self.videos_read} videos; "
            f"dropped {self.num_dropped}{f' ({reasons})' if reasons else ''}, "
            f"clipped {self.clipped_ends} ends and {self.clipped_starts} starts"
        )

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def clean(
    video: VideoAnnotation, report: SplitReport, clip: bool = True, drop_invalid: bool = True
) -> VideoAnnotation | None:
    """The video with times clipped to [0, duration], blanks of its sentences normalised and invalid ones dropped.

    Invalid is a moment that, after clipping, does not end after it starts, or a sentence of nothing but blanks. Order
    and duplicates stay. Everything is counted in ``report``; None = nothing is left.

    Args:
        clip: False leaves the times as they are.

    Raises:
        AnnotationError: for the first invalid sentence, if ``drop_invalid`` is False.
    """
    report.videos_read += 1
    report.sentences_read += len(video.sentences)
    sentences, moments = [], []
    for sentence, (start, end) in zip(video.sentences, video.moments, strict=True):
        sentence = " ".join(sentence.split())
        clipped = [max(start, 0.0), min(end, video.duration)] if clip else [start, end]
        report.clipped_starts += clipped[0] - start > ROUNDING
        report.clipped_ends += end - clipped[1] > ROUNDING
        reason = EMPTY_SENTENCE if not sentence else EMPTY_MOMENT if clipped[1] <= clipped[0] else None
        if reason is None:
            sentences.append(sentence)
            moments.append(clipped)
            continue
        example = f"{video.where}: {video.video_id} {start:g}-{end:g} of {video.duration:g} s {sentence!r}"
        if not drop_invalid:
            raise AnnotationError(f"{example}: {reason}; correct it, or load with drop_invalid=True")
        report.drop(reason, example)
    if not sentences:
        return None
    report.videos_kept += 1
    report.sentences_kept += len(sentences)
    return VideoAnnotation(video.video_id, video.duration, sentences, moments, video.where)


def refuse_foreign_video(benchmark: str, video_id: Any, where: str) -> None:
    """AnnotationError if ``video_id`` is of the form of another benchmark's ids."""
    own_forms = {name: known.video_ids for name, known in BENCHMARKS.items() if known.video_ids}
    forms = {name: form for name, form in own_forms.items() if re.fullmatch(form, str(video_id))}
    if forms and benchmark not in forms:
        other = next(iter(forms))
        raise AnnotationError(
            f"{where}: {video_id!r} is a video of {other}, not of {benchmark}; load this file as benchmark {other!r}"
        )


def grouped_entries(path: Path, benchmark: str | None = None) -> Iterator[tuple[str, dict[str, Any], str]]:
    """(video id, entry, place) of a grouped json file ``{id: {...}}``, in the file's order.

    Raises:
        AnnotationError: not such a file, an id twice, or (with ``benchmark``) ids of another benchmark.
    """
    videos = json_object(path)
    if not videos or not all(isinstance(entry, dict) for entry in videos.values()):
        raise AnnotationError(
            f'{path}: not a grouped annotation file {{"VIDEO": {{"duration": .., "timestamps": [[start, end], ..], '
            '"sentences": [..]}, ..}'
        )
    for video_id, entry in videos.items():
        if benchmark is not None:
            refuse_foreign_video(benchmark, video_id, str(path))
        yield video_id, entry, f"{path}, {video_id!r}"


def json_object(path: Path) -> dict[str, Any]:
    """The object of a JSON file. AnnotationError: not JSON, no object, or a key twice in one object."""
    value = _parsed(read_text(path), path)
    if not isinstance(value, dict):
        raise AnnotationError(f"{path}: holds a {type(value).__name__}, not an object")
    return value


def read_grouped_json(path: Path, benchmark: str | None = None) -> Iterator[VideoAnnotation]:
    """``{id: {"duration": s, "timestamps": [[start, end], ...], "sentences": [...]}}`` in seconds."""
    for video_id, entry, where in grouped_entries(path, benchmark):
        require(entry, ("duration", "timestamps", "sentences"), where)
        yield VideoAnnotation.checked(video_id, entry["duration"], entry["sentences"], entry["timestamps"], where)


def read_jsonl(path: Path, unique: bool = True) -> Iterator[VideoAnnotation]:
    """One row a line: ``{"video_id", "duration", "sentences", "moments"}``; other fields are ignored.

    Raises:
        AnnotationError: naming file and line; with ``unique`` also for a video id that comes a second time.
    """
    seen: dict[str, int] = {}
    for number, row in jsonl_objects(path):
        where = f"{path}:{number}"
        require(row, ("video_id", "duration", "sentences", "moments"), where)
        video = VideoAnnotation.checked(row["video_id"], row["duration"], row["sentences"], row["moments"], where)
        if unique and video.video_id in seen:
            raise AnnotationError(
                f"{where}: video {video.video_id!r} was already given in line {seen[video.video_id]}; "
                "put all its sentences into one row"
            )
        seen[video.video_id] = number
        yield video


def jsonl_objects(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """(line number, object) of a JSON-lines file; blank lines are skipped."""
    count = 0
    for number, line in text_lines(path):
        count += 1
        yield number, jsonl_object(line, path, number)
    if not count:
        raise AnnotationError(f"{path}: the file holds no line")


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """(number, text) of the lines of a text file that are not blank; only a newline ends a line."""
    lines = enumerate(read_text(path).split("\n"), start=1)
    return ((number, line) for number, line in lines if line.strip())


def read_text(path: Path) -> str:
    """The text of a UTF-8 file. Raises AnnotationError naming the line that is not."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        value = error.object[error.start : error.end]
        raise AnnotationError(f"{path}:{line}: {value!r} is not UTF-8 text; save the file as UTF-8") from error
    except OSError as error:
        raise AnnotationError(f"{path} cannot be read: {error.strerror}") from error


def jsonl_object(line: str, path: Path, number: int) -> dict[str, Any]:
    """The object of one line. Raises AnnotationError naming the line."""
    value = _parsed(line, path, number)
    if not isinstance(value, dict):
        raise AnnotationError(f"{path}:{number}: a line must be a JSON object, not {type(value).__name__}")
    return value


def require(entry: dict[str, Any], fields: tuple[str, ...], where: str) -> None:
    """Raise AnnotationError naming the fields that ``entry`` lacks and those it has."""
    missing = [name for name in fields if name not in entry]
    if missing:
        raise AnnotationError(f"{where}: lacks {', '.join(missing)}; it has {', '.join(map(str, entry)) or 'nothing'}")


def content_hash(files: dict[str, tuple[Path, ...]]) -> str:
    """Hexadecimal hash of which split is made of which contents; names and places of the files do not count."""
    total = hashlib.sha256()
    for split, paths in sorted(files.items()):
        total.update(f"[{split}]".encode())
        for path in paths:
            total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()[:32]


def _parsed(text: str, path: Path, line: int | None = None) -> Any:
    """The value of a JSON text, which is the whole file or one line of it."""
    where = f"{path}:{line}" if line else str(path)
    try:
        return json.loads(text, object_pairs_hook=lambda pairs: _without_duplicates(pairs, where), parse_int=_whole)
    except json.JSONDecodeError as error:
        raise AnnotationError(f"{path}:{line or error.lineno}: not JSON ({error.msg})") from error
    except RecursionError as error:
        raise AnnotationError(f"{where}: nested too deeply; is it the right file?") from error


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= MAX_DIGITS else float(digits)


def _without_duplicates(pairs: list[tuple[str, Any]], where: str) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise AnnotationError(f"{where}: key {twice!r} comes twice in one object; the first would be lost")
    return entries


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max


def _refuse_half_characters(text: str, what: str) -> None:
    if re.search("[\ud800-\udfff]", text):
        raise AnnotationError(f"{what} is {text!r}, with half of a surrogate pair; write the whole character")


def _size(value: Any) -> Any:
    return len(value) if isinstance(value, list) else f"{type(value).__name__} instead of a list of"
