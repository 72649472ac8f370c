"""Segment arithmetic: IoU by hand, NMS against a plain greedy loop, seconds and fractions."""

import time

import numpy as np
import pytest
import torch

from hf_vtg.errors import HFVTGError
from hf_vtg.moments import (
    clip_moments,
    generalized_iou,
    pairwise_iou,
    temporal_iou,
    temporal_nms,
    to_fractions,
    to_seconds,
)


def greedy(moments: np.ndarray, scores: np.ndarray, threshold: float) -> list[int]:
    """The plain loop: one Python comparison a pair, no vectorisation."""
    moments, scores, kept = moments.tolist(), scores.tolist(), []
    for i in sorted(range(len(scores)), key=lambda i: (-scores[i], i)):
        if scores[i] == -np.inf:
            continue
        for j in kept:
            inter = max(min(moments[i][1], moments[j][1]) - max(moments[i][0], moments[j][0]), 0)
            hull = max(moments[i][1], moments[j][1]) - min(moments[i][0], moments[j][0])
            if hull > 0 and inter / hull > threshold:
                break
        else:
            kept.append(i)
    return kept


def grid(n: int) -> np.ndarray:
    return np.array([(i, j + 1) for i in range(n) for j in range(i, n)], dtype=np.float64)


def unpadded(row) -> list[int]:
    return [int(i) for i in row if i >= 0]


def test_iou_by_hand():
    a = [[0, 10], [0, 4], [0, 1], [2, 2], [2, 2], [0, 10]]
    b = [[5, 15], [0, 8], [1, 2], [2, 2], [0, 4], [12, 15]]
    np.testing.assert_allclose(temporal_iou(a, b), [1 / 3, 0.5, 0, 0, 0, 0], rtol=1e-15)
    assert temporal_iou(a, b).dtype == np.float64
    assert temporal_iou(torch.tensor(a), torch.tensor(b)).dtype == torch.float64
    assert temporal_iou(torch.tensor([[0.0, 1.0]]), torch.tensor([0.0, 0.5])).dtype == torch.float32
    assert np.isnan(temporal_iou([np.nan, 1.0], [0.0, 1.0]))


@pytest.mark.slow
def test_exact_half_is_exact_on_every_power_of_two_grid():
    for n in (8, 16, 64, 128):
        cells = torch.tensor(grid(n) / n, dtype=torch.float32)
        half = torch.tensor([0.0, 8 / n]), torch.tensor([0.0, 4 / n])
        assert temporal_iou(*half) == 0.5
        assert pairwise_iou(cells, cells).diagonal().eq(1).all()


def test_pairwise_broadcasts():
    a, b = torch.rand(3, 5, 2).sort(-1).values, torch.rand(3, 4, 2).sort(-1).values
    iou = pairwise_iou(a, b)
    assert iou.shape == (3, 5, 4)
    assert torch.equal(iou[2, 3, 1], temporal_iou(a[2, 3], b[2, 1]))


def test_generalized_iou_by_hand_and_its_gradient():
    p = [[0.2, 0.6], [0.0, 0.2], [0.0, 0.2], [0.3, 0.3], [0.25, 0.75]]
    g = [[0.4, 0.8], [0.5, 0.7], [0.2, 0.4], [0.3, 0.3], [0.0, 1.0]]
    np.testing.assert_allclose(generalized_iou(p, g), [1 / 3, -3 / 7, 0, 0, 0.5], atol=1e-15)
    x = torch.tensor(p, requires_grad=True)
    generalized_iou(x, torch.tensor(g)).sum().backward()
    assert torch.isfinite(x.grad).all() and x.grad[1].abs().sum() > 0


@pytest.mark.parametrize("threshold", [0.0, 0.25, 0.45, 0.5, 0.7, 1.0])
@pytest.mark.parametrize("kind", ["random", "grid"])
def test_nms_equals_the_greedy_loop(threshold, kind):
    rng = np.random.default_rng(3)
    for _ in range(5):
        moments = np.sort(rng.random((120, 2)), axis=1) if kind == "random" else grid(16)
        scores = rng.integers(0, 12, len(moments)) / 4.0  # many ties
        scores[rng.random(len(scores)) < 0.1] = -np.inf
        expected = greedy(moments, scores, threshold)
        assert unpadded(temporal_nms(moments, scores, threshold)) == expected
        for top_k in (1, 5, 1000):
            got = temporal_nms(moments, scores, threshold, top_k)
            assert got.shape == (min(top_k, len(scores)),) and unpadded(got) == expected[:top_k]


