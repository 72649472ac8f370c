"""Exported benchmarks: what plain load_dataset reads from the folder, in a process without this package."""

import json
import os
import subprocess
import sys

from hf_vtg.benchmarks import load_benchmark

from .script_loading import load_script

READ = """
import datasets, json, sys
found = {}
for config in (None, "sentence", "paragraph", "video"):
    data = datasets.load_dataset(sys.argv[1], config)
    found[str(config)] = {split: list(rows) for split, rows in data.items()}
    assert data["train"].features["duration"] == datasets.Value("float64")
assert "hf_vtg" not in sys.modules
print(json.dumps(found))
"""


def test_plain_load_dataset_reads_the_folder(tmp_path, capsys):
    source, out = tmp_path / "source", tmp_path / "anet"
    source.mkdir()
    moments = [[i, i + 1] for i in range(10)]
    entry = {"duration": 20.1, "timestamps": moments, "sentences": [f" caf\u00e9 {i}\n" for i in range(10)]}
    invalid = {"duration": 3.0, "timestamps": [[2, 2], [0, 9]], "sentences": ["a", "b"]}
    for name in ("train", "val_1", "val_2"):
        (source / f"{name}.json").write_text(json.dumps({"v_0123456789a": entry, "v_0123456789b": invalid}))
    script = load_script("export_benchmark")
    arguments = ["activitynet_captions", "--data_dir", str(source), "--out", str(out)]
    assert script.main(arguments) == 0
    assert "paragraph: 1 train, 1 validation, 2 test" in capsys.readouterr().out
    environment = {**os.environ, "HF_DATASETS_CACHE": str(tmp_path / "cache")}
    done = subprocess.run([sys.executable, "-c", READ, str(out)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    for config in ("sentence", "paragraph", "video"):
        expected = load_benchmark("activitynet_captions", source, config=config)
        assert found[config] == {split: list(rows) for split, rows in expected.items()}
    assert found["None"] == found["sentence"]
    card = (out / "README.md").read_text()
    assert "| sentence | train | 11 | 11 | 12 | 1 | 1 |" in card and "end not after start" in card
    assert str(tmp_path) not in card
    assert script.main(arguments) == 2 and "is not empty" in capsys.readouterr().err
    assert script.main(["tacos", "--data_dir", str(source), "--out", str(tmp_path / "t")]) == 2
    assert not (tmp_path / "t").exists()


def test_the_default_configs_are_those_of_the_version(tmp_path, capsys):
    entry = {"duration": 294.0, "timestamps": [[29.4, 58.8]], "sentences": ["a."]}
    for split in ("train", "val", "test"):
        (tmp_path / f"{split}.json").write_text(json.dumps({"s1-d1.avi": entry}))
    export = ["tacos", "--version", "tall", "--data_dir", str(tmp_path), "--out"]
    script = load_script("export_benchmark")
    assert script.main([*export, str(tmp_path / "out")]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["README.md", "sentence", "video"]
    new = tmp_path / "new" / "folder"
    assert script.main([*export, str(new), "--configs", "sentence", "paragraph"]) == 2
    assert "'tall' has no paragraphs" in capsys.readouterr().err and not new.parent.exists()
    new.mkdir(parents=True)
    assert script.main([*export, str(new), "--configs", "paragraph"]) == 2 and new.exists()


def test_the_card_tells_what_was_dropped_and_has_a_title(tmp_path, monkeypatch):
    source, out = tmp_path / "source", tmp_path / "mine"
    source.mkdir()
    out.mkdir()
    bad = {"video_id": "a/b", "duration": 9, "sentences": ["left/right"], "moments": [[2, 2]]}
    many = [{**bad, "video_id": f"v{i}"} for i in range(25)]
    good = {**bad, "video_id": "good", "moments": [[2, 3]]}
    for split, rows in (("train", [good, bad]), ("test", [good, *many])):
        (source / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    monkeypatch.chdir(out)
    assert load_script("export_benchmark").main(["jsonl", "--data_dir", str(source), "--out", "."]) == 0
    card = (out / "README.md").read_text()
    assert "\n# mine\n" in card and 'load_dataset("mine"' in card
    assert (
        "Dropped from train, 1 sentences: `train.jsonl:2: a/b 2-2 of 9 s 'left/right': end not after start`." in card
    )
    assert "Dropped from test, 25 sentences, the first 20: `test.jsonl:2: v0 2-2" in card and "v20" not in card
    assert str(tmp_path) not in card
