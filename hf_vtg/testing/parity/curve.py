"""Training curves: the package's Trainer repeats the official steps, in float32 and in float64."""

import copy
import re
from collections.abc import Mapping
from typing import Any

import torch

from ...models.registry import official_recipe
from .comparing import COMPARED, EXCEPTED, FAILED, Report, Row, elementwise, number
from .manifest import GoldenFolder, ParityError, find_entry, leaves
from .method import hook
from .recording import record_training
from .session import Result, Session, default_dtype, upcast

RECIPE_NAMES = {
    "lr": "learning_rate",
    "eps": "epsilon",
    "max_norm": "max_grad_norm",
    "clip_grad_norm": "max_grad_norm",
}


def check_curves(session: Session, report: Report) -> None:
    """Every curve, in both precisions, and the end states; of a brief session the first curve in float64 alone."""
    folder = session.folder
    entries = folder.manifest["curve"]["input_tensors"]
    for name in folder.tensors(folder.manifest["curve"]["batches"]):
        if find_entry(entries, name) is None:
            report.failed("batches", name, "matches nothing in the manifest")
        else:
            report.inputs += 1
    curves = folder.entries("curves")
    for curve in curves[:1] if session.is_brief else curves:
        _check_curve(session, curve, report)


def _check_curve(session: Session, curve: Mapping[str, Any], report: Report) -> None:
    stored = session.folder.json(curve["file"])
    runs = {"float64": True} if session.is_brief else {"float32": False, "float64": True}
    rows: dict[str, list[Row]] = {}
    ends = {}
    for precision, double in runs.items():
        if precision not in curve:
            continue
        steps, ends[precision] = run_curve(session, curve, double)
        expected = stored[curve[precision].get("key", "steps")]
        rows[precision] = compare_steps(session.folder, curve, precision, steps, expected)
    known = {"steps", *(curve[p].get("key", "steps") for p in rows)}
    for path, _ in leaves({key: value for key, value in stored.items() if key not in known}):
        report.excepted(f"{curve['name']} header", f"{curve['file']}:{path}", "describes the curve")
    if curve.get("end_state") and "float32" in ends:
        rows["end"] = compare_end(session, curve, ends)
    decided = rows.get("float64") and all(row.verdict == COMPARED for row in rows["float64"])
    for row in rows.get("float32", []):
        if row.verdict == FAILED and row.diff is not None and decided:
            row.verdict, row.note = (
                EXCEPTED,
                f"float32 outlier, decided by float64; {curve['float64'].get('remark', '')}",
            )
    for group in rows.values():
        report.rows.extend(group)


def run_curve(
    session: Session, curve: Mapping[str, Any], double: bool
) -> tuple[list[dict[str, Any]], dict[str, torch.Tensor]]:
    """The curve's training run.

    Returns:
        one dict a step, and the state after the last.
    """
    folder, settings = session.folder, session.folder.manifest["curve"]
    with default_dtype(double):
        base = session.load(curve.get("variant", "official"), config_overrides(session, curve), double)
        model = copy.deepcopy(base)
        batches = {k: _feed(session, k, model, double) for k in range(batch_count(folder))}
        steps = record_training(
            model,
            curve_recipe(session, curve),
            batches,
            batch_order(folder, curve["steps"], len(batches)),
            settings["steps_per_epoch"],
            group_of=_groups(session, model),
            observe=lambda *seen: _observe(session, *seen),
        )
    return steps, model.state_dict()


def _observe(session: Session, model, output, inputs: Mapping[str, Any], step: int) -> dict[str, Any]:
    losses, own_step = (hook(session.method, name) for name in ("golden_losses", "golden_step"))
    fields = dict(losses(model, output)) if losses else {}
    fields |= own_step(model, output, inputs, step) if own_step else {}
    return {name: float(v) if isinstance(v, torch.Tensor) and v.ndim == 0 else v for name, v in fields.items()}


