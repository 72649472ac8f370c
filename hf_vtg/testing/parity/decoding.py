"""Decoding: NMS lists through the package's post-processing, and whatever a method's own hook decodes."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from ...moments import temporal_iou
from ...processing import VideoGroundingProcessor
from ...text.tokenization import WordVectors
from .comparing import Report, elementwise, number
from .manifest import ParityError, find_entry, leaves
from .method import hook
from .session import Session, Setting

READ_ROLES = ("input", "settings", "index", "description")
# The path of a list, and the number of a row with what follows.
ROW = re.compile(r"(.+?)\.(\d+)(\.\d+)?$")
NMS_SPACES = {"seconds": "seconds", "cells": "fractions"}


def decoded(
    session: Session, setting: Setting, entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """Survivors of NMS, ``"v.s"`` -> (kept, 2) seconds in score order, from score tensors in the official layout."""
    space = entry.get("space", "cells")
    if space not in NMS_SPACES:
        raise ParityError(f"{session.folder.path}: NMS space {space!r} is not known.")
    result = session.forward(setting)
    candidates = session.method.golden_candidates(result.model, tensors)
    processor = VideoGroundingProcessor.from_model_config(result.model.config, WordVectors.from_vocabulary(["word"]))
    settings = hook(session.method, "golden_processor_settings")
    ranked = processor.post_process_video_grounding(
        candidates,
        result.batch["durations"],
        top_k=None,
        nms_threshold=settings(session.folder.config).get("nms_threshold") if settings else None,
        nms_space=NMS_SPACES[space],
    )
    return {
        f"{v}.{s}": torch.tensor([[m["start"], m["end"]] for m in moments], dtype=torch.float64).reshape(-1, 2)
        for v, video in enumerate(ranked)
        for s, moments in enumerate(video)
    }


def list_statistics(
    session: Session, setting: Setting, lists: Mapping[str, torch.Tensor]
) -> dict[str, dict[str, Any]]:
    """``"v.s"`` -> number of survivors and IoU of the first, and the best of the first five, with the label."""
    batch = session.forward(setting).batch
    seconds = batch["labels"] * batch["durations"][:, None, None]
    statistics = {}
    for key, moments in lists.items():
        v, s = map(int, key.split("."))
        iou = temporal_iou(moments, seconds[v, s])
        statistics[key] = {
            "n_kept": len(moments),
            "iou_top1": float(iou[0]) if len(iou) else 0.0,
            "iou_top5_max": float(iou[:5].max()) if len(iou) else 0.0,
        }
    return statistics


def check_decoding(session: Session, report: Report) -> None:
    """Every entry of ``decoding``; leaves of a file that no list of the manifest covers fail."""
    folder = session.folder
    for file in dict.fromkeys(entry["file"] for entry in folder.entries("decoding")):
        entries = [e for e in folder.entries("decoding") if e["file"] == file]
        elsewhere = [e for key in ("losses", "gradients") for e in folder.entries(key) if e["file"] == file]
        elsewhere += folder.entries("not_losses") if elsewhere else []
        stored = folder.tensors(file) if file.endswith(".safetensors") else dict(leaves(folder.json(file)))
        ours: dict[int, dict[str, Any]] = {}
        for name, value in stored.items():
            found = find_entry(entries, name)
            if found is None:
                if find_entry(elsewhere, name) is None:
                    report.failed("decoding", f"{file}:{name}", "matches nothing in the manifest")
                continue
            entry = found[0]
            if entry.get("role") in READ_ROLES:
                report.inputs += 1
                continue
            if id(entry) not in ours:
                ours[id(entry)] = _decode_entry(session, entry)
                report_longer_lists(report, file, stored, ours[id(entry)])
            _compare(report, entry, f"{file}:{name}", ours[id(entry)].get(name), value)


def report_longer_lists(report: Report, file: str, stored: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """A list of ours with more rows than the stored one agrees in every stored row, and is wrong."""
    lists = {match[1] for name in stored if (match := ROW.match(name))}
    for name in ours:
        match = ROW.match(name)
        if match and match[1] in lists and name not in stored:
            report.failed("decoding", f"{file}:{name}", "a row more than the folder stores")


def _decode_entry(session: Session, entry: Mapping[str, Any]) -> dict[str, Any]:
    """Our values of an entry by name or path: the method's ``golden_decoded``, or NMS lists of the stored scores."""
    folder = session.folder
    runs = folder.entries("forward")
    own_hook = hook(session.method, "golden_decoded")
    if own_hook:
        setting = Setting.of(runs[0], entry) if runs else None
        model = session.forward(setting).model if setting and folder.weights else None
        return own_hook(model, entry, folder.tensors(runs[0]["outputs"]) if runs else {}, session.read)
    if not hook(session.method, "golden_candidates") or not runs:
        return {}
    setting = Setting.of(runs[0], entry)
    lists = decoded(session, setting, entry, folder.tensors(runs[0]["outputs"]))
    head, _, tail = entry["path"].partition("*")
    fields = list_statistics(session, setting, lists)
    return {f"{head}{key}.{name}": value for key, values in fields.items() for name, value in values.items()}


def _compare(report: Report, entry: Mapping[str, Any], name: str, ours: Any, stored: Any) -> None:
    if ours is None and stored is not None:
        report.missing("decoding", name, entry)
    elif isinstance(stored, torch.Tensor):
        bounds = (entry.get("atol") or 0.0, entry.get("rtol") or 0.0)
        report.add(elementwise("decoding", name, torch.as_tensor(ours), stored, *bounds))
    else:
        report.add(number("decoding", name, ours, stored, entry))
