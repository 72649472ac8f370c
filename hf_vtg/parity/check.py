"""The check of one golden folder, and of the check itself by mutations."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .comparing import Report, Row, elementwise
from .curve import check_curves, curve_probe
from .decoding import check_decoding
from .forward import check_runs
from .gradients import check_gradients
from .losses import check_losses, loss_setting, weighting_of
from .manifest import GoldenFolder
from .method import hook
from .mutate import KINDS, Mutation, plan, plan_input
from .session import Session, Setting


def check_folder(path: str | Path, mutation: Mutation | None = None) -> Report:
    """Compare everything that a golden folder holds with this package.

    Args:
        mutation: a deliberate error on our side; then the plain comparison of the weights is left out, which would
            notice a changed weight whatever the rest does.

    Raises:
        ParityError: if the manifest cannot be followed, or its method is not implemented.
    """
    folder = GoldenFolder(path)
    session = Session(folder, mutation)
    report = Report(f"{folder.path} ({folder.method}, {folder.manifest['kind']})")
    for name in folder.stray_files():
        report.failed("files", name, "not named by the manifest")
    if mutation is None:
        _check_weights(session, report)
        for name, text in (folder.manifest.get("other_files") or {}).items():
            _check_other_file(session, report, name, text)
    if folder.manifest["kind"] == "curve":
        check_curves(session, report)
        return report
    check_runs(session, report)
    check_losses(session, report)
    check_gradients(session, report)
    check_decoding(session, report)
    return report


def _variant(folder: GoldenFolder) -> tuple[str, Mapping[str, Any]]:
    first = next(iter([*folder.entries("forward"), *folder.entries("curves")]), {})
    return first.get("variant", "official"), first.get("overrides", {}) if "mode" in first else {}


def _check_weights(session: Session, report: Report) -> None:
    if session.folder.weights:
        session.check_weights(report, *_variant(session.folder))


def _check_other_file(session: Session, report: Report, name: str, text: str) -> None:
    """``weights_check.json`` (shape, sum, abs-sum and first values of each weight) is checked; the rest is text."""
    folder = session.folder
    content = folder.json(name) if name.endswith(".json") else None
    is_check = isinstance(content, dict) and all(
        isinstance(v, dict) and {"shape", "sum", "abs_sum", "first"} <= set(v) for v in content.values()
    )
    if not content or not is_check:
        report.excepted("other_files", name, text)
        return
    own = session.load(*_variant(folder)).state_dict()
    for official, stored in content.items():
        tensor = own.get(session.own_name(official))
        if tensor is None:
            report.failed(name, official, "not in the loaded model")
        else:
            report.add(_statistics_row(name, official, tensor, stored, folder.weights.get(official)))


def _statistics_row(group: str, name: str, tensor: torch.Tensor, stored: Mapping[str, Any], weight) -> Row:
    if weight is not None and list(weight.shape) != stored["shape"]:
        return Row(group, name, "FAILED", note=f"shape {tuple(weight.shape)}, stored {stored['shape']}")
    flat = tensor.double().flatten()
    ours = torch.cat([flat.sum()[None], flat.abs().sum()[None], flat[: len(stored["first"])]])
    expected = torch.tensor([stored["sum"], stored["abs_sum"], *stored["first"]], dtype=torch.float64)
    # A sum of many signs has the rounding of its absolute sum.
    atol = 1e-12 * stored["abs_sum"]
    return elementwise(group, name, ours, expected, atol=atol, rtol=1e-6)


def plan_mutations(path: str | Path) -> dict[str, Mutation | str]:
    """For each kind of mutation, the one to try on this folder, or why none applies."""
    folder = GoldenFolder(path)
    if not folder.weights:
        return dict.fromkeys(KINDS, "the folder has no weights") | {"input": plan_input(folder)}
    session = Session(folder)
    if folder.manifest["kind"] == "curve":
        result = curve_probe(session)
    else:
        result = session.run(_probe_setting(session))
    loss = result.output.loss
    if loss is None:
        loss = result.output.scores[result.output.scores.isfinite()].sum()
    loss.backward()
    flags = hook(session.method, "GOLDEN_FLAGS") or {}
    return plan(result.model, result.batch, flags)


def _probe_setting(session: Session) -> Setting:
    folder = session.folder
    for entry in folder.entries("gradients"):
        setting = loss_setting(folder, {**entry, "path": entry["of"]})
        return weighting_of(session, setting, entry["of"]) or setting
    run = folder.run()
    return Setting.of(run, run)
