"""Random queries, features and rows through the thin path: an answer of finite numbers or an HFVTGError, no third."""

import json
import logging
import math
import random
from collections import Counter

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_vtg import VideoGroundingCollator
from hf_vtg.benchmarks import benchmark_builder
from hf_vtg.errors import AnnotationError, FeatureError, HFVTGError

from .testers import model_tester

# Features of 1e30 are one of the odd things here.
pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
ODD_STRINGS = [
    *(
        "",
        " \t\n",
        "[PAD]",
        "[UNK] [PAD]",
        "'",
        "n't",
        "\x00",
        "a\x00b",
        "\ud800",
        "\u2028",
        "\u202e\u200b",
        "1,2",
        "ß",
    ),
    *("😀 👩\u200d🚀", "e\u0301", "İ", "a" * 3000, "." * 3000, "1," * 1000, "n't" * 500, "person " * 10_000),
]
ODD_NUMBERS = [0, 1, -1, 5.5, 9.0, 20, 1e300, -1e300, math.nan, math.inf, None, "3", True, [1], np.float32(2), 1e-12]
NO_FEATURES = [None, [], [[]], "x", b"", {}, {"features": None}, {"features": [[1.0]], "spec": 3}, math.nan, [None]]
NO_QUERIES = [None, 3, math.nan, b"a person", [], {}, [["a person"]], ["a person", None]]


@pytest.fixture(scope="module")
def pipe():
    tester = model_tester("mmn")
    model = tester.model()
    return pipeline("video-grounding", model=model, processor=tester.processor(model.config))


@pytest.fixture(autouse=True)
def quiet():
    logging.disable(logging.WARNING)
    yield
    logging.disable(logging.NOTSET)


def outcome(function, *arguments, **options):
    """ "error" or "answer"; anything else fails the test."""
    try:
        answer = function(*arguments, **options)
    except HFVTGError as error:
        assert len(str(error)) > 20
        return "error"
    assert all(math.isfinite(number) for number in numbers_in(answer)), (arguments, options, answer)
    return "answer"


def numbers_in(answer):
    if isinstance(answer, dict):
        answer = list(answer.values())
    if isinstance(answer, torch.Tensor):
        answer = answer.detach().flatten().tolist()
    if isinstance(answer, list):
        return [number for part in answer for number in numbers_in(part)]
    return [] if answer is None else [answer]


def features(pipe, rows=20):
    return np.random.default_rng(0).standard_normal((rows, pipe.model.config.feature_dim)).astype(np.float32)


def random_text(draw):
    kind, size = draw.randrange(4), draw.choice([1, 3, 40])
    if kind == 0:
        return "".join(chr(draw.randrange(0x110000)) for _ in range(size))
    if kind == 1:
        return "".join(chr(draw.randrange(128)) for _ in range(size))
    return draw.choice(ODD_STRINGS) if kind == 2 else "a person opens the " + draw.choice(["door", "DOOR", "dööR"])


def test_queries(pipe):
    draw, seen = random.Random(0), Counter()
    drawn = [random_text(draw) for _ in range(30)] + [[random_text(draw), "a person"] for _ in range(8)]
    for query in [*ODD_STRINGS, *NO_QUERIES, *drawn, "person " * 10_000]:
        seen[outcome(pipe, features(pipe), query, duration=9.0)] += 1
    assert seen["answer"] > 30 and seen["error"] > 10


def random_features(draw, width):
    generator = np.random.default_rng(draw.randrange(10**6))
    array = generator.standard_normal((draw.choice([1, 2, 15, 16, 17, 200]), width))
    kind = draw.randrange(7)
    if kind == 0:
        return generator.standard_normal([draw.randrange(4) for _ in range(draw.randrange(5))])
    if kind == 1:
        return (array * draw.choice([1, 1e30, 1e300, 1e-40, 0])).astype(draw.choice([np.float16, np.float32, float]))
    if kind == 2:
        return (array * 50).astype(draw.choice([np.uint8, np.int64, bool, complex, object, str]))
    if kind == 3:
        array.flat[draw.randrange(array.size)] = draw.choice([math.nan, math.inf, -math.inf])
    if kind == 4:
        return torch.tensor(array).to(
            draw.choice([torch.half, torch.bfloat16, torch.int, torch.bool, torch.complex64])
        )
    return draw.choice(NO_FEATURES) if kind == 5 else array


