"""Recall and mean IoU against figures worked out by hand, and the refusals."""

import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from hf_vtg import metrics
from hf_vtg.errors import HFVTGError
from hf_vtg.metrics import (
    best_constant_moment,
    constant_moment_baseline,
    grounding_metrics,
    mean_iou,
    ranked_ious,
    recall_at_iou,
    video_grounding_metric,
)

REFERENCE = [0.0, 10.0]
#            IoU 1/3          IoU 1/2         IoU 1            IoU 0
RANKED = [[5.0, 15.0], [0.0, 5.0], [0.0, 10.0], [20.0, 30.0]]


def test_hand_worked_table():
    """Four queries with top-1 IoU 1/3, 0.8, 0 (disjoint), 0.5."""
    predictions = [[[0.2, 0.6]], [[0.1, 0.9]], [[0.0, 0.2]], [[0.25, 0.75]]]
    references = [[0.4, 0.8], [0.0, 1.0], [0.5, 0.7], [0.0, 1.0]]
    results = grounding_metrics(predictions, references, ranks=(1,))
    assert [results[f"R@1,IoU={m}"] for m in (0.1, 0.3, 0.5, 0.7)] == [75, 75, 25, 25]
    assert results["mIoU"] == pytest.approx((1 / 3 + 0.8 + 0 + 0.5) * 25)
    assert results["num_queries"] == 4 and results["num_unanswered"] == 0


def test_exactly_the_threshold():
    at_half = {"predictions": [[[0.0, 5.0]]], "references": [REFERENCE], "ranks": (1,), "iou_thresholds": (0.5,)}
    assert grounding_metrics(**at_half)["R@1,IoU=0.5"] == 0
    assert grounding_metrics(**at_half, inclusive=True)["R@1,IoU=0.5"] == 100


def test_rounding_lifts_0_495_to_0_5_and_leaves_the_mean_alone():
    almost = {"predictions": [[[0.0, 4.955]]], "references": [REFERENCE], "ranks": (1,), "iou_thresholds": (0.5,)}
    assert grounding_metrics(**almost, inclusive=True)["R@1,IoU=0.5"] == 0
    rounded = grounding_metrics(**almost, inclusive=True, round_iou=2)
    assert rounded["R@1,IoU=0.5"] == 100 and rounded["mIoU"] == pytest.approx(49.55)
    assert grounding_metrics(**almost, round_iou=2)["R@1,IoU=0.5"] == 0  # 0.5 > 0.5 is no hit


def test_ranks_take_the_best_of_the_first_n():
    results = grounding_metrics([RANKED], [REFERENCE], ranks=(1, 2, 3, 9), iou_thresholds=(0.3, 0.5, 0.9))
    assert [results[f"R@{n},IoU=0.3"] for n in (1, 2, 3, 9)] == [100, 100, 100, 100]
    assert [results[f"R@{n},IoU=0.5"] for n in (1, 2, 3, 9)] == [0, 0, 100, 100]
    assert [results[f"R@{n},IoU=0.9"] for n in (1, 2, 3, 9)] == [0, 0, 100, 100]


def test_best_of_several_windows_counts():
    predictions, windows = [[[20.0, 30.0]], [[0.0, 4.0]]], [[[0, 10], [20, 30]], [0, 8]]
    results = grounding_metrics(predictions, windows, ranks=(1,), iou_thresholds=(0.7,))
    assert results["R@1,IoU=0.7"] == 50 and results["mIoU"] == 75
    assert grounding_metrics(predictions, [[[0, 10], [40, 50]], [0, 8]], ranks=(1,))["mIoU"] == 25


def test_average_is_over_queries_not_videos():
    predictions = [[[0, 1]], [[5, 6]], [[5, 6]], [[5, 6]]]
    assert grounding_metrics(predictions, [[0, 1]] * 4)["mIoU"] == 25


@pytest.mark.parametrize("nothing", [[], np.zeros((0, 2)), torch.zeros(0, 2)])
def test_unanswered_query_is_a_counted_miss(nothing):
    results = grounding_metrics([[[0, 10]], nothing], [REFERENCE, REFERENCE], iou_thresholds=(0.0, 0.5))
    assert results["num_unanswered"] == 1 and results["num_queries"] == 2
    assert results["R@1,IoU=0.5"] == results["R@5,IoU=0.5"] == results["R@1,IoU=0"] == results["mIoU"] == 50


def test_reversed_and_empty_predictions_are_misses():
    results = grounding_metrics([[[8.0, 2.0]], [[3.0, 3.0]]], [REFERENCE, REFERENCE], iou_thresholds=(0.1,))
    assert results["R@1,IoU=0.1"] == 0 and results["mIoU"] == 0 and results["num_unanswered"] == 0


def test_arrays_tensors_and_lists_agree():
    rng = np.random.default_rng(0)
    predictions = np.sort(rng.random((50, 7, 2)), -1)
    references = np.sort(rng.random((50, 3, 2)), -1)
    table = grounding_metrics(predictions, references)
    assert table == grounding_metrics(predictions.tolist(), references.tolist())
    assert table == grounding_metrics(torch.tensor(predictions), list(torch.tensor(references)))
    ious = ranked_ious(predictions, references)
    assert ious.shape == (50, 7) and table["mIoU"] == mean_iou(ious)
    assert table["R@5,IoU=0.3"] == recall_at_iou(ious, 5, 0.3) > 0
    by_loop = [
        max(max(0, min(p[1], r[1]) - max(p[0], r[0])) / (max(p[1], r[1]) - min(p[0], r[0])) for r in references[i])
        for i in range(50)
        for p in predictions[i]
    ]
    np.testing.assert_allclose(ious.ravel(), by_loop, atol=1e-12)


