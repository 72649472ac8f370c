"""scripts/extract_features.py: from video files to features that FeatureStore reads."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from hf_vtg.benchmarks.feature_store import FeatureStore
from hf_vtg.video.encoder import VideoEncoder

pytest.importorskip("av")

from .video_files import render
from .vision_models import save_vision_model

SCRIPT = Path(__file__).parent.parent / "scripts" / "extract_features.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("extract_features", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    return save_vision_model("vit", tmp_path_factory.mktemp("model") / "vit")


@pytest.fixture
def videos(tmp_path):
    folder = tmp_path / "videos"
    (folder / "deep").mkdir(parents=True)
    render(folder / "one.mp4", [100 * i for i in range(20)], 100)
    render(folder / "deep" / "two.mkv", [100 * i for i in range(30)], 100)
    (folder / "bad.mp4").write_bytes(b"no video at all")
    (folder / "notes.txt").write_text("not taken")
    return folder


@pytest.mark.parametrize("out", ["features", "features.h5", "features.safetensors"])
def test_a_bad_video_is_reported_and_the_others_are_written(script, backbone, videos, tmp_path, capsys, out):
    if out.endswith(".h5"):
        pytest.importorskip("h5py")
    status = script.main([str(videos), "--backbone", str(backbone), "--fps", "4", "--out", str(tmp_path / out)])
    printed = capsys.readouterr()
    assert status == 0
    assert "2 videos encoded, 0 already there, 1 of 3 failed" in printed.out
    assert "bad.mp4 cannot be opened" in printed.err
    encoder = VideoEncoder(backbone, fps=4)
    store = FeatureStore(tmp_path / out)
    assert sorted(store) == ["one", "two"]
    assert store.spec == encoder.spec
    np.testing.assert_allclose(store["two"], encoder.encode(videos / "deep" / "two.mkv").features, atol=1e-6)


def test_a_folder_is_completed_and_never_mixed(script, backbone, videos, tmp_path, capsys, monkeypatch):
    out = tmp_path / "features"
    run = [str(videos), "--backbone", str(backbone), "--out", str(out)]
    script.main(run)
    (out / "one.safetensors").write_bytes(b"cut off")
    encoded = []
    real = VideoEncoder.encode
    monkeypatch.setattr(VideoEncoder, "encode", lambda self, path: encoded.append(path.name) or real(self, path))
    assert script.main(run) == 0
    assert sorted(encoded) == ["bad.mp4", "one.mp4"]
    assert len(FeatureStore(out)["one"]) == 4
    before = (out / "one.safetensors").read_bytes()
    assert script.main([*run, "--fps", "5"]) == 1
    assert "fps" in capsys.readouterr().err
    assert (out / "one.safetensors").read_bytes() == before


def test_nothing_to_do_is_an_error(script, backbone, videos, tmp_path, capsys):
    run = ["--backbone", str(backbone), "--out", str(tmp_path / "features.safetensors")]
    assert script.main([str(tmp_path / "nowhere"), *run]) == 1
    assert script.main([str(videos / "bad.mp4"), *run]) == 1
    assert script.main([str(videos / "bad.mp4"), *run[:3], str(tmp_path / "features")]) == 1
    assert not (tmp_path / "features.safetensors").exists()
    render(videos / "deep" / "one.mp4", [0, 100], 100)
    assert script.main([str(videos), *run]) == 1
    assert "same video id" in capsys.readouterr().err
