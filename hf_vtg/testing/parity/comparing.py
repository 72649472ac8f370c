"""Tolerances, masks, and the rows of a parity report."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from .manifest import ParityError, label, substitute

COMPARED, EXCEPTED, FAILED = "ok", "excepted", "FAILED"


@dataclass
class Row:
    """One comparison.

    Args:
        group: the manifest's entry; name: the tensor, loss or file.
        diff, bound: difference and bound of the entry that comes nearest to its bound, or exceeds it most.
        noise: the manifest's noise, if any.
        note: reason of an exception or failure.
    """

    group: str
    name: str
    verdict: str
    diff: float | None = None
    bound: float | None = None
    noise: float | None = None
    note: str = ""

    @property
    def ratio(self) -> float:
        """Difference in units of the bound; 0 for an exact match."""
        if not self.diff:
            return 0.0
        return self.diff / self.bound if self.bound else float("inf")


@dataclass
class Report:
    """All rows of a folder, in order; ``inputs`` counts tensors that were fed and not compared."""

    title: str
    rows: list[Row] = field(default_factory=list)
    inputs: int = 0

    def add(self, row: Row) -> None:
        self.rows.append(row)

    def excepted(self, group: str, name: str, why: str) -> None:
        self.add(Row(group, name, EXCEPTED, note=why))

    def failed(self, group: str, name: str, why: str) -> None:
        self.add(Row(group, name, FAILED, note=why))

    def missing(self, group: str, name: str, entry: Mapping[str, Any]) -> None:
        """Our side does not produce ``name``: an exception if the entry is optional, else a failure."""
        if entry.get("optional"):
            self.excepted(group, name, f"optional, not computed: {entry.get('why', 'no reason given')}")
        else:
            self.failed(group, name, "not produced by the model")

    def unmatched(self, group: str, file: str, entries: Sequence[Any], names: Collection[str]) -> None:
        """Entries that name what ``file`` does not hold: a part of the folder is gone. A pattern may fit nothing, but
        a file is not empty."""
        for entry in (e for e in entries if isinstance(e, Mapping) and not e.get("optional")):
            if not names or ("name" in entry and entry["name"] not in names):
                self.failed(group, label(entry), f"named by the manifest, but {file} does not hold it")

    def failures(self) -> list[Row]:
        return [row for row in self.rows if row.verdict == FAILED]

    def count(self, verdict: str) -> int:
        return sum(row.verdict == verdict for row in self.rows)

    def summary(self) -> str:
        """The last line."""
        compared = len(self.rows) - self.count(EXCEPTED)
        return f"{compared} compared, {self.count(EXCEPTED)} excepted, {self.count(FAILED)} failed"


def elementwise(
    group: str,
    name: str,
    ours: torch.Tensor,
    stored: torch.Tensor,
    atol: float = 0.0,
    rtol: float = 0.0,
    mask: torch.Tensor | None = None,
    noise: float | None = None,
) -> Row:
    """``|ours - stored| <= atol + rtol * |stored|`` where ``mask`` holds; integers and booleans exactly.

    A NaN on either side fails; equal infinities agree.
    """
    ours, stored = ours.detach(), stored.detach()
    if ours.shape != stored.shape:
        return Row(group, name, FAILED, noise=noise, note=f"shape {tuple(ours.shape)}, stored {tuple(stored.shape)}")
    if not stored.is_floating_point():
        if ours.is_floating_point():
            return Row(group, name, FAILED, note=f"dtype {ours.dtype}, stored {stored.dtype}")
        atol = rtol = 0.0
    if mask is not None:
        ours, stored = ours[mask], stored[mask]
        if not mask.any() and mask.numel():
            return Row(group, name, EXCEPTED, noise=noise, note="its mask keeps no entry")
    a, b = ours.double().flatten(), stored.double().flatten()
    diff = torch.where(a == b, 0.0, (a - b).abs())
    bound = atol + rtol * b.abs()
    bound = torch.where(bound.isfinite(), bound, 0.0)
    if not len(diff):
        return Row(group, name, COMPARED, 0.0, atol, noise)
    excess = torch.where(diff == 0, 0.0, diff / bound)
    excess = torch.where(excess.isnan(), torch.inf, excess)
    worst = int(excess.argmax())
    verdict = COMPARED if bool((diff <= bound).all()) else FAILED
    count = int((~(diff <= bound)).sum())
    note = f"{count} of {len(diff)} entries beyond the bound" if count else ""
    return Row(group, name, verdict, float(diff[worst]), float(bound[worst]), noise, note)


def number(group: str, name: str, ours: Any, stored: Any, entry: Mapping[str, Any]) -> Row:
    """A value of a JSON file against ours: numbers within the entry's bounds, anything else (and ``exact``) equal."""
    is_number = isinstance(stored, (int, float)) and not isinstance(stored, bool)
    if entry.get("expect") == "nan":
        verdict = COMPARED if ours != ours else EXCEPTED if entry.get("optional") else FAILED
        return Row(group, name, verdict, note="" if verdict == COMPARED else f"NaN expected, got {ours}")
    if not is_number or entry.get("exact") or isinstance(ours, str) or ours is None:
        verdict = COMPARED if ours == stored else FAILED
        return Row(group, name, verdict, note="" if verdict == COMPARED else f"{ours!r}, stored {stored!r}")
    values = (torch.tensor(float(x), dtype=torch.float64) for x in (ours, stored))
    return elementwise(
        group, name, *values, atol=entry.get("atol") or 0.0, rtol=entry.get("rtol") or 0.0, noise=entry.get("noise")
    )


def build_mask(
    rules: list[Mapping[str, Any]] | None,
    shape: torch.Size,
    groups: tuple[str, ...],
    lookup: Callable[[str], torch.Tensor],
) -> torch.Tensor | None:
    """All masks of an entry, over a tensor of ``shape``; None if the entry has no mask.

    Args:
        groups: what the entry's ``*`` matched, for ``{0}`` in the masks' names.
        lookup: ``"outputs:NAME"`` -> stored tensor.
    """
    if not rules:
        return None
    keep = torch.ones(shape, dtype=torch.bool)
    for rule in rules:
        dims = [d % len(shape) for d in rule["dims"]]
        if "tensor" in rule:
            part = lookup(substitute(rule["tensor"], groups)) != 0
        elif "lengths" in rule:
            lengths = lookup(substitute(rule["lengths"], groups))
            part = torch.arange(shape[dims[1]]) < lengths.unsqueeze(-1)
        else:
            raise ParityError(f"Mask {dict(rule)!r} has neither 'tensor' nor 'lengths'.")
        keep &= _onto_dims(part, dims, shape, rule)
    return keep


def _onto_dims(part: torch.Tensor, dims: list[int], shape: torch.Size, rule: Mapping[str, Any]) -> torch.Tensor:
    if list(part.shape) != [shape[d] for d in dims]:
        raise ParityError(f"Mask {dict(rule)!r} has shape {tuple(part.shape)}, which does not lie on {tuple(shape)}.")
    order = sorted(range(len(dims)), key=dims.__getitem__)
    view = [shape[d] if d in dims else 1 for d in range(len(shape))]
    return part.permute(order).reshape(view)
