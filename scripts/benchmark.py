#!/usr/bin/env python
"""Speed at the published sizes: each method's cases (scripts/lab/speed/), our form against the plain one.

python scripts/benchmark.py                       # everything; the dense maps alone take a quarter of an hour
python scripts/benchmark.py --methods mmn --sizes charades_sta --what eval --repeats 3

The forms of a case run in turn; medians of wall time are printed beside CPU seconds, the wall time of the last form
over that of each, and the largest absolute difference from it. Peak memory is that of a fresh process that builds one
form and runs it once, libraries included.
"""

import argparse
import importlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.benchmarks.facts import PUBLISHED
from scripts.lab.resources import peak_memory
from scripts.lab.speed.case import Case

CASES = "scripts.lab.speed"
FOLDER = Path(__file__).resolve().parent / "lab" / "speed"
METHODS = sorted(p.stem for p in FOLDER.glob("*.py") if p.stem not in ("__init__", "case"))


class Row(NamedTuple):
    """One form of a case: medians in seconds, how often it fits into the last form's time, and the largest absolute
    difference from the last form (None where nothing is compared)."""

    form: str
    wall: float
    cpu: float
    ratio: float
    difference: float | None


def measure(case: Case, repeats: int) -> list[Row]:
    """Run the forms of ``case`` in turn, once to warm up and ``repeats`` times measured."""
    runs = {form: build() for form, build in case.forms.items()}
    walls, cpus, results = {form: [] for form in runs}, {form: [] for form in runs}, {}
    for turn in range(repeats + 1):
        for form, run in runs.items():
            wall, cpu = time.perf_counter(), time.process_time()
            results[form] = run()
            wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
            if turn:
                walls[form].append(wall)
                cpus[form].append(cpu)
    last = list(runs)[-1]
    median = {form: statistics.median(values) for form, values in walls.items()}
    return [
        Row(
            form,
            median[form],
            statistics.median(cpus[form]),
            median[last] / median[form],
            None if case.share else largest_difference(results[form], results[last]),
        )
        for form in runs
    ]


def largest_difference(own: torch.Tensor, reference: torch.Tensor) -> float:
    """Largest absolute difference; infinities at the same places are equal."""
    if own.shape != reference.shape:
        raise ValueError(f"forms to compare gave shapes {tuple(own.shape)} and {tuple(reference.shape)}.")
    return float((own - reference).masked_fill(own == reference, 0).abs().max())


def child_peak(module: str, size: str, case: str, form: str, threads: int) -> float:
    """Peak resident GB of a fresh process that builds one form and runs it once."""
    command = [sys.executable, __file__, "--threads", str(threads), "--child", module, size, case, form]
    return float(subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.split()[-1])


def child(module: str, size: str, name: str, form: str) -> None:
    (case,) = [case for case in importlib.import_module(module).cases([size]) if f"{case.name} {case.what}" == name]
    case.forms[form]()()
    print(peak_memory() / 1e9)


def table(module: str, sizes: list[str], what: list[str] | None, repeats: int, threads: int) -> Iterator[str]:
    """A line for each form of each case of ``module``, as soon as it is measured."""
    for size in sizes:
        for case in importlib.import_module(module).cases([size]):
            if what and case.what not in what:
                continue
            for row in measure(case, repeats):
                memory = child_peak(module, size, f"{case.name} {case.what}", row.form, threads)
                note = "" if row.difference is None else f"{row.difference:.1e}"
                if case.share and row.form == next(iter(case.forms)):
                    note = f"one of {case.share}: {1 / row.ratio / case.share:.3%}"
                yield (
                    f"{module.rpartition('.')[2]:8s} {case.name:34s} {case.what:10s} {row.form:22s} "
                    f"{row.wall:10.4f} {row.cpu:10.4f} {memory:6.2f} {row.ratio:8.2f} x  {note}"
                )


HEADER = (
    f"{'method':8s} {'case':34s} {'what':10s} {'form':22s} {'wall s':>10s} {'CPU s':>10s} {'GB':>6s} {'ratio':>10s}  "
    "max abs difference"
)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--sizes", nargs="+", default=list(PUBLISHED), choices=PUBLISHED)
    parser.add_argument("--what", nargs="+", help="kinds of cases, such as eval, train, sentences; default: all")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        child(*options.child)
        return 0
    print(
        f"{processor()}, {options.threads} threads, torch {torch.__version__}, median of {options.repeats}\n{HEADER}"
    )
    for method in options.methods:
        for line in table(f"{CASES}.{method}", options.sizes, options.what, options.repeats, options.threads):
            print(line, flush=True)
    return 0


def processor() -> str:
    """Name of the machine's processor."""
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
