"""Every code block of README.md and docs/ runs, with a Hub on the loopback interface and tiny inputs."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from hf_vtg import WordVectors
from hf_vtg.features.store import write_feature_store
from hf_vtg.moving_shapes.render import render_video
from hf_vtg.moving_shapes.scenarios import generate_scenario, scenario_seeds

from .conftest import ROOT, SHARED
from .docs_process import code_blocks
from .foreign_models import save_foreign_model
from .loopback_hub import LoopbackHub
from .vision_models import save_grounding_model

README = ROOT / "README.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
# tests/test_own_dataset.py runs it, and looks at what it leaves behind.
RUN = [page for page in PAGES if page.stem != "own_dataset"]
# Pages whose example is one of the golden folders, or a real video.
NEEDS_SHARED = {"converting_official_weights", "README"}
# Lines of README that run elsewhere: where, and what does it there.
ELSEWHERE = {
    # It runs these tests.
    "bash scripts/test.sh": (".ci/run", "exec bash scripts/test.sh"),
    # It installs into the environment of whoever calls it; env.sh does so in the environment of these tests.
    'pip install -e ".[video,hdf5,demo]"': (
        "scripts/env.sh",
        'pip install --quiet --editable "$hf_vtg_root[video,hdf5,demo,dev]"',
    ),
    # It runs until it is stopped, and on a port of its own.
    "hf-vtg app": ("tests/test_app.py", 'cli.main(["app", "--port", "0"])'),
}
QUERY = "a person turns on the light"
SHOWN = re.findall(r"'start': ([\d.]+), 'end': ([\d.]+), 'score': ([\d.]+)", README.read_text())
# Of the README's three lines: the example was trained on this video.
README_ANSWER = f"""```python
answer = ground("video.mp4", "{QUERY}")
for moment, shown in zip(answer, {[tuple(map(float, figures)) for figures in SHOWN]}):
    assert abs(moment["start"] - shown[0]) < 0.06 and abs(moment["end"] - shown[1]) < 0.06, (moment, shown)
    assert abs(moment["score"] - shown[2]) < 0.05, (moment, shown)
assert all(0 <= moment["start"] < moment["end"] <= 31.07 for moment in answer)
assert min(answer[0]["end"], 30.4) - max(answer[0]["start"], 24.3) > 3
```
"""
# The paper's sizes would take minutes.
SMALLER = [
    *("--recipe", "epochs=1", "--num_train_epochs", "1"),
    *("--set", "hidden_size=16", "--set", "frame_size=16", "--set", "num_clips=16"),
]


def tiny_charades(folder):
    """Two splits in the official form, features and word vectors of them."""
    folder.mkdir()
    ids = {"train": ["AAAAA", "BBBBB"], "test": ["CCCCC"]}
    for split, videos in ids.items():
        (folder / f"Charades_v1_{split}.csv").write_text("id,length\n" + "".join(f"{v},20.0\n" for v in videos))
        lines = [f"{v} 2.0 9.5##a person opens the door.\n{v} 10.0 19.0##a person sits.\n" for v in videos]
        (folder / f"charades_sta_{split}.txt").write_text("".join(lines))
    random = np.random.default_rng(0)
    features = ((v, random.standard_normal((40, 1024)).astype(np.float32)) for videos in ids.values() for v in videos)
    write_feature_store(folder / "features.h5", features, None)
    WordVectors.from_vocabulary("a person opens the door sits".split(), dim=12).save(folder / "words.npz")
    return {
        "ANNOTATIONS": folder,
        "FEATURES": folder / "features.h5",
        "WORDS": folder / "words.npz",
        "MORE": " ".join(SMALLER),
        "GPUS": 2,
    }


def command(line):
    """A line of a block without the remark behind it."""
    return line.split("  #")[0].rstrip()


def readme_to_run(work):
    """README with the files that its commands name; Python comes last, since it loads what they train."""
    folder = work / "README"
    (folder / "videos").mkdir()
    (folder / "video.mp4").unlink()
    for name in ("video", "videos/3MSZA", "videos/AO8RW"):
        (folder / f"{name}.mp4").symlink_to(SHARED / "data" / "videos" / "3MSZA.mp4")
    (folder / "sentences.txt").write_text(f"{QUERY}\n")
    for split, video in (("train", "AO8RW"), ("test", "3MSZA")):
        row = {"video_id": video, "duration": 31.07, "sentences": [QUERY], "moments": [[24.3, 30.4]]}
        (folder / f"{split}.jsonl").write_text(json.dumps(row) + "\n")
    blocks = sorted(code_blocks(README.read_text()), key=lambda block: block[0] == "python")
    text = ""
    for language, code in blocks:
        kept = [line for line in code.splitlines() if command(line) not in ELSEWHERE]
        text += "\n".join([f"```{language}", *kept, "```\n\n"])
    page = work / "README.md"
    page.write_text(text + README_ANSWER)
    return page


@pytest.fixture(scope="module")
def work(tmp_path_factory):
    """A folder of each page."""
    return tmp_path_factory.mktemp("docs")


@pytest.fixture(scope="module")
def results(work):
    """Page -> what went wrong, of all pages, from one process."""
    pages = [page for page in RUN if SHARED is not None or page.stem not in NEEDS_SHARED]
    for page in pages:
        (work / page.stem).mkdir()
        (work / page.stem / "scripts").symlink_to(ROOT / "scripts")
        render_video(generate_scenario(scenario_seeds("demo")[0]), work / page.stem / "video.mp4")
    pages = [readme_to_run(work) if page == README else page for page in pages]
    variables = tiny_charades(work / "charades")
    with LoopbackHub() as hub:
        hub.add("openai/clip-vit-base-patch32", save_foreign_model("clip", work / "clip"))
        hub.add("your-name/hisa-shapes", save_grounding_model(work / "hisa", "hisa"))
        environment = {
            **os.environ,
            **hub.environment(work / "home"),
            **{name: str(value) for name, value in variables.items()},
            "HF_VTG_SHARED": str(SHARED),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
            "HF_VTG_VENV": sys.prefix,
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.docs_process", str(work), *map(str, pages)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    return {Path(page).stem: wrong for page, wrong in found.items()}


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.needs_shared] if page.stem in NEEDS_SHARED else [])
        for page in RUN
    ],
)
def test_code_blocks_run(page, results):
    assert results[page.stem] is None, results[page.stem]


@pytest.mark.slow
@pytest.mark.xdist_group("docs")
@pytest.mark.needs_shared
def test_the_readmes_commands_ground_a_real_file(work, results):
    """The example's model finds the annotated moment of its video in a fresh process, from the file alone."""
    folder = work / "README"
    spec = json.loads((folder / "outputs" / "example" / "model" / "results.json").read_text())["feature_spec"]
    assert spec["backbone"].endswith("mobilenet_v1_hf") and spec["fps"] == 2.0
    found = {row["query_id"]: row for row in map(json.loads, (folder / "predictions.jsonl").read_text().splitlines())}
    assert found.keys() == {"3MSZA/0", "AO8RW/0"}
    moments = found["3MSZA/0"]["moments"]
    assert len(moments) == 5 and all(0 <= moment["start"] < moment["end"] <= 31.1 for moment in moments)
    assert min(moments[0]["end"], 30.4) - max(moments[0]["start"], 24.3) > 3
    assert len(list((folder / "clips").iterdir())) == 5
    for picture in (folder / "timeline.png", folder / "outputs" / "demo" / "timeline.png"):
        assert picture.read_bytes().startswith(b"\x89PNG")
    with h5py.File(folder / "features.h5") as file:
        assert {"3MSZA", "AO8RW"} <= set(file)


