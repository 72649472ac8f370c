"""The demo and the shipped default: a newcomer's first two minutes."""

import json
import random

import pytest
from transformers import pipeline

from hf_vtg import demo
from hf_vtg.moving_shapes.world import split_of_seed, split_seeds
from hf_vtg.pipeline import DEFAULT_MODEL, TASK

SEED = split_seeds("demo")[7]


@pytest.fixture(scope="module")
def answered(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    assert demo.main(["--seed", str(SEED), "--output", str(out)]) == 0
    return out, json.loads((out / "moments.json").read_text())


@pytest.mark.slow
def test_the_demo_writes_its_answer(answered):
    out, result = answered
    assert (out / "timeline.png").read_bytes().startswith(b"\x89PNG")
    assert result["video"].endswith(".mp4") and 20 <= result["duration"] <= 60.2
    rows = result["queries"]
    assert len(rows) > demo.NUM_QUERIES
    for row in rows:
        best = row["moments"][0]
        assert 0 <= best["start"] < best["end"] <= result["duration"]
        assert len(row["true"]) == 2 and row["query"] in demo.describe(row) and "IoU" in demo.describe(row)


def test_own_queries_and_own_video(answered, tmp_path, capsys):
    _, first = answered
    assert (
        demo.main(["--video", first["video"], "--query", first["queries"][0]["query"], "--output", str(tmp_path)]) == 0
    )
    own = json.loads((tmp_path / "moments.json").read_text())["queries"]
    assert own[0]["moments"] == [
        {name: pytest.approx(value, abs=1e-4) for name, value in m.items()} for m in first["queries"][0]["moments"]
    ]
    assert "true" not in own[0]
    assert str(tmp_path / "timeline.png") in capsys.readouterr().out


def test_a_random_seed_lies_outside_the_splits(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(random, "randrange", lambda n: n - 1)
    _, _, truth = demo.render(demo.parse(["--output", str(tmp_path)]))
    seed = split_seeds("demo")[-1]
    assert str(seed) in capsys.readouterr().out and split_of_seed(seed) == "demo" and truth


def test_what_is_wrong_is_said(tmp_path, capsys):
    assert demo.main(["--seed", "5", "--output", str(tmp_path)]) == 2
    assert "'train'" in capsys.readouterr().err
    assert demo.main(["--video", str(tmp_path / "no.mp4"), "--query", "a", "--output", str(tmp_path)]) == 2
    assert "no.mp4" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        demo.parse(["--video", "a.mp4"])


def test_the_task_has_a_default_model():
    pipe = pipeline(TASK, device="cpu")
    assert pipe.model.name_or_path == str(DEFAULT_MODEL)
    assert pipe.processor.feature_extractor.spec.backbone == "hf_vtg/moving_shapes"