def config_overrides(session: Session, curve: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the curve's overrides that are fields of the model's configuration."""
    known = type(session.load(curve.get("variant", "official")).config).__dataclass_fields__
    return {name: value for name, value in (curve.get("overrides") or {}).items() if name in known}


def curve_recipe(session: Session, curve: Mapping[str, Any]):
    """The official recipe with the curve's other overrides (learning rate, decay)."""
    recipe = official_recipe(session.folder.method, {**session.folder.config, "curve": dict(curve)})
    configured = config_overrides(session, curve)
    changes = {RECIPE_NAMES.get(k, k): v for k, v in (curve.get("overrides") or {}).items() if k not in configured}
    return recipe.replace(**changes)


def batch_count(folder: GoldenFolder) -> int:
    """Batches are keyed ``k.NAME``."""
    return 1 + max(int(name.split(".")[0]) for name in folder.tensors(folder.manifest["curve"]["batches"]))


def batch_order(folder: GoldenFolder, steps: int, batches: int) -> list[int]:
    """Index of the batch of each step, from the rule ``(step - 1) mod n`` or a list."""
    rule = folder.manifest["curve"]["batch_of_step"]
    if isinstance(rule, list):
        return rule
    found = re.fullmatch(r"\(step - 1\) mod (\d+)", rule.strip())
    if not found or int(found[1]) > batches:
        raise ParityError(f"{folder.path}: batch_of_step {rule!r} is not understood for {batches} batches.")
    return [step % int(found[1]) for step in range(steps)]


def _inputs(session: Session, index: int, double: bool) -> dict[str, torch.Tensor]:
    prefix = f"{index}."
    stored = session.folder.tensors(session.folder.manifest["curve"]["batches"])
    inputs = {name.removeprefix(prefix): t for name, t in stored.items() if name.startswith(prefix)}
    return upcast(inputs) if double else inputs


def _feed(session: Session, index: int, model, double: bool) -> dict[str, Any]:
    """A stored batch as the model takes it: ready-made targets where there are, labels otherwise."""
    batch, targets = session.batch(_inputs(session, index, double), model)
    feed = {name: value for name, value in batch.items() if name != "durations"}
    if targets:
        feed.pop("labels", None)
        feed["targets"] = targets
    return feed


def curve_probe(session: Session) -> Result:
    """A forward pass on the first batch, in train mode, with gradient."""
    curve = session.folder.entries("curves")[0]
    model = copy.deepcopy(session.load(curve.get("variant", "official"), config_overrides(session, curve))).train()
    inputs = _inputs(session, 0, double=False)
    batch, targets = session.batch(inputs, model)
    return Result(model, inputs, batch, targets, model(**_feed(session, 0, model, double=False)))


def _groups(session: Session, model):
    """Name of our parameter -> the published code's group; default one group ``all``."""
    own_hook = hook(session.method, "golden_group")
    official = {session.own_name(name): name for name in session.folder.weights}
    return lambda name: own_hook(official.get(name, name)) if own_hook else "all"


def compare_steps(
    folder: GoldenFolder,
    curve: Mapping[str, Any],
    precision: str,
    ours: list[dict[str, Any]],
    stored: list[dict[str, Any]],
) -> list[Row]:
    """Rows for every field of every stored step."""
    prefix = f"{curve['name']} {precision}"
    rows = []
    if len(ours) != len(stored):
        rows.append(Row(prefix, "steps", FAILED, note=f"{len(ours)} steps, stored {len(stored)}"))
    for mine, expected in zip(ours, stored, strict=False):
        own_leaves = dict(leaves(mine))
        for path, value in leaves(expected):
            name = f"step {expected['step']}"
            bounds = field_bounds(folder.manifest["curve"], curve[precision], path)
            if bounds is None:
                rows.append(Row(f"{prefix} {path}", name, FAILED, note="matches nothing in the manifest"))
            elif path not in own_leaves:
                rows.append(Row(f"{prefix} {path}", name, FAILED, note="not produced by the trainer"))
            else:
                rows.append(number(f"{prefix} {path}", name, own_leaves[path], value, bounds))
    return rows


def field_bounds(settings: Mapping[str, Any], bounds: Mapping[str, Any], path: str) -> dict[str, Any] | None:
    """atol, rtol (or ``exact``) and noise of a step's field, by the lists of the manifest's ``curve``; None if no list
    names it."""
    head, _, below = path.partition(".")
    noise = bounds.get("noise") or {}
    if head == "step" or head in settings["exact_fields"]:
        return {"exact": True}
    if head in settings["loss_fields"]:
        return {"noise": noise.get("loss"), **bounds.get(head, bounds["loss"])}
    if head in settings["norm_fields"]:
        return {"noise": noise.get("grad_norm"), **bounds["grad_norm"]}
    if head == settings["distance_field"]:
        rule = bounds["distance"]
        return {"noise": (noise.get("distance") or {}).get(below), **(rule[below] if below in rule else rule)}
    return (settings.get("close_fields") or {}).get(head)


def compare_end(session: Session, curve: Mapping[str, Any], ends: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """End state of the float32 run by official name; a tensor beyond its bound is judged by the float64 run."""
    rule, folder = curve["end"], session.folder
    group = f"{curve['name']} end state"
    rows = []
    for name, stored in folder.tensors(curve["end_state"]).items():
        target = session.own_name(name)
        if any(find_entry([{"pattern": p}], name) for p in rule.get("never_compare", ())):
            rows.append(Row(group, name, EXCEPTED, note="never_compare: true gradient is zero, or contains such"))
            continue
        if target is None:
            rows.append(Row(group, name, EXCEPTED, note="left out by the converter"))
            continue
        if target not in ends["float32"]:
            rows.append(Row(group, name, FAILED, note="not in the trained model"))
            continue
        exact = name in rule.get("unchanged", ())
        bounds = {"atol": 0.0, "rtol": 0.0} if exact else {k: rule.get(k, 0.0) for k in ("atol", "rtol")}
        reference = folder.weights[name] if exact else stored
        row = elementwise(
            group,
            name,
            ends["float32"][target].reshape(stored.shape),
            reference,
            **bounds,
            noise=None if exact else rule.get("noise"),
        )
        if row.verdict == FAILED and row.diff is not None and "float64" in ends and not exact:
            judge = elementwise(group, name, ends["float64"][target].reshape(stored.shape), stored, **bounds)
            if judge.verdict == COMPARED:
                row.verdict, row.note = EXCEPTED, f"float32 outlier: {judge.diff:.1e} in the float64 run"
        rows.append(row)
    return rows
