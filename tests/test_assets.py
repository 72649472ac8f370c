"""The shipped encoder and model of moving_shapes, and what the backbone had to learn for them."""

import hashlib
import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, ResNetConfig, ResNetModel, pipeline

from hf_vtg.errors import ModelError
from hf_vtg.moments import temporal_iou
from hf_vtg.moving_shapes.render import render_video
from hf_vtg.moving_shapes.scenarios import generate_scenario, scenario_seeds
from hf_vtg.moving_shapes.world import ACTIONS, COLOURS, SHAPES
from hf_vtg.video.backbone import PACKAGED, Backbone, resolve_backbone, weights_fingerprint
from hf_vtg.video.encoder import VideoEncoder, windows
from scripts.lab.shapes_encoder import (
    COLOUR_ACTION,
    SHAPE_ACTION,
    STRIDE,
    WINDOW,
    evidence_loss,
    image_processor,
    labels_of,
    pad_frames,
    sample_times,
    to_pixels,
)

from .conftest import ROOT

NAME = "hf_vtg/moving_shapes"
ENCODER = PACKAGED[NAME]
MODEL = ENCODER.parent / "model"


def stacked_encoder(folder, frames=4):
    config = ResNetConfig(
        num_channels=3 * frames, num_frames=frames, embedding_size=8, hidden_sizes=[8], depths=[1], layer_type="basic"
    )
    torch.manual_seed(0)
    model = ResNetModel(config).eval()
    model.save_pretrained(folder)
    image_processor().save_pretrained(folder)
    return model


def test_frames_as_channels_and_maximum(tmp_path):
    model = stacked_encoder(tmp_path)
    frames = np.random.default_rng(0).integers(0, 255, (9, 96, 96, 3), np.uint8)
    encoder = VideoEncoder(tmp_path, fps=5, stride=2, pooling="max")
    assert (encoder.spec.window, encoder.spec.pooling, encoder.spec.dim) == (4, "max", 8)
    features = encoder.encode_frames(frames).features
    # Clip 2 begins one frame before its stride.
    pixels = (torch.from_numpy(frames[3:7]) / 255 - 0.4) / 0.25
    with torch.no_grad():
        hidden = model(pixels.permute(0, 3, 1, 2).reshape(1, 12, 96, 96)).last_hidden_state
    np.testing.assert_allclose(features[2], hidden.amax((2, 3))[0].numpy(), atol=1e-5)
    assert np.abs(features[2] - hidden.mean((2, 3))[0].numpy()).max() > 0.01


def test_clips_of_training_are_those_of_the_encoder():
    frames = np.arange(51, dtype=np.uint8)[:, None, None, None].repeat(3, -1)
    padded = pad_frames(frames)[0, 0, :, 0]
    clips = [[int(f[0, 0, 0]) for f in clip] for *_, clip in windows(((0.0, 0.0, f) for f in frames), WINDOW, STRIDE)]
    assert [padded[j * STRIDE : j * STRIDE + WINDOW].tolist() for j in range(len(clips))] == clips
    assert to_pixels(torch.zeros(8, 8, 67, 3, dtype=torch.uint8), np.array([0, 25])).shape == (2, 8, 8, 3 * WINDOW)


def test_labels_agree_with_the_events():
    scenario = generate_scenario(scenario_seeds("demo")[0])
    labels = labels_of(scenario, np.arange(len(sample_times(scenario.duration)) // STRIDE)).any(2)
    for number, event in enumerate(scenario.events):
        colour, shape, action = scenario.triple(number)
        colour, shape, action = COLOURS.index(colour), SHAPES.index(shape), ACTIONS.index(action)
        inside = slice(int(np.ceil(event.start / 0.6)) + 1, int(event.end / 0.6) - 1)
        assert labels[inside, COLOUR_ACTION + len(ACTIONS) * colour + action].all()
        assert labels[inside, SHAPE_ACTION + len(ACTIONS) * shape + action].all()
    assert 0 < labels.mean() < 0.2


def test_loss_falls_with_right_evidence():
    labels = torch.zeros(2, 123, 36, dtype=torch.bool)
    labels[0, 5, 7] = True
    right = torch.zeros(2, 128, 6, 6)
    right[0, 5, 1, 1] = 6.0
    elsewhere = right.roll(3, dims=-1)
    other = right.roll(1, dims=1)
    nothing = torch.zeros_like(right)
    assert evidence_loss(right, labels) < evidence_loss(elsewhere, labels) < evidence_loss(other, labels)
    assert evidence_loss(right, labels) < evidence_loss(nothing, labels) < evidence_loss(other, labels)


def test_packaged_name():
    assert resolve_backbone(NAME) == ENCODER
    assert resolve_backbone("openai/clip-vit-base-patch32") == "openai/clip-vit-base-patch32"
    backbone = Backbone(NAME)
    assert backbone.name == NAME and backbone.revision == weights_fingerprint(ENCODER)
    with pytest.raises(ModelError, match="no such folder"):
        Backbone("hf_vtg/moving/shapes")


def test_small_and_self_contained():
    files = [path for path in ENCODER.parent.rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) < 4_000_000
    assert {path.suffix for path in files} <= {".safetensors", ".json"}
    assert type(AutoModel.from_pretrained(ENCODER)) is ResNetModel
    # Half precision is for the disk alone.
    for folder in (ENCODER, MODEL):
        assert AutoModel.from_pretrained(folder).dtype == torch.float32
    spec = json.loads((MODEL / "processor_config.json").read_text())["feature_extractor"]["feature_spec"]
    assert spec["backbone"] == NAME and spec["revision"] == weights_fingerprint(ENCODER)
    assert not any(
        "/work/" in path.read_text() or "/tmp/" in path.read_text() for path in files if path.suffix == ".json"
    )


@pytest.mark.slow
def test_grounds_files_of_seeds_outside_the_splits(tmp_path):
    ground = pipeline("video-grounding", model=str(MODEL))
    hits = []
    for seed in scenario_seeds("demo", 3):
        scenario = generate_scenario(seed)
        path = render_video(scenario, tmp_path / f"{seed}.mp4")
        queries = [query.text for query in scenario.sentences]
        for answers, query in zip(ground(str(path), queries, progress=False), scenario.sentences, strict=True):
            event, best = scenario.events[query.event], answers[0]
            assert 0 <= best["start"] < best["end"] <= scenario.duration + 1e-6 and np.isfinite(best["score"])
            hits.append(temporal_iou(np.array([best["start"], best["end"]]), np.array([event.start, event.end])) > 0.5)
    assert len(hits) > 15
    assert np.mean(hits) >= 0.6


def test_what_was_saved_before_still_answers_as_it_did():
    """The folder is byte for byte that of the first edition, whose answers on random features were kept."""
    kept = json.loads((ROOT / "tests" / "shipped_model.json").read_text())
    assert {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in MODEL.iterdir()} == kept["files"]
    ground = pipeline("video-grounding", model=str(MODEL))
    features = np.random.default_rng(19).standard_normal((50, ground.model.config.feature_dim)).astype(np.float32)
    answers = ground(features, ["the red circle jumps", "a blue square fades"], duration=15.0, top_k=3)
    for own, before in zip(answers, kept["answers"], strict=True):
        assert [(a["start"], a["end"]) for a in own] == [(a["start"], a["end"]) for a in before]
        # Another processor rounds the last digit differently; on that of the record all of them were equal.
        assert [a["score"] for a in own] == pytest.approx([a["score"] for a in before], rel=1e-5)
