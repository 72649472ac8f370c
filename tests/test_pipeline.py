"""The pipeline: every form of a video gives the same answer, and what is none has a clear one."""

import math

import datasets
import numpy as np
import pytest
import torch
from torch.utils.data import Dataset
from transformers import pipeline

from hf_vtg.errors import FeatureError, HFVTGError, QueryError, VideoError

from .video_files import grey, render
from .vision_models import save_grounding_model

QUERY = "a person opens the door"
NUM_FRAMES = 20


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    return render(tmp_path_factory.mktemp("video") / "a.mp4", [100 * k for k in range(NUM_FRAMES)], 100)


@pytest.fixture(scope="module")
def pipe(tmp_path_factory):
    """A pipeline whose processor names a tiny vision model that exists."""
    model = save_grounding_model(tmp_path_factory.mktemp("pipe"))
    return pipeline("video-grounding", model=str(model), device="cpu")


def close(answer):
    """Comparable: rows of (start, end, score)."""
    return pytest.approx(np.array([list(moment.values()) for moment in answer]), abs=1e-4)


def rows(answer):
    return np.array([list(moment.values()) for moment in answer])


def test_every_form_of_a_video_gives_the_same_answer(pipe, video):
    expected = close(pipe(str(video), QUERY))
    encoded = pipe.encode(video)
    features = encoded["features"]
    forms = [
        (video, {}),
        (video.read_bytes(), {}),
        (encoded, {}),
        (features, {"duration": 2.0}),
        (torch.tensor(features, requires_grad=True), {"duration": 2.0}),
        (features.astype(np.float64), {}),
    ]
    for form, options in forms:
        assert rows(pipe(form, QUERY, **options)) == expected


def test_frames_need_their_rate(pipe):
    frames = np.stack([grey(k) for k in range(NUM_FRAMES)])
    expected = close(pipe(frames, QUERY, fps=10))
    assert rows(pipe(torch.from_numpy(frames), QUERY, fps=10)) == expected
    assert rows(pipe(list(frames), QUERY, fps=10)) == expected
    assert rows(pipe({"video": frames, "query": QUERY, "fps": 10})) == expected
    with pytest.raises(VideoError, match="fps"):
        pipe(frames, QUERY)


def test_half_precision_features_are_taken(pipe, video):
    features = torch.tensor(pipe.encode(video)["features"])
    assert len(pipe(features.bfloat16(), QUERY)) == len(pipe(features.half(), QUERY)) == 5


def test_a_list_of_videos_is_asked_the_same(pipe, video):
    encoded = pipe.encode(video)
    one = close(pipe(video, QUERY))
    for videos in ([str(video)] * 2, [video.read_bytes()] * 2, [encoded] * 2, [encoded["features"], encoded]):
        answers = pipe(videos, QUERY, batch_size=2)
        assert len(answers) == 2 and all(rows(answer) == one for answer in answers)
    assert pipe([]) == pipe([], QUERY) == []


def test_a_hundred_sentences_see_the_video_once(pipe, video, monkeypatch):
    calls = {"frames": 0, "map": 0}

    def counted(name, function):
        def call(*args, **kwargs):
            calls[name] += 1
            return function(*args, **kwargs)

        return call

    encoder = pipe._encoder(None, False)
    monkeypatch.setattr(encoder, "encode", counted("frames", encoder.encode))
    monkeypatch.setattr(pipe.model, "encode_video", counted("map", pipe.model.encode_video))
    sentences = [f"{QUERY} {'twice ' * k}" for k in range(100)]
    answers = pipe(video, sentences, use_cache=False)
    assert calls == {"frames": 1, "map": 1} and len(answers) == 100
    assert rows(answers[7]) == close(pipe(video, sentences[7], use_cache=False))


def test_every_form_of_a_file_is_one(pipe, video):
    class Entry:
        def __fspath__(self):
            return str(video)

    content = video.read_bytes()
    expected = close(pipe(str(video), QUERY))
    for form in Entry(), content, bytearray(content), memoryview(content):
        assert rows(pipe(form, QUERY)) == expected
        assert [rows(answer) for answer in pipe((form, str(video)), QUERY)] == [expected] * 2
    assert pipe((), QUERY) == []
    told = pipe({"video": str(video), "query": QUERY, "paragraph": None}, paragraph=True)
    assert rows(told["sentences"][0]["moments"]) == expected


class Rows(Dataset):
    def __init__(self, features):
        self.features = features

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return {"video": self.features[: 10 + index], "query": QUERY, "duration": 3.0 + index}


def test_a_dataset_of_datasets(pipe, video):
    rows = datasets.Dataset.from_list([{"video": str(video), "query": "the red circle jumps"}] * 2)
    answers = list(pipe(rows))
    assert answers == pipe([dict(row) for row in rows]) and len(answers) == 2


@pytest.mark.parametrize("options", [{}, {"batch_size": 2}, {"batch_size": 2, "num_workers": 2}])
def test_datasets_and_generators(pipe, video, options):
    data = Rows(pipe.encode(video)["features"])
    expected = [close(pipe(data[k])) for k in range(3)]
    for inputs in (data, (data[k] for k in range(3))):
        answers = list(pipe(inputs, **options))
        assert len(answers) == 3 and all(rows(a) == e for a, e in zip(answers, expected, strict=True))


@pytest.mark.parametrize(
    "wrong, query, options, error, text",
    [
        (None, QUERY, {}, VideoError, "NoneType"),
        (3, QUERY, {}, VideoError, "3 .int. is no video"),
        (np.zeros(5, np.float32), QUERY, {}, VideoError, "shape .5,."),
        (np.zeros((0, 32), np.float32), QUERY, {}, FeatureError, "empty"),
        (np.full((4, 32), np.nan, np.float32), QUERY, {}, FeatureError, "NaN"),
        (np.zeros((4, 31), np.float32), QUERY, {}, FeatureError, "31 wide"),
        ({"video": 1}, QUERY, {}, VideoError, "needs 'features'"),
        ("no/such/file.mp4", QUERY, {}, VideoError, "no/such/file.mp4"),
        ("no/such/file.mp4", "  ", {}, QueryError, "empty"),
        ("no/such/file.mp4", [], {}, QueryError, "non-empty"),
        (np.ones((4, 32), np.float32), QUERY, {"duration": 0}, FeatureError, "duration=0"),
        (np.ones((4, 32), np.float32), QUERY, {"duration": "long"}, FeatureError, "duration='long'"),
        ("no/such/file.mp4", QUERY, {"duration": -2}, FeatureError, "duration=-2"),
        (np.ones((4, 32), np.float32), QUERY, {"top_k": 0}, HFVTGError, "top_k"),
        (np.ones((4, 32), np.float32), QUERY, {"top_k": math.inf}, HFVTGError, "top_k is inf"),
        (np.ones((4, 32), np.float32), QUERY, {"top_k": "3"}, HFVTGError, "top_k is '3'"),
        (np.zeros((4, 8, 8, 3), np.uint8), QUERY, {"fps": math.nan}, VideoError, "fps is nan"),
        (np.zeros((4, 8, 8, 3), np.uint8), QUERY, {"fps": "2"}, VideoError, "fps is '2'"),
        (np.zeros((4, 8, 8, 3), np.uint8), QUERY, {"fps": 1e-9}, VideoError, "fps is 1e-09"),
        (dict.fromkeys(range(10**5)).keys(), QUERY, {}, VideoError, "^.{0,300}$"),
    ],
)
def test_what_is_wrong_is_named(pipe, wrong, query, options, error, text):
    with pytest.raises(error, match=text):
        pipe(wrong, query, **options)
