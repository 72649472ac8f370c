"""``hf-vtg``: answers as table and JSON, recipes, and one message for each mistake."""

import json

import numpy as np
import pytest

from hf_vtg import cli
from hf_vtg.training.recipes import RECIPES

from .video_files import render
from .vision_models import save_grounding_model


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """model: a tiny model whose backbone is tiny too; video: a file."""
    folder = tmp_path_factory.mktemp("cli")
    save_grounding_model(folder)
    render(folder / "a.mp4", [100 * k for k in range(12)], 100)
    return folder


def test_ground_prints_a_table_or_json(folders, capsys):
    command = ["ground", str(folders / "a.mp4"), "--model", str(folders / "model"), "--top-k", "2"]
    queries = ["a person sits down", "a person opens the door"]
    command += ["--query", queries[0], "--query", queries[1]]
    assert cli.main([*command, "--json"]) == 0
    answers = json.loads(capsys.readouterr().out)
    assert [answer["query"] for answer in answers] == queries
    assert all(len(answer["moments"]) == 2 for answer in answers)
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line for line in lines if not line.startswith(" ")] == queries
    best = answers[1]["moments"][0]
    assert np.allclose([float(lines[4].split()[k]) for k in (0, 2, 5)], list(best.values()), atol=0.01)


def test_recipes_are_listed_and_a_wrong_name_is_answered(capsys):
    assert cli.main(["recipes"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == RECIPES.keys()
    assert cli.main(["recipes", "mmn/charades_sta"]) == 0
    assert json.loads(capsys.readouterr().out)["mmn/charades_sta"]["epochs"] == 18
    assert cli.main(["recipes", "mmn/charades"]) == 2
    assert "mmn/charades_sta" in capsys.readouterr().err


@pytest.mark.parametrize("spoil", ["absent", "no_model", "no_processor", "other_model", "broken_weights"])
def test_a_folder_that_is_no_model_is_one_message(folders, tmp_path, capsys, spoil):
    import shutil

    model = tmp_path / "model"
    if spoil == "no_model":
        model.mkdir()
    elif spoil == "other_model":
        model = folders / "vit"
    elif spoil != "absent":
        shutil.copytree(folders / "model", model)
        broken = model / ("processor_config.json" if spoil == "no_processor" else "model.safetensors")
        broken.write_bytes(b"") if spoil == "broken_weights" else broken.unlink()
    assert cli.main(["ground", str(folders / "a.mp4"), "--query", "a person", "--model", str(model)]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hf-vtg: ")]
    assert len(message) == 1 and f"{model} cannot be loaded" in message[0]


def test_mistakes_are_answered_before_the_video_is_read(folders, capsys):
    def refused(*options):
        assert cli.main(["ground", *options, "--model", str(folders / "model")]) == 2
        return capsys.readouterr().err

    assert "no such video file" in refused(str(folders / "b.mp4"), "--query", "a person")
    assert "empty" in refused(str(folders / "a.mp4"), "--query", " ")
    assert "top_k" in refused(str(folders / "a.mp4"), "--query", "a person", "--top-k", "0")
