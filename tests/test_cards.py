"""Model cards from records: means over seeds, floors, the papers' rows and labels, and refusals."""

import json
import shutil

import pytest

from hf_vtg.benchmarks import load_benchmark
from hf_vtg.errors import HFVTGError
from hf_vtg.models.registry import METHODS, get_recipe
from scripts.lab.cards import merge_records, read_records, write_cards
from scripts.lab.overfit import ANNOTATIONS, BLANK, blank_annotations

from .conftest import ROOT
from .script_loading import load_script

CARDS = ROOT / "model_cards"


def record(seed=0, recall=50.0, **fields):
    metrics = {"R@1,IoU=0.5": recall, "mIoU": 40.0, "num_queries": 1234}
    constant = {"R@1,IoU=0.5": 30.27, "mIoU": 20.0, "num_queries": 1234, "constant_moment": [0, 0.3]}
    return {
        "method": "mmn",
        "variant": "default",
        "benchmark": "moving_shapes",
        "split": "test",
        "seed": seed,
        "metrics": metrics,
        "constant_moment": constant,
        "seconds_per_epoch": 10.0,
        "parameters": 1_234_567,
        "feature_spec": {"backbone": "/a/b/encoder", "dim": 192},
        "not a field": 1,
        **fields,
    }


@pytest.fixture
def cards(tmp_path):
    for method in METHODS:
        (tmp_path / f"{method}.md").write_text(
            f"# {method}\n\nText.\n\n## Results\n\nold figure 99.99\n\n## Limits\n\nL.\n"
        )
    return tmp_path


def write(path, *records):
    path.write_text("".join(json.dumps(r) + "\n" for r in records))
    return path


def test_cards_show_ours_beside_the_papers_with_their_labels(cards, capsys):
    records = [record(seed, recall) for seed, recall in enumerate((50.0, 52.0, 57.0))]
    records += [record(blind="query", recall=35.0), record(label="wider", recall=77.0)]
    records += [record(benchmark="charades_sta", recall=41.5)]
    path = write(cards / "runs.jsonl", *records)
    assert load_script("make_model_card").main([str(path), "--cards", str(cards)]) == 0
    assert "mmn.md" in capsys.readouterr().out
    mmn = (cards / "mmn.md").read_text()
    assert mmn.startswith("# mmn\n\nText.\n\n## Results\n") and mmn.endswith("## Limits\n\nL.\n")
    assert "### moving_shapes, test (1,234 queries)" in mmn and "99.99" not in mmn
    assert "| default | encoder, 192-d | 53.00 ± 3.61 | 40.00 ± 0.00 | 3 | 10.0 | 1,234,567 |" in mmn
    assert "| default, query-blind floor | encoder, 192-d | 35.00 |" in mmn and "77.00" not in mmn
    assert "| constant moment |  | 30.27 | 20.00 |" in mmn
    charades = mmn[mmn.index("### Charades-STA") : mmn.index("### ActivityNet")]
    assert "| default | encoder, 192-d | 41.50 |" in charades
    assert "| the paper | VGG16, 4096-d | 47.31 | 27.28 |" in charades
    assert "| the paper; not measured here | C3D, 500-d | 65.05 | 48.59 | 29.26 |" in mmn
    page = (cards / "README.md").read_text()
    assert "| mmn, default | encoder, 192-d | 53.00 ± 3.61 |" in page and page.count("constant moment |") == 2
    for method in ("hisa", "clear"):
        text = (cards / f"{method}.md").read_text()
        assert "Nothing was measured here" in text and "could not be read" in text and "the paper |" not in text
    before = {path.name: path.read_text() for path in cards.iterdir()}
    write_cards(cards)
    assert {path.name: path.read_text() for path in cards.iterdir()} == before
    # a later record of the same run replaces the older one
    write_cards(cards, read_records(write(cards / "runs.jsonl", record(0, 53.0))))
    assert "54.00 ± 2.65 |" in (cards / "mmn.md").read_text()


