"""docs/own_dataset.md, its commands pasted literally, and what they leave behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from hf_vtg.video.decode import probe_video

pytest.importorskip("av")
pytest.importorskip("h5py")
pytest.importorskip("matplotlib")

ROOT = Path(__file__).resolve().parent.parent


@pytest.mark.slow
def test_the_page_runs_from_videos_to_answers(tmp_path):
    commands = re.findall(r"```bash\n(.*?)```", (ROOT / "docs" / "own_dataset.md").read_text(), re.DOTALL)
    assert len(commands) == 5
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "OUT": str(tmp_path), "PATH": path}
    run = ["bash", "-euo", "pipefail", "-c", "\n".join(commands)]
    done = subprocess.run(run, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "0 errors, 0 warnings" in done.stdout and "5 videos encoded" in done.stdout
    results = json.loads((tmp_path / "model" / "results.json").read_text())
    assert results["feature_spec"]["backbone"] == "hf_vtg/moving_shapes" and results["metrics"]["num_queries"] == 8
    # Scoring the prediction file gives what the training reported.
    (scored,) = re.findall(r"^mIoU +([\d.]+)\Z", done.stdout[: done.stdout.rindex("the red circle")].strip(), re.M)
    assert float(scored) == pytest.approx(results["metrics"]["mIoU"], abs=1e-3)
    clips = sorted((tmp_path / "clips").iterdir())
    assert len(clips) == 3 and all(probe_video(clip).duration > 1 for clip in clips)
    assert (tmp_path / "timeline.png").stat().st_size > 10_000
