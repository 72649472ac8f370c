"""Features of a folder of videos in one file or folder; a run that was killed goes on where it stopped."""

import logging
import os
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from ..benchmarks.finding import VIDEO_SUFFIXES
from ..errors import FeatureError, VideoError
from ..features.formats import WRITERS
from ..features.store import FeatureStore, write_feature_store
from .cache import load_encoded, save_encoded
from .encoder import VideoEncoder

logger = logging.getLogger(__name__)


@dataclass
class Extraction:
    """Video ids that were encoded, that were there already, and the messages of those that cannot be read."""

    out: str
    encoded: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        return asdict(self)


def find_videos(paths: Sequence[str | os.PathLike]) -> dict[str, Path]:
    """Video id (the file's name without its ending) -> file, of files as given and of folders searched in depth.

    Raises:
        VideoError: an id twice, or no video at all.
    """
    videos: dict[str, Path] = {}
    for path in map(Path, paths):
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file())
        for file in inside if path.is_dir() else [path]:
            if videos.setdefault(file.stem, file) != file:
                raise VideoError(f"{videos[file.stem]} and {file} have the same video id {file.stem!r}. Rename one.")
    if not videos:
        raise VideoError(
            f"no video files in {', '.join(map(str, paths))}. Give videos or a folder with files that end in "
            f"{', '.join(sorted(VIDEO_SUFFIXES))}."
        )
    return videos


def extract_features(
    videos: Mapping[str, Path], encoder: VideoEncoder, out: str | os.PathLike, progress: bool | None = None
) -> Extraction:
    """Encode the videos that ``out`` lacks, and complete it.

    Args:
        videos: video id -> file, as of :func:`find_videos`.
        out: a folder (one ``VIDEO_ID.safetensors`` a video), or one .h5 / .hdf5 / .npz / .safetensors file. Until
            such a file is complete, finished videos lie in the folder ``OUT.parts``; a killed run goes on from there,
            and the file is bit for bit that of an undisturbed run. Videos that ``out`` holds already are kept, those
            that changed after it was written are encoded again.
        progress: a bar on stderr; None shows it on a terminal only.

    Raises:
        FeatureError: ``out`` is of no known kind, holds features of another kind, or no video can be read.
    """
    out = Path(out)
    is_file = bool(out.suffix) and not out.is_dir()
    if is_file and out.suffix.lower() not in WRITERS:
        raise FeatureError(f"cannot write features to {out}: choose a folder, or a file in {', '.join(WRITERS)}")
    parts = out.with_name(f"{out.name}.parts") if is_file else out
    old = _open_old(out, encoder) if is_file else None
    result = Extraction(str(out))
    todo = {}
    for video_id, path in videos.items():
        part = parts / f"{video_id}.safetensors"
        if _is_newer(part, path) and _is_whole(part, encoder):
            result.present.append(video_id)
        elif old is not None and video_id in old and _is_newer(out, path):
            result.present.append(video_id)
        else:
            todo[video_id] = path
    several = len(todo) > 1
    with tqdm(total=len(todo), desc=out.name, unit="video", disable=_hidden(progress if several else False)) as bar:
        for video_id, path in todo.items():
            try:
                encoded = encoder.encode(path, progress=False if several else progress)
            except VideoError as error:
                result.failed[video_id] = str(error)
            else:
                save_encoded(parts / f"{video_id}.safetensors", encoded, encoder.spec)
                result.encoded.append(video_id)
            bar.update()
    if not result.encoded and not result.present:
        messages = " ".join(list(result.failed.values())[:3])
        raise FeatureError(f"none of {len(videos)} videos could be encoded, {out} is not written. {messages}")
    if is_file:
        _assemble(out, parts, old, videos, encoder)
    return result


def _assemble(
    out: Path, parts: Path, old: FeatureStore | None, videos: Mapping[str, Path], encoder: VideoEncoder
) -> None:
    """One file of the parts and of what the old one holds besides; the parts are removed."""
    done = {part.stem for part in parts.glob("*.safetensors") if part.stem in videos}
    if done:
        whole = parts / f"{out.name}.whole{out.suffix}"
        names = sorted(done | set(old or ()))

        def items() -> Iterator[tuple[str, np.ndarray]]:
            for name in names:
                yield name, load_encoded(parts / f"{name}.safetensors")[0].features if name in done else old[name]

        write_feature_store(whole, items(), encoder.spec)
        os.replace(whole, out)
    if old is not None:
        old.close()
    shutil.rmtree(parts, ignore_errors=True)


def _open_old(out: Path, encoder: VideoEncoder) -> FeatureStore | None:
    if not out.exists():
        return None
    store = FeatureStore(out)
    if not store.spec.is_specified:
        raise FeatureError(f"{out} does not say how its features were made: choose another --out, or remove it.")
    encoder.spec.check_compatible(store.spec, str(out))
    return store


def _is_whole(part: Path, encoder: VideoEncoder) -> bool:
    """Whether a file holds whole features of this encoder. Raises FeatureError if they are of another kind."""
    try:
        _, spec, _ = load_encoded(part)
    except FeatureError as error:
        logger.warning("%s", error)
        return False
    encoder.spec.check_compatible(spec, str(part))
    return True


def _is_newer(file: Path, video: Path) -> bool:
    try:
        return file.stat().st_mtime_ns >= video.stat().st_mtime_ns
    except OSError:
        return False


def _hidden(progress: bool | None) -> bool | None:
    return None if progress is None else not progress
