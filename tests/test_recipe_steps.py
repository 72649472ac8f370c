"""Optimiser steps of a recipe at its real size on random rows."""

import json

import pytest

from hf_vtg.benchmarks.facts import BENCHMARKS
from hf_vtg.errors import ModelError
from hf_vtg.models.registry import all_recipes, get_recipe
from scripts.lab.recipe_steps import random_rows, run_steps

from .script_loading import load_script


def test_rows_have_the_shape_of_the_recipe():
    for name, sentences in (("mmn/tacos", 130), ("hisa/tacos", 1), ("hscnet/tacos", 8)):
        recipe = get_recipe(name)
        rows = random_rows(recipe, 7, 2)
        assert len(rows) == 2 and all(row["video_features"].shape == (1050, 7) for row in rows)
        assert all(len(row["sentences"]) == len(row["moments"]) == sentences for row in rows)
        assert all(0 <= s < e <= row["duration"] for row in rows for s, e in row["moments"])
    assert all(BENCHMARKS[recipe.benchmark].usual for recipe in all_recipes().values())


@pytest.mark.slow
def test_steps_of_a_real_configuration(tmp_path):
    result = run_steps("hscnet/charades_sta", str(tmp_path), steps=2)
    # The presets of the paper have D = 500 or 4096; Charades-STA 1024.
    assert result["parameters"] == 13_760_523 + (1024 - 500) * 256
    assert len(result["seconds"]) == len(result["losses"]) == 2 and 0 < result["peak_gib"] < 24
    with pytest.raises(ModelError, match="Did you mean 'hscnet/tacos'"):
        run_steps("hscnet/taco", str(tmp_path))


@pytest.mark.slow
def test_the_script_reports_a_failure_and_a_limit(tmp_path, capsys, monkeypatch):
    script = load_script("recipe_steps")
    assert script.main(["nobody/knows"]) == 1
    assert "nobody/knows" in capsys.readouterr().out
    result = {"recipe": "r", "seconds": [3.0, 1.0, 2.0], "losses": [1.0], "parameters": 5, "peak_gib": 30.0}
    line = json.dumps({**result, "processes": 1, "micro_batch": 1, "accumulation": 2})

    class Done:
        returncode, stdout, stderr = 0, f"noise\n{line}\n", ""

    monkeypatch.setattr(script.subprocess, "run", lambda *args, **kwargs: Done)
    out = tmp_path / "steps.jsonl"
    assert script.main(["r", "--out", str(out)]) == 1 and script.main(["r", "--limit_gib", "40"]) == 0
    assert "1x1x2    1.500  30.00" in capsys.readouterr().out and json.loads(out.read_text()) == json.loads(line)