def test_ragged_ranks_do_not_leak():
    results = grounding_metrics([[[20, 30]], [[20, 30], [0, 10]]], [REFERENCE, REFERENCE])
    assert results["R@5,IoU=0.7"] == 50 and results["R@1,IoU=0.1"] == 0


@pytest.mark.parametrize(
    "predictions, references, words",
    [
        ([[[0, 1]], [[0, np.nan]]], [[0, 1], [0, 1]], "prediction 1"),
        ([[[0, 1]], [[0, 1], [np.inf, 3]]], [[0, 1], [0, 1]], "prediction 1"),
        ([[[0, 1, 0.9]]], [[0, 1]], "prediction 0"),
        ([[0, 1]], [[0, 1]], "prediction 0"),
        ([[[0, 1], [2]]], [[0, 1]], "prediction 0"),
        ([["x"]], [[0, 1]], "prediction 0"),
        ([[[0, 1]]], [[0, np.nan]], "reference 0"),
        ([[[0, 1]]], [[]], "reference 0"),
        ([[[0, 1]]], [[3, 2]], "reference 0"),
        ([[[0, 1]]], [[0, 1], [0, 1]], "1 predictions for 2 references"),
        ([], [], "no query"),
    ],
)
def test_refusals_name_the_query(predictions, references, words):
    with pytest.raises(HFVTGError, match=words):
        grounding_metrics(predictions, references)


@pytest.mark.parametrize("options", [{"ranks": (0,)}, {"ranks": (1.5,)}, {"iou_thresholds": (50,)}])
def test_refuses_senseless_options(options):
    with pytest.raises(HFVTGError):
        grounding_metrics([[[0, 1]]], [[0, 1]], **options)


def test_best_constant_moment_finds_a_planted_one():
    rng = np.random.default_rng(1)
    planted = np.array([0.25, 0.75]) + rng.uniform(-0.04, 0.04, (40, 2))
    noise = np.sort(rng.random((15, 2)), -1)
    start, end = best_constant_moment(np.concatenate([planted, noise]))
    assert abs(start - 0.25) <= 0.1 and abs(end - 0.75) <= 0.1
    assert best_constant_moment([[0.2, 0.6]], divisions=5) == (0.2, 0.6)


def test_constant_baseline_is_scored_in_seconds_of_each_video():
    train = [{"duration": 10.0, "moments": [[2.0, 6.0]]}, {"duration": 100.0, "moments": [[20.0, 60.0]]}]
    test = [{"duration": 50.0, "moments": [[10.0, 30.0], [40.0, 50.0]]}]
    results = constant_moment_baseline(train, test)
    assert results["constant_moment"] == [0.2, 0.6]
    assert results["R@1,IoU=0.7"] == 50 and results["num_queries"] == 2


def test_evaluate_metric(tmp_path):
    metric = video_grounding_metric(cache_dir=str(tmp_path))
    expected = grounding_metrics([RANKED, []], [REFERENCE, REFERENCE])
    assert metric.compute(predictions=[RANKED, []], references=[REFERENCE, [REFERENCE]]) == expected
    metric.add_batch(predictions=[RANKED], references=np.array([REFERENCE]))
    metric.add(prediction=[], reference=REFERENCE)
    assert metric.compute() == expected
    only = metric.compute(predictions=[[[0, 5]]], references=[REFERENCE], ranks=[1], inclusive=True)
    assert only["R@1,IoU=0.5"] == 100
    with pytest.raises(HFVTGError, match="reference 0"):
        metric.compute(predictions=[RANKED], references=[[3, 2]])
    with pytest.raises(HFVTGError, match="1 predictions for 2"):
        metric.compute(predictions=[RANKED], references=[REFERENCE, REFERENCE])
    assert isinstance(metric, metrics.VideoGroundingMetric)


def test_metric_files_go_to_the_package_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_VTG_CACHE", str(tmp_path / "c"))
    video_grounding_metric().compute(predictions=[RANKED], references=[REFERENCE])
    assert list((tmp_path / "c" / "metrics").iterdir())


@pytest.mark.slow
def test_import_is_light():
    code = "import sys, hf_vtg.metrics; print([m for m in ('datasets', 'evaluate') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


@pytest.mark.needs_shared
def test_published_cbp_figures(shared):
    folder = shared / "data" / "predictions"
    predicted = json.loads((folder / "cbp_tacos_predictions.json").read_text())["results"]
    truth = json.loads((folder / "cbp_tacos_ground_truth.json").read_text())
    queries = [(f"{v}-{i}", t) for v, entry in truth.items() for i, t in enumerate(entry["timestamps"])]
    results = grounding_metrics([[m["timestamp"] for m in predicted[q]] for q, _ in queries], [t for _, t in queries])
    printed = {"R@1": "25.86 23.19 18.54", "R@5": "42.35 35.83 24.88"}
    for rank, figures in printed.items():
        assert " ".join(f"{results[f'{rank},IoU={m}']:.2f}" for m in (0.3, 0.5, 0.7)) == figures
    assert f"{results['mIoU']:.4f}" == "20.4638" and results["num_queries"] == 4083
