"""What the benchmark builders share: configs, cache key, cleaning and report. A benchmark adds how to read a file."""

import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import datasets

from ..errors import AnnotationError
from ..files import cache_root, cannot_write, write_json
from .annotations import SplitReport, VideoAnnotation, clean, content_hash
from .finding import ExpectedFiles, find_files

logger = logging.getLogger(__name__)

CACHE_REMEDY = "set HF_VTG_CACHE (or cache_dir) to a folder with room"

REPORT_FILE = "annotation_report.json"
FEATURES = datasets.Features(
    {
        "video_id": datasets.Value("string"),
        "duration": datasets.Value("float64"),
        "sentences": datasets.List(datasets.Value("string")),
        "moments": datasets.List(datasets.List(datasets.Value("float64"), length=2)),
    }
)
_announced: set[str] = set()


@dataclass
class BenchmarkConfig(datasets.BuilderConfig):
    """``name`` is ``sentence`` (one query a row), ``video`` (a row a video, its sentences in the file's order) or
    ``paragraph`` (a row a paragraph, as the paragraph methods define it: :meth:`BenchmarkBuilder.paragraphs`).

    ``version`` is that of our reading rules: it is part of the cache key, so raise it when they change.
    ``annotation_version`` chooses among the published versions of the annotations. ``annotation_hash`` is filled in
    by the builder: datasets itself hashes the path only and would serve rows of an edited file from the cache.
    """

    version: datasets.Version = datasets.Version("1.2.0")
    annotation_version: str = ""
    annotation_hash: str = ""
    clip: bool = True
    drop_invalid: bool = True


