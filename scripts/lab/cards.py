"""Model cards from data: what was measured here beside what the papers state, never written by hand.

``model_cards/results.jsonl`` holds a line for each measurement (:data:`RECORD_FIELDS`), each method's ``paper_<m>.py``
its paper's figures, ``steps.jsonl`` what ``scripts/recipe_steps.py --out`` wrote on a GPU. From them
:func:`write_cards` writes the section ``## Results`` of each method's card, and ``README.md``.
"""

import json
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from hf_vtg.benchmarks.annotations import json_object, jsonl_objects
from hf_vtg.benchmarks.facts import BENCHMARKS, PUBLISHED
from hf_vtg.errors import HFVTGError
from hf_vtg.files import write_text
from hf_vtg.models.registry import METHODS, all_recipes
from hf_vtg.recipe import Paper
from hf_vtg.training.results import read_results

from .recipe_steps import step_seconds

RESULTS, STEPS, OVERVIEW = "results.jsonl", "steps.jsonl", "README.md"
# Field of a record -> what it is. Those of a results.json (training/run.py) and of the comparing scripts; others are
# dropped. Those of KEY, and the kind of row, make a measurement what it is: a later one of the same replaces it.
RECORD_FIELDS = {
    "method": "mmn, hisa, ... (required)",
    "variant": "of the configuration; default 'default'",
    "benchmark": "required",
    "annotation_version": "of the annotations, where there are several",
    "seed": "required",
    "blind": "what was hidden from the model: 'query', 'video', 'shuffled'; null: nothing",
    "label": "of a run with changed settings; shown if an experiment of the method names it (also), else kept alone",
    "split": "of the metrics (required)",
    "metrics": "R@n,IoU=m and mIoU in percent, and num_queries (required)",
    "constant_moment": "the same metrics of one fixed moment fitted on train",
    "oracle_bound": "highest possible R@1,IoU=0.5 of the method's candidates, in percent",
    "rows": "'sentence', 'video' or 'paragraph'",
    "selected_on": "split that chose the weights; null: the last epoch",
    "convention": "'IoU > m' or 'IoU >= m'",
    "changed": "fields of a published benchmark's run that differ from its recipe; found in a results.json",
    "feature_spec": "what the features are",
    "epochs": "of the training",
    "seconds_per_epoch": "with the evaluations in between",
    "parameters": "of the model",
    "source": "file that the record was taken from",
}
KEY = ("method", "variant", "benchmark", "annotation_version", "split", "seed", "blind", "label")
REQUIRED = ("method", "benchmark", "seed", "split", "metrics")
# What a field must be, or a page would break, or say something else than was meant.
TYPES = {
    **dict.fromkeys(("method", "variant", "benchmark", "split"), str),
    **dict.fromkeys(("annotation_version", "blind", "label", "selected_on", "convention"), (str, type(None))),
    "seed": int,
    "metrics": dict,
    **dict.fromkeys(("constant_moment", "feature_spec", "recipe", "config_overrides"), (dict, type(None))),
}
# The papers' rows are those of these annotations and this split.
PUBLISHED_VERSIONS, PUBLISHED_SPLIT = (None, "2dtan"), "test"
# How a run was spread over a machine and over seeds, not what it was.
PRACTICAL_FIELDS = {"seed", "num_processes", "per_device_batch_size", "feature_dim"}
TABLE_BEGINS, TABLE_ENDS = "<!-- methods: written by scripts/make_model_card.py -->", "<!-- methods end -->"
BLIND_NAMES = {
    "query": "query-blind floor",
    "video": "video-blind floor",
    "shuffled": "shuffled sentences",
}
NOTICE = (
    "<!-- Written by scripts/make_model_card.py from results.jsonl and the papers of the methods. Do not edit. -->"
)
STEPS_NOTE = (
    "Forward, backward and optimiser on random features of the benchmark's shape at the published batch, its forwards "
    "accumulated on the one GPU; the median after the first step. `python scripts/recipe_steps.py --recipe_batch "
    "--one_process --steps 4 --out FILE`, and again with `--bf16`. An empty cell was not measured."
)
NAMES = {
    **{name: benchmark.title for name, benchmark in BENCHMARKS.items()},
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
        value = read_results(value, where)
        if value.get("shuffled"):
            value["blind"] = "shuffled"
        missing = [name for name in REQUIRED if value.get(name) is None]
        if missing:
            raise HFVTGError(f"{where}: a record needs {', '.join(missing)}")
        record = {"variant": "default", "blind": None, "label": None, "source": path.name, **value}
        _check_types(where, record)
        if "num_queries" not in record["metrics"]:
            raise HFVTGError(f"{where}: a record needs num_queries in its metrics")
        if record["method"] not in METHODS:
            raise HFVTGError(f"{where}: unknown method {record['method']!r}. Known: {', '.join(METHODS)}")
        if record.get("recipe") and record["benchmark"] in PUBLISHED:
            record["changed"] = changed_fields(record)
        records.append({name: record[name] for name in RECORD_FIELDS if name in record})
    return records


def _check_types(where: str, record: dict[str, Any]) -> None:
    for name, types in TYPES.items():
        value = record.get(name)
        if name in record and (not isinstance(value, types) or isinstance(value, bool)):
            raise HFVTGError(f"{where}: {name}={value!r} of a record is of the wrong kind")
    for kind in ("metrics", "constant_moment"):
        for name, value in (record.get(kind) or {}).items():
            number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
            if not number and name.startswith(("R@", "mIoU", "num_")):
                raise HFVTGError(f"{where}: {name}={value!r} of {kind} is not a number")


def changed_fields(record: dict[str, Any]) -> list[str]:
    """Fields of a results.json that make it another experiment than its recipe: of the model and of the training."""
    name = f"{record['method']}/{record['benchmark']}/{record['variant']}".removesuffix("/default")
    changed = set(record.get("config_overrides") or {})
    recipes = all_recipes()
    if name in recipes:
        own = json.loads(json.dumps(recipes[name].to_dict()))
        changed |= {field for field, value in record["recipe"].items() if own.get(field) != value}
        if _batch(own) != _batch(record["recipe"]):
            changed.add("batch")
    return sorted(changed - PRACTICAL_FIELDS)


def _batch(recipe: dict[str, Any]) -> int:
    return recipe.get("num_processes", 1) * recipe.get("per_device_batch_size", 1)


def merge_records(old: Iterable[dict[str, Any]], new: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """All of them in a fixed order; of two of the same run the newer one."""
    merged = {(*(str(record.get(name)) for name in KEY), *_kind(record)): record for record in [*old, *new]}
    return [merged[key] for key in sorted(merged)]


def write_cards(folder: Path, new_records: Iterable[dict[str, Any]] = ()) -> list[Path]:
    """Add records to ``results.jsonl`` and write every card anew.

    Returns:
        the files written. A method without a card of its own gets none.

    Raises:
        HFVTGError: unreadable data, or a card without a section ``## Results``.
    """
    papers = {name: method.paper for name, method in METHODS.items()}
    stored = folder / RESULTS
    records = merge_records(read_records(stored) if stored.is_file() else [], new_records)
    pages = {stored: "".join(json.dumps(record) + "\n" for record in records)} if records else {}
    for method in METHODS:
        card = folder / f"{method}.md"
        if card.is_file():
            own = [record for record in records if record["method"] == method]
            pages[card] = _with_results(card, method_results(own, papers[method]))
    steps = [value for _, value in jsonl_objects(folder / STEPS)] if (folder / STEPS).is_file() else []
    pages[folder / OVERVIEW] = overview(records, papers, steps)
    for path, text in pages.items():
        write_text(path, text)
    return list(pages)


def method_table(folder: str = "model_cards") -> str:
    """The table of all methods for the project's README."""
    lines = [["method", "paper", "`model_type`", "features of the paper", "text", "parity with the official code"]]
    lines.append(["---"] * len(lines[0]))
    for name, method in METHODS.items():
        paper = method.paper
        title = f"[{paper.title}]({paper.url})" if paper.url else paper.title
        code = f" ([code]({paper.code}))" if paper.code else ""
        where = f"{title}, {paper.venue}{code}"
        lines.append(
            [f"[{paper.name}]({folder}/{name}.md)", where, f"`{name}`", paper.features, paper.text, paper.parity]
        )
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def with_method_table(page: str, where: str) -> str:
    """``page`` with the table of all methods between its two marks."""
    found = re.compile(rf"{re.escape(TABLE_BEGINS)}\n.*?{re.escape(TABLE_ENDS)}", re.DOTALL)
    if len(found.findall(page)) != 1:
        raise HFVTGError(f"{where}: the marks {TABLE_BEGINS} and {TABLE_ENDS} are needed once for the table")
    return found.sub(lambda _: f"{TABLE_BEGINS}\n{method_table()}\n{TABLE_ENDS}", page)


def method_results(records: list[dict[str, Any]], paper: Paper) -> str:
    """The section of one method: a table for each benchmark, ours first, then the paper's."""
    parts = [NOTICE]
    published: dict[str, list[Mapping[str, Any]]] = {}
    for entry in paper.results:
        published.setdefault(entry["benchmark"], []).append(entry)
    tables = dict.fromkeys(_table_of(record) for record in records)
    for benchmark in published:
        if not any(table[0] == benchmark and _is_published(table) for table in tables):
            tables[(benchmark, None, PUBLISHED_SPLIT)] = None
    for table in tables:
        own, entries = _shown(records, table), published.get(table[0], ()) if _is_published(table) else ()
        rows = _measured_rows(own)
        note = "" if own else "; not measured here"
        rows += [_row(f"{_stated(entry)}{note}", entry["features"], entry["metrics"]) for entry in entries]
        parts += [f"### {_title(table, own)}", _table(rows)]
        if entries:
            sources = "; ".join(dict.fromkeys(entry["source"] for entry in entries))
            parts.append(f"Source of the paper's row{'s' * (len(entries) > 1)}: {sources}.")
    if paper.note:
        parts.append(paper.note)
    if not records:
        parts.insert(1, "Nothing was measured here yet.")
    return "\n\n".join(parts)


def overview(records: list[dict[str, Any]], papers: Mapping[str, Paper], steps: Sequence[dict[str, Any]] = ()) -> str:
    """The page of all methods."""
    parts = [
        "# Results of all methods",
        NOTICE,
        "R@n,IoU=m in percent: a sentence counts if one of the first n moments has an IoU above m (strictly). Several "
        "seeds: mean ± standard deviation. A constant moment is the best fixed fraction of a video, fitted on train: "
        "whoever reads neither video nor sentence reaches it. Scores on features of one kind say nothing about "
        "another kind. No code of HSCNet was published, so its official variant is the default one.",
    ]
    for table in dict.fromkeys(_table_of(record) for record in records):
        own = _shown(records, table)
        rows = [row for method in METHODS for row in _measured_rows([r for r in own if r["method"] == method], method)]
        parts += [f"## {_title(table, own)}", _table(_constant_last(rows))]
    for device in dict.fromkeys(step["device"] for step in steps):
        parts += [
            f"## A training step on one {device}",
            STEPS_NOTE,
            step_table(s for s in steps if s["device"] == device),
        ]
    parts.append("## What the papers state (not measured here)")
    for benchmark in PUBLISHED:
        rows = [
            _row(f"{method}, {_stated(entry)}", entry["features"], entry["metrics"])
            for method, paper in papers.items()
            for entry in paper.results
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


def _stated(entry: Mapping[str, Any]) -> str:
    """What states the figures of an entry."""
    return ", ".join(filter(None, ("the paper", entry.get("label"))))


def _table_of(record: dict[str, Any]) -> tuple[str, str | None, str]:
    """What may stand in one table: the same benchmark, version of its annotations, and split."""
    return record["benchmark"], record.get("annotation_version"), record["split"]


def _is_published(table: tuple[str, str | None, str]) -> bool:
    return table[1] in PUBLISHED_VERSIONS and table[2] == PUBLISHED_SPLIT


def _shown(records: list[dict[str, Any]], table: tuple[str, str | None, str]) -> list[dict[str, Any]]:
    return [r for r in records if _table_of(r) == table and r["label"] in (None, *_named_runs(r["method"]))]


def _named_runs(method: str) -> set[str]:
    """Names of the further runs that the experiments of a method ask for."""
    return {name for known in METHODS[method].sizes.experiments.values() for name in known.also}


def _title(table: tuple[str, str | None, str], records: list[dict[str, Any]]) -> str:
    benchmark, version, split = table
    name = NAMES.get(benchmark, benchmark) + (f", version {version}" if version else "")
    if not records:
        return name
    queries = sorted({record["metrics"]["num_queries"] for record in records})
    return f"{name}, {split} ({' / '.join(f'{count:,}' for count in queries)} queries)"


def _measured_rows(records: list[dict[str, Any]], method: str | None = None) -> list[dict[str, Any]]:
    """A row for each kind of run, over its seeds, and one of the constant moment."""
    groups: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for record in sorted(records, key=_kind):
        groups.setdefault(_kind(record), []).append(record)
    rows = []
    for (blind, variant, features, *reservations), members in groups.items():
        what = ", ".join(filter(None, (method, variant, BLIND_NAMES.get(blind, blind), *reservations)))
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


def _kind(record: dict[str, Any]) -> tuple[str, ...]:
    """What must be equal for a mean over seeds: blindness, variant, features, and what sets a run apart."""
    spec = record.get("feature_spec") or {}
    backbone = spec.get("backbone")
    return (
        record["blind"] or "",
        ", ".join(filter(None, (record["variant"], record["label"]))),
        f"{Path(str(backbone)).name}, {spec['dim']}-d" if backbone and spec.get("dim") else "",
        "IoU >= m" if record.get("convention") == "IoU >= m" else "",
        "selected on test" if record["split"] == record.get("selected_on") == "test" else "",
        f"changed: {', '.join(record['changed'])}" if record.get("changed") else "",
    )


def _constant_last(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    constant = [row for row in rows if row["what"] == "constant moment"]
    return [row for row in rows if row["what"] != "constant moment"] + constant[:1]


def _row(what: str, features: str, *metrics: dict[str, float]) -> dict[str, Any]:
    common = set(metrics[0]).intersection(*metrics)
    shown = {name for name in common if name.startswith("R@") or name == "mIoU"}
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