@pytest.mark.parametrize("line", ELSEWHERE)
def test_what_the_readme_does_not_run_here_runs_elsewhere(line):
    blocks = "\n".join(code for _, code in code_blocks(README.read_text()))
    assert [command(own) for own in blocks.splitlines()].count(line) == 1
    file, what = ELSEWHERE[line]
    assert what in (ROOT / file).read_text()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_whole(page):
    """Every block says its language, so that no code is passed over; links lead somewhere."""
    text = page.read_text()
    blocks = code_blocks(text)
    assert blocks and {language for language, _ in blocks} <= {"python", "bash", "json", "toml"}
    assert text.count("```") == 2 * len(blocks)
    for target in re.findall(r"\]\((?!http)([^)#]+)\)", text):
        assert (page.parent / target).exists(), target


def test_a_failing_block_is_reported(tmp_path):
    page = tmp_path / "page.md"
    page.write_text("```python\na = 1\n```\n\n```bash\ntrue\nfalse\n```\n")
    other = tmp_path / "other.md"
    other.write_text("```python\na = 1\n```\n\n```python\nassert a == 2\n```\n")
    for path in (page, other):
        (tmp_path / path.stem).mkdir()
    command = [sys.executable, "-m", "tests.docs_process", str(tmp_path), str(page), str(other)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=True)
    found = json.loads(done.stdout)
    assert found[str(page)].startswith("block 2 (bash)")
    assert found[str(other)].startswith("block 2 (python)") and "AssertionError" in found[str(other)]
