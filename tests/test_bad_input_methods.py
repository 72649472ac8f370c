"""The same wrong input is the same clear error in every method, and in models of transformers."""

import numpy as np
import pytest

from hf_vtg.errors import FeatureError, QueryError, VideoError
from hf_vtg.models.registry import METHODS
from hf_vtg.pipeline import VideoGroundingPipeline, load_pipeline
from hf_vtg.processing import VideoGroundingProcessor
from hf_vtg.video.encoder import VideoEncoder

from .foreign_models import save_foreign_model
from .loopback_hub import LoopbackHub
from .testers import TESTERS
from .video_files import render
from .vision_models import save_vision_model

QUERY = "a person opens the door"
ADAPTERS = ("clip", "tvp")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return VideoEncoder(save_vision_model("vit", tmp_path_factory.mktemp("vision") / "vit"), fps=10)


@pytest.fixture(scope="module", params=[*METHODS, *ADAPTERS])
def pipe(request, encoder, tmp_path_factory):
    """A pipeline whose processor names a vision model that exists."""
    if request.param in ADAPTERS:
        return load_pipeline(save_foreign_model(request.param, tmp_path_factory.mktemp(request.param)))
    tester = TESTERS[request.param]()
    model = tester.model(feature_dim=encoder.spec.dim)
    words = tester.word_vectors()
    tokenizer = words if isinstance(model.config.processor_settings().get("word_pattern"), str) else None
    processor = VideoGroundingProcessor.from_model_config(
        model.config, tokenizer or words.build_tokenizer(), encoder.spec
    )
    return VideoGroundingPipeline(model=model, processor=processor, device="cpu")


def good_features(pipe):
    rows = 6 if type(pipe.model).__name__ == "TvpSteps" else 30
    return np.random.default_rng(0).standard_normal((rows, pipe.model.feature_dim)).astype(np.float32)


def test_good_input_is_answered(pipe):
    assert pipe(good_features(pipe), QUERY, duration=9.0)


def test_a_video_of_one_frame_is_answered(pipe, tmp_path):
    """It lasts as long as its frame; the answer is inside it and finite."""
    path = render(tmp_path / "one.mp4", [0], 100)
    ranked = pipe(str(path), QUERY)
    assert ranked and all(np.isfinite(list(moment.values())).all() for moment in ranked)
    assert all(0 <= moment["start"] <= moment["end"] <= 0.1 + 1e-6 for moment in ranked)


@pytest.fixture(scope="module")
def server():
    with LoopbackHub() as server:
        yield server


@pytest.mark.parametrize("kind", ["text", "empty", "absent", "folder", "number", "refused", "404"])
def test_what_is_no_video(pipe, kind, server, tmp_path):
    path = tmp_path / "a.mp4"
    if kind in ("text", "empty"):
        path.write_text("no video" if kind == "text" else "")
    elif kind == "folder":
        path.mkdir()
    links = {"refused": "http://127.0.0.1:9/a.mp4", "404": f"{server.url}/gone.mp4"}
    wrong = {"number": 7, **links}.get(kind, str(path))
    with pytest.raises(VideoError) as found:
        pipe(wrong, QUERY)
    assert str(wrong) in str(found.value) and "\n" not in str(found.value)
    if kind in links:
        assert kind in str(found.value).lower()


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (["a person", ""], "Sentence 1 .*empty"),
        (["a person", "  \n"], "Sentence 1 .*empty"),
        (["a person", 3], "3.*not a string"),
        (3.5, r"3\.5"),
        ([], "non-empty"),
        (b"a person", "query is b'a person'"),
        (" ".join([QUERY] * 2000), "10000 words"),
    ],
    ids=lambda value: str(value)[:12],
)
def test_what_is_no_query(pipe, query, message):
    """Found before the video is touched."""
    for video in (good_features(pipe), "no/such/file.mp4"):
        with pytest.raises(QueryError, match=message) as found:
            pipe(video, query, duration=9.0)
        assert len(str(found.value)) < 400


def test_a_long_query_is_answered(pipe):
    ranked = pipe(good_features(pipe), " ".join([QUERY] * 60), duration=9.0)
    assert ranked and all(np.isfinite(list(moment.values())).all() for moment in ranked)


def test_features_that_cannot_be_used(pipe):
    good = good_features(pipe)
    nan, wide = good.copy(), good[:, :-1]
    nan[2, 1] = np.nan
    other = {**pipe.processor.feature_extractor.spec.to_dict(), "backbone": "i3d", "revision": None}
    for wrong, message in (
        (nan, "NaN.*row 2"),
        (wide, f"{good.shape[1] - 1} wide.*expects {good.shape[1]}"),
        (good[:0], "empty"),
        ({"features": good, "spec": other, "duration": 9.0}, "another kind.*i3d"),
    ):
        with pytest.raises(FeatureError, match=message):
            pipe(wrong, QUERY, duration=9.0)
    # Behind one of the right kind in a batch, too.
    videos = [{"features": good, "duration": 9.0}, {"features": good, "spec": other, "duration": 9.0}]
    with pytest.raises(FeatureError, match="another kind.*i3d"):
        pipe(videos, QUERY, batch_size=2)
