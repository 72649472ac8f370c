"""Features of many videos by video id, whatever the file: read lazily, checked, safe in DataLoader workers."""

import difflib
import logging
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..benchmarks.facts import published_features
from ..errors import FeatureError, HFVTGError
from ..files import atomic_path
from .formats import WRITERS, FeatureFile, is_video_file, open_features, sidecar_spec
from .spec import FeatureSpec

logger = logging.getLogger(__name__)


class MissingFeatureError(FeatureError, KeyError):
    """A video has no features in the store. A KeyError too, so that ``store.get(id)`` works."""

    __str__ = Exception.__str__


@dataclass(frozen=True)
class Coverage:
    """How many of the wanted videos a store has. ``str()`` is one line for a log."""

    path: str
    wanted: int
    missing: tuple[str, ...]

    @property
    def found(self) -> int:
        return self.wanted - len(self.missing)

    def __str__(self) -> str:
        text = f"{self.path} has features of {self.found} of {self.wanted} videos"
        examples = ", ".join(self.missing[:5]) + (", ..." if len(self.missing) > 5 else "")
        return f"{text}; missing: {examples}" if self.missing else text


class FeatureStore(Mapping[str, np.ndarray]):
    """Read-only mapping from video id to float32 (T, D) clip features.

    The file is opened in the process that reads, at the first read; a pickled or forked store opens its own.

    Args:
        path: HDF5 with a dataset or a group a video; npz or safetensors with an array a video; or a folder of files
            ``VIDEO_ID.npy`` / ``.npz`` / ``.safetensors`` / ``.h5``. Of several arrays of one video ``features``
            is read, or the only one with two axes.
        key_template: where a video is, if not under its id: ``"{video_id}.mp4"``, ``"{video_id}/c3d_features"``,
            ``"rgb/{video_id}"``, in a folder ``"{video_id}_rgb.npy"`` or ``"{video_id}.npz/rgb"``.
        spec: what the features are; default what is stored: in the file (``feature_spec``: HDF5 attribute, npz array
            ``__feature_spec__``, safetensors metadata) or beside it (``FILE.feature_spec.json``,
            ``feature_spec.json``), as JSON of :class:`FeatureSpec`.
        preset: name of a published set of features (:data:`hf_vtg.benchmarks.facts.FEATURES`), which says all of this.

    Raises:
        FeatureError: unreadable file, unknown preset, two different known specs; when reading, an id that is missing
            (also a KeyError), not (T, D), of another width than the rest, or not finite.
    """

    def __init__(
        self,
        path: str | os.PathLike,
        key_template: str | None = None,
        spec: FeatureSpec | None = None,
        preset: str | None = None,
    ):
        self.path = Path(path).expanduser()
        self._id_suffix = ""
        if preset is not None:
            published = published_features(preset)
            spec = spec or FeatureSpec(**published.spec)
            self._id_suffix = published.id_suffix
            if key_template is None and not self.path.is_dir():
                key_template = published.key_template
        if key_template is not None and key_template.count("{video_id}") != 1:
            raise FeatureError(f"key_template {key_template!r} must contain '{{video_id}}' once")
        self.key_template = key_template
        self._given_spec = spec
        self._opened: tuple[int, FeatureFile] | None = None
        self._index: dict[str, str] | None = None
        self._spec: FeatureSpec | None = None
        self._dim: int | None = None
        open_features(self.path).close()

    def __getitem__(self, video_id: str) -> np.ndarray:
        name = self._names().get(video_id)
        if name is None:
            raise MissingFeatureError(self._missing_message(video_id))
        array, own_spec = self._read(video_id, name)
        width, source = self._expected_width()
        if array.shape[1] != width:
            raise FeatureError(
                f"features of {video_id!r} in {self.path} have width {array.shape[1]}, not {width} as {source}"
            )
        if own_spec is not None:
            where = f"{self.path}, {name}"
            self.spec.check_compatible(_spec_of(own_spec, where), where=where)
        return array

    def __contains__(self, video_id: object) -> bool:
        return video_id in self._names()

    def __iter__(self) -> Iterator[str]:
        return iter(self._names())

    def __len__(self) -> int:
        return len(self._names())

    # Mapping would compare all features
    __eq__ = object.__eq__
    __hash__ = object.__hash__

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, {len(self)} videos)"

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @property
    def dim(self) -> int:
        """Width D of the features."""
        return self._expected_width()[0]

    @property
    def spec(self) -> FeatureSpec:
        """What the features are; unspecified, with one warning, if nobody said."""
        if self._spec is None:
            stored = self._stored_spec()
            given = self._given_spec or FeatureSpec()
            given.check_compatible(stored, where=str(self.path))
            self._spec = stored if stored.is_specified and not given.is_specified else given
            if not self._spec.is_specified:
                logger.warning(
                    "%s does not say how its features were made; they are used as they are. "
                    "Give spec=FeatureSpec(...), or put a feature_spec.json beside it",
                    self.path,
                )
        return self._spec

    def missing(self, video_ids: Iterable[str]) -> list[str]:
        """The ids without features, each once, in the given order."""
        return [video_id for video_id in dict.fromkeys(video_ids) if video_id not in self]

    def coverage(self, video_ids: Iterable[str]) -> Coverage:
        """How many of these videos (each counted once) have features, and which have not."""
        wanted = list(dict.fromkeys(video_ids))
        return Coverage(str(self.path), len(wanted), tuple(self.missing(wanted)))

    def close(self) -> None:
        """Close the file; the next read opens it again."""
        if self._opened is not None:
            self._opened[1].close()
            self._opened = None

    def _file(self) -> FeatureFile:
        if self._opened is None or self._opened[0] != os.getpid():
            # a handle inherited by fork shares its file position with the parent: drop it, open an own one
            self.close()
            self._opened = (os.getpid(), open_features(self.path))
        return self._opened[1]

    def _names(self) -> dict[str, str]:
        """Video id -> name inside the file."""
        if self._index is None:
            self._index = self._with_suffix(self._build_index())
            if not self._index:
                there = ", ".join(list(self._file().names(""))[:5]) or "nothing"
                raise FeatureError(
                    f"{self.path} holds no video that fits key_template {self.key_template!r}; it holds {there}"
                )
        return self._index

    def _with_suffix(self, index: dict[str, str]) -> dict[str, str]:
        suffix = self._id_suffix
        completed = {name if name.endswith(suffix) else name + suffix: where for name, where in index.items()}
        if len(completed) < len(index):
            twice = next(name for name in index if name + suffix in index)
            raise FeatureError(f"{self.path} holds both {twice!r} and {twice + suffix!r}: remove one")
        return completed

    def _build_index(self) -> dict[str, str]:
        file = self._file()
        if self.key_template is None and self.path.is_dir():
            index: dict[str, str] = {}
            for name in filter(is_video_file, file.names("")):
                video_id = Path(name).stem
                if video_id in index:
                    raise FeatureError(f"{self.path}: {index[video_id]} and {name} are both of video {video_id!r}")
                index[video_id] = name
            return index
        before, after = (self.key_template or "{video_id}").split("{video_id}")
        *above, before = before.split("/")
        after, *below = after.split("/")
        pattern = re.compile(f"{re.escape(before)}(.+){re.escape(after)}", re.DOTALL)
        index = {}
        for name in file.names("/".join(above)):
            match = pattern.fullmatch(name)
            full = "/".join([*above, name, *below])
            if match and file.has(full):
                index[match[1]] = full
        return index

    def read_unchecked(self, video_id: str) -> np.ndarray:
        """The array as it is in the file, for inspection. FeatureError if it is missing or cannot be read."""
        name = self._names().get(video_id)
        if name is None:
            raise MissingFeatureError(self._missing_message(video_id))
        return np.asarray(self._raw(video_id, name)[0])

    def _read(self, video_id: str, name: str) -> tuple[np.ndarray, dict[str, Any] | None]:
        """The checked features, and the spec that is stored with this video alone."""
        array, own_spec = self._raw(video_id, name)
        return checked_features(array, self._where(video_id, name)), own_spec

    def _raw(self, video_id: str, name: str) -> tuple[Any, dict[str, Any] | None]:
        where = self._where(video_id, name)
        try:
            return self._file().read(name)
        except HFVTGError as error:
            raise FeatureError(f"{where}: {error}") from error
        except Exception as error:
            raise FeatureError(f"{where} cannot be read: {error}; copy or extract them again") from error

    def _where(self, video_id: str, name: str) -> str:
        return f"features of {video_id!r} in {self.path / name if self.path.is_dir() else self.path}"

    def _expected_width(self) -> tuple[int, str]:
        if self._dim is None:
            first, name = next(iter(self._names().items()))
            width = self._read(first, name)[0].shape[1]
            if self.spec.dim not in (None, width):
                raise FeatureError(
                    f"features of {first!r} in {self.path} have width {width}, their spec says {self.spec.dim}"
                )
            self._dim = width
        return self._dim, f"those of {next(iter(self._names()))!r}"

    def _stored_spec(self) -> FeatureSpec:
        try:
            values = self._file().spec() or sidecar_spec(self.path)
        except HFVTGError:
            raise
        except (OSError, ValueError) as error:
            raise FeatureError(f"the feature spec in {self.path} cannot be read: {error}; write it again") from error
        if values is None and self.path.is_dir():
            values = self._raw(*next(iter(self._names().items())))[1]
        return _spec_of(values, str(self.path))

    def _missing_message(self, video_id: str) -> str:
        known = list(self._names())
        close = difflib.get_close_matches(str(video_id), known, n=3) or known[:3]
        return (
            f"no features of video {video_id!r} in {self.path}; it has {len(known)} videos, "
            f"such as {', '.join(map(repr, close))}. Complete the file, or say with key_template=... where the ids are"
        )


