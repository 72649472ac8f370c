"""Losses of a golden folder against ours."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from typing import Any

from .comparing import Report, number
from .manifest import GoldenFolder, ParityError, find_entry, leaves
from .method import hook, load_method
from .session import Session, Setting


def check_losses(session: Session, report: Report) -> None:
    """Every number of the ``losses`` files; leaves of ``not_losses`` are listed as excepted."""
    for path, value, entry, groups in _loss_leaves(session.folder, report):
        name = f"{entry['file']}:{path}"
        ours = loss_value(session, loss_setting(session.folder, entry, groups, path), path)
        if ours is None:
            report.missing("losses", name, entry)
        else:
            report.add(number("losses", name, float(ours), value, entry))


def _loss_leaves(folder: GoldenFolder, report: Report) -> Iterator[tuple[str, Any, dict[str, Any], tuple[str, ...]]]:
    """(path, value, entry, groups) of each loss; what other lists cover is left to them, the rest fails."""
    files = [entry["file"] for entry in folder.entries("losses")]
    for file in dict.fromkeys(files):
        entries = [e for e in folder.entries("losses") if e["file"] == file]
        elsewhere = [e for key in ("gradients", "decoding") for e in folder.entries(key) if e["file"] == file]
        values = dict(leaves(folder.json(file)))
        report.unmatched("losses", file, entries, values)
        for path, value in values.items():
            found = find_entry(entries, path)
            if found is not None:
                yield path, value, *found
            elif find_entry(folder.entries("not_losses"), path) is not None:
                report.excepted("not_losses", f"{file}:{path}", "not_losses: no loss")
            elif find_entry(elsewhere, path) is None:
                report.failed("losses", f"{file}:{path}", "matches nothing in the manifest")


def loss_setting(
    folder: GoldenFolder, entry: Mapping[str, Any], groups: tuple[str, ...] = (), path: str | None = None
) -> Setting:
    """How the loss at ``path`` (default: the entry's) is computed, by the entry that covers it.

    A variant in words (``as the entry of the same name``, for float64 values) is that of the first leaf of the file
    that ends in the same name and has a variant.
    """
    path = path or entry["path"]
    run = folder.run(entry.get("forward"))
    known = hook(load_method(folder.method), "GOLDEN_LOSS_OVERRIDES") or {}
    if _tail(path) in known:
        entry = {**entry, "overrides": {**known[_tail(path)], **(entry.get("overrides") or {})}}
    fields: dict[str, Any] = {"double": entry.get("dtype") == "float64"}
    if run.get("per_sample"):
        fields["sample"] = int(groups[0].split(".")[0])
    setting = Setting.of(run, entry, **fields)
    if setting.variant in ("default", "official"):
        return setting
    entries = [e for e in folder.entries("losses") if e["file"] == entry["file"] and "dtype" not in e]
    for other, _ in leaves(folder.json(entry["file"])):
        found = find_entry(entries, other) if _tail(other) == _tail(path) else None
        if found is not None:
            same = loss_setting(folder, *found, other)
            return dataclasses.replace(setting, variant=same.variant, overrides=same.overrides)
    raise ParityError(f"{folder.path}: the variant {setting.variant!r} of {path!r} is that of no other entry.")


def _tail(path: str) -> str:
    return path.rsplit(".", 1)[-1]


def weighting_of(session: Session, setting: Setting, path: str) -> Setting | None:
    """The setting whose weighted total is the one at ``path``; None if ``path`` ends in no total's name."""
    totals = session.loss_weights(session.load(setting.variant, json.loads(setting.overrides), setting.double))
    tail = _tail(path)
    return dataclasses.replace(setting, weighting=tail) if tail in totals else None


def loss_value(session: Session, setting: Setting, path: str):
    """Our value of the loss at ``path``: a weighted total, a loss, or a ``golden_losses`` name, by the longest tail of
    the path; None if the model has none of that name."""
    total = weighting_of(session, setting, path)
    if total is not None and ".weighted." not in f".{path}":
        return session.forward(total).output.loss
    result = session.forward(setting)
    losses = dict(result.output.losses or {})
    losses |= {f"weighted.{name}": result.model.loss_weights[name] * value for name, value in losses.items()}
    other = hook(session.method, "golden_losses")
    if other:
        losses |= other(result.model, result.output)
    parts = path.split(".")
    tails = (".".join(parts[start:]) for start in range(len(parts)))
    return next((losses[tail] for tail in tails if tail in losses), None)
