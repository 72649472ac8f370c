"""Real files, from pixels and annotations to seconds, as a user would run it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import pipeline

from hf_vtg.benchmarks.feature_store import FeatureStore
from hf_vtg.training.run import RunArguments, run_training

ROOT = Path(__file__).resolve().parent.parent
pytestmark = pytest.mark.needs_shared


def readme_block(language):
    return re.search(rf"```{language}\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[1]


@pytest.fixture(scope="module")
def readme_run(shared, tmp_path_factory):
    """Output folder of the README's example, run literally."""
    out = tmp_path_factory.mktemp("readme")
    # The example runs in the environment that runs the tests.
    environment = {**os.environ, "OUT": str(out), "HF_VTG_SHARED": str(shared), "HF_VTG_VENV": sys.prefix}
    done = subprocess.run(
        ["bash", "-e", "-c", readme_block("bash")], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


def test_the_readmes_example_grounds_a_real_file(readme_run):
    out, printed = readme_run
    answer = printed[printed.index("a person turns on the light") :].splitlines()[1:]
    moments = [tuple(float(x) for x in re.findall(r"[\d.]+", line)[:2]) for line in answer if " s " in line]
    assert len(moments) == 5
    assert all(0 <= start < end <= 31.1 for start, end in moments)
    spec = json.loads((out / "model" / "results.json").read_text())["feature_spec"]
    assert spec["backbone"].endswith("mobilenet_v1_hf") and spec["fps"] == 2.0


def test_the_readmes_three_lines_answer_from_the_file_alone(readme_run, shared):
    out, _ = readme_run
    video = shared / "data" / "videos" / "3MSZA.mp4"
    code = readme_block("python").replace("outputs/example", str(out)).replace("video.mp4", str(video))
    code = code.replace("\nground(", "\nimport json; answer = ground(") + "\nprint(json.dumps(answer))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=out)
    assert done.returncode == 0, done.stderr[-3000:]
    answer = json.loads(done.stdout.splitlines()[-1])
    assert all(0 <= moment["start"] < moment["end"] <= 31.07 for moment in answer)
    # It was trained on this video: the best moment is the annotated one, 24.3 - 30.4 s.
    assert min(answer[0]["end"], 30.4) - max(answer[0]["start"], 24.3) > 3


def test_a_model_trained_on_real_features_answers_the_same_when_reloaded(shared, tmp_path):
    data = shared / "data"
    features = data / "features" / "charades_real"
    run = RunArguments(
        method="mmn",
        annotations=str(features / "annotations.json"),
        features=str(features / "clip_vit_l14_1.5fps.h5"),
        output_dir=str(tmp_path / "model"),
        word_vectors=str(data / "text" / "glove840b_charades"),
        eval_split="train",
        config_overrides={
            "hidden_size": 32,
            "conv_hidden_size": 32,
            "joint_size": 16,
            "num_conv_layers": 2,
            "feature_dim": 768,
        },
        recipe_overrides={"epochs": 2, "num_processes": 1, "learning_rate": 1e-3},
    )
    results = run_training(run, {"disable_tqdm": True, "use_cpu": True})
    assert results["metrics"]["num_queries"] == 23
    store = FeatureStore(run.features)
    pipe = pipeline("video-grounding", model=str(tmp_path / "model"), device="cpu")
    durations = {k: v["duration"] for k, v in json.loads(Path(run.annotations).read_text()).items()}
    lines = [json.loads(line) for line in (tmp_path / "model" / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == 23
    inputs = [
        {"video": store[p["video_id"]], "duration": durations[p["video_id"]], "query": p["sentence"]} for p in lines
    ]
    for answer, line in zip(pipe(inputs, batch_size=4, top_k=10), lines, strict=True):
        assert [m["score"] for m in answer] == pytest.approx([m["score"] for m in line["moments"]], abs=1e-5)
        # Two candidates with all but equal scores may change places.
        for bound in ("start", "end"):
            own, other = (sorted(m[bound] for m in moments) for moments in (answer, line["moments"]))
            assert own == pytest.approx(other, abs=1e-4)
