"""``hf-vtg extract``: from video files to features that FeatureStore reads, however often it is stopped."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hf_vtg.cli import main
from hf_vtg.features.store import FeatureStore
from hf_vtg.video.encoder import VideoEncoder

pytest.importorskip("av")

from .video_files import render
from .vision_models import save_vision_model

ROOT = Path(__file__).resolve().parent.parent


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


@pytest.fixture
def encoded(monkeypatch):
    """Names of the files that are encoded from now on."""
    names, real = [], VideoEncoder.encode
    monkeypatch.setattr(
        VideoEncoder, "encode", lambda self, path, **kw: names.append(path.name) or real(self, path, **kw)
    )
    return names


@pytest.mark.parametrize("out", ["features", "features.h5", "features.npz", "features.safetensors"])
def test_a_bad_video_is_reported_and_the_others_are_written(backbone, videos, tmp_path, capsys, out):
    status = main(["extract", str(videos), "--backbone", str(backbone), "--fps", "4", "--out", str(tmp_path / out)])
    printed = capsys.readouterr()
    assert status == 0
    assert "2 videos encoded, 0 already there, 1 of 3 failed" in printed.out
    assert "bad.mp4 cannot be opened" in printed.err
    encoder = VideoEncoder(backbone, fps=4)
    store = FeatureStore(tmp_path / out)
    assert sorted(store) == ["one", "two"]
    assert store.spec == encoder.spec
    np.testing.assert_allclose(store["two"], encoder.encode(videos / "deep" / "two.mkv").features, atol=1e-6)
    assert not list(tmp_path.glob("*.parts"))


def test_a_folder_is_completed_and_never_mixed(backbone, videos, tmp_path, capsys, encoded):
    out = tmp_path / "features"
    run = ["extract", str(videos), "--backbone", str(backbone), "--out", str(out)]
    main(run)
    (out / "one.safetensors").write_bytes(b"cut off")
    encoded.clear()
    assert main(run) == 0
    assert sorted(encoded) == ["bad.mp4", "one.mp4"]
    assert len(FeatureStore(out)["one"]) == 4
    before = (out / "one.safetensors").read_bytes()
    assert main([*run, "--fps", "5"]) == 2
    assert "fps" in capsys.readouterr().err
    assert (out / "one.safetensors").read_bytes() == before


@pytest.mark.parametrize("suffix", [".h5", ".npz"])
def test_a_file_is_completed_and_what_changed_is_encoded_again(backbone, videos, tmp_path, capsys, encoded, suffix):
    out = tmp_path / f"features{suffix}"
    run = ["extract", "--backbone", str(backbone), "--out", str(out), "--json"]
    assert main([*run, str(videos / "one.mp4")]) == 0
    assert main([*run, str(videos / "deep" / "two.mkv")]) == 0
    assert encoded == ["one.mp4", "two.mkv"] and sorted(FeatureStore(out)) == ["one", "two"]
    capsys.readouterr()
    render(videos / "one.mp4", [100 * i for i in range(40)], 100)
    whole = tmp_path / f"whole{suffix}"
    assert main([*run, str(videos)]) == 0
    result = json.loads(capsys.readouterr().out)
    assert (result["encoded"], result["present"], list(result["failed"])) == (["one"], ["two"], ["bad"])
    assert main([*run[:4], str(whole), str(videos)]) == 0
    assert out.read_bytes() == whole.read_bytes() and len(FeatureStore(out)["one"]) == 8
    assert main([*run, str(videos), "--fps", "5"]) == 2 and "fps" in capsys.readouterr().err
    assert out.read_bytes() == whole.read_bytes()


def test_nothing_to_do_is_an_error(backbone, videos, tmp_path, capsys):
    run = ["extract", "--backbone", str(backbone), "--out", str(tmp_path / "features.safetensors")]
    assert main([*run, str(tmp_path / "nowhere")]) == 2
    assert main([*run, str(videos / "bad.mp4")]) == 2
    assert main([*run[:4], str(tmp_path / "features"), str(videos / "bad.mp4")]) == 2
    assert not (tmp_path / "features.safetensors").exists()
    render(videos / "deep" / "one.mp4", [0, 100], 100)
    capsys.readouterr()
    assert main([*run, str(videos)]) == 2
    assert "same video id" in capsys.readouterr().err
    assert main([*run[:4], str(tmp_path / "features.doc"), str(videos / "one.mp4")]) == 2
    assert "features.doc" in capsys.readouterr().err


@pytest.mark.slow
def test_a_run_that_is_killed_ends_in_the_same_file(backbone, tmp_path, capsys):
    """Of 40 files, odd ones among them: SIGKILL after a part, and between the whole file and the removal of its parts;
    nothing is encoded twice."""
    folder, out = tmp_path / "videos", tmp_path / "features.h5"
    folder.mkdir()
    whole = [f"v{k:02}" for k in range(35)]
    for k, name in enumerate(whole):
        render(folder / f"{name}.mp4", [100 * i for i in range(5 + k % 4)], 100)
    (folder / "u0.mp4").write_bytes(b"")
    (folder / "u1.mp4").write_bytes(b"no video at all")
    (folder / "u2.mp4").write_bytes((folder / "v00.mp4").read_bytes()[:-700])
    render(folder / "w\u00fc $1 .mkv", [0], 100)
    render(folder / "x.webm", [0, 40, 1000], 500, codec="libvpx", options={"deadline": "realtime"})
    answered = [*whole, "w\u00fc $1 ", "x"]
    code = (
        "import os, shutil, signal, sys; from hf_vtg.video import extraction; from hf_vtg.cli import main\n"
        "where, real = sys.argv.pop(1), extraction.save_encoded\n"
        "def save(path, *rest):\n"
        "    real(path, *rest); print(path.stem, flush=True)\n"
        "    path.stem == where and os.kill(os.getpid(), signal.SIGKILL)\n"
        "extraction.save_encoded = save\n"
        "if where == 'end': shutil.rmtree = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\n"
        "sys.exit(main(sys.argv[1:]))\n"
    )
    command = ["extract", str(folder), "--backbone", str(backbone)]
    done = []
    for where in ("v16", "end"):
        arguments = [where, *command, "--out", str(out)]
        run = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=ROOT)
        assert run.returncode == -signal.SIGKILL, run.stderr
        assert out.exists() == (where == "end")
        done += [line for line in run.stdout.split("\n") if line in answered]
    assert done == answered
    assert main([*command, "--out", str(out)]) == main([*command, "--out", str(tmp_path / "whole.h5")]) == 0
    assert capsys.readouterr().out.count("3 of 40 failed") == 2
    assert out.read_bytes() == (tmp_path / "whole.h5").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["features.h5", "videos", "whole.h5"]
