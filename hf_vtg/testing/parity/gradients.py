"""Gradients of a golden folder against ours, in the formats ``full``, ``summary`` / ``stats`` and ``norm``."""

import math
import re
from collections.abc import Mapping
from typing import Any

import torch

from .comparing import COMPARED, FAILED, Report, Row, number
from .loss_values import loss_setting, weighting_of
from .manifest import GoldenFolder, ParityError, find_entry, leaves, match
from .session import Session, Setting, default_dtype


def check_gradients(session: Session, report: Report) -> None:
    """Every entry of ``gradients``; one backward pass for each loss and setting."""
    computed: dict[Setting, dict[str, torch.Tensor | None]] = {}
    for entry in session.folder.entries("gradients"):
        setting = _setting(session, entry)
        if setting not in computed:
            computed[setting] = official_gradients(session, setting)
        ours = computed[setting]
        if entry["format"] == "full":
            _full(report, session.folder, entry, ours)
        elif entry["format"] in ("summary", "stats"):
            _statistics(report, session.folder, entry, ours)
        elif entry["format"] == "norm":
            stored = dict(leaves(session.folder.json(entry["file"])))[entry["path"]]
            report.add(number("gradients norm", f"{entry['file']}:{entry['path']}", total_norm(ours), stored, entry))
        else:
            raise ParityError(f"{session.folder.path}: gradient format {entry['format']!r} is not known.")


def _setting(session: Session, entry: Mapping[str, Any]) -> Setting:
    """The setting of the loss ``of``, with the entry's own mode, variant and overrides."""
    found = find_entry(session.folder.entries("losses"), entry["of"])
    base = dict(found[0]) if found else {}
    merged = {**base, **{k: entry[k] for k in ("mode", "variant", "overrides") if k in entry}, "path": entry["of"]}
    setting = loss_setting(session.folder, merged, found[1] if found else ())
    weighted = weighting_of(session, setting, entry["of"])
    if weighted is None:
        raise ParityError(f"{session.folder.path}: gradients of {entry['of']!r}, which is no weighted total.")
    return weighted


def official_gradients(session: Session, setting: Setting) -> dict[str, torch.Tensor | None]:
    """Gradient of the weighted total by official name, in the official shape; None where there is none."""
    with default_dtype(setting.double):
        result = session.run(setting)
        result.output.loss.backward()
    return named_gradients(session, result.model)


def named_gradients(session: Session, model: torch.nn.Module) -> dict[str, torch.Tensor | None]:
    """``.grad`` of the model's parameters by official name and in the official shape."""
    parameters = dict(model.named_parameters())
    gradients: dict[str, torch.Tensor | None] = {}
    for name, weight in session.folder.weights.items():
        parameter = parameters.get(session.own_name(name))
        grad = None if parameter is None else parameter.grad
        gradients[name] = None if grad is None else grad.detach().reshape(weight.shape)
    return gradients


def total_norm(gradients: Mapping[str, torch.Tensor | None]) -> float:
    """L2 norm over all gradients."""
    return l2([g for g in gradients.values() if g is not None])


def l2(tensors: list[torch.Tensor]) -> float:
    """L2 norm over all entries of all tensors, accumulated in float64."""
    return math.sqrt(sum(float(t.double().square().sum()) for t in tensors))


def _group(entry: Mapping[str, Any]) -> str:
    return f"gradients {entry['file']}"


def _covers(patterns: list[str], name: str) -> bool:
    return any(match(pattern, name) is not None for pattern in patterns or ())


def _near_zero_and_absent(report: Report, entry: Mapping[str, Any], ours: Mapping[str, torch.Tensor | None]) -> None:
    for name, grad in ours.items():
        size = 0.0 if grad is None else float(grad.abs().max())
        if _covers(entry.get("near_zero"), name):
            bound = entry.get("near_zero_atol") or 0.0
            verdict = COMPARED if size <= bound else FAILED
            report.add(Row(_group(entry), name, verdict, size, bound, note="zero in exact arithmetic"))
        elif _covers(entry.get("absent"), name):
            verdict = COMPARED if size == 0 else FAILED
            report.add(Row(_group(entry), name, verdict, size, 0.0, note="parameter without gradient"))


