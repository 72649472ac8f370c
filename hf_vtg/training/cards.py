"""Model cards from data: what was measured here beside what the papers state, never written by hand.

``model_cards/results.jsonl`` holds a line for each measurement (:data:`RECORD_FIELDS`), ``papers.json`` the papers'
figures, ``steps.jsonl`` what ``scripts/recipe_steps.py --out`` wrote on a GPU. From them :func:`write_cards` writes
the section ``## Results`` of each method's card, and ``README.md``.
"""

import json
import math
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ..auto import METHODS
from ..benchmarks.annotations import json_object, jsonl_objects
from ..cache import write_text
from ..errors import HFVTGError
from ..hub import BENCHMARK_NAMES
from .recipe_steps import step_seconds

RESULTS, PAPERS, STEPS, OVERVIEW = "results.jsonl", "papers.json", "steps.jsonl", "README.md"
# Field of a record -> what it is. Those of a results.json (training/run.py) and of the comparing scripts; others are
# dropped. The first five make a measurement what it is: a later one with the same five replaces it.
RECORD_FIELDS = {
    "method": "mmn, hisa, ... (required)",
    "variant": "of the configuration; default 'default'",
    "benchmark": "required",
    "seed": "required",
    "blind": "what was hidden from the model: 'query', 'video', 'shuffled'; null: nothing",
    "label": "of a run with changed settings; such runs are kept, not shown",
    "split": "of the metrics (required)",
    "metrics": "R@n,IoU=m and mIoU in percent, and num_queries (required)",
    "constant_moment": "the same metrics of one fixed moment fitted on train",
    "oracle_bound": "highest possible R@1,IoU=0.5 of the method's candidates, in percent",
    "rows": "'sentence', 'video' or 'paragraph'",
    "selected_on": "split that chose the weights; null: the last epoch",
    "feature_spec": "what the features are",
    "epochs": "of the training",
    "seconds_per_epoch": "with the evaluations in between",
    "parameters": "of the model",
    "source": "file that the record was taken from",
}
KEY = ("method", "variant", "benchmark", "seed", "blind", "label")
REQUIRED = ("method", "benchmark", "seed", "split", "metrics")
BLIND_NAMES = {
    "query": "query-blind floor",
    "video": "video-blind floor",
    "shuffled": "shuffled sentences",
}
NOTICE = "<!-- Written by scripts/make_model_card.py from results.jsonl and papers.json. Do not edit. -->"
STEPS_NOTE = (
    "Forward, backward and optimiser on random features of the benchmark's shape at the published batch, its forwards "
    "accumulated on the one GPU; the median after the first step. `python scripts/recipe_steps.py --recipe_batch "
    "--one_process --steps 4 --out FILE`, and again with `--bf16`. An empty cell was not measured."
)
NAMES = {
    **BENCHMARK_NAMES,
    "charades_real": "charades_real (over-fit)",
    "planted_charades_sta": "planted Charades-STA",
}


def read_records(path: Path) -> list[dict[str, Any]]:
    """Records of a .json file (one) or a .jsonl file (one a line), reduced to :data:`RECORD_FIELDS`.

    Raises:
        HFVTGError: no such file, not JSON, a required field missing, or metrics without ``num_queries``.
    """
    if path.suffix == ".jsonl":
        found = [(f"{path}:{number}", value) for number, value in jsonl_objects(path)]
    else:
        found = [(str(path), json_object(path))]
    records = []
    for where, value in found:
        if value.get("shuffled"):
            value["blind"] = "shuffled"
        missing = [name for name in REQUIRED if value.get(name) is None]
        if missing or "num_queries" not in value["metrics"]:
            raise HFVTGError(f"{where}: a record needs {', '.join(missing) or 'num_queries in its metrics'}")
        if value["method"] not in METHODS:
            raise HFVTGError(f"{where}: unknown method {value['method']!r}. Known: {', '.join(METHODS)}")
        record = {"variant": "default", "blind": None, "label": None, "source": path.name, **value}
        records.append({name: record[name] for name in RECORD_FIELDS if name in record})
    return records