def test_records_are_reduced_and_checked(tmp_path):
    (own,) = read_records(write(tmp_path / "a.jsonl", record(shuffled=True)))
    assert own["blind"] == "shuffled" and "not a field" not in own and own["source"] == "a.jsonl"
    assert len(merge_records([own], [own, {**own, "seed": 1}])) == 2
    for broken, message in (
        ({**record(), "metrics": {"mIoU": 1}}, "a.jsonl:1: a record needs num_queries"),
        ({**record(), "method": "nmm"}, "unknown method 'nmm'"),
        ({"method": "mmn"}, "benchmark, seed, split, metrics"),
    ):
        with pytest.raises(HFVTGError, match=message):
            read_records(write(tmp_path / "a.jsonl", broken))


def results_file(seed=0, recall=26.0, recipe=(), **fields):
    """What train.py writes, of a whole run of a published recipe."""
    settings = {**json.loads(json.dumps(get_recipe("mmn/tacos").to_dict())), "seed": seed, **dict(recipe)}
    published = {"benchmark": "tacos", "annotation_version": "2dtan", "convention": "IoU > m", "recipe": settings}
    return record(seed, recall, constant_moment=None, **{**published, "config_overrides": {}, **fields})


def tacos_rows(cards, *records):
    """Heading -> name and R@1,IoU=0.5 of each row, of all TACoS tables of MMN's card."""
    write_cards(cards, read_records(write(cards / "runs.jsonl", *records)))
    parts = (cards / "mmn.md").read_text().split("### ")[1:]
    (cards / "results.jsonl").unlink()
    tables = {}
    for part in parts:
        heading, *lines = part.splitlines()
        if heading.startswith("TACoS"):
            table = [[cell.strip() for cell in line.split("|")] for line in lines if line.startswith("|")]
            column = table[0].index("R@1,IoU=0.5")
            tables[heading] = {row[1]: row[column] for row in table[2:]}
    return tables


def test_a_run_of_a_recipe_stands_beside_the_paper(cards):
    spread = {"num_processes": 4, "per_device_batch_size": 1}
    rows = tacos_rows(cards, results_file(0), results_file(1, 28.0, recipe=spread))
    assert rows["TACoS, version 2dtan, test (1,234 queries)"]["default"] == "27.00 ± 1.41"
    assert "the paper" in rows["TACoS, version 2dtan, test (1,234 queries)"]


def test_what_is_another_experiment_is_not_averaged(cards):
    """Neither another version nor another split, features, convention, selection or setting."""
    clip = {"backbone": "clip", "dim": 512}
    for other in (
        {"feature_spec": clip},
        {"convention": "IoU >= m"},
        {"selected_on": "test"},
        {"config_overrides": {"hidden_size": 8}},
        {"recipe": {"epochs": 1}},
        {"recipe": {"per_device_batch_size": 999}},
    ):
        (rows,) = tacos_rows(cards, results_file(0), results_file(1, 99.0, **other)).values()
        assert rows.pop("default") in ("26.00", "99.00") and rows.pop("the paper")
        assert len(rows) == (0 if other == {"feature_spec": clip} else 1), (other, rows)
        # nor does it replace a run of the same seed
        assert (
            len(merge_records(*(read_records(write(cards / "x.jsonl", results_file(0, **o))) for o in ({}, other))))
            == 2
        )
    (rows,) = tacos_rows(cards, results_file(0, config_overrides={"hidden_size": 8}, recipe={"epochs": 1})).values()
    assert "default, changed: epochs, hidden_size" in rows
    tall, validation = {"annotation_version": "tall"}, {"split": "validation"}
    for other in (tall, validation):
        tables = tacos_rows(cards, results_file(0), results_file(0, 99.0, **other))
        assert len(tables) == 2
        assert sorted(rows["default"] for rows in tables.values()) == ["26.00", "99.00"]
        assert sum("the paper" in rows for rows in tables.values()) == 1
        assert "the paper" in tables["TACoS, version 2dtan, test (1,234 queries)"]
    # the version that the papers use was not measured: their row stands alone
    tables = tacos_rows(cards, results_file(0, **tall))
    assert tables["TACoS"].keys() == {"the paper; not measured here"} and len(tables) == 2


def test_seeds_with_other_metrics_show_the_common_ones(cards):
    less = results_file(1)
    del less["metrics"]["mIoU"]
    (rows,) = tacos_rows(cards, results_file(0), less).values()
    assert rows["default"] == "26.00 ± 0.00"


