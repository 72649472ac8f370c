"""Videos cut and joined anew: every moment keeps its clips."""

import numpy as np
import pytest

from hf_vtg.errors import ModelError
from hf_vtg.training.augmentation import CutAndJoined, roll, thin

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


def test_an_unknown_kind_is_named():
    with pytest.raises(ModelError, match="flip"):
        CutAndJoined([], {}, ("flip",))
