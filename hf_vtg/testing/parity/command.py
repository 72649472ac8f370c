"""The command of the parity check: arguments, table, exit code."""

import argparse
import sys
from collections.abc import Callable, Sequence

import torch
from transformers.utils import logging as transformers_logging

from ...errors import HFVTGError
from .check import check_folder
from .comparing import COMPARED, EXCEPTED, FAILED, Report, Row

EXIT_CODES = """\
exit code:
  0  everything agrees or is excepted with a reason
  1  something differs, is missing, or matches nothing in its manifest
  2  a folder cannot be followed (no manifest, unknown method, unknown file)
"""


def make_parser(prog: str, exit_codes: str = EXIT_CODES) -> argparse.ArgumentParser:
    """The parser of ``main``, for a script that has further options."""
    parser = argparse.ArgumentParser(
        prog=prog,
        description="Compare this package with golden tensors of the published code, as their manifests say.",
        epilog=exit_codes,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("folders", nargs="+", metavar="FOLDER", help="folder with a manifest.json")
    parser.add_argument("--verbose", action="store_true", help="one line for every tensor instead of every entry")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """``python -m hf_vtg.testing.parity``; returns the exit code."""
    options = make_parser("python -m hf_vtg.testing.parity").parse_args(arguments)
    return exactly(lambda: compare(options.folders, options.verbose))


def exactly(work: Callable[[], int]) -> int:
    """``work`` on one thread without TF32; 2 after an error of ours, which is printed."""
    torch.set_num_threads(1)
    transformers_logging.disable_progress_bar()
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    try:
        return work()
    except HFVTGError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


def compare(folders: Sequence[str], verbose: bool = False) -> int:
    """Print the table of each folder; returns the exit code."""
    reports = []
    for folder in folders:
        reports.append(check_folder(folder))
        print_report(reports[-1], verbose)
    if len(reports) > 1:
        total = Report("all folders", [row for report in reports for row in report.rows])
        print(f"{len(reports)} folders: {total.summary()}")
    return 1 if any(report.failures() for report in reports) else 0


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
