"""Videos cut and joined anew: every moment keeps its clips."""

import numpy as np
import pytest

from hf_vtg.errors import ModelError
from hf_vtg.moving_shapes.scenarios import generate_scenario, scenario_seeds
from hf_vtg.training.augmentation import CutAndJoined, join, roll, thin
from scripts.lab.shapes_grounding import meanings

# A clip's feature is its own number.
FEATURES = np.arange(30.0)[:, None]
MOMENTS = np.array([[3.2, 6.1], [5.0, 9.0], [12.5, 13.4], [20.0, 24.9], [27.0, 30.0]])


def content(features: np.ndarray, moment) -> list[float]:
    return features[int(moment[0]) : int(np.ceil(moment[1])), 0].tolist()


@pytest.mark.parametrize("change", [roll, thin])
def test_moments_keep_their_clips(change):
    rng, lengths, firsts = np.random.default_rng(0), set(), set()
    for _ in range(300):
        features, moments = change(FEATURES, MOMENTS, rng)
        assert moments.min() >= 0 and moments.max() <= len(features)
        np.testing.assert_allclose(moments[:, 1] - moments[:, 0], MOMENTS[:, 1] - MOMENTS[:, 0], atol=1e-9)
        assert [content(features, m) for m in moments] == [content(FEATURES, m) for m in MOMENTS]
        lengths.add(len(features))
        firsts.add(features[0, 0])
    # Free clips: 0-2, 9-11, 14-19, 25-26. A cut lies between moments.
    if change is roll:
        assert lengths == {30} and firsts == {0, 1, 2, 3, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20, 25, 26, 27}
    else:
        assert 30 - 3 - 3 - 6 - 2 <= min(lengths) < 22 and max(lengths) == 30


def test_rows_carry_their_features_and_the_duration_that_is_left():
    row = {"video_id": "v", "duration": 15.0, "sentences": ["a", "b"], "moments": [[1.0, 2.0], [5.0, 9.5]]}
    rows = CutAndJoined([row], {"v": FEATURES}, seed=1)
    seen = [rows[0] for _ in range(50)]
    assert len(rows) == 1 and row["duration"] == 15.0 and len({r["duration"] for r in seen}) > 5
    for r in seen:
        assert r["duration"] == len(r["video_features"]) / 2 and r["moments"] == sorted(r["moments"])
        own = {
            s: content(r["video_features"], np.array(m) * 2) for s, m in zip(r["sentences"], r["moments"], strict=True)
        }
        assert own == {
            s: content(FEATURES, np.array(m) * 2) for s, m in zip(row["sentences"], row["moments"], strict=True)
        }
    assert {tuple(r["sentences"]) for r in seen} == {("a", "b"), ("b", "a")}


def test_sentences_that_are_in_no_order_stay_as_they_are():
    row = {"video_id": "v", "duration": 15.0, "sentences": ["b", "a"], "moments": [[5.0, 9.5], [1.0, 2.0]]}
    rows = CutAndJoined([row], {"v": FEATURES}, seed=1)
    assert {tuple(rows[0]["sentences"]) for _ in range(50)} == {("b", "a")}


def test_what_sentences_of_moving_shapes_mean_is_what_they_were_written_of():
    for seed in scenario_seeds("validation", 40):
        scenario = generate_scenario(seed)
        triples = [scenario.triple(query.event) for query in scenario.sentences]
        expected = [(action, {colour, shape}) for colour, shape, action in triples]
        assert meanings(scenario.rows("video")[0]) == expected


def test_an_unknown_kind_is_named():
    with pytest.raises(ModelError, match="flip"):
        CutAndJoined([], {}, ("flip",))


def test_joined_videos_keep_the_moments_of_both_parts():
    other, moments = FEATURES[:20] + 100, np.array([[1.0, 4.0], [6.5, 8.5], [15.0, 18.2]])
    rng, lengths, both = np.random.default_rng(0), set(), np.concatenate([MOMENTS, moments])
    truth = [content(FEATURES, m) for m in MOMENTS] + [content(other, m) for m in moments]
    for _ in range(200):
        features, kept, moved = join((FEATURES, MOMENTS), (other, moments), rng)
        assert [content(features, moved[i]) for i in np.flatnonzero(kept)] == [truth[i] for i in np.flatnonzero(kept)]
        np.testing.assert_allclose(moved[:, 1] - moved[:, 0], both[:, 1] - both[:, 0], atol=1e-9)
        seam = (features[:, 0] >= 100).argmax()
        assert features[:seam, 0].tolist() == list(range(seam)) and features[-1, 0] == 119
        assert kept.tolist() == [*(MOMENTS[:, 1] <= seam), *(moments[:, 0] >= features[seam, 0] - 100)]
        lengths.add((seam, int(features[seam, 0])))
    # Cuts from 9 to 21 outside (12.5, 13.4) and (20.0, 24.9), and from 6 to 14 outside (6.5, 8.5).
    assert {a for a, _ in lengths} == {9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 20}
    assert {b for _, b in lengths} == {106, 109, 110, 111, 112, 113, 114}


def test_a_video_without_a_cut_in_its_middle_is_not_joined():
    long = np.array([[5.0, 25.0]])
    features, kept, _ = join((FEATURES, long), (FEATURES, MOMENTS), np.random.default_rng(0))
    assert features is FEATURES and not kept.any()


def test_joined_rows_leave_out_what_both_videos_show():
    rows = [
        {"video_id": "v", "duration": 30.0, "sentences": ["a", "b"], "moments": [[1.0, 4.0], [5.0, 8.0]]},
        {"video_id": "w", "duration": 30.0, "sentences": ["c", "B"], "moments": [[20.0, 25.0], [26.0, 29.0]]},
    ]
    rows = [{**row, "tag": [s * 2 for s in row["sentences"]]} for row in rows]
    made = CutAndJoined(
        rows,
        {"v": FEATURES, "w": FEATURES + 100},
        ("join",),
        meanings=lambda row: [s.lower() for s in row["sentences"]],
    )
    seen = [made[i % 2] for i in range(100)]
    assert {tuple(r["sentences"]) for r in seen} == {("a", "b"), ("c", "B"), ("a", "c")}
    for r in seen:
        assert r["tag"] == [s * 2 for s in r["sentences"]] and r["duration"] == len(r["video_features"])
        for sentence, moment in zip(r["sentences"], r["moments"], strict=True):
            source = rows["abcB".index(sentence) // 2]
            clips = FEATURES + 100 * (source["video_id"] == "w")
            assert content(r["video_features"], moment) == content(
                clips, source["moments"][source["sentences"].index(sentence)]
            )
    with pytest.raises(ModelError, match="meanings"):
        CutAndJoined(rows, {}, ("join",))
