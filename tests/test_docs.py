"""Every code block of docs/ runs, with a Hub on the loopback interface and tiny inputs."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

from hf_vtg import WordVectors
from hf_vtg.benchmarks.feature_store import write_feature_store
from hf_vtg.benchmarks.moving_shapes import generate_scenario, render_video, scenario_seeds

from .conftest import ROOT, SHARED
from .docs_process import code_blocks
from .foreign_models import save_foreign_model
from .loopback_hub import LoopbackHub

PAGES = sorted((ROOT / "docs").glob("*.md"))
# tests/test_own_dataset.py runs it, and looks at what it leaves behind.
RUN = [page for page in PAGES if page.stem != "own_dataset"]
# Pages whose example is one of the golden folders.
NEEDS_SHARED = {"converting_official_weights"}
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
    }


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Page -> what went wrong, of all pages, from one process."""
    work = tmp_path_factory.mktemp("docs")
    pages = [page for page in RUN if SHARED is not None or page.stem not in NEEDS_SHARED]
    for page in pages:
        (work / page.stem).mkdir()
        (work / page.stem / "scripts").symlink_to(ROOT / "scripts")
        render_video(generate_scenario(scenario_seeds("demo")[0]), work / page.stem / "video.mp4")
    variables = tiny_charades(work / "charades")
    with LoopbackHub() as hub:
        hub.add("openai/clip-vit-base-patch32", save_foreign_model("clip", work / "clip"))
        environment = {
            **os.environ,
            **hub.environment(work / "home"),
            **{name: str(value) for name, value in variables.items()},
            "HF_VTG_SHARED": str(SHARED),
            "PYTHONPATH": str(ROOT),
            "PATH": f"{os.path.dirname(sys.executable)}:{os.environ['PATH']}",
            "OMP_NUM_THREADS": "1",
        }
        command = [sys.executable, "-m", "tests.docs_process", str(work), *map(str, pages)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "page",
    [
        pytest.param(page, id=page.stem, marks=[pytest.mark.needs_shared] if page.stem in NEEDS_SHARED else [])
        for page in RUN
    ],
)
def test_code_blocks_run(page, results):
    assert results[str(page)] is None, results[str(page)]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_pages_are_whole(page):
    """Every block says its language, so that no code is passed over; links lead somewhere."""
    text = page.read_text()
    blocks = code_blocks(text)
    assert blocks and {language for language, _ in blocks} <= {"python", "bash", "json"}
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
