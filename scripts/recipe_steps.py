#!/usr/bin/env python
"""Runs 3 optimiser steps of every recipe's real configuration on random features, each in a process of its own.
On a GPU where there is one.

python scripts/recipe_steps.py                               # every recipe, time and peak memory of each
python scripts/recipe_steps.py mmn/charades_sta hisa/tacos --micro_batch 2
python scripts/recipe_steps.py clear/charades_sta --processes 2
python scripts/recipe_steps.py --recipe_batch --one_process --steps 8 --bf16    # times of the published batches

``--out FILE`` appends a JSON line for each. Exit status 1 if one fails or needs more than ``--limit_gib``.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.errors import HFVTGError
from hf_vtg.models.registry import all_recipes
from scripts.lab.recipe_steps import run_steps, step_seconds


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", metavar="RECIPE", help="default: all")
    parser.add_argument("--steps", type=int, default=3)
    parser.add_argument("--micro_batch", type=int, default=1, help="rows of a process's forward (1)")
    parser.add_argument("--accumulation", type=int, default=2)
    parser.add_argument("--processes", type=int, default=1)
    parser.add_argument("--recipe_batch", action="store_true", help="the published batch, accumulated as in a run")
    parser.add_argument("--one_process", action="store_true", help="quicker; peaks are told apart on a GPU alone")
    parser.add_argument("--bf16", action="store_true")
    parser.add_argument("--limit_gib", type=float, default=24.0)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--inside", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.inside:
        return _inside(options)
    failed = 0
    print(f"{'recipe':34} {'batch':>7} {'s/step':>8} {'GiB':>6} {'parameters':>12}  losses", flush=True)
    for name in options.recipes or all_recipes():
        result = _in_this_process(name, options) if options.one_process else _in_own_process(name, options)
        failed += result is None or result["peak_gib"] > options.limit_gib
    return int(failed > 0)


def _steps(name: str, options) -> dict:
    batch, accumulation = (None, None) if options.recipe_batch else (options.micro_batch, options.accumulation)
    with tempfile.TemporaryDirectory() as folder:
        return run_steps(name, folder, options.steps, batch, accumulation, bf16=options.bf16)


def _in_this_process(name: str, options) -> dict | None:
    try:
        result = _steps(name, options)
    except (HFVTGError, torch.cuda.OutOfMemoryError) as error:
        print(f"{name:34} failed: {str(error).splitlines()[0]}", flush=True)
        return None
    return _printed(result, options)


def _in_own_process(name: str, options) -> dict | None:
    launcher = []
    if options.processes > 1:
        launcher = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(options.processes)]
    command = [sys.executable, *launcher, __file__, name, "--inside", "--steps", str(options.steps)]
    command += ["--micro_batch", str(options.micro_batch), "--accumulation", str(options.accumulation)]
    command += [f"--{flag}" for flag in ("bf16", "recipe_batch") if getattr(options, flag)]
    done = subprocess.run(command, capture_output=True, text=True)
    lines = [line for line in done.stdout.splitlines() if line.startswith('{"recipe"')]
    if done.returncode or not lines:
        print(f"{name:34} failed: {done.stderr.strip().splitlines()[-1:]}", flush=True)
        return None
    return _printed(json.loads(lines[0]), options)


def _printed(result: dict, options) -> dict:
    batch = f"{result['processes']}x{result['micro_batch']}x{result['accumulation']}"
    losses = ", ".join(f"{loss:.4g}" for loss in result["losses"])
    print(
        f"{result['recipe']:34} {batch:>7} {step_seconds(result):8.3f} {result['peak_gib']:6.2f} "
        f"{result['parameters']:12,}  {losses}",
        flush=True,
    )
    if options.out:
        with options.out.open("a") as file:
            file.write(json.dumps(result) + "\n")
    return result


def _inside(options) -> int:
    (name,) = options.recipes
    try:
        result = _steps(name, options)
    except HFVTGError as error:
        print(f"recipe_steps: {error}", file=sys.stderr)
        return 2
    print(json.dumps(result), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
