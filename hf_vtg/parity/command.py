"""``scripts/check_parity.py``: arguments, table, exit code."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import torch
from transformers.utils import logging as transformers_logging

from ..errors import HFVTGError
from .check import check_folder, plan_mutations
from .comparing import COMPARED, EXCEPTED, FAILED, Report, Row

EXIT_CODES = """\
exit code, plain:
  0  everything agrees or is excepted with a reason
  1  something differs, is missing, or matches nothing in its manifest
  2  a folder cannot be followed (no manifest, unknown method, unknown file)
exit code, --mutate (the check must fail):
  1  every mutation made the comparison fail, as it must
  2  a mutation went unnoticed, or none could be tried: the check is blind there
  3  the comparison already fails without a mutation, which then proves nothing
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="check_parity.py",
        description="Compare this package with golden tensors of the published code, as their manifests say.",
        epilog=EXIT_CODES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folder with a manifest.json")
    parser.add_argument("--mutate", action="store_true", help="perturb a weight, drop a mask, flip a flag: must fail")
    parser.add_argument("--verbose", action="store_true", help="one line for every tensor instead of every entry")
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        if options.mutate:
            return max(_mutate(Path(folder)) for folder in options.folders)
        reports = []
        for folder in options.folders:
            reports.append(check_folder(folder))
            print_report(reports[-1], options.verbose)
    except HFVTGError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(reports) > 1:
        total = Report("all folders", [row for report in reports for row in report.rows])
        print(f"{len(reports)} folders: {total.summary()}")
    return 1 if any(report.failures() for report in reports) else 0


def _mutate(folder: Path) -> int:
    """Try each mutation on a folder; returns the exit code."""
    clean = check_folder(folder)
    print(f"{clean.title}\n  without mutation: {clean.summary()}")
    if clean.failures():
        print("  THE COMPARISON FAILS WITHOUT A MUTATION: mutations prove nothing.")
        return 3
    unnoticed, tried = 0, 0
    for kind, mutation in plan_mutations(folder).items():
        if isinstance(mutation, str):
            print(f"  not tried  {kind}: {mutation}")
            continue
        tried += 1
        report = check_folder(folder, mutation)
        failures = report.failures()
        unnoticed += not failures
        shown = "caught    " if failures else "UNNOTICED "
        worst = f"; first: {failures[0].group}, {failures[0].name}" if failures else ""
        print(f"  {shown} {mutation} -> {report.summary()}{worst}")
    if unnoticed or not tried:
        print(f"  THE CHECK IS BLIND: {unnoticed} of {tried} mutations went unnoticed.")
        return 2
    print(f"{tried} of {tried} mutations caught")
    return 1


def print_report(report: Report, verbose: bool = False) -> None:
    """The table of a folder, its exceptions and failures, and the summary as the last line."""
    print(report.title)
    groups: dict[str, list[Row]] = {}
    for row in report.rows:
        groups.setdefault(f"{row.group} {row.name}" if verbose else row.group, []).append(row)
    width = max((len(name) for name in groups), default=0)
    print(f"  {'name':{width}}  {'n':>4}  {'max diff':>9}  {'bound':>9}  {'noise':>9}  verdict")
    for name, rows in groups.items():
        compared = [row for row in rows if row.verdict != EXCEPTED]
        worst = max(compared, key=lambda row: row.ratio, default=rows[0])
        numbers = "  ".join(f"{_number(x):>9}" for x in (worst.diff, worst.bound, worst.noise))
        print(f"  {name:{width}}  {len(compared):>4}  {numbers}  {_verdict(rows)}")
    for verdict in (EXCEPTED, FAILED):
        for name, names, note in _notes(report, verdict):
            print(f"  {verdict}: {name}: {names}: {note}")
    print(f"  ({report.inputs} tensors and values read as input)")
    print(report.summary())


def _verdict(rows: list[Row]) -> str:
    verdicts = {row.verdict for row in rows}
    return FAILED if FAILED in verdicts else COMPARED if COMPARED in verdicts else EXCEPTED


def _notes(report: Report, verdict: str):
    """(group, names, note): one line for all rows of a group with the same note, the worst difference first."""
    collected: dict[tuple, list[Row]] = {}
    for row in report.rows:
        if row.verdict == verdict:
            reason = row.note if row.diff is None or verdict == EXCEPTED else "beyond the bound"
            collected.setdefault((row.group, reason), []).append(row)
    for (group, reason), rows in collected.items():
        rows.sort(key=lambda row: -row.ratio)
        names = ", ".join(row.name for row in rows[:4]) + (f" and {len(rows) - 4} more" if len(rows) > 4 else "")
        worst = rows[0]
        if worst.diff is not None and verdict == FAILED:
            reason = f"worst difference {worst.diff:.3e}, bound {worst.bound:.3e}; {worst.note}".rstrip("; ")
        yield group, names, reason


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1e}" if value else "0"