def test_nms_keeps_iou_of_exactly_the_threshold():
    assert unpadded(temporal_nms([[0, 4], [0, 8]], [0.9, 0.8], 0.5)) == [0, 1]
    moments, scores = [[0, 10], [1, 10], [5, 10], [8, 12], [0, 4]], [0.5, 0.9, 0.8, 0.3, 0.2]
    assert unpadded(temporal_nms(moments, scores, 0.5)) == [1, 3, 4]
    third = torch.tensor([[0.0, 1.0], [0.0, 3.0]])
    kept = temporal_nms(third, torch.tensor([0.9, 0.8]), 1 / 3)
    assert kept.tolist() == [0, 1]  # one third is the same float32 on both sides


def test_nms_drops_minus_infinity_only():
    moments = [[0, 1], [2, 3], [4, 5]]
    assert unpadded(temporal_nms(moments, [-np.inf, -1e30, np.inf], 0.5)) == [2, 1]


def test_nms_rows_are_independent():
    generator = torch.Generator().manual_seed(0)
    moments = torch.rand(3, 4, 50, 2, generator=generator).sort(-1).values
    scores = torch.rand(3, 4, 50, generator=generator)
    scores[1, 2] = -torch.inf
    scores[0, 1, 7:] = -torch.inf
    batched = temporal_nms(moments, scores, 0.4, top_k=6)
    assert batched.shape == (3, 4, 6) and batched.dtype == torch.int64
    assert (batched[1, 2] == -1).all()
    for i in range(3):
        for j in range(4):
            assert torch.equal(batched[i, j], temporal_nms(moments[i, j], scores[i, j], 0.4, top_k=6))


def test_nms_stops_when_it_has_enough():
    """One row of MMN's 2,548 cells takes about half a millisecond; the bound only catches a loop over candidates."""
    moments = torch.from_numpy(np.sort(np.random.default_rng(0).random((2548, 2)), axis=1))
    scores = torch.rand(2548, generator=torch.Generator().manual_seed(0))
    seconds = []
    for _ in range(20):
        started = time.perf_counter()
        temporal_nms(moments, scores, 0.5, top_k=5)
        seconds.append(time.perf_counter() - started)
    assert sorted(seconds)[10] < 0.02


def test_nms_of_nothing():
    assert temporal_nms(np.zeros((0, 2)), np.zeros(0), 0.5, 5).shape == (0,)
    assert temporal_nms(torch.zeros(0, 4, 2), torch.zeros(0, 4), 0.5, 3).shape == (0, 3)


def test_nms_refuses_nan_but_not_in_padding():
    moments = torch.tensor([[0.0, 1.0], [torch.nan, torch.nan]])
    assert unpadded(temporal_nms(moments, torch.tensor([1.0, -torch.inf]), 0.5)) == [0]
    with pytest.raises(HFVTGError, match="NaN"):
        temporal_nms(moments, torch.tensor([1.0, 0.5]), 0.5)
    with pytest.raises(HFVTGError, match="NaN"):
        temporal_nms(torch.zeros(1, 2), torch.tensor([torch.nan]), 0.5)


@pytest.mark.parametrize(
    "moments, scores, threshold, top_k",
    [
        (np.zeros((3, 2)), np.zeros(4), 0.5, None),
        (np.zeros((3, 3)), np.zeros(3), 0.5, None),
        (np.zeros((3, 2)), np.zeros(3), float("nan"), None),
        (np.zeros((3, 2)), np.zeros(3), -0.1, None),
        (np.zeros((3, 2)), np.zeros(3), 0.5, 0),
    ],
)
def test_nms_refuses_senseless_arguments(moments, scores, threshold, top_k):
    with pytest.raises(HFVTGError):
        temporal_nms(moments, scores, threshold, top_k)


def test_seconds_and_fractions():
    fractions = torch.tensor([[[0.1, 0.5]], [[0.25, 1.0]]], dtype=torch.float64)
    seconds = to_seconds(fractions, torch.tensor([10.0, 40.0], dtype=torch.float64))
    assert torch.equal(seconds, torch.tensor([[[1.0, 5.0]], [[10.0, 40.0]]], dtype=torch.float64))
    assert torch.equal(to_fractions(seconds, [10.0, 40.0]), fractions)
    assert to_seconds(fractions.float(), 10).dtype == torch.float32
    assert to_seconds([0.5, 1.0], 8).tolist() == [4.0, 8.0]
    for bad in (0.0, -1.0, float("nan"), float("inf"), [1.0, 2.0, 3.0]):
        with pytest.raises(HFVTGError):
            to_fractions(seconds, bad)


def test_moments_are_cut_to_their_video():
    moments = np.array([[[-1.0, 4.0], [2.0, 9.5]], [[0.0, 3.0], [2.5, 12.0]]])
    expected = [[[0.0, 4.0], [2.0, 8.0]], [[0.0, 3.0], [2.5, 9.3]]]
    assert clip_moments(moments, np.array([8.0, 9.3])).tolist() == expected
    assert clip_moments(torch.tensor(moments), torch.tensor([8.0, 9.3], dtype=torch.float64)).tolist() == expected
