"""``hf-vtg``: answers as table, JSON, clips and pictures; recipes; and one message for each mistake."""

import io
import json
import shutil
import sys

import numpy as np
import pytest

from hf_vtg import cli
from hf_vtg.benchmarks.predictions import evaluate_predictions
from hf_vtg.cli.parser import print_json
from hf_vtg.models.registry import METHODS, all_recipes
from hf_vtg.training.plan import choose_recipe
from hf_vtg.video.decode import probe_video

from .video_files import render
from .vision_models import save_grounding_model

QUERIES = ["a person sits down", "a person opens the door"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """model: a tiny model whose backbone is tiny too; a.mp4, b.mp4: videos; bad.mp4: none."""
    folder = tmp_path_factory.mktemp("cli")
    save_grounding_model(folder)
    (folder / "videos").mkdir()
    for name in ("a", "b"):
        render(folder / "videos" / f"{name}.mp4", [100 * k for k in range(12)], 100)
    (folder / "videos" / "bad.mp4").write_bytes(b"no video at all")
    return folder


@pytest.fixture
def ground(folders, capsys):
    """Runs ``hf-vtg ground`` with the tiny model: (status, stdout, stderr)."""

    def run(*options, video="a.mp4", queries=QUERIES):
        asked = [part for query in queries for part in ("--query", query)]
        model = ["--model", str(folders / "model")]
        status = cli.main(["ground", str(folders / "videos" / video), *asked, *model, *map(str, options)])
        return status, *capsys.readouterr()

    return run


def test_ground_prints_a_table_or_json(ground):
    status, out, _ = ground("--top-k", 2, "--json")
    answers = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [answer["sentence"] for answer in answers] == QUERIES
    assert all(len(answer["moments"]) == 2 and answer["duration"] == 1.2 for answer in answers)
    status, out, _ = ground("--top_k=2")
    lines = out.splitlines()
    assert status == 0 and [line for line in lines if not line.startswith(" ")] == QUERIES
    best = answers[1]["moments"][0]
    assert np.allclose([float(lines[4].split()[k]) for k in (0, 2, 5)], list(best.values()), atol=0.01)


def test_json_lines_are_a_prediction_file(ground, tmp_path):
    _, out, _ = ground("--json")
    (tmp_path / "predictions.jsonl").write_text(out)
    row = {"video_id": "a", "duration": 1.2, "sentences": QUERIES, "moments": [[0, 1.2], [0, 1.2]]}
    (tmp_path / "references.jsonl").write_text(json.dumps(row))
    metrics = evaluate_predictions(tmp_path / "predictions.jsonl", tmp_path / "references.jsonl")["metrics"]
    assert (metrics["num_queries"], metrics["num_unanswered"]) == (2, 0) and metrics["mIoU"] > 0


def test_a_folder_is_answered_and_what_is_no_video_is_named(ground, tmp_path, monkeypatch):
    (tmp_path / "queries.txt").write_text("\ufeff a person sits down \n\n", encoding="utf-8")
    status, out, err = ground("--queries", tmp_path / "queries.txt", "--json", video="", queries=[])
    assert status == 0
    assert [json.loads(line)["query_id"] for line in out.splitlines()] == ["a/0", "b/0"]
    assert "bad.mp4 cannot be opened" in err and "1 of 3 videos could not be read" in err
    monkeypatch.setattr(sys, "stdin", io.StringIO("a person sits down\n"))
    assert ground("--queries", "-", video="", queries=[])[1].count("a.mp4 (1.20 s)") == 1


def test_clips_and_pictures(ground, tmp_path):
    status, out, _ = ground("--clips", tmp_path / "clips", "--plot", tmp_path / "t.png", "--map", tmp_path / "m.svg")
    assert status == 0
    assert (tmp_path / "t.png").read_bytes().startswith(b"\x89PNG") and "<svg" in (tmp_path / "m.svg").read_text()
    lines = [line.split() for line in out.splitlines() if line.startswith(" ")]
    assert len(lines) == len(list((tmp_path / "clips").iterdir())) == 10
    for start, _, end, *_, clip in lines:
        assert probe_video(clip).duration == pytest.approx(float(end) - float(start), abs=0.011)


@pytest.mark.parametrize("command", [module.__name__.split(".")[-1].replace("_", "-") for module in cli.COMMANDS])
def test_every_command_helps_with_examples_and_speaks_json(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    text = capsys.readouterr().out
    assert stop.value.code == 0 and "--json" in text
    assert text.split("examples:\n")[1].startswith(f"  hf-vtg {command}")


def test_recipes_are_listed_and_a_wrong_name_is_answered(capsys):
    assert cli.main(["recipes", "--json"]) == 0
    assert json.loads(capsys.readouterr().out).keys() == all_recipes().keys()
    assert cli.main(["recipes", "mmn/charades_sta", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mmn/charades_sta"]["epochs"] == 18
    assert cli.main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == list(all_recipes())
    assert cli.main(["recipes", "mmn/charades_sta"]) == 0
    assert ["epochs", "18"] in [line.split() for line in capsys.readouterr().out.splitlines()]
    for wrong, meant in {"mmn/charades": "mmn/charades_sta", "MMN/TACoS": "mmn/tacos", "IANet": "ianet/cha"}.items():
        assert cli.main(["recipes", wrong]) == 2
        assert f"Did you mean '{meant}" in capsys.readouterr().err


def test_a_recipe_shows_the_sizes_of_its_model(capsys):
    assert cli.main(["recipes", "hscnet/tacos"]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    config = METHODS["hscnet"].config_class.for_benchmark("tacos")
    assert ["hidden_size", str(config.hidden_size)] in lines and ["nms_threshold", "None"] in lines
    assert cli.main(["recipes", "--json"]) == 0
    records = json.loads(capsys.readouterr().out)
    assert records["ianet/charades_sta"]["model"]["num_none_tokens"] == 3
    assert records["ianet/charades_sta/official"]["model"]["num_none_tokens"] == 0
    for name, record in records.items():
        for field, value in record["model"].items():
            assert field in METHODS[record["method"]].config_class.__dataclass_fields__ or field.startswith("text_"), (
                name,
                value,
            )


@pytest.mark.parametrize("encoding", ["utf-8", "latin-1", "ascii"])
def test_json_is_json_whatever_the_terminal_takes(encoding, monkeypatch):
    stream = io.TextIOWrapper(io.BytesIO(), encoding, errors="backslashreplace")
    monkeypatch.setattr("sys.stdout", stream)
    print_json({"sentence": "zweite Größe \U0001f600"})
    text = stream.buffer.getvalue().decode(encoding)
    assert json.loads(text) == {"sentence": "zweite Größe \U0001f600"}
    assert ("Größe" in text) == (encoding == "utf-8")


@pytest.mark.parametrize("spoil", ["absent", "no_model", "no_processor", "other_model", "broken_weights"])
def test_a_folder_that_is_no_model_is_one_message(folders, tmp_path, capsys, spoil):
    model = tmp_path / "model"
    if spoil == "no_model":
        model.mkdir()
    elif spoil == "other_model":
        model = folders / "vit"
    elif spoil != "absent":
        shutil.copytree(folders / "model", model)
        broken = model / ("processor_config.json" if spoil == "no_processor" else "model.safetensors")
        broken.write_bytes(b"") if spoil == "broken_weights" else broken.unlink()
    video = str(folders / "videos" / "a.mp4")
    assert cli.main(["ground", video, "--query", "a person", "--model", str(model)]) == 2
    message = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hf-vtg: ")]
    assert len(message) == 1 and f"{model} cannot be loaded" in message[0]


def test_mistakes_are_answered_before_the_video_is_read(ground, tmp_path, capsys):
    def refused(*options, **more):
        status, out, err = ground(*options, **more)
        assert status == 2 and out == "" and "Traceback" not in err
        return err

    assert "no such video file" in refused(video="c.mp4")
    assert "cannot be opened" in refused(video="bad.mp4")
    assert "empty" in refused(queries=[" "])
    assert "--queries FILE" in refused(queries=[])
    assert "one sentence a line" in refused("--queries", tmp_path / "gone.txt")
    assert "ends in .png" in refused("--plot", "picture.docx")
    for options, answer in (
        (["--top-k", "0"], "'0' is not a whole number"),
        (["--topk", "1"], "Did you mean --top-k?"),
    ):
        with pytest.raises(SystemExit) as stop:
            ground(*options)
        assert stop.value.code == 2 and answer in capsys.readouterr().err


def test_a_defect_is_owned_without_a_traceback(monkeypatch, capsys):
    def fail(options):
        raise RuntimeError("a slip of ours")

    monkeypatch.setattr(cli.recipes, "run", fail)
    assert cli.main(["recipes"]) == 70
    assert "RuntimeError: a slip of ours" in (err := capsys.readouterr().err) and "HF_VTG_DEBUG=1" in err
    monkeypatch.setenv("HF_VTG_DEBUG", "1")
    with pytest.raises(RuntimeError):
        cli.main(["recipes"])


SMALL = {
    "hscnet": {"hidden_size": 16, "num_attention_heads": 2, "intermediate_size": 16, "num_clips": 16},
    "mmn": {"hidden_size": 16, "conv_hidden_size": 16, "joint_size": 16, "num_conv_layers": 1},
}


@pytest.mark.parametrize("method", METHODS)
def test_own_data_has_a_recipe_for_every_method(method):
    chosen = choose_recipe(method, "jsonl")
    assert (chosen.method, chosen.benchmark) == (method, "jsonl")
    name = next(name for name in all_recipes() if name.startswith(f"{method}/tacos"))
    assert choose_recipe(method, "jsonl", name=name).replace(benchmark="tacos") == all_recipes()[name]


@pytest.mark.parametrize("method", SMALL)
def test_own_videos_train_a_method_with_any_backbone_and_text(method, folders, tmp_path, capsys):
    """From video files and a JSONL to a model that answers, with a Transformer for the text."""
    pytest.importorskip("h5py")
    row = {"duration": 1.2, "sentences": QUERIES, "moments": [[0, 0.6], [0.5, 1.2]]}
    rows = [json.dumps({"video_id": name, **row}) for name in ("a", "b")]
    (tmp_path / "train.jsonl").write_text("\n".join(rows))
    command = ["train", "--method", method, "--benchmark", "jsonl", "--data_dir", str(tmp_path / "train.jsonl")]
    command += ["--videos", str(folders / "videos"), "--backbone", str(folders / "vit"), "--fps", "10"]
    command += ["--text_model", str(save_text_model(tmp_path / "text")), "--output_dir", str(tmp_path / "run")]
    command += [word for name, value in SMALL[method].items() for word in ("--set", f"{name}={value}")]
    command += ["--recipe", "epochs=1", "--recipe", "frozen_epochs={}", "--eval_split", "train"]
    assert cli.main([*command, "--use_cpu", "--disable_tqdm", "true", "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert results["metrics"]["num_queries"] == 4 and results["recipe"]["epochs"] == 1
    assert results["feature_spec"]["fps"] == 10 and results["missing_videos"] == []
    video = str(folders / "videos" / "a.mp4")
    assert cli.main(["ground", video, "--query", QUERIES[0], "--model", str(tmp_path / "run"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["moments"]


def save_text_model(folder):
    """A tiny BERT with a vocabulary of the queries."""
    from transformers import BertConfig, BertModel, BertTokenizer

    folder.mkdir()
    words = sorted({word for query in QUERIES for word in query.split()})
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words]))
    BertTokenizer(str(folder / "vocab.txt")).save_pretrained(folder)
    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=5 + len(words), **sizes)).save_pretrained(folder)
    return folder