@pytest.mark.parametrize(
    "fields",
    [
        {"metrics": 5},
        {"metrics": "num_queries"},
        {"metrics": {"num_queries": None}},
        {"metrics": {"num_queries": "12"}},
        {"metrics": {"num_queries": 12, "mIoU": float("nan")}},
        {"metrics": {"num_queries": 12, "mIoU": None}},
        {"constant_moment": [0.1, 0.2]},
        {"constant_moment": {"mIoU": "high"}},
        {"method": ["mmn"]},
        {"benchmark": ["tacos"]},
        {"split": ["test"]},
        {"variant": None},
        {"blind": True},
        {"seed": "0"},
        {"feature_spec": "c3d"},
    ],
    ids=str,
)
def test_malformed_records_are_named(cards, fields, capsys):
    path = write(cards / "runs.jsonl", record(), record(**fields))
    before = {path.name: path.read_text() for path in cards.iterdir()}
    assert load_script("make_model_card").main([str(path), "--cards", str(cards)]) == 2
    assert f"{path}:2: " in capsys.readouterr().err
    assert {path.name: path.read_text() for path in cards.iterdir()} == before


def test_steps_on_a_gpu_stand_beside_each_other(cards):
    step = {"processes": 1, "micro_batch": 12, "accumulation": 4, "parameters": 1234, "device": "GPU X"}
    rows = [
        {**step, "recipe": "mmn/tacos", "bf16": False, "seconds": [9.0, 0.1, 0.5, 0.2], "peak_gib": 1.5},
        {**step, "recipe": "mmn/tacos", "bf16": True, "seconds": [9.0, 0.05], "peak_gib": 1.25},
        {**step, "recipe": "hisa/tacos", "bf16": True, "seconds": [9.0, 0.07], "peak_gib": 1.0},
    ]
    write(cards / "steps.jsonl", *rows)
    write_cards(cards)
    page = (cards / "README.md").read_text()
    assert "## A training step on one GPU X" in page
    assert "| hisa/tacos | 48 |  | 0.070 |  | 1.00 | 1,234 |" in page
    assert "| mmn/tacos | 48 | 0.200 | 0.050 | 1.50 | 1.25 | 1,234 |" in page


def test_a_card_without_the_section_is_named(cards):
    (cards / "mmn.md").write_text("# mmn\n")
    with pytest.raises(HFVTGError, match=r"mmn\.md: one section '## Results'"):
        write_cards(cards)


def test_the_cards_of_this_repository_are_those_of_its_records(tmp_path):
    shutil.copytree(CARDS, tmp_path / "cards")
    written = write_cards(tmp_path / "cards")
    assert [path.name for path in written if path.read_text() != (CARDS / path.name).read_text()] == []
    assert {name for name, method in METHODS.items() if not method.paper.results} == {"hisa", "clear"}


@pytest.mark.needs_shared
def test_a_run_on_charades_real_becomes_a_row(cards, tmp_path):
    script, out = load_script("overfit_charades_real"), tmp_path / "records"
    assert script.main(["--method", "mmn", "--recipe", "epochs=1", "--seed", "3", "--out", str(out)]) == 0
    (made,) = read_records(out / "mmn_default_3.json")
    assert (made["benchmark"], made["split"], made["epochs"], made["seed"]) == ("charades_real", "train", 1, 3)
    assert made["metrics"]["num_queries"] == 23 and made["label"] is None
    assert script.main(["--method", "mmn", "--recipe", "epochs=1", "--blind", "--out", str(out)]) == 0
    (blind,) = read_records(out / "mmn_default_0_blind.json")
    write_cards(cards, [made, blind])
    page = (cards / "README.md").read_text()
    assert "## charades_real (over-fit), train (23 queries)" in page
    for row in ("mmn, default", "mmn, default, query-blind floor", "constant moment"):
        assert f"| {row} |" in page


@pytest.mark.needs_shared
def test_a_blind_run_on_charades_real_reads_nothing(shared, tmp_path):
    rows = load_benchmark("jsonl", str(blank_annotations(tmp_path)), split="train")
    own = load_benchmark("jsonl", str(ANNOTATIONS), split="train")
    assert {sentence for row in rows for sentence in row["sentences"]} == {BLANK}
    assert rows["moments"][:] == own["moments"][:] and len(rows) == 23