class BenchmarkBuilder(datasets.GeneratorBasedBuilder):
    """Base of the builders over annotation files.

    A benchmark sets ``FILES`` and implements :meth:`read_split`; it overrides :meth:`paragraphs` if a paragraph is
    not simply all sentences of a video, and ``ANNOTATION_VERSIONS`` (the first is the default) if there are several.
    Rows are made as they are asked for; of an annotation file, which is small, the whole is read.

    Args:
        data_dir: folder, file, files, or dict from split to file(s): see :func:`find_files`.
        config_name: ``sentence`` (default), ``video`` or ``paragraph``.
        cache_dir: default ``datasets`` below :func:`hf_vtg.files.cache_root`.
        annotation_version, clip, drop_invalid: see :class:`BenchmarkConfig`; not clipping and not dropping are for
            comparisons with published loaders only.

    Raises:
        AnnotationError: files missing or malformed, or an unknown version or config.
        StorageError: the cache cannot be written.
    """

    BUILDER_CONFIG_CLASS = BenchmarkConfig
    BUILDER_CONFIGS: ClassVar[list] = [BenchmarkConfig(name=name) for name in ("sentence", "paragraph", "video")]
    DEFAULT_CONFIG_NAME = "sentence"
    FILES: ClassVar[ExpectedFiles] = {}
    ANNOTATION_VERSIONS: ClassVar[tuple[str, ...]] = ("",)

    def __init__(
        self,
        data_dir: Any = None,
        config_name: str | None = None,
        cache_dir: str | None = None,
        annotation_version: str | None = None,
        **kwargs: Any,
    ):
        names = self.config_names()
        if config_name is not None and config_name not in names:
            raise AnnotationError(f"config {config_name!r} is unknown; choose one of: {', '.join(names)}")
        version = annotation_version or self.ANNOTATION_VERSIONS[0]
        if version not in self.ANNOTATION_VERSIONS:
            known = ", ".join(map(repr, self.ANNOTATION_VERSIONS))
            raise AnnotationError(f"{type(self).__name__} has no version {version!r}; known: {known}")
        self.files = self.find_files(data_dir)
        root = str(cache_dir or cache_root() / "datasets")
        annotation_hash = content_hash(self.files)
        try:
            super().__init__(
                cache_dir=root,
                config_name=config_name,
                annotation_hash=annotation_hash,
                annotation_version=version or None,
                **kwargs,
            )
        except OSError as error:
            raise cannot_write(root, error, CACHE_REMEDY) from error

    @classmethod
    def config_names(cls, annotation_version: str | None = None) -> list[str]:
        """The configs that this version of the annotations has; the first is the default one."""
        return [config.name for config in cls.BUILDER_CONFIGS]

    def find_files(self, data_dir: Any) -> dict[str, tuple[Path, ...]]:
        """The files of each split present."""
        return find_files(self._benchmark(), data_dir, self.FILES)

    def read_split(self, split: str, files: tuple[Path, ...]) -> Iterator[VideoAnnotation]:
        """The videos of a split in the file's order, times in seconds, sentences as they are in the file."""
        raise NotImplementedError

    def paragraphs(self, video: VideoAnnotation, split: str, report: SplitReport) -> Iterable[VideoAnnotation]:
        """The rows of config ``paragraph`` of one video as read. Default: one, in annotation order."""
        return [video]

    def rows(self, split: str) -> tuple[Iterator[dict[str, Any]], SplitReport]:
        """The rows of a split, and the report that is complete once they are used up."""
        report = SplitReport()
        return self._rows(split, report), report

    @property
    def report(self) -> dict[str, SplitReport]:
        """Per split what was read, dropped and clipped; of a prepared dataset as it was stored beside the rows."""
        stored = self._report_file()
        if stored.is_file():
            return {name: SplitReport(**values) for name, values in json.loads(stored.read_text()).items()}
        reports = {}
        for split in self.files:
            rows, reports[split] = self.rows(split)
            for _ in rows:
                pass
        return reports

    def download_and_prepare(self, *args: Any, **kwargs: Any) -> None:
        """Write the rows to the cache, unless there already, and the report beside them."""
        try:
            super().download_and_prepare(*args, **kwargs)
        except datasets.exceptions.DatasetGenerationError as error:
            # datasets hides what went wrong in a file behind an error of its own
            if isinstance(error.__cause__, AnnotationError):
                raise error.__cause__ from None
            if isinstance(error.__cause__, OSError):
                raise cannot_write(self.cache_dir, error.__cause__, CACHE_REMEDY) from error
            raise
        except OSError as error:
            raise cannot_write(self.cache_dir, error, CACHE_REMEDY) from error
        if not self._report_file().is_file():
            report = {split: report.to_dict() for split, report in self.report.items()}
            write_json(self._report_file(), report)
        self._announce()

    def as_streaming_dataset(self, *args: Any, **kwargs: Any):
        """Rows straight from the annotation files, nothing cached."""
        self._announce()
        return super().as_streaming_dataset(*args, **kwargs)

    @classmethod
    def _benchmark(cls) -> str:
        return cls.__module__.rsplit(".", 1)[-1]

    def _info(self) -> datasets.DatasetInfo:
        return datasets.DatasetInfo(features=FEATURES)

    def _split_generators(self, dl_manager) -> list[datasets.SplitGenerator]:
        return [datasets.SplitGenerator(name=split, gen_kwargs={"split": split}) for split in self.files]

    def _generate_examples(self, split: str):
        rows, report = self.rows(split)
        yield from enumerate(rows)
        if not report.videos_kept:
            files = ", ".join(map(str, self.files[split]))
            raise AnnotationError(f"{files}: no usable sentence in split {split!r} ({report.describe()})")

    def _rows(self, split: str, report: SplitReport) -> Iterator[dict[str, Any]]:
        for video in self.read_split(split, self.files[split]):
            for part in self.paragraphs(video, split, report) if self.config.name == "paragraph" else [video]:
                part = clean(part, report, clip=self.config.clip, drop_invalid=self.config.drop_invalid)
                if part is None:
                    continue
                pieces = [(part.sentences, part.moments)]
                if self.config.name == "sentence":
                    pieces = [([s], [m]) for s, m in zip(part.sentences, part.moments, strict=True)]
                for sentences, moments in pieces:
                    yield {
                        "video_id": part.video_id,
                        "duration": part.duration,
                        "sentences": sentences,
                        "moments": moments,
                    }

    def _report_file(self) -> Path:
        return Path(getattr(self, "_output_dir", None) or self.cache_dir) / REPORT_FILE

    def _announce(self) -> None:
        """Log the report, once a process for each prepared dataset."""
        if self.cache_dir in _announced:
            return
        _announced.add(self.cache_dir)
        for split, report in self.report.items():
            level = logging.INFO if report.is_clean else logging.WARNING
            logger.log(level, "%s %s: %s", self.name, split, report.describe())
