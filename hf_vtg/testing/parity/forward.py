"""Tensors of a folder's forward runs: inputs, processor, the steps' outputs, targets, decoding."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import torch

from .comparing import Report, build_mask, elementwise
from .decoding import decoded
from .manifest import find_entry, label
from .method import hook
from .session import Session, Setting


def check_runs(session: Session, report: Report) -> None:
    """Every tensor of the input and output files of all forward runs."""
    seen: set[str] = set()
    for run in session.folder.entries("forward"):
        if run["inputs"] not in seen:
            seen.add(run["inputs"])
            _check_inputs(session, run, report)
        _check_outputs(session, run, report)


def _check_inputs(session: Session, run: Mapping[str, Any], report: Report) -> None:
    folder = session.folder
    entries = folder.input_entries(run)
    for name, stored in folder.tensors(run["inputs"]).items():
        found = find_entry(entries, name)
        if found is None:
            in_outputs = run["outputs"] == run["inputs"] and find_entry(run["tensors"], name)
            if not in_outputs:
                report.failed("inputs", name, "matches nothing in the manifest")
            continue
        entry, groups = found
        group = f"inputs {label(entry)}"
        role = entry.get("role")
        if role == "target" and "atol" in entry:
            ours = session.own_tensors(Setting.of(run, entry)).get(name)
            _compare(session, run, report, group, name, entry, groups, ours, stored)
        elif role == "target":
            why = "given: nothing to derive it from" if entry.get("given") else "fed as a target, no bound given"
            report.excepted(group, name, f"{why}; {entry.get('what', '')}".rstrip("; "))
        elif role == "processor_input" and "gives" in entry:
            _check_given(session, run, report, group, name, entry, groups)
        else:
            report.inputs += 1


def _check_given(session, run, report: Report, group: str, name: str, entry, groups: tuple[str, ...]) -> None:
    """What the processor makes of ``name`` against the tensor it must become, or the sample of it."""
    stored = session.folder.reference(run, entry["gives"])
    ours = session.processed(run).get(name)
    if ours is not None and ours.ndim == stored.ndim - 1 and groups:
        stored = stored[int(groups[0])]
    _compare(session, run, report, group, f"{name} gives {entry['gives']}", entry, groups, ours, stored)


def _check_outputs(session: Session, run: Mapping[str, Any], report: Report) -> None:
    folder = session.folder
    tensors = folder.tensors(run["outputs"])
    report.unmatched(run["name"], run["outputs"], run["tensors"], tensors)
    for name, stored in tensors.items():
        found = find_entry(run["tensors"], name)
        if found is None:
            in_inputs = run["outputs"] == run["inputs"] and find_entry(folder.input_entries(run), name)
            if not in_inputs:
                report.failed(run["name"], name, "matches nothing in the manifest")
            continue
        entry, groups = found
        group = f"{entry.get('step', '?')} {label(entry)}"
        setting = Setting.of(run, entry)
        own_name = name
        if run.get("per_sample"):
            own_name, _, index = name.rpartition(".")
            setting = Setting.of(run, entry, sample=int(index))
        for note, ours, reference in _candidates(session, run, setting, entry, groups, own_name, stored):
            shown = f"{name} {note}".strip()
            _compare(session, run, report, group, shown, entry, groups, ours, reference)


def _candidates(session, run, setting: Setting, entry, groups, name: str, stored: torch.Tensor):
    """(note, ours, stored) of each comparison that an entry asks for."""
    step = entry.get("step")
    if step == "train_step":
        yield "", _state_after_training_step(session, setting, entry, groups), stored
    elif step == "processor" or run["mode"] == "processor":
        yield "", session.processed(run).get(name), stored
    elif step == "decode" and ("from" in entry or "rows" in entry):
        ours = _decoded(session, run, setting, entry, groups, name, session.folder.tensors(run["outputs"]))
        yield "from stored", ours, stored
        if "rows" in entry and ours is not None:
            own = _decoded(session, run, setting, entry, groups, name, session.own_tensors(setting))
            rows = min(entry["rows"], len(stored))
            yield f"from own, first {rows} rows", own[:rows], stored[:rows]
        if "max_mismatch" in entry and ours is not None:
            own = _decoded(session, run, setting, entry, groups, name, session.own_tensors(setting))
            yield "from own", _forgiven(own, stored, entry["max_mismatch"]), stored
    else:
        yield "", session.own_tensors(setting).get(name), stored


def _decoded(session, run, setting, entry, groups, name: str, tensors) -> torch.Tensor | None:
    own_hook = hook(session.method, "golden_decoded")
    if own_hook:
        return own_hook(session.forward(setting).model, entry, tensors, session.folder).get(name)
    if hook(session.method, "golden_candidates") and groups:
        return decoded(session, setting, entry, tensors).get(groups[0])
    return None


def _forgiven(ours: torch.Tensor, stored: torch.Tensor, max_mismatch: int) -> torch.Tensor:
    """``ours`` with entries that are off by one replaced, if there are at most ``max_mismatch`` of them."""
    if ours.shape != stored.shape:
        return ours
    off_by_one = (ours - stored).abs() == 1
    return torch.where(off_by_one, stored, ours) if int(off_by_one.sum()) <= max_mismatch else ours


def _state_after_training_step(session: Session, setting: Setting, entry, groups) -> torch.Tensor | None:
    """What the entry's ``*`` names in the model's state, after one forward in train mode from the stored weights."""
    result = session.forward(dataclasses.replace(setting, mode="train"))
    target = session.own_name(groups[0]) if groups else None
    return result.model.state_dict().get(target)


def _compare(session, run, report, group: str, name: str, entry, groups, ours, stored: torch.Tensor) -> None:
    if ours is None:
        report.missing(group, name, entry)
        return
    mask = build_mask(entry.get("mask"), stored.shape, groups, lambda where: session.folder.reference(run, where))
    row = elementwise(
        group,
        name,
        ours,
        stored,
        atol=entry.get("atol") or 0.0,
        rtol=entry.get("rtol") or 0.0,
        mask=mask,
        noise=entry.get("noise"),
    )
    report.add(row)
