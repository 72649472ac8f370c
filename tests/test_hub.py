"""Every method goes to a Hub over HTTP and comes back in a fresh process; failed uploads are one clear error."""

import hashlib
import json
import os
import subprocess
import sys

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_vtg import AutoModelForVideoGrounding, VideoEncoder, load_pipeline
from hf_vtg.errors import ModelError
from hf_vtg.models.registry import METHODS

from . import hub_process
from .conftest import ROOT
from .foreign_models import save_foreign_model
from .loopback_hub import LoopbackHub
from .testers import TESTERS
from .video_files import render

ROWS = [
    {"video_id": "a", "duration": 31.7, "sentences": ["one", 'two, "three"'], "moments": [[0.1, 6.9], [3.3, 31.7]]},
    {"video_id": "b/ü", "duration": 12.5, "sentences": ["vier"], "moments": [[0.0, 0.30000000000000004]]},
]


def run_process(hub, home, *arguments):
    # Sums in another order would differ by more than 1e-6 s: float32 has no more digits at 16 s.
    environment = {**os.environ, **hub.environment(home), "OMP_NUM_THREADS": str(torch.get_num_threads())}
    command = [sys.executable, "-m", "tests.hub_process", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def sums(folder):
    return {p: hashlib.sha256(p.read_bytes()).hexdigest() for p in sorted(folder.rglob("*")) if p.is_file()}


# The processes of the fixtures take most of the time: they run once.
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("hub")]


@pytest.fixture(scope="module")
def hub():
    with LoopbackHub() as hub:
        yield hub


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A folder a method with a tiny model, its processor and rows."""
    root = tmp_path_factory.mktemp("hub") / "local"
    for tester in TESTERS.values():
        model = tester().model()
        model.save_pretrained(root / tester.method)
        tester().processor(model.config).save_pretrained(root / tester.method)
        rows = [{**row, "video_features": row["video_features"].tolist()} for row in tester().rows(model.config)]
        (root / tester.method / "rows.json").write_text(json.dumps(rows))
    (root.parent / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return root


@pytest.fixture(scope="module")
def expected(local):
    """Answers of each method before it was published."""
    return {
        folder.name: hub_process.ground(pipeline("video-grounding", model=str(folder)), hub_process.read_rows(folder))
        for folder in sorted(local.iterdir())
    }


@pytest.fixture(scope="module")
def foreign(hub, local):
    """Small models of transformers under the names of famous ones, and what they answer from their folders."""
    images = np.random.default_rng(0).integers(0, 255, (40, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    video = render(local.parent / "video.mp4", [100 * k for k in range(40)], 100, images=images)
    answers = {}
    for name, repo in hub_process.FOREIGN.items():
        folder = save_foreign_model(name, local.parent / name)
        hub.add(repo, folder)
        answers[name] = pipeline("video-grounding", model=str(folder))(str(video), hub_process.QUERIES)
    return answers


@pytest.fixture(scope="module")
def published(hub, local, expected, tmp_path_factory):
    before = sums(local)
    found = run_process(hub, tmp_path_factory.mktemp("publisher"), "publish", local)
    assert sums(local) == before
    return found


@pytest.fixture(scope="module")
def loaded(hub, local, published, foreign, tmp_path_factory):
    return run_process(hub, tmp_path_factory.mktemp("loader"), "load", local)


def numbers(answers):
    return [[[list(m.values()) for m in ranked] for ranked in video] for video in answers]


@pytest.mark.parametrize("method", METHODS)
def test_comes_back_with_the_same_moments(method, loaded, expected):
    own = {name: answers for name, answers in loaded["answers"].items() if name.startswith(f"org/{method}-")}
    assert len(own) == 5
    for name, answers in own.items():
        for video, before in zip(numbers(answers), numbers(expected[method]), strict=True):
            for ranked, wanted in zip(video, before, strict=True):
                np.testing.assert_allclose(ranked, wanted, rtol=0, atol=1e-6, err_msg=name)


def test_annotations_are_published_as_parquet_and_read_by_plain_load_dataset(loaded, hub):
    """Exact, times included; in both configs."""
    assert loaded["rows"]["paragraph"] == ROWS
    expected = [
        {**row, "sentences": [sentence], "moments": [moment]}
        for row in ROWS
        for sentence, moment in zip(row["sentences"], row["moments"], strict=True)
    ]
    assert loaded["rows"]["sentence"] == expected
    assert {"README.md", "sentence/train.parquet"} <= set(hub.files("org/annotations", "dataset"))


@pytest.mark.parametrize("name", hub_process.FOREIGN)
def test_models_that_nobody_here_wrote_ground_from_the_hub(name, loaded, foreign):
    for ranked, wanted in zip(numbers([loaded["foreign"][name]])[0], numbers([foreign[name]])[0], strict=True):
        np.testing.assert_allclose(ranked, wanted, rtol=0, atol=1e-6)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("way", hub_process.WAYS)
def test_what_a_repository_holds(method, way, hub, published):
    files = hub.files(f"org/{method}-{way}")
    assert {"config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "README.md"} <= set(files)
    assert not any(name.endswith((".bin", ".pth", ".pkl", ".py")) for name in files if name != "training_args.bin")
    assert b"custom_pipelines" not in files["config.json"] and b"auto_map" not in files["config.json"]
    card = files["README.md"].decode()
    assert "import hf_vtg" in card and "library_name: hf_vtg" in card and "- video-grounding" in card
    assert f'model="org/{method}-{way}"' in card and f"- {method}\n" in card


@pytest.mark.parametrize("method", METHODS)
def test_cards_carry_the_metrics(method, loaded, published):
    by_hand, by_trainer = (loaded["metrics"][f"{method}-{way}"] for way in ("parts", "trainer"))
    assert by_hand.keys() == {k for k in by_trainer if k != "mIoU"} and "R@1,IoU=0.5" in by_hand
    assert all(by_hand[name] == by_trainer[name] for name in by_hand)
    measured = {name: value for name, value in published["metrics"][method].items() if name.startswith("R@")}
    assert by_hand == {name: round(value, 2) for name, value in measured.items()}
    assert any(value % 1 for value in by_hand.values())


@pytest.mark.parametrize("kind", ["500", "drop"])
@pytest.mark.parametrize("what", ["model", "processor", "run"])
def test_a_failed_upload_is_one_clear_error(what, kind, published, hub):
    name, message = published["failures"][f"{what}-{kind}"]
    assert name == "HubError" and f"org/{what}-{kind}" in message and "push again" in message
    assert "\n" not in message
    assert "model.safetensors" not in hub.files(f"org/{what}-{kind}")
    if kind == "500":
        assert "500" in message


@pytest.mark.parametrize("what", ["load_pipeline", "pipeline", "model", "encoder"])
def test_an_unknown_id_is_one_clear_error(what, loaded):
    name, message = loaded["absent"][what]
    assert name == ("OSError" if what == "pipeline" else "ModelError") and "org/unknown" in message


@pytest.mark.parametrize("load", [load_pipeline, AutoModelForVideoGrounding.from_pretrained, VideoEncoder])
def test_no_network_is_one_clear_error(load):
    """The tests' own process is offline."""
    with pytest.raises(ModelError, match="org/unknown") as found:
        load("org/unknown")
    assert "\n" not in str(found.value)
