"""The dual encoder of moving_shapes: trained by contrast alone it finds moments, from features and from files."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_vtg.moving_shapes.render import render_video
from hf_vtg.moving_shapes.scenarios import generate_scenario, scenario_seeds
from scripts.lab.shapes_dual_encoder import (
    DualEncoderTraining,
    build_dual_encoder,
    contrastive_loss,
    evaluate_dual_encoder,
    inside_clips,
    save_dual_encoder,
    train_dual_encoder,
)
from scripts.lab.shapes_encoder import STATEMENTS, labels_of

SECONDS = 0.6


def evidence(scenario):
    """What a perfect vision tower would see: which statements hold in each clip."""
    labels = labels_of(scenario, np.arange(int(np.ceil(scenario.duration / SECONDS)))).any(2)
    return np.pad(labels.astype(np.float32), ((0, 0), (0, 128 - STATEMENTS)))


@pytest.fixture(scope="module")
def scenarios():
    return [generate_scenario(seed) for seed in scenario_seeds("train", 12)]


def test_inside_clips():
    inside = inside_clips(10, [(0.0, 1.2), (1.0, 1.1), (5.0, 6.0)])
    assert inside.nonzero().tolist() == [[0, 0], [0, 1], [1, 1], [2, 8], [2, 9]]


def test_contrast_alone_finds_moments(scenarios):
    """On the evidence of the videos that it was trained on, before and after."""
    rows = [scenario.rows("video")[0] for scenario in scenarios]
    features = {row["video_id"]: evidence(scenario) for row, scenario in zip(rows, scenarios, strict=True)}
    settings = DualEncoderTraining(epochs=25, batch_videos=6, text_layers=1, learning_rate=1e-2)
    losses = []
    model, tokenizer = train_dual_encoder(features, rows, settings, log=lambda line, **_: losses.append(line))
    assert float(losses[-1].split()[-1]) < 0.6 * float(losses[0].split()[-1])
    found = []
    for trained in (model, build_dual_encoder(settings)[0].eval()):
        metrics = evaluate_dual_encoder(trained, trained.wrap_processor(tokenizer), features, rows)
        found.append(metrics["R@1,IoU=0.5"])
    assert found[0] > 50 > 30 > found[1]


def test_equal_sentences_are_no_negatives_of_each_other(scenarios):
    settings = DualEncoderTraining(text_layers=1)
    model, tokenizer = build_dual_encoder(settings)
    clips = evidence(scenarios[0])
    losses = [
        contrastive_loss(model.eval(), [clips], [sentences], [[(0.0, 6.0), (0.0, 6.0)]], tokenizer)
        for sentences in (["a red star spins"] * 2, ["a red star spins", "a blue star spins"])
    ]
    alone = contrastive_loss(model, [clips], [["a red star spins"]], [[(0.0, 6.0)]], tokenizer)
    torch.testing.assert_close(losses[0], alone)
    assert losses[1] > alone


def test_from_a_folder_to_a_video_file(tmp_path, scenarios):
    """The saved folder grounds files, with the projection of the shipped tower's features, wherever it lies."""
    model, tokenizer = build_dual_encoder(DualEncoderTraining(text_layers=1))
    save_dual_encoder(model.eval(), tokenizer, tmp_path / "a")
    (tmp_path / "a").rename(tmp_path / "b")
    scenario = generate_scenario(scenario_seeds("demo")[0])
    video = render_video(scenario, tmp_path / "video.mp4")
    pipe = pipeline("video-grounding", model=str(tmp_path / "b"), device="cpu")
    encoded = pipe.encode(video, use_cache=False)
    shipped = pipeline("video-grounding", device="cpu").encode(video, use_cache=False)
    with torch.no_grad():
        expected = model.visual_projection(torch.from_numpy(shipped["features"]))
    np.testing.assert_allclose(encoded["features"], expected.numpy(), atol=1e-3)
    assert pipe(encoded, "a red star spins")
