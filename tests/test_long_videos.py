"""Long videos in windows, many queries in groups, videos behind links: one pass over the video, the same answers."""

import math

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_vtg import grounding
from hf_vtg.errors import QueryError, VideoError
from hf_vtg.grounding import window_starts
from hf_vtg.models.registry import METHODS
from hf_vtg.moments import temporal_nms
from hf_vtg.pipeline import VideoGroundingPipeline
from hf_vtg.training.augmentation import CutAndJoined
from hf_vtg.training.collator import VideoGroundingCollator
from hf_vtg.training.trainer import VideoGroundingTrainer

from .loopback_hub import LoopbackHub
from .testers import TESTERS
from .video_files import render
from .vision_models import save_grounding_model

QUERIES = ["a person opens the door", "a person sits down", "the person walks on the red book"]


def build(method, **overrides):
    tester = TESTERS[method]()
    model = tester.model(**overrides)
    return VideoGroundingPipeline(model=model, processor=tester.processor(model.config), device="cpu")


def features_of(pipe, rows=90):
    return np.random.default_rng(0).standard_normal((rows, pipe.model.config.feature_dim)).astype(np.float32)


def numbers(ranked):
    return np.array([list(moment.values()) for moment in ranked])


@pytest.mark.parametrize("length, size", [(10, 4), (11, 4), (9, 5), (7, 1), (100, 33), (5, 4)])
def test_windows_cover_the_video_and_overlap_by_half(length, size):
    starts = window_starts(length, size)
    assert starts[0] == 0 and starts[-1] == length - size
    steps = np.diff(starts)
    assert (steps[:-1] == max(1, size // 2)).all() and 0 < steps[-1] <= max(1, size // 2)
    assert window_starts(4, 4) == window_starts(3, 4) == [0]


@pytest.mark.parametrize("method", METHODS)
def test_windows_are_videos_of_their_own_ranked_together(method):
    """Against plain calls of the pipeline on each window, their moments shifted, and one NMS over all of them."""
    pipe = build(method)
    features = features_of(pipe)
    answers = pipe(features, QUERIES, duration=45.0, window_seconds=20.0)
    size, starts = 40, [0, 20, 40, 50]
    for s, ranked in enumerate(answers):
        found = []
        for start in starts:
            window = pipe(features[start : start + size], QUERIES, duration=20.0, nms_threshold=1.0, top_k=10**6)[s]
            found.append(numbers(window) + [start / 2, start / 2, 0])
        found = np.concatenate(found)
        kept = temporal_nms(found[:, :2], found[:, 2], pipe.processor.nms_threshold or 1.0, 5)
        np.testing.assert_allclose(numbers(ranked), found[kept[kept >= 0]], atol=2e-4)


@pytest.mark.parametrize("method", METHODS)
def test_one_pass_over_the_video_for_any_number_of_queries(method, monkeypatch):
    pipe = build(method)
    features = features_of(pipe)
    calls = {"encode_video": 0, "encode_text": 0}
    for name in calls:
        original = getattr(pipe.model, name)

        def counted(*args, name=name, original=original, **kwargs):
            calls[name] += 1
            return original(*args, **kwargs)

        monkeypatch.setattr(pipe.model, name, counted)
    for queries in (QUERIES[:1], QUERIES * 50):
        size = grounding.READINGS if pipe.model.reads_paragraphs else grounding.GROUP_SIZE
        groups = math.ceil(len(queries) / size)
        for window, passes in ((math.inf, 1), (20.0, 4)):
            calls.update(encode_video=0, encode_text=0)
            assert len(pipe(features, queries, duration=45.0, window_seconds=window)) == len(queries)
            assert calls == {"encode_video": passes, "encode_text": groups}


@pytest.mark.parametrize("method", METHODS)
def test_groups_of_sentences_change_nothing(method, monkeypatch):
    pipe = build(method)
    items = [
        {"video": features_of(pipe, rows), "query": QUERIES[:count], "duration": rows / 2}
        for rows, count in ((60, 3), (80, 1), (90, 2))
    ]
    whole = pipe(items, batch_size=3)
    monkeypatch.setattr(grounding, "GROUP_SIZE", 2)
    monkeypatch.setattr(grounding, "READINGS", 2)
    for answers, expected in zip(pipe(items, batch_size=3), whole, strict=True):
        for ranked, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(numbers(ranked), numbers(wanted), atol=1e-5)


def test_long_and_short_videos_share_a_batch():
    pipe = build("mmn")
    pipe.processor.trained_seconds = 20.0
    items = [{"video": features_of(pipe, rows), "query": QUERIES, "duration": rows / 2} for rows in (30, 90, 40, 41)]
    alone = [pipe(dict(item)) for item in items]
    for answers, expected in zip(pipe(items, batch_size=4), alone, strict=True):
        for ranked, wanted in zip(answers, expected, strict=True):
            np.testing.assert_allclose(numbers(ranked), numbers(wanted), atol=1e-5)
    whole = pipe(dict(items[1]), window_seconds=math.inf)
    assert np.abs(numbers(whole[0]) - numbers(alone[1][0])).max() > 1e-3
    with pytest.raises(VideoError, match="window_seconds=0"):
        pipe(dict(items[1]), window_seconds=0)


def test_training_tells_the_processor_how_long_its_videos_are(tmp_path):
    tester = TESTERS["mmn"]()
    model = tester.model()
    trainer = tester.trainer(model, tmp_path)
    assert trainer.processing_class.trained_seconds == 20.0
    trainer.processing_class.save_pretrained(tmp_path)
    assert type(trainer.processing_class).from_pretrained(tmp_path).trained_seconds == 20.0
    processor = trainer.processing_class
    processor.trained_seconds = 30.0
    VideoGroundingTrainer(
        model=model,
        args=tester.arguments(tmp_path),
        processing_class=processor,
        data_collator=VideoGroundingCollator(processor),
        train_dataset=tester.rows(model.config),
    )
    assert processor.trained_seconds == 30.0
    processor.trained_seconds = None
    VideoGroundingTrainer(
        model=model,
        args=tester.arguments(tmp_path),
        processing_class=processor,
        data_collator=VideoGroundingCollator(processor),
        train_dataset=CutAndJoined(tester.rows(model.config), {}),
    )
    assert processor.trained_seconds == 20.0
    with pytest.raises(QueryError, match="trained_seconds=0"):
        type(processor)(processor.feature_extractor, processor.tokenizer, trained_seconds=0)
    published = METHODS["mmn"].config_class.for_benchmark("tacos", text_config=model.config.text_config)
    assert tester.processor(published).trained_seconds == 1402.18


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A pipeline, a video file, and a server that has it."""
    folder = tmp_path_factory.mktemp("served")
    pipe = pipeline("video-grounding", model=str(save_grounding_model(folder)), device="cpu")
    file = render(folder / "a.mp4", [100 * k for k in range(20)], 100)
    with LoopbackHub() as server:
        server.pages["/clips/a.mp4"] = file.read_bytes()
        server.pages["/page.html"] = b"<html>no video</html>"
        server.broken["/broken.mp4"] = file.read_bytes()
        yield pipe, file, server


def test_a_link_is_a_video(served):
    pipe, file, server = served
    assert pipe(f"{server.url}/clips/a.mp4", QUERIES[0]) == pipe(str(file), QUERIES[0])


@pytest.mark.parametrize(
    "path, reason", [("/no.mp4", "404"), ("/page.html", "not a video"), ("/broken.mp4", "broke off|IncompleteRead")]
)
def test_a_link_without_a_video_is_named(served, path, reason):
    pipe, _, server = served
    with pytest.raises(VideoError, match=reason) as found:
        pipe(server.url + path, QUERIES[0])
    assert server.url + path in str(found.value)


def test_no_network_is_named(served):
    pipe, _, _ = served
    with LoopbackHub() as gone:
        address = f"{gone.url}/a.mp4"
    with pytest.raises(VideoError, match="cannot be fetched.*[Rr]efused"):
        pipe(address, QUERIES[0])


def test_memory_of_merged_windows_is_bounded():
    pipe = build("mmn")
    features = features_of(pipe, 4000)
    item = {"features": features, "sentences": QUERIES, "duration": 2000.0, "spec": None}
    with torch.no_grad():
        output = grounding.ground_in_windows(pipe.model, pipe.processor, item, 20.0, progress=False)
    assert output.scores.shape == (1, len(QUERIES), grounding.KEPT)
    assert (output.scores.diff(dim=-1) <= 0).all()
