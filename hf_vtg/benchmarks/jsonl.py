"""Own data: JSONL rows with the four fields, or a grouped json file, in one or several splits."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

from ..errors import AnnotationError
from .annotations import VideoAnnotation, read_grouped_json, read_jsonl
from .base import BenchmarkBuilder
from .finding import ExpectedFiles, find_files, split_of


class JsonlBenchmark(BenchmarkBuilder):
    """Own annotations; a row is a video: ``{"video_id", "duration", "sentences", "moments"}``, times in seconds.

    Files whose name contains train, val / validation / dev or test as a word make that split; a lone file under any
    other name is the train split. ``.json`` files are grouped: ``{id: {"duration", "timestamps", "sentences"}}``.
    """

    FILES: ClassVar[ExpectedFiles] = {
        "train": [("train.jsonl",), ("train.json",)],
        "validation": [("validation.jsonl",), ("validation.json",)],
        "test": [("test.jsonl",), ("test.json",)],
    }

    def find_files(self, data_dir: Any) -> dict[str, tuple[Path, ...]]:
        return find_files(self._benchmark(), data_dir, _expected(data_dir) or self.FILES)

    def read_split(self, split: str, files: tuple[Path, ...]) -> Iterator[VideoAnnotation]:
        for path in files:
            yield from read_grouped_json(path) if path.suffix == ".json" else read_jsonl(path)


def _expected(data_dir: Any) -> dict[str, list[tuple[str, ...]]]:
    """The names that are there and speak of a split."""
    if not data_dir or isinstance(data_dir, dict):
        return {}
    paths = [Path(p).expanduser() for p in (data_dir if isinstance(data_dir, list | tuple) else [data_dir])]
    if len(paths) == 1 and paths[0].is_dir():
        paths = sorted(paths[0].iterdir())
    expected: dict[str, list[tuple[str, ...]]] = {}
    for path in paths:
        split = split_of(path.name) if path.suffix in (".json", ".jsonl") else None
        if split is None:
            continue
        if split in expected:
            raise AnnotationError(
                f"{expected[split][0][0]} and {path.name} both look like the {split} split; "
                "say which: data_dir={'train': ..., 'test': ...}"
            )
        expected[split] = [(path.name,)]
    return expected