def merge_records(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of them in a fixed order; of two of the same run the newer one."""
    merged = {tuple(str(record[name]) for name in KEY): record for record in [*old, *new]}
    return [merged[key] for key in sorted(merged)]


def write_cards(folder: Path, new_records: Iterable[dict[str, Any]] = ()) -> list[Path]:
    """Add records to ``results.jsonl`` and write every card anew.

    Returns:
        the files written. A method without a card of its own gets none.

    Raises:
        HFVTGError: unreadable data, or a card without a section ``## Results``.
    """
    papers = json_object(folder / PAPERS)
    stored = folder / RESULTS
    records = merge_records(read_records(stored) if stored.is_file() else [], new_records)
    pages = {stored: "".join(json.dumps(record) + "\n" for record in records)} if records else {}
    for method in METHODS:
        card = folder / f"{method}.md"
        if card.is_file():
            own = [record for record in records if record["method"] == method]
            pages[card] = _with_results(card, method_results(own, papers.get(method, {})))
    steps = [value for _, value in jsonl_objects(folder / STEPS)] if (folder / STEPS).is_file() else []
    pages[folder / OVERVIEW] = overview(records, papers, steps)
    for path, text in pages.items():
        write_text(path, text)
    return list(pages)


def method_results(records: list[dict[str, Any]], paper: dict[str, Any]) -> str:
    """The section of one method: a table for each benchmark, ours first, then the paper's."""
    parts = [NOTICE]
    published = {entry["benchmark"]: entry for entry in paper.get("results", ())}
    for benchmark in dict.fromkeys([*(record["benchmark"] for record in records), *published]):
        own = _shown(records, benchmark)
        rows = _measured_rows(own)
        if benchmark in published:
            entry = published[benchmark]
            note = "" if own else "; not measured here"
            rows.append(_row(f"the paper{note}", entry["features"], entry["metrics"]))
        parts += [f"### {_title(benchmark, own)}", _table(rows)]
        if benchmark in published:
            parts.append(f"Source of the paper's row: {published[benchmark]['source']}.")
    if paper.get("note"):
        parts.append(paper["note"])
    if not records:
        parts.insert(1, "Nothing was measured here yet.")
    return "\n\n".join(parts)


def overview(records: list[dict[str, Any]], papers: dict[str, Any], steps: Sequence[dict[str, Any]] = ()) -> str:
    """The page of all methods."""
    parts = [
        "# Results of all methods",
        NOTICE,
        "R@n,IoU=m in percent: a sentence counts if one of the first n moments has an IoU above m (strictly). Several "
        "seeds: mean ± standard deviation. A constant moment is the best fixed fraction of a video, fitted on train: "
        "whoever reads neither video nor sentence reaches it. Scores on features of one kind say nothing about "
        "another kind. No code of HSCNet was published, so its official variant is the default one.",
    ]
    for benchmark in dict.fromkeys(record["benchmark"] for record in records):
        own = _shown(records, benchmark)
        rows = [row for method in METHODS for row in _measured_rows([r for r in own if r["method"] == method], method)]
        parts += [f"## {_title(benchmark, own)}", _table(_constant_last(rows))]
    for device in dict.fromkeys(step["device"] for step in steps):
        parts += [
            f"## A training step on one {device}",
            STEPS_NOTE,
            step_table(s for s in steps if s["device"] == device),
        ]
    parts.append("## What the papers state (not measured here)")
    for benchmark in ("charades_sta", "activitynet_captions", "tacos"):
        rows = [
            _row(f"{method}, the paper", entry["features"], entry["metrics"])
            for method, paper in papers.items()
            for entry in paper["results"]
            if entry["benchmark"] == benchmark
        ]
        parts += [f"### {NAMES[benchmark]}", _table(rows)]
    parts += [
        "Sources and reservations are in the card of each method. Of HiSA's and CLEAR's papers no text could be read, "
        "so no figure stands here.",
        "`python scripts/make_model_card.py RECORDS` adds measurements to `results.jsonl` and writes all pages anew; "
        "records come from `scripts/train.py` (`results.json`), `scripts/compare_moving_shapes.py`, "
        "`scripts/learn_planted.py` and `scripts/overfit_charades_real.py`.",
    ]
    return "\n\n".join(parts) + "\n"


def step_table(steps: Iterable[dict[str, Any]]) -> str:
    """A row for each recipe: its batch, seconds and peak memory of a step in fp32 and in bf16, and parameters."""
    recipes: dict[str, dict[bool, dict[str, Any]]] = {}
    for step in steps:
        recipes.setdefault(step["recipe"], {})[step["bf16"]] = step
    lines = [["recipe", "batch", "fp32 s", "bf16 s", "fp32 GiB", "bf16 GiB", "parameters"]]
    lines.append(["---"] * len(lines[0]))
    for name in sorted(recipes):
        measured = [recipes[name].get(half) for half in (False, True)]
        some = measured[0] or measured[1]
        batch = some["processes"] * some["micro_batch"] * some["accumulation"]
        seconds = [f"{step_seconds(step):.3f}" if step else "" for step in measured]
        memory = [f"{step['peak_gib']:.2f}" if step else "" for step in measured]
        lines.append([name, str(batch), *seconds, *memory, f"{some['parameters']:,}"])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _shown(records: list[dict[str, Any]], benchmark: str) -> list[dict[str, Any]]:
    return [record for record in records if record["benchmark"] == benchmark and record["label"] is None]


def _title(benchmark: str, records: list[dict[str, Any]]) -> str:
    name = NAMES.get(benchmark, benchmark)
    if not records:
        return name
    splits = sorted({record["split"] for record in records})
    queries = sorted({record["metrics"]["num_queries"] for record in records})
    return f"{name}, {' / '.join(splits)} ({' / '.join(f'{count:,}' for count in queries)} queries)"


def _measured_rows(records: list[dict[str, Any]], method: str | None = None) -> list[dict[str, Any]]:
    """A row for each variant and blindness, over its seeds, and one of the constant moment."""
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for record in sorted(records, key=lambda record: (record["blind"] or "", record["variant"])):
        groups.setdefault((record["blind"] or "", record["variant"]), []).append(record)
    rows = []
    for (blind, variant), members in groups.items():
        what = ", ".join(filter(None, (method, variant, BLIND_NAMES.get(blind, blind))))
        spec = members[0].get("feature_spec") or {}
        features = (
            f"{Path(spec['backbone']).name}, {spec['dim']}-d" if spec.get("backbone") and spec.get("dim") else ""
        )
        rows.append(
            {
                **_row(what, features, *(member["metrics"] for member in members)),
                "seeds": str(len(members)),
                "s / epoch": _average(members, "seconds_per_epoch", "{:.1f}"),
                "parameters": _average(members, "parameters", "{:,.0f}"),
                "oracle": _average(members, "oracle_bound", "{:.1f}"),
            }
        )
    constant = next((record["constant_moment"] for record in records if record.get("constant_moment")), None)
    return [*rows, _row("constant moment", "", constant)] if constant else rows


def _constant_last(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    constant = [row for row in rows if row["what"] == "constant moment"]
    return [row for row in rows if row["what"] != "constant moment"] + constant[:1]


def _row(what: str, features: str, *metrics: dict[str, float]) -> dict[str, Any]:
    shown = {name for values in metrics for name in values if name.startswith("R@") or name == "mIoU"}
    return {"what": what, "features": features, **{name: _spread([m[name] for m in metrics]) for name in shown}}


def _spread(values: list[float]) -> str:
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{mean(values):.2f} ± {stdev(values):.2f}"


def _average(records: list[dict[str, Any]], name: str, form: str) -> str:
    values = [record[name] for record in records if isinstance(record.get(name), int | float)]
    return form.format(mean(values)) if values and all(map(math.isfinite, values)) else ""


def _table(rows: list[dict[str, Any]]) -> str:
    """Columns that are empty throughout are left out."""
    metrics = sorted({name for row in rows for name in row if name.startswith(("R@", "mIoU"))})
    columns = ["what", "features", *metrics, "seeds", "s / epoch", "parameters", "oracle"]
    columns = [column for column in columns if any(row.get(column) for row in rows)]
    lines = [[column if column != "what" else "" for column in columns], ["---"] * len(columns)]
    lines += [[row.get(column, "") for column in columns] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _with_results(card: Path, results: str) -> str:
    text = card.read_text(encoding="utf-8")
    section = re.compile(r"^## Results\n.*?(?=^## |\Z)", re.DOTALL | re.MULTILINE)
    if len(section.findall(text)) != 1:
        raise HFVTGError(f"{card}: one section '## Results' is needed for the figures")
    return section.sub(lambda _: f"## Results\n\n{results}\n\n", text).rstrip() + "\n"
