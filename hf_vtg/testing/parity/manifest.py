"""Golden folders: the manifest, its matching rules, and lazy access to the files it names."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from ...errors import HFVTGError

SCHEMA = 1
KINDS = ("forward", "processor", "decoding", "curve")


class ParityError(HFVTGError):
    """A golden folder or its manifest cannot be followed."""


def match(pattern: str, text: str, below: bool = False) -> tuple[str, ...] | None:
    """What each ``*`` of ``pattern`` stands for in ``text`` (any text, dots included); None if it does not match.

    Args:
        below: for paths in JSON files: a path also covers everything below it.
    """
    found = _compiled(pattern, below).fullmatch(text)
    return None if found is None else found.groups()


@cache
def _compiled(pattern: str, below: bool) -> re.Pattern:
    body = "(.*?)".join(re.escape(part) for part in pattern.split("*"))
    return re.compile(body + (r"(?:\..*)?" if below else ""), re.DOTALL)


def substitute(text: str, groups: tuple[str, ...]) -> str:
    """``{0}``, ``{1}`` in ``text`` replaced by what the entry's own ``*`` matched."""
    return re.sub(r"\{(\d+)\}", lambda found: groups[int(found[1])], text)


def match_entry(entry: Mapping[str, Any] | str, name: str) -> tuple[str, ...] | None:
    """The groups if ``entry`` (``name``, ``pattern``, ``path`` or ``tensors``) covers ``name``, else None."""
    if isinstance(entry, str):
        return match(entry, name, below=True)
    if "name" in entry and entry["name"] == name:
        return ()
    if "pattern" in entry:
        return match(entry["pattern"], name)
    if "path" in entry:
        return match(entry["path"], name, below=True)
    return next((groups for p in entry.get("tensors", ()) if (groups := match(p, name)) is not None), None)


def find_entry(entries: Iterable[Any], name: str) -> tuple[Any, tuple[str, ...]] | None:
    """The first entry that covers ``name``, with its groups; None if nothing does."""
    return next(((e, groups) for e in entries if (groups := match_entry(e, name)) is not None), None)


def label(entry: Mapping[str, Any] | str) -> str:
    """How an entry is called in reports."""
    if isinstance(entry, str):
        return entry
    for key in ("name", "pattern", "path"):
        if key in entry:
            return entry[key]
    return ", ".join(entry.get("tensors", ())) or entry.get("file", "?")


def leaves(tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(path, value) of every leaf of a JSON tree; keys and list indices are joined by dots."""
    if isinstance(tree, (dict, list)):
        items = tree.items() if isinstance(tree, dict) else enumerate(tree)
        for key, value in items:
            yield from leaves(value, f"{prefix}.{key}" if prefix else str(key))
    else:
        yield prefix, tree


class GoldenFolder:
    """A golden folder. Files are read once; float16 files are exact and load as float32.

    Raises:
        ParityError: if the manifest is missing, of another schema or of an unknown kind.
    """

    def __init__(self, path: str | Path):
        self.path = Path(path)
        if not (self.path / "manifest.json").is_file():
            raise ParityError(f"{self.path} has no manifest.json; give a folder of golden tensors.")
        self.manifest: dict[str, Any] = self.json("manifest.json")
        if self.manifest.get("schema") != SCHEMA or self.manifest.get("kind") not in KINDS:
            raise ParityError(
                f"{self.path}/manifest.json has schema {self.manifest.get('schema')!r} and kind "
                f"{self.manifest.get('kind')!r}; known are schema {SCHEMA} and the kinds {', '.join(KINDS)}."
            )
        self._tensors: dict[str, dict[str, torch.Tensor]] = {}

    @property
    def method(self) -> str:
        return self.manifest["method"]

    def entries(self, key: str) -> list[Any]:
        """A list of the manifest, empty if absent."""
        return self.manifest.get(key) or []

    def json(self, name: str) -> Any:
        """Content of a JSON file of the folder."""
        try:
            return json.loads(self._existing(name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise ParityError(f"{self.path / name} is not JSON: {error}. Copy the folder again.") from error

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        """Content of a safetensors file of the folder."""
        if name not in self._tensors:
            loaded = load_file(self._existing(name))
            self._tensors[name] = {k: v.float() if v.dtype == torch.float16 else v for k, v in loaded.items()}
        return self._tensors[name]

    def _existing(self, name: str) -> Path:
        path = self.path / name
        if not path.is_file():
            raise ParityError(f"{self.path}/manifest.json names {name!r}, but there is no such file.")
        return path

    @cached_property
    def config(self) -> dict[str, Any] | None:
        """The official configuration."""
        name = self.manifest.get("config")
        return self.json(name) if name else None

    @cached_property
    def weights(self) -> dict[str, torch.Tensor]:
        """Official state dict; of several files the later ones win."""
        merged: dict[str, torch.Tensor] = {}
        for name in self.entries("weights"):
            merged.update(self.tensors(name))
        return merged

    def canonical(self, name: str) -> str:
        """The first name of a tensor that the official state dict holds under two (``aliases``)."""
        for pattern, target in (self.manifest.get("aliases") or {}).items():
            groups = match(pattern, name)
            if groups is not None:
                return substitute(target, groups)
        return name

    def run(self, name: str | None = None) -> dict[str, Any]:
        """The forward run of that name, default the first."""
        runs = self.entries("forward")
        for run in runs:
            if name in (None, run["name"]):
                return run
        raise ParityError(
            f"{self.path}/manifest.json has no forward run {name!r}; it has {[r['name'] for r in runs]}."
        )

    def input_entries(self, run: Mapping[str, Any]) -> list[dict[str, Any]]:
        """``input_tensors`` of a run; a run without its own reads those of another run of the same file."""
        if "input_tensors" in run:
            return run["input_tensors"]
        same = (r for r in self.entries("forward") if r["inputs"] == run["inputs"])
        return next((r["input_tensors"] for r in same if "input_tensors" in r), [])

    def reference(self, run: Mapping[str, Any], where: str) -> torch.Tensor:
        """The stored tensor ``inputs:NAME``, ``outputs:NAME`` (files of the run) or ``FILE:NAME``."""
        file, _, name = where.partition(":")
        tensors = self.tensors(run.get(file, file) if file in ("inputs", "outputs") else _with_suffix(file))
        if name not in tensors:
            raise ParityError(f"{self.path}/manifest.json refers to {where!r}, which does not exist.")
        return tensors[name]

    def named_files(self) -> set[str]:
        """Every file that the manifest names."""
        m = self.manifest
        names = {"manifest.json", m.get("config"), *self.entries("weights"), *(m.get("other_files") or {})}
        for run in self.entries("forward"):
            names |= {run["inputs"], run["outputs"], run.get("annotations")}
        for key in ("losses", "gradients", "decoding"):
            names |= {entry["file"] for entry in self.entries(key)}
        names.add((m.get("curve") or {}).get("batches"))
        for curve in self.entries("curves"):
            names |= {curve["file"], curve.get("end_state")}
        return names - {None}

    def stray_files(self) -> list[str]:
        """Files that the manifest does not name. Every folder has a README.md, which says how it was made."""
        known = {*self.named_files(), "README.md"}
        return sorted(p.name for p in self.path.iterdir() if p.is_file() and p.name not in known)


def _with_suffix(file: str) -> str:
    return file if "." in file else f"{file}.safetensors"
