"""Real features, from annotations to seconds, as a user would run it."""

import json
from pathlib import Path

import pytest
from transformers import pipeline

from hf_vtg.features.store import FeatureStore
from hf_vtg.training.run import RunArguments, run_training

pytestmark = pytest.mark.needs_shared


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
