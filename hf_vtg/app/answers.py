"""The work behind the page, without Gradio: checks, features once a video, moments, and what is kept of visitors."""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import HFVTGError, QueryError, VideoError
from ..pipeline import load_pipeline
from ..text.paragraphs import split_sentences
from ..video.decode import probe_video
from .settings import AppSettings

SEPARATE, PARAGRAPH = "separate sentences", "one paragraph"


@dataclass
class Encoded:
    """Features of the video that a visitor asked about last."""

    key: tuple[str, str, str]
    video: dict[str, Any]


@dataclass(frozen=True)
class Answer:
    """Moments of each sentence in seconds; ``reused``: the video was not encoded again."""

    duration: float
    sentences: list[dict[str, Any]]
    reused: bool


@dataclass
class Answerer:
    """Answers the visitors of one page; models stay loaded."""

    settings: AppSettings
    pipelines: dict[str, Any] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)

    def check(self, video: str | None) -> float:
        """Seconds of an uploaded video. Raises VideoError for one that is missing, unreadable or too long."""
        if not video:
            raise VideoError("There is no video yet. Upload one, or choose a sample.")
        size = Path(video).stat().st_size / 1e6 if Path(video).is_file() else 0
        if size > self.settings.max_megabytes:
            raise VideoError(f"The video has {size:.0f} MB; {self.settings.max_megabytes} MB are allowed here.")
        try:
            seconds = probe_video(video).duration
        except VideoError as error:
            # The folder of uploads is nobody's business.
            raise VideoError(str(error).replace(str(video), Path(video).name)) from error
        if seconds > 60 * self.settings.max_minutes:
            raise VideoError(
                f"The video is {seconds / 60:.1f} minutes long; {self.settings.max_minutes:g} are allowed here. "
                "Cut it, or start the page with --max-minutes."
            )
        return seconds

    def sentences(self, text: str, reading: str) -> list[str]:
        """The sentences of the text field: its lines, or those of the paragraph."""
        if not (text or "").strip():
            raise QueryError("There is no sentence yet. Describe what you look for.")
        if reading == PARAGRAPH:
            found = split_sentences(" ".join(text.split()))
        else:
            found = [line.strip() for line in text.splitlines() if line.strip()]
        if len(found) > self.settings.max_sentences:
            raise QueryError(f"{len(found)} sentences are too many at once: at most {self.settings.max_sentences}.")
        return found

    def answer(
        self, video: str | None, text: str, reading: str, model: str, backbone: str, encoded: Encoded | None
    ) -> tuple[Answer, Encoded]:
        """Moments, and the features for the next question on the same video.

        Raises:
            HFVTGError: what is wrong, in words for the visitor.
        """
        sentences = self.sentences(text, reading)
        self.check(video)
        pipe = self._pipeline(model)
        pipe.processor(text=[sentences])
        key = (str(video), model, backbone)
        reused = encoded is not None and encoded.key == key
        if not reused:
            name = self._known(self.settings.backbone_names, backbone, "backbone")
            # Nothing of an upload is kept on disk; the bar is what the page shows as progress.
            encoded = Encoded(key, pipe.encode(video, backbone=name, use_cache=False, progress=True))
        found = pipe(encoded.video, sentences, top_k=self.settings.top_k, paragraph=reading == PARAGRAPH)
        if reading == PARAGRAPH:
            rows = found["sentences"]
        else:
            rows = [{"sentence": s, "moments": m} for s, m in zip(sentences, found, strict=True)]
        return Answer(encoded.video["duration"], rows, reused), encoded

    def _pipeline(self, model: str) -> Any:
        source = self._known(self.settings.model_names, model, "model")
        with self.lock:
            if model not in self.pipelines:
                self.pipelines[model] = load_pipeline(source, device=self.settings.device)
            return self.pipelines[model]

    @staticmethod
    def _known(names: dict[str, Any], name: str, what: str) -> Any:
        if name not in names:
            raise HFVTGError(f"There is no {what} {name!r} on this page. Known: {', '.join(names)}.")
        return names[name]


@dataclass
class Uploads:
    """Which visitor holds which uploaded file; a file goes with the last one who holds it."""

    holders: dict[str, set[str]] = field(default_factory=dict)
    lock: Any = field(default_factory=threading.Lock)

    def hold(self, visitor: str, path: str) -> None:
        """``visitor`` uploaded ``path``."""
        with self.lock:
            self.holders.setdefault(path, set()).add(visitor)

    def leave(self, visitor: str) -> list[str]:
        """``visitor`` has gone: files that nobody else holds are deleted. Returns their paths."""
        deleted = []
        with self.lock:
            for path, visitors in list(self.holders.items()):
                visitors.discard(visitor)
                if not visitors:
                    del self.holders[path]
                    Path(path).unlink(missing_ok=True)
                    deleted.append(path)
        return deleted
