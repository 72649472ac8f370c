"""The file formats behind FeatureStore: what names a file holds, and one array by name. Nothing is checked here."""

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import FeatureError, HFVTGError, install_hint

SPEC_KEY = "feature_spec"
SPEC_FILE = "feature_spec.json"
_NPZ_SPEC = "__feature_spec__"


Spec = dict[str, Any] | None


class FeatureFile(Protocol):
    """An open file or folder. ``name`` is a path with "/" inside it."""

    def names(self, parent: str) -> Iterable[str]:
        """Names directly below ``parent`` ("" is the root)."""

    def has(self, name: str) -> bool: ...

    def read(self, name: str) -> tuple[np.ndarray, Spec]:
        """The array of a video, and the feature spec stored with it alone."""

    def spec(self) -> Spec:
        """The feature spec of the whole."""

    def close(self) -> None: ...


def open_features(path: Path) -> FeatureFile:
    """Open by suffix; FeatureError for what is no feature file, HFVTGError where h5py is not installed."""
    if path.is_dir():
        return _Folder(path)
    opener = _OPENERS.get(path.suffix.lower())
    if not path.exists() or opener is None:
        problem = "is of no known kind" if path.exists() else "does not exist"
        raise FeatureError(
            f"feature file {path} {problem}; give .h5 / .hdf5, .npz or .safetensors with an entry a video, "
            "or a folder with a file a video (.npy, .npz, .safetensors, .h5)"
        )
    try:
        return opener(path)
    except HFVTGError:
        raise
    except Exception as error:
        raise FeatureError(f"feature file {path} cannot be opened as {path.suffix}: {error}") from error


def import_h5py():
    try:
        import h5py
    except ImportError as error:
        raise HFVTGError(f"HDF5 files need h5py: {install_hint('hdf5')}") from error
    return h5py


class _HDF5:
    def __init__(self, path: Path):
        self.h5py = import_h5py()
        self.file = self.h5py.File(path, "r")

    def names(self, parent: str) -> Iterable[str]:
        group = self.file.get(parent) if parent else self.file
        return list(group) if isinstance(group, self.h5py.Group) else []

    def has(self, name: str) -> bool:
        return name in self.file

    def read(self, name: str) -> tuple[np.ndarray, Spec]:
        entry = self.file[name]
        if isinstance(entry, self.h5py.Group):
            shapes = {k: v.ndim for k, v in entry.items() if isinstance(v, self.h5py.Dataset)}
            entry = entry[_pick(shapes, f"group {name!r}")]
        return entry[()], None

    def spec(self) -> Spec:
        text = self.file.attrs.get(SPEC_KEY)
        return None if text is None else json.loads(text)

    def close(self) -> None:
        self.file.close()


class _Npz:
    def __init__(self, path: Path):
        self.file = np.load(path, allow_pickle=False)

    def names(self, parent: str) -> Iterable[str]:
        return _below(parent, (name for name in self.file.files if name != _NPZ_SPEC))

    def has(self, name: str) -> bool:
        return name in self.file.files and name != _NPZ_SPEC

    def read(self, name: str) -> tuple[np.ndarray, Spec]:
        return self.file[name], None

    def spec(self) -> Spec:
        return json.loads(str(self.file[_NPZ_SPEC])) if _NPZ_SPEC in self.file.files else None

    def pick(self) -> str:
        return _pick({name: self.file[name].ndim for name in self.names("")}, "the file")

    def close(self) -> None:
        self.file.close()


class _Safetensors:
    def __init__(self, path: Path):
        from safetensors import safe_open

        # torch, because numpy has no bfloat16
        self.file = safe_open(str(path), framework="pt")
        self.keys = set(self.file.keys())

    def names(self, parent: str) -> Iterable[str]:
        return _below(parent, sorted(self.keys))

    def has(self, name: str) -> bool:
        return name in self.keys

    def read(self, name: str) -> tuple[np.ndarray, Spec]:
        tensor = self.file.get_tensor(name)
        return (tensor.float() if tensor.is_floating_point() else tensor).numpy(), None

    def spec(self) -> Spec:
        text = (self.file.metadata() or {}).get(SPEC_KEY)
        return None if text is None else json.loads(text)

    def pick(self) -> str:
        return _pick({name: len(self.file.get_slice(name).get_shape()) for name in self.keys}, "the file")

    def close(self) -> None:
        self.file = None


class _Npy:
    """One array without a name."""

    def __init__(self, path: Path):
        self.array = np.load(path, allow_pickle=False)

    def read(self, name: str) -> tuple[np.ndarray, Spec]:
        return self.array, None

    def spec(self) -> Spec:
        return None

    def pick(self) -> str:
        return ""

    def close(self) -> None: ...


class _VideoHDF5(_HDF5):
    """HDF5 of one video: the root group holds its arrays."""

    def pick(self) -> str:
        shapes = {k: v.ndim for k, v in self.file.items() if isinstance(v, self.h5py.Dataset)}
        return _pick(shapes, "the file")


