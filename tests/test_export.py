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
    assert not list((tmp_path / "t").glob("*"))
