"""TACoS (Regneri et al. 2013) in its two published versions, which are two different tasks."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar

from ..errors import AnnotationError
from .annotations import SplitReport, VideoAnnotation, grouped_entries, require
from .base import BenchmarkBuilder
from .finding import ExpectedFiles

# The frame rate of every TACoS video; the TALL files give frames and no rate.
FRAME_RATE = 29.4
MAX_SENTENCES = 8
SHORT_PARAGRAPH = "in a paragraph too short to count"
Entry = tuple[str, dict[str, Any], str]


class TACoS(BenchmarkBuilder):
    """TACoS: ``train.json``, ``val.json`` as validation, ``test.json``; ids end in ``.avi`` as in the feature files.

    Version ``2dtan`` (default; 2D-TAN, MMN, HiSA, CLEAR, HSCNet) has times in frames with ``fps`` and ``num_frames``,
    9,790 / 4,436 / 4,001 sentences and in test a mean moment of 32 s. Version ``tall`` (Gao et al. 2017) has
    10,146 / 4,589 / 4,083 sentences and one of 7 s. Two public forms of it are read: times and ``duration``
    in frames; or times in seconds without durations, which then come from a file of the other form or version given
    beside it: ``data_dir={"test": [annotations, durations]}``. Equal rows (several annotators) stay.

    Paragraphs of 2dtan (specs/hscnet.md, section 2; PRVG's files): each video is several annotators' paragraphs one
    after the other, and a new one begins where a start is before the previous one. Those under 3 sentences (test:
    under 2) are left out, the others cut into parts of 8; a last part of 1 joins the part before it, but not in test.
    ``tall`` is sorted by time, its annotators interleaved, so it has no paragraphs.
    """

    FILES: ClassVar[ExpectedFiles] = {
        "train": [("train.json",)],
        "validation": [("val.json",)],
        "test": [("test.json",)],
    }
    ANNOTATION_VERSIONS: ClassVar[tuple[str, ...]] = ("2dtan", "tall")

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **kwargs)
        if self.config.name == "paragraph" and self.config.annotation_version == "tall":
            raise AnnotationError(
                "tacos version 'tall' has no paragraphs: its rows are sorted by time, the annotators interleaved. "
                "Use version '2dtan', or config 'sentence' or 'video'"
            )

    @classmethod
    def config_names(cls, annotation_version: str | None = None) -> list[str]:
        names = super().config_names(annotation_version)
        return [name for name in names if (name, annotation_version) != ("paragraph", "tall")]

    def read_split(self, split: str, files: tuple[Path, ...]) -> Iterator[VideoAnnotation]:
        read = _read_2dtan if self.config.annotation_version == "2dtan" else _read_tall
        return read([list(grouped_entries(path, "tacos")) for path in files])

    def paragraphs(self, video: VideoAnnotation, split: str, report: SplitReport) -> Iterator[VideoAnnotation]:
        is_test = split == "test"
        starts = [start for start, _ in video.moments]
        breaks = [i for i, (before, start) in enumerate(pairwise(starts), start=1) if start < before]
        for first, end in pairwise([0, *breaks, len(starts)]):
            if end - first < (2 if is_test else 3):
                report.drop_video(video.part(range(first, end)), SHORT_PARAGRAPH)
                continue
            cuts = list(range(first, end, MAX_SENTENCES))
            if not is_test and end - cuts[-1] == 1:
                cuts.pop()
            for part in pairwise([*cuts, end]):
                yield video.part(range(*part))


def _read_2dtan(files: list[list[Entry]]) -> Iterator[VideoAnnotation]:
    for video_id, entry, where in (entry for entries in files for entry in entries):
        if "fps" not in entry:
            raise AnnotationError(
                f"{where}: no 'fps': these are the annotations of TALL, not those of 2D-TAN; load version='tall'"
            )
        require(entry, ("fps", "num_frames", "timestamps", "sentences"), where)
        yield _in_seconds(video_id, entry, entry["num_frames"], entry["fps"], where)


def _read_tall(files: list[list[Entry]]) -> Iterator[VideoAnnotation]:
    timed = [entries for entries in files if "duration" not in entries[0][1] and "fps" not in entries[0][1]]
    others = [entries for entries in files if "duration" in entries[0][1] or "fps" in entries[0][1]]
    if not timed:
        for video_id, entry, where in (entry for entries in others for entry in entries):
            if "fps" in entry:
                raise AnnotationError(
                    f"{where}: has 'fps': these are the annotations of 2D-TAN, not those of TALL; load version='2dtan'"
                )
            require(entry, ("duration", "timestamps", "sentences"), where)
            yield _in_seconds(video_id, entry, entry["duration"], FRAME_RATE, where)
        return
    durations = {_with_suffix(entry[0]): _duration(*entry) for entries in others for entry in entries}
    for video_id, entry, where in (entry for entries in timed for entry in entries):
        video_id = _with_suffix(video_id)
        require(entry, ("timestamps", "sentences"), where)
        if video_id not in durations:
            raise AnnotationError(
                f"{where}: this form has no duration; give a file that has it beside this one: "
                "data_dir={'test': [THIS_FILE, 'tacos/test.json']}"
            )
        yield VideoAnnotation.checked(video_id, durations[video_id], entry["sentences"], entry["timestamps"], where)


def _in_seconds(video_id: str, entry: dict[str, Any], frames: Any, rate: Any, where: str) -> VideoAnnotation:
    video = VideoAnnotation.checked(video_id, frames, entry["sentences"], entry["timestamps"], where)
    if isinstance(rate, bool) or not isinstance(rate, int | float) or not 0 < rate < float("inf"):
        raise AnnotationError(f"{where}: fps is {rate!r}; it must be a positive number of frames a second")
    moments = [[start / rate, end / rate] for start, end in video.moments]
    return VideoAnnotation.checked(_with_suffix(video_id), video.duration / rate, video.sentences, moments, where)


def _duration(video_id: str, entry: dict[str, Any], where: str) -> float:
    """Seconds, from an entry of either version in frames."""
    frames = "num_frames" if "fps" in entry else "duration"
    require(entry, (frames,), where)
    empty = {"sentences": [], "timestamps": []}
    return _in_seconds(video_id, empty, entry[frames], entry.get("fps", FRAME_RATE), where).duration


def _with_suffix(video_id: str) -> str:
    return video_id if video_id.endswith(".avi") else f"{video_id}.avi"