class _Folder:
    """A file a video; the name of an entry is the path of its file below the folder, then the array inside."""

    def __init__(self, path: Path):
        self.path = path

    def names(self, parent: str) -> Iterable[str]:
        folder = self.path / parent
        if not folder.is_dir():
            return []
        files = (p.name for p in folder.iterdir() if not p.name.startswith("."))
        return sorted(name for name in files if (folder / name).is_dir() or is_video_file(name))

    def has(self, name: str) -> bool:
        file, inner = self._split(name)
        if file is None or not inner:
            return file is not None
        opened = _open_video(file)
        try:
            return hasattr(opened, "has") and opened.has(inner)
        finally:
            opened.close()

    def read(self, name: str) -> tuple[np.ndarray, Spec]:
        file, inner = self._split(name)
        opened = _open_video(file)
        try:
            return opened.read(inner or opened.pick())[0], opened.spec()
        finally:
            opened.close()

    def spec(self) -> Spec:
        path = self.path / SPEC_FILE
        return _read_spec(path) if path.is_file() else None

    def close(self) -> None: ...

    def _split(self, name: str) -> tuple[Path | None, str]:
        """The file that a name begins with, and the array named after it."""
        parts = name.split("/")
        if ".." in parts:
            # An id never leads out of the folder.
            return None, ""
        for used in range(1, len(parts) + 1):
            file = self.path.joinpath(*parts[:used])
            if file.is_file():
                return file, "/".join(parts[used:])
        return None, ""


_OPENERS = {".h5": _HDF5, ".hdf5": _HDF5, ".hdf": _HDF5, ".npz": _Npz, ".safetensors": _Safetensors}
_VIDEO_OPENERS = {**dict.fromkeys((".h5", ".hdf5", ".hdf"), _VideoHDF5), ".npz": _Npz, ".npy": _Npy}
_VIDEO_OPENERS[".safetensors"] = _Safetensors


def is_video_file(name: str) -> bool:
    """Whether a file of this name can hold the features of one video."""
    return Path(name).suffix.lower() in _VIDEO_OPENERS


def sidecar_spec(path: Path) -> Spec:
    """The spec in ``FILE.feature_spec.json``, or in ``feature_spec.json`` of the same folder."""
    for candidate in (path.with_name(f"{path.name}.{SPEC_FILE}"), path.with_name(SPEC_FILE)):
        if candidate.is_file():
            return _read_spec(candidate)
    return None


def _read_spec(path: Path) -> Spec:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FeatureError(f"feature spec {path} cannot be read: {error}; correct or remove the file") from error


def write_hdf5(path: Path, items: Iterator[tuple[str, np.ndarray]], spec: Mapping[str, Any] | None) -> None:
    try:
        with import_h5py().File(path, "w") as file:
            if spec is not None:
                file.attrs[SPEC_KEY] = json.dumps(spec)
            for name, array in items:
                file.create_dataset(name, data=array)
    except RuntimeError as error:
        # HDF5 reports a write that fails while the file is closed in this way.
        raise (OSError(str(error)) if "errno" in str(error) else error) from error


def write_npz(path: Path, items: Iterator[tuple[str, np.ndarray]], spec: Mapping[str, Any] | None) -> None:
    import zipfile

    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        if spec is not None:
            items = _chain((_NPZ_SPEC, np.array(json.dumps(spec))), items)
        for name, array in items:
            # An entry without the time of writing: the same features make the same file.
            with archive.open(zipfile.ZipInfo(f"{name}.npy"), "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, array, allow_pickle=False)


def write_safetensors(path: Path, items: Iterator[tuple[str, np.ndarray]], spec: Mapping[str, Any] | None) -> None:
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    arrays = dict(items)
    try:
        save_file(arrays, path, metadata=None if spec is None else {SPEC_KEY: json.dumps(spec)})
    except SafetensorError as error:
        raise OSError(str(error)) from error


WRITERS = {".h5": write_hdf5, ".hdf5": write_hdf5, ".npz": write_npz, ".safetensors": write_safetensors}


def _open_video(file: Path):
    return _VIDEO_OPENERS[file.suffix.lower()](file)


def _pick(dimensions: Mapping[str, int], where: str) -> str:
    """The array of a video among others such as timestamps: ``features``, or the only one with two axes."""
    if "features" in dimensions:
        return "features"
    flat = [name for name, count in dimensions.items() if count == 2]
    if len(flat) != 1:
        raise FeatureError(
            f"{where} holds {sorted(dimensions)}: no array 'features' and {len(flat)} with two axes; say which one, "
            "as in key_template='{video_id}/NAME' (HDF5) or '{video_id}.npz/NAME' (folder)"
        )
    return flat[0]


def _below(parent: str, names: Iterable[str]) -> list[str]:
    """Of flat names with "/", the parts directly below ``parent``, each once."""
    prefix = f"{parent}/" if parent else ""
    return list(dict.fromkeys(n[len(prefix) :].split("/")[0] for n in names if n.startswith(prefix)))


def _chain(first: tuple[str, np.ndarray], rest: Iterator[tuple[str, np.ndarray]]):
    yield first
    yield from rest