def _full(report: Report, folder: GoldenFolder, entry: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """``l2(d) <= relative * l2(g)`` over all tensors (or each prefix), and for each with a floor."""
    _near_zero_and_absent(report, entry, ours)
    pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    stored_names = set()
    for key, stored in folder.tensors(entry["file"]).items():
        name = key.partition("::")[0]
        stored_names |= {name, folder.canonical(name)}
        if _covers(entry.get("near_zero"), name):
            continue
        found = name if name in ours else folder.canonical(name)
        if found not in ours:
            report.failed(_group(entry), key, "no such parameter in the official weights")
            continue
        grad = torch.zeros_like(folder.weights[found]) if ours[found] is None else ours[found]
        part = _stored_part(entry, key, grad, stored)
        if part is None or part.shape != stored.shape:
            report.failed(_group(entry), key, f"shape {tuple(grad.shape)}, stored {tuple(stored.shape)}")
        else:
            pairs[key] = (part.double() - stored.double(), stored)
    prefixes = entry.get("relative_l2_by_prefix") or {"": entry.get("relative_l2_all")}
    rule = entry.get("per_tensor") or {}
    floor = rule.get("floor_of_prefix", rule.get("floor_of_all", 0.0))
    noise = (entry.get("noise") or {}).get("relative_l2_worst_tensor")
    for prefix, relative in prefixes.items():
        members = {key: pair for key, pair in pairs.items() if key.startswith(prefix)}
        size = l2([stored for _, stored in members.values()])
        if relative is not None:
            name = f"all of {prefix}*" if prefix else "all together"
            _add_l2(report, entry, name, l2([d for d, _ in members.values()]), relative * size)
        for key, (difference, stored) in members.items():
            norm = l2([stored])
            bound = rule.get("relative_l2", 0.0) * norm + floor * size
            _add_l2(report, entry, key, l2([difference]), bound, noise and noise * norm)
    for key in pairs:
        if not any(key.startswith(prefix) for prefix in prefixes):
            report.failed(_group(entry), key, "no prefix of relative_l2_by_prefix covers it")
    for name, grad in ours.items():
        known = name in stored_names or _covers(entry.get("near_zero"), name) or _covers(entry.get("absent"), name)
        if not known and folder.canonical(name) == name and grad is not None and grad.any():
            report.failed(_group(entry), name, "has a gradient here, but the folder stores none")


def _add_l2(report, entry, name: str, difference: float, bound: float, noise: float | None = None) -> None:
    verdict = COMPARED if difference <= bound else FAILED
    report.add(Row(_group(entry), name, verdict, difference, bound, noise, "relative L2"))


def _stored_part(entry: Mapping[str, Any], key: str, grad: torch.Tensor, stored: torch.Tensor) -> torch.Tensor | None:
    """The part of our gradient that the folder stores: every row, each s-th (``row_stride``), or ``NAME::part``."""
    name, _, part = key.partition("::")
    if part:
        parts = entry.get("sampled")
        parts = parts.get(name) if isinstance(parts, Mapping) else None
        rule = parts.get(part) if isinstance(parts, Mapping) else None
        index = _index(part if rule is None else rule)
        return None if index is None else grad[index]
    strides = entry.get("row_stride")
    if isinstance(strides, Mapping):
        strides = next((s for pattern, s in strides.items() if match(pattern, name) is not None), None)
    elif grad.shape == stored.shape:
        strides = None
    return grad[::strides] if strides else grad


def _index(rule: Any) -> Any:
    """An index from a stride, a list of rows, or a slice in words such as ``0:8`` or ``[::4, :16]``."""
    if isinstance(rule, int):
        return slice(None, None, rule)
    if isinstance(rule, list):
        return torch.tensor(rule)
    text = str(rule).strip().strip("[]")
    if not re.fullmatch(r"[-\d:,\s]+", text) or ":" not in text:
        return None
    slices = ([int(x) if x.strip() else None for x in part.split(":")] for part in text.split(","))
    return tuple(slice(*numbers) for numbers in slices)


def _statistics(report: Report, folder: GoldenFolder, entry: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Norm, sum, largest and sampled entries of each gradient, by the rule in the README of the golden folders."""
    tree = folder.json(entry["file"])
    stored = tree
    for key in entry["path"].split(".") if "path" in entry else ():
        stored = stored[key]
    if stored is not tree:
        for path, _ in leaves({k: v for k, v in tree.items() if v is not stored}):
            report.excepted(_group(entry), path, f"beside the path {entry['path']!r}: describes the file")
    floor = entry["per_tensor"].get("floor_of_all", 0.0)
    floor *= math.sqrt(sum((s.get("norm", s.get("l2")) or 0.0) ** 2 for s in stored.values()))
    relative = entry["per_tensor"]["relative_l2"]
    for name, statistics in stored.items():
        if _covers(entry.get("near_zero"), name):
            size = 0.0 if ours.get(name) is None else float(ours[name].abs().max())
            bound = entry["near_zero_atol"]
            verdict = COMPARED if size <= bound else FAILED
            report.add(Row(_group(entry), name, verdict, size, bound, note="zero in exact arithmetic"))
        elif ours.get(name) is None and ours.get(folder.canonical(name)) is None:
            report.failed(_group(entry), name, "no gradient here")
        else:
            grad = ours[name] if ours.get(name) is not None else ours[folder.canonical(name)]
            for row in statistics_rows(_group(entry), name, grad, statistics, relative, floor):
                report.add(row)


def statistics_rows(
    group: str, name: str, grad: torch.Tensor, stored: Mapping[str, Any], relative: float, floor: float
) -> list[Row]:
    """Rows for one parameter: ``|d norm|``, ``|d absmax| <= e``, ``|d sum| <= e sqrt(n)`` with ``e = relative * norm +
    floor``; ``|d sample| <= 10 relative * max(norm / sqrt(n), |sample|) + floor``."""
    grad = grad.double().flatten()
    norm = stored.get("norm", stored.get("l2"))
    bound, root = relative * norm + floor, math.sqrt(grad.numel())
    values = {
        "norm": (float(grad.norm()), bound),
        "l2": (float(grad.norm()), bound),
        "absmax": (float(grad.abs().max()), bound),
        "sum": (float(grad.sum()), bound * root),
    }
    rows = []
    for key, (value, limit) in values.items():
        if key in stored:
            difference = abs(value - stored[key])
            rows.append(Row(group, f"{name}.{key}", COMPARED if difference <= limit else FAILED, difference, limit))
    if "sample" in stored:
        sample = torch.tensor(stored["sample"], dtype=torch.float64)
        difference = (grad[torch.tensor(stored["sample_idx"], dtype=torch.long)] - sample).abs()
        limits = 10 * relative * sample.abs().clamp(min=norm / root) + floor
        worst = int((difference / limits.clamp(min=1e-300)).argmax())
        verdict = COMPARED if bool((difference <= limits).all()) else FAILED
        rows.append(Row(group, f"{name}.sample", verdict, float(difference[worst]), float(limits[worst])))
    return rows
