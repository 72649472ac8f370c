"""Planted features: the cosines they promise, what a short training sees in them, and the scripts' files."""

import json

import numpy as np
import pytest

from hf_vtg.errors import AnnotationError
from hf_vtg.features.store import FeatureStore
from hf_vtg.text.tokenization import WordVectors
from scripts.lab import planted_grounding
from scripts.lab.planted_features import (
    SentenceDirections,
    choose_videos,
    inside,
    measured_cosines,
    plant,
    planted_features,
)

from .script_loading import load_script

WORDS = [f"w{i}" for i in range(60)]


@pytest.fixture(scope="module")
def vectors():
    return WordVectors.from_vocabulary(WORDS, dim=32)


def rows_of(count, seed=0, first="V"):
    """Videos of 20 to 40 s with one to three sentences of five words."""
    rng = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        duration = float(rng.uniform(20, 40))
        moments = [sorted(rng.uniform(0, duration, 2).tolist()) for _ in range(rng.integers(1, 4))]
        sentences = [" ".join(rng.choice(WORDS, 5)) for _ in moments]
        rows.append(
            {"video_id": f"{first}{number:04d}", "duration": duration, "sentences": sentences, "moments": moments}
        )
    return rows


def test_inside():
    within = inside([[0, 5], [2.4, 7.5], [3.01, 3.02], [9.99, 10]], 10.0, 10)
    assert [np.flatnonzero(column).tolist() for column in within.T] == [
        [0, 1, 2, 3, 4],
        [2, 3, 4, 5, 6, 7],
        [3],
        [9],
    ]


def test_cosines_are_as_promised(vectors):
    rows = rows_of(80)
    directions = SentenceDirections(vectors, [s for row in rows for s in row["sentences"]], dim=48)
    assert np.allclose(np.linalg.norm(directions(rows[0]["sentences"]), axis=1), 1)
    features = dict(planted_features(rows, rows_of(40, seed=2, first="D"), directions, decoys=1))
    within, without = measured_cosines(rows, directions, features)
    assert abs(within - 0.3) < 0.02 and abs(without) < 0.01
    again = dict(planted_features(rows, rows_of(40, seed=2, first="D"), directions, decoys=1))
    assert all(np.array_equal(features[name], again[name]) for name in features)
    # another projection sees nothing
    other = SentenceDirections(vectors, [s for row in rows for s in row["sentences"]], dim=48, seed=1)
    assert all(abs(value) < 0.03 for value in measured_cosines(rows, other, features))


def test_signal_is_zero_for_the_other_sentences_of_the_video(vectors):
    rng = np.random.default_rng(0)
    directions = rng.standard_normal((2, 24))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    within = np.array([[True, False]] * 4000 + [[True, True]] * 4000)
    products = plant(directions, within, rng) @ directions.T
    np.testing.assert_allclose(products[:4000].mean(0), [0.3, 0], atol=0.015)
    np.testing.assert_allclose(products[4000:].mean(0), [0.3, 0.3], atol=0.015)


def test_refusals(vectors):
    with pytest.raises(AnnotationError, match="no word of 'zzz'"):
        SentenceDirections(vectors, ["w1 w2", "zzz"], dim=8)
    rows = rows_of(5)
    assert [row["video_id"] for row in choose_videos(rows, 5)] == [row["video_id"] for row in rows]
    assert choose_videos(rows, 3) == choose_videos(rows, 3)
    assert len({tuple(row["video_id"] for row in choose_videos(rows, 2, seed)) for seed in range(5)}) > 1
    with pytest.raises(AnnotationError, match="6 videos were asked for; there are 5"):
        choose_videos(rows, 6)


@pytest.fixture(scope="module")
def planted(tmp_path_factory, vectors):
    """The script's output for a small benchmark in the grouped form of Charades-STA."""
    folder = tmp_path_factory.mktemp("planted")
    for split, rows in (("train", rows_of(12)), ("test", rows_of(6, seed=1, first="T"))):
        grouped = {row["video_id"]: {**row, "timestamps": row["moments"]} for row in rows}
        (folder / f"{split}.json").write_text(json.dumps(grouped))
    vectors.save(folder / "glove.npz")
    arguments = ["--data_dir", str(folder), "--word_vectors", str(folder / "glove.npz"), "--out", str(folder / "out")]
    script = load_script("plant_features")
    assert script.main([*arguments, "--train", "10", "--test", "5", "--dim", "32"]) == 0
    return folder / "out"


@pytest.mark.slow
def test_scripts_plant_and_learn(planted, tmp_path, capsys):
    store = FeatureStore(planted / "features.h5")
    splits = planted_grounding.load_rows(planted)
    assert len(store) == 15 and store.dim == 32 and store.spec.backbone == "planted"
    assert {name: len(split) for name, split in splits.items()} == {"train": 10, "test": 5}
    assert store.missing(splits["train"]["video_id"]) == []
    shuffled = planted_grounding.load_rows(planted, shuffled=True)["train"]
    before, after = ([s for row in rows for s in row["sentences"]] for rows in (splits["train"], shuffled))
    assert before != after and sorted(before) == sorted(after)
    assert [row["moments"] for row in shuffled] == [row["moments"] for row in splits["train"]]
    learn = load_script("learn_planted")
    out = tmp_path / "run"
    arguments = ["--data", str(planted), "--out", str(out), "--method", "mmn", "--recipe", "epochs=1"]
    assert learn.main([*arguments, "--set", "hidden_size=16", "--set", "conv_hidden_size=16"]) == 0
    record = json.loads(out.with_suffix(".json").read_text())
    assert record["metrics"]["num_queries"] == len([s for row in splits["test"] for s in row["sentences"]])
    assert record["oracle_bound"] > 80 and "floor" in capsys.readouterr().out
