"""Which files make which split: a folder, one file, several files or a dict into paths, or one clear error."""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import AnnotationError

# Per split, in order of preference: names that belong together, the first of them holding the annotations.
ExpectedFiles = Mapping[str, Sequence[tuple[str, ...]]]
# Endings of video files; a video's id is its file's name without one.
VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp"}
SPLITS = ("train", "validation", "test")
_SPLIT_WORDS = {"train": "train(?:ing)?", "validation": "val(?:id|idation)?|dev", "test": "test(?:ing)?"}


def find_files(benchmark: str, data_dir: Any, expected: ExpectedFiles) -> dict[str, tuple[Path, ...]]:
    """The files of each split that is there, in the order train, validation, test.

    Args:
        data_dir: a folder; a file; a list of files; or a dict from split to file or files.
            In a folder the first complete set of names of each split is taken. A lone file under another name is
            the train split.

    Raises:
        AnnotationError: nothing is given or found, or a companion file is missing; lists the expected names.
    """
    if not data_dir:
        raise AnnotationError(f"{benchmark} needs data_dir=..., {_describe(expected)}")
    if isinstance(data_dir, Mapping):
        return _of_dict(benchmark, data_dir, expected)
    listed = isinstance(data_dir, Iterable) and not isinstance(data_dir, str | os.PathLike)
    paths = [Path(p).expanduser().resolve() for p in (data_dir if listed else [data_dir])]
    for path in paths:
        if not path.exists():
            raise AnnotationError(f"{benchmark}: {path} does not exist; give {_describe(expected)}")
    if len(paths) == 1 and paths[0].is_dir():
        given = {p.name: p for p in sorted(paths[0].iterdir()) if p.is_file()}
    else:
        folders = [path for path in paths if not path.is_file()]
        if folders:
            raise AnnotationError(f"{benchmark}: {folders[0]} is no file; give one folder, or files only")
        given = {p.name: p for p in paths}
    found, missing = _match(given, expected)
    unused = [p for p in given.values() if not any(p in files for files in found.values())]
    if not found and not missing:
        annotations = [p for p in unused if p.suffix in (".json", ".jsonl")]
        if len(annotations) == 1:
            return {"train": (annotations[0],)}
        raise AnnotationError(f"{benchmark}: no annotations found in {_short(paths)}; give {_describe(expected)}")
    for split, names in missing.items():
        if split not in found:
            raise AnnotationError(
                f"{benchmark}: the {split} split in {_short(paths)} lacks {' and '.join(names)}; "
                f"give {_describe(expected)}"
            )
    if unused and not paths[0].is_dir():
        raise AnnotationError(
            f"{benchmark}: {_short(unused)} fits no split by its name; say which: data_dir={{'train': ..., ...}}"
        )
    return {split: found[split] for split in SPLITS if split in found}


def split_of(name: str) -> str | None:
    """The split a file name speaks of in a word of its own: ``val_1.json`` -> validation, ``trainer.json`` -> None."""
    stem = Path(name).stem.lower()
    named = [s for s, words in _SPLIT_WORDS.items() if re.search(rf"(?<![a-z])(?:{words})(?![a-z])", stem)]
    return named[0] if len(named) == 1 else None


def _match(
    given: Mapping[str, Path], expected: ExpectedFiles
) -> tuple[dict[str, tuple[Path, ...]], dict[str, list[str]]]:
    """Splits found, and per split the companions that its first incomplete set of names lacks."""
    found, missing = {}, {}
    for split, alternatives in expected.items():
        for names in alternatives:
            if names[0] not in given:
                continue
            paths = [given.get(name, given[names[0]].with_name(name)) for name in names]
            absent = [path.name for path in paths if not path.is_file()]
            if not absent:
                found[split] = tuple(paths)
                break
            missing.setdefault(split, absent)
    return found, missing


def _of_dict(benchmark: str, data_dir: Mapping, expected: ExpectedFiles) -> dict[str, tuple[Path, ...]]:
    files = {}
    for split, value in data_dir.items():
        if split not in SPLITS:
            raise AnnotationError(f"{benchmark}: unknown split {split!r} in data_dir; known: {', '.join(SPLITS)}")
        values = [value] if isinstance(value, str | os.PathLike) else list(value)
        paths = [Path(p).expanduser().resolve() for p in values]
        absent = [path for path in paths if not path.is_file()]
        if absent or not paths:
            raise AnnotationError(f"{benchmark}: file of the {split} split not found: {_short(absent) or value!r}")
        companions, _ = _match({p.name: p for p in paths}, expected)
        extra = [p for group in companions.values() for p in group if p not in paths]
        files[split] = (*paths, *extra)
    return {split: files[split] for split in SPLITS if split in files}


def _describe(expected: ExpectedFiles) -> str:
    sets = [" + ".join(names) for alternatives in expected.values() for names in alternatives]
    return f"a folder with (or the files themselves): {'; '.join(sets)}"


def _short(paths: Sequence[Path]) -> str:
    return ", ".join(map(str, paths[:3])) + (f" and {len(paths) - 3} more" if len(paths) > 3 else "")