def test_features(pipe):
    draw, seen = random.Random(1), Counter()
    for _ in range(80):
        duration = draw.choice([9.0, 9.0, 9.0, draw.choice(ODD_NUMBERS)])
        clips = random_features(draw, pipe.model.config.feature_dim)
        seen[outcome(pipe, clips, "a person", duration=duration)] += 1
    assert seen["answer"] > 10 and seen["error"] > 20


def random_moments(draw, count):
    if draw.random() < 0.05:
        return draw.choice([None, [], [[]], 3, "x", [[1, 2, 3]] * count])
    starts = [draw.uniform(-1, 9) for _ in range(count)]
    moments = [[start, start + draw.uniform(-0.2, 3)] for start in starts]
    return [[draw.choice(ODD_NUMBERS)] * 2 if draw.random() < 0.05 else moment for moment in moments]


def random_row(draw, number):
    count = draw.randrange(0 if draw.random() < 0.1 else 1, 4)
    row = {
        "video_id": f"v{number}" if draw.random() < 0.9 else draw.choice(["", None, 3, "a/b"]),
        "duration": 9.0 if draw.random() < 0.9 else draw.choice(ODD_NUMBERS),
        "sentences": ["a person" if draw.random() < 0.8 else random_text(draw) for _ in range(count)],
        "moments": random_moments(draw, count),
    }
    if draw.random() < 0.1:
        row.pop(draw.choice(list(row)))
    return row


def test_rows_in_a_batch(pipe):
    draw, seen = random.Random(2), Counter()
    collator, width = VideoGroundingCollator(pipe.processor), pipe.model.config.feature_dim

    @torch.no_grad()
    def losses(rows):
        batch = collator(rows)
        batch.pop("metadata")
        return pipe.model(**batch).loss

    for _ in range(60):
        rows = [random_row(draw, number) for number in range(draw.choice([1, 1, 2]))]
        for row in rows:
            row["video_features"] = features(pipe) if draw.random() < 0.9 else random_features(draw, width)
        seen[outcome(losses, rows)] += 1
    assert seen["answer"] > 10 and seen["error"] > 20


def test_rows_in_a_file(tmp_path):
    """What is read is what is kept and what is counted as dropped."""
    draw, seen = random.Random(3), Counter()
    file = tmp_path / "train.jsonl"

    def read():
        builder = benchmark_builder("jsonl", data_dir=str(file), cache_dir=str(tmp_path / "cache"))
        rows, report = builder.rows("train")
        moments = [moment for row in rows for moment in row["moments"]]
        assert report.sentences_read == report.sentences_kept + report.num_dropped
        assert len(moments) == report.sentences_kept and all(0 <= start < end <= 9 for start, end in moments)
        return moments

    for _ in range(40):
        rows = [random_row(draw, number) for number in range(draw.choice([1, 2]))]
        file.write_text("".join(json.dumps(row, default=float) + "\n" for row in rows))
        seen[outcome(read)] += 1
    assert seen["answer"] > 10 and seen["error"] > 10


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"duration": "3"}, AnnotationError, "'3': give its seconds"),
        ({"moments": [[[1], "x"]]}, AnnotationError, r"\[\[\[1\], 'x'\]\]"),
        ({"moments": 3}, AnnotationError, "are 3"),
        ({"video_features": np.ones((4, 10), complex)}, FeatureError, "complex"),
        ({"video_features": torch.ones(4, 10, dtype=torch.complex64)}, FeatureError, "complex"),
        ({"video_features": None, "video_id": None}, FeatureError, "no feature store"),
    ],
)
def test_what_the_first_runs_found(pipe, changes, error, message):
    row = {"video_id": "v", "duration": 9.0, "sentences": ["a person"], "moments": [[1.0, 2.0]]}
    with pytest.raises(error, match=message):
        VideoGroundingCollator(pipe.processor)([{**row, "video_features": features(pipe), **changes}])


def test_a_row_without_id_has_no_features(pipe):
    with pytest.raises(FeatureError, match="no video_id"):
        VideoGroundingCollator(pipe.processor, {"v": features(pipe)})([{"duration": 9.0, "sentences": ["a person"]}])
