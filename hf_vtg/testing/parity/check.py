"""The check of one golden folder."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from .comparing import Report, Row, elementwise
from .curve import check_curves
from .decoding import check_decoding
from .forward import check_runs
from .gradients import check_gradients
from .loss_values import check_losses
from .manifest import GoldenFolder
from .session import Session


def check_folder(path: str | Path) -> Report:
    """Compare everything that a golden folder holds with this package.

    Raises:
        ParityError: if the manifest cannot be followed, or its method is not implemented.
    """
    session = Session(GoldenFolder(path))
    report = new_report(session)
    _check_weights(session, report)
    for name, text in (session.folder.manifest.get("other_files") or {}).items():
        _check_other_file(session, report, name, text)
    return check_numbers(session, report)


def new_report(session: Session) -> Report:
    """A report that knows of stray files."""
    folder = session.folder
    report = Report(f"{folder.path} ({folder.method}, {folder.manifest['kind']})")
    for name in folder.stray_files():
        report.failed("files", name, "not named by the manifest")
    return report


def check_numbers(session: Session, report: Report) -> Report:
    """Everything but the plain comparison of the weights."""
    folder = session.folder
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
