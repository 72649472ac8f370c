"""``hf-vtg evaluate``: the three formats on own small files, the published figures on the shared ones."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from hf_vtg.benchmarks.predictions import evaluate_predictions
from hf_vtg.cli import main
from hf_vtg.errors import AnnotationError

ROOT = Path(__file__).resolve().parent.parent


def write(path, content):
    lines = content if isinstance(content, list) else [content]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path)


def moment(start, end, score=1.0):
    return {"start": start, "end": end, "score": score}


def answer(query, moments, sentence=None):
    line = {"video_id": query.split("/")[0], "query_id": query, "moments": moments}
    return line | ({"sentence": sentence} if sentence else {})


ROWS = [
    {"video_id": "a", "duration": 10, "sentences": [" one\n", "two"], "moments": [[0, 10], [2, 20]]},
    {"video_id": "b", "duration": 10, "sentences": ["gone", "three"], "moments": [[4, 4], [5, 6]]},
]
ANSWERS = [
    answer("a/0", [moment(0, 5, 0.9)], "one"),  # IoU exactly 1/2
    answer("a/1", [moment(8, 9, 0.9), moment(2, 10, 0.5)], "two"),  # a hit at rank 2, once the end is clipped to 10
]


@pytest.fixture
def own(tmp_path):
    return {
        "predictions": write(tmp_path / "p.jsonl", ANSWERS),
        "references": write(tmp_path / "r.jsonl", ROWS),
    }


def test_own_format(own):
    results = evaluate_predictions(**own)
    metrics = results["metrics"]
    assert metrics["num_queries"] == 3 and metrics["num_unanswered"] == 1
    assert metrics["R@1,IoU=0.5"] == 0 and metrics["R@5,IoU=0.5"] == pytest.approx(100 / 3)
    assert metrics["mIoU"] == pytest.approx((50 + 12.5 + 0) / 3)
    assert results["convention"] == "IoU > m" and "dropped 1" in results["notes"][0]
    assert evaluate_predictions(**own, inclusive=True)["metrics"]["R@1,IoU=0.5"] == pytest.approx(100 / 3)


def test_sentence_rows_and_grouped_json_are_the_same_references(own, tmp_path):
    expected = evaluate_predictions(**own)["metrics"]
    split = [
        {**row, "sentences": [s], "moments": [m]}
        for row in ROWS
        for s, m in zip(row["sentences"], row["moments"], strict=True)
    ]
    grouped = {row["video_id"]: {**row, "timestamps": row["moments"]} for row in ROWS}
    for references in (write(tmp_path / "s.jsonl", split), write(tmp_path / "g.json", grouped)):
        assert evaluate_predictions(own["predictions"], references)["metrics"] == expected


def test_cbp_format(tmp_path):
    predictions = {
        "version": "1",
        "results": {
            "v-1-0": [{"timestamp": [0, 4], "score": 0.1}, {"timestamp": [0, 8], "score": 0.9}],
            "v-1-1": [{"timestamp": [3.0, 5.0], "score": 1.0}],
        },
    }
    references = {"v-1": {"timestamps": [[0, 8], [3, 5]], "sentences": ["x", "y"]}, "w": {"timestamps": [[1, 2]]}}
    files = write(tmp_path / "p.json", predictions), write(tmp_path / "r.json", references)
    results = evaluate_predictions(*files, format="cbp", iou_thresholds=(0.5,))
    assert results["metrics"]["R@1,IoU=0.5"] == pytest.approx(100 / 3)  # file order: IoU 0.5 first, strict
    assert results["metrics"]["R@5,IoU=0.5"] == pytest.approx(200 / 3)
    assert results["metrics"]["num_unanswered"] == 1 and results["convention"] == "IoU > m"
    assert "1 queries are not in the order of their scores" in results["notes"][0]


def test_qvhighlights_format(tmp_path):
    predictions = [
        {"qid": 7, "query": "q", "vid": "v", "pred_relevant_windows": [[20.0, 30.0, 0.9], [0, 4, 0.1]]},
        {"qid": 9, "query": "q", "vid": "v", "pred_relevant_windows": [[0.0, 4.0, 0.9]]},
    ]
    references = [
        {"qid": 9, "query": "q", "vid": "v", "duration": 150, "relevant_windows": [[0, 8]]},
        {"qid": 7, "query": "other text", "vid": "v", "relevant_windows": [[0, 10], [20, 30]], "saliency_scores": []},
    ]
    files = write(tmp_path / "p.jsonl", predictions), write(tmp_path / "r.jsonl", references)
    results = evaluate_predictions(*files, format="qvhighlights")
    assert results["convention"] == "IoU >= m"
    assert results["metrics"]["R@1,IoU=0.5"] == 100 and results["metrics"]["R@1,IoU=0.7"] == 50
    strict = evaluate_predictions(*files, format="qvhighlights", inclusive=False)
    assert strict["metrics"]["R@1,IoU=0.5"] == 50
    write(tmp_path / "r.jsonl", references[:1])
    with pytest.raises(AnnotationError, match="1 of 2 predictions are for queries .* such as '7'"):
        evaluate_predictions(*files, format="qvhighlights")
    write(tmp_path / "r.jsonl", [references[0], {"qid": 7, "query": "test split"}])
    with pytest.raises(AnnotationError, match=r"r.jsonl:2: lacks relevant_windows"):
        evaluate_predictions(*files, format="qvhighlights")


@pytest.mark.parametrize(
    "answers, words",
    [
        ([*ANSWERS, answer("c/0", [])], "1 of 3 predictions .* lacks, such as 'c/0'"),
        ([answer("b/1", [])], "such as 'b/1'"),
        ([ANSWERS[0], ANSWERS[0]], r"p.jsonl:2: query 'a/0' comes a second time"),
        ([answer("a/0", [moment(0, float("nan"))])], r"p.jsonl:1: query 'a/0': \[0, nan"),
        ([answer("a/0", [moment(0, None)])], "p.jsonl:1: query 'a/0'"),
        ([answer("a/0", [{"start": 1}])], "no 'start' and 'end'"),
        ([answer("a/0", [[1, 2]])], "no 'start' and 'end'"),
        ([answer("a/0", None)], "p.jsonl:1: moments are null"),
        ([answer("a/0", [], "two")], "'a/0' is 'two' in .* but 'one' in .*: the two number"),
        ([{"video_id": "a"}], "p.jsonl:1: lacks query_id, moments"),
        ([], "holds no line"),
    ],
)
def test_refusals(own, tmp_path, answers, words):
    write(tmp_path / "p.jsonl", answers)
    with pytest.raises(AnnotationError, match=words):
        evaluate_predictions(**own)


def test_other_refusals(own, tmp_path):
    with pytest.raises(AnnotationError, match="unknown format 'x'; known: hf_vtg, cbp"):
        evaluate_predictions(**own, format="x")
    with pytest.raises(AnnotationError, match="gone.jsonl cannot be read"):
        evaluate_predictions(own["predictions"], tmp_path / "gone.jsonl")
    references = write(tmp_path / "r.json", {"v": {"timestamps": [[3, 2]]}})
    predictions = write(tmp_path / "p.json", {"results": {}})
    with pytest.raises(AnnotationError, match="'v-0' has no window, or one that ends early"):
        evaluate_predictions(predictions, references, format="cbp")
    with pytest.raises(AnnotationError, match='no object "results"'):
        evaluate_predictions(references, references, format="cbp")


def test_script_prints_and_writes(own, tmp_path, capsys):
    arguments = ["--predictions", own["predictions"], "--references", own["references"]]
    assert main(["evaluate", *arguments, "--ranks", "1", "--output", str(tmp_path / "out" / "results.json")]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "hf_vtg: n = 3 queries (1 without a prediction), hit: IoU > m, percent"
    assert printed[1].split() == ["IoU=0.1", "IoU=0.3", "IoU=0.5", "IoU=0.7"]
    assert printed[2].split() == ["R@1", "66.67", "33.33", "0.00", "0.00"]
    assert printed[3].split() == ["mIoU", "20.8333"] and printed[4].startswith("note: references: 3 of 4")
    stored = json.loads((tmp_path / "out" / "results.json").read_text())
    assert stored == evaluate_predictions(**own, ranks=(1,))
    assert main(["evaluate", *arguments, "--inclusive", "--round_iou", "2", "--iou_thresholds", "0.5"]) == 0
    printed = capsys.readouterr().out.splitlines()
    assert "IoU >= m, IoU rounded to 2 decimals" in printed[0] and printed[2].split() == ["R@1", "33.33"]
    assert main(["evaluate", *arguments, "--json", "--ranks", "1"]) == 0
    assert json.loads(capsys.readouterr().out) == stored
    assert main(["evaluate", *arguments, "--strict"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "--predictions", "nowhere", "--references", "nowhere"]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and "nowhere cannot be read" in captured.err


@pytest.mark.slow
@pytest.mark.needs_shared
def test_published_cbp_figures(shared, tmp_path):
    """The script as users start it reproduces every printed digit."""
    folder = shared / "data" / "predictions"
    command = [sys.executable, str(ROOT / "scripts" / "evaluate.py"), "--format", "cbp"]
    command += ["--predictions", str(folder / "cbp_tacos_predictions.json")]
    command += ["--references", str(folder / "cbp_tacos_ground_truth.json"), "--iou_thresholds", "0.3", "0.5", "0.7"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path)
    lines = done.stdout.splitlines()
    assert "n = 4083 queries (0 without" in lines[0] and "IoU > m" in lines[0]
    assert [line.split() for line in lines[2:]] == [
        ["R@1", "25.86", "23.19", "18.54"],
        ["R@5", "42.35", "35.83", "24.88"],
        ["mIoU", "20.4638"],
    ]
    reported = dict(line.rsplit(": ", 1) for line in (folder / "cbp_tacos_reported.txt").read_text().splitlines())
    for name in ("R@1, IoU=0.3", "R@1, IoU=0.5", "R@1, IoU=0.7"):
        assert f"{float(reported[name]) * 100:.2f}" in lines[2].split()


@pytest.mark.needs_shared
def test_moment_detr_predictions_are_read_completely(shared, tmp_path):
    """Each prediction scored against its own first window: all 1,550 queries hit at IoU 1."""
    predictions = shared / "data" / "predictions" / "moment_detr_qvh_val_predictions.jsonl"
    lines = [json.loads(line) for line in predictions.read_text().splitlines()]
    references = [
        {"qid": q["qid"], "relevant_windows": [[900, 901], q["pred_relevant_windows"][0][:2]]} for q in lines
    ]
    path = write(tmp_path / "r.jsonl", references)
    results = evaluate_predictions(predictions, path, format="qvhighlights", iou_thresholds=(1.0,))
    assert results["metrics"]["num_queries"] == 1550 and results["metrics"]["R@1,IoU=1"] == 100
    assert results["notes"] == []
