"""ActivityNet Captions (Krishna et al. 2017) as the grounding papers split it: train, val_1, val_2."""

from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from .annotations import EMPTY_MOMENT, SplitReport, VideoAnnotation, read_grouped_json
from .base import BenchmarkBuilder
from .finding import ExpectedFiles

# Longest paragraph of the test split (DepNet's test.npy): longer ones are cut.
MAX_SENTENCES = 8


class ActivityNetCaptions(BenchmarkBuilder):
    """ActivityNet Captions: ``train.json``, ``val_1.json`` as validation, ``val_2.json`` as test.

    Paragraphs as in DepNet and PRVG (specs/hscnet.md, section 2): all sentences of a video in annotation order; a
    video with any moment that does not end after it starts is left out whole; paragraphs of the test split are cut
    into parts of at most 8 sentences.
    """

    FILES: ClassVar[ExpectedFiles] = {
        "train": [("train.json",)],
        "validation": [("val_1.json",), ("val.json",)],
        "test": [("val_2.json",), ("test.json",)],
    }

    def read_split(self, split: str, files: tuple[Path, ...]) -> Iterator[VideoAnnotation]:
        for path in files:
            yield from read_grouped_json(path, "activitynet_captions")

    def paragraphs(self, video: VideoAnnotation, split: str, report: SplitReport) -> Iterator[VideoAnnotation]:
        if self.config.drop_invalid and any(end <= start for start, end in video.moments):
            report.drop_video(video, f"in a paragraph with an {EMPTY_MOMENT}")
            return
        count = len(video.sentences)
        size = MAX_SENTENCES if split == "test" else count
        for first in range(0, count, size):
            yield video.part(range(first, min(first + size, count)))