def write_feature_store(
    path: str | os.PathLike, items: Iterable[tuple[str, np.ndarray]], spec: FeatureSpec | None = None
) -> int:
    """Write (video id, (T, D) features) pairs to one .h5 / .hdf5, .npz or .safetensors file, whole or not at all.

    float16 stays float16, everything else becomes float32. HDF5 and npz are written as the items come; safetensors
    needs them all in memory.

    Returns:
        The number of videos.

    Raises:
        FeatureError: another suffix, no item, an id twice or unusable, or features as in :class:`FeatureStore`.
    """
    path = Path(path)
    writer = WRITERS.get(path.suffix.lower())
    if writer is None:
        raise FeatureError(f"cannot write features to {path}: choose one of {', '.join(WRITERS)}")
    seen: set[str] = set()
    with atomic_path(path) as temporary:
        writer(temporary, _checked_items(path, items, spec, seen), None if spec is None else spec.to_dict())
        if not seen:
            raise FeatureError(f"no features to write to {path}")
    return len(seen)


def checked_features(array: Any, where: str) -> np.ndarray:
    """(T, D) float32, or FeatureError beginning with ``where``."""
    array = np.asarray(array)
    if array.ndim != 2 or 0 in array.shape:
        raise FeatureError(f"{where} have shape {array.shape}; (T, D) with at least one clip is needed")
    if array.dtype.kind not in "fiu":
        raise FeatureError(f"{where} are of type {array.dtype}; numbers are needed")
    with np.errstate(over="ignore"):
        array = np.array(array, dtype=np.float32, order="C")
    if not np.isfinite(array).all():
        bad = int((~np.isfinite(array)).any(-1).argmax())
        raise FeatureError(f"{where} hold NaN or infinity, first in clip {bad} of {len(array)}; extract them again")
    return array


def _checked_items(path, items, spec, seen: set[str]) -> Iterator[tuple[str, np.ndarray]]:
    width = None if spec is None else spec.dim
    for video_id, array in items:
        if not isinstance(video_id, str) or not video_id or "/" in video_id or video_id.startswith("__"):
            raise FeatureError(f"video id {video_id!r} cannot be a name in {path}")
        if video_id in seen:
            raise FeatureError(f"video {video_id!r} is given twice for {path}")
        where = f"features of {video_id!r} for {path}"
        checked = checked_features(array, where)
        width = width or checked.shape[1]
        if checked.shape[1] != width:
            raise FeatureError(f"{where} have width {checked.shape[1]}, not {width}")
        seen.add(video_id)
        half = getattr(array, "dtype", None) == np.float16
        yield video_id, checked.astype(np.float16) if half else checked


def _spec_of(values: Mapping[str, Any] | None, where: str) -> FeatureSpec:
    try:
        return FeatureSpec.from_dict(values)
    except FeatureError as error:
        raise FeatureError(f"{where}: {error}") from error
