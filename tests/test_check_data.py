"""``hf-vtg check-data``: each mistake is found at its line with a remedy, and what is right passes."""

import json
import re

import numpy as np
import pytest

from hf_vtg.benchmarks.checking import check_annotations
from hf_vtg.cli import main
from hf_vtg.features.store import FeatureStore, write_feature_store
from hf_vtg.metrics import constant_moment_baseline
from hf_vtg.video.decode import probe_video
from hf_vtg.video.extraction import find_videos

from .video_files import render

GOOD = [
    {"video_id": "a", "duration": 2, "sentences": ["a cat jumps", "it sleeps"], "moments": [[0.5, 1], [1, 2]]},
    {"video_id": "b", "duration": 10.0, "sentences": ["a dog"], "moments": [[2, 5]]},
]


def write(path, *rows):
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def duration_of(file):
    return probe_video(file).duration


def row(**changes):
    return {**GOOD[1], "video_id": "c", **changes}


def test_what_is_right_passes_with_its_statistics_and_floor(tmp_path, capsys):
    path = write(tmp_path / "own.jsonl", *GOOD, "")
    assert main(["check-data", str(path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["findings"] == [] and report["errors"] == 0
    figures = report["statistics"][str(path)]
    assert (figures["videos"], figures["sentences"]) == (2, 3)
    assert figures["moment_seconds"] == {"min": 0.5, "median": 1.0, "max": 3.0}
    assert figures["words"] == {"min": 2, "median": 2, "max": 3} and figures["distinct_words"] == 6
    floor = constant_moment_baseline(GOOD, GOOD, ranks=(1,))
    assert {name: report["floor"][name] for name in floor} == floor
    assert main(["check-data", str(path)]) == 0
    printed = capsys.readouterr().out
    assert "2 videos, 3 sentences" in printed and "fitted on" in printed and printed.endswith("0 errors, 0 warnings\n")


@pytest.mark.parametrize(
    "line, level, message",
    [
        ('{"video_id": "c", }', "error", "not JSON .* double quotes"),
        ("[1, 2]", "error", "must be a JSON object, not list"),
        ("[", "error", "one object a line"),
        ('{"video_id": "c", "video_id": "d"}', "error", "'video_id' comes twice"),
        ({k: v for k, v in row(timestamps=[[2, 5]]).items() if k != "moments"}, "error", "rename 'timestamps' to it"),
        ({k: v for k, v in row(lenght=3).items() if k != "duration"}, "error", "lacks 'duration'; it has"),
        (row(video_id="b"), "error", "'b' was given already at .*own.jsonl:2"),
        (row(duration=-1), "error", "positive number of seconds"),
        (row(duration="10"), "error", "'10'"),
        (row(sentences=["one", "two"]), "error", "1 moments and 2 sentences"),
        (row(moments=[[2, None]]), "error", "not a pair of finite numbers"),
        (row(sentences=[3]), "error", "not a string"),
        (row(moments=[[5, 2]]), "warning", "swap the two numbers"),
        (row(moments=[[2, 2]]), "warning", "no length"),
        (row(moments=[[11, 12]]), "warning", "behind the end"),
        (row(moments=[[2, 11]]), "warning", "is cut to the video"),
        (row(sentences=[" "]), "warning", "empty sentence"),
        (row(sentences=["x", "x"], moments=[[2, 5], [2, 5]]), "warning", "stands 2 times"),
        (row(video_id="c.mp4"), "warning", "features are named 'c'"),
    ],
)
def test_each_mistake_is_named_with_its_line(tmp_path, line, level, message):
    path = write(tmp_path / "own.jsonl", *GOOD, line)
    report = check_annotations([path])
    (finding,) = report.findings
    assert (finding.level, finding.where) == (level, f"{path}:3")
    assert re.search(message, finding.message), finding.message
    assert report.statistics[str(path)]["videos"] >= 2
    assert main(["check-data", str(path)]) == (1 if level == "error" else 0)


def test_files_are_compared(tmp_path):
    train = write(tmp_path / "train.jsonl", *GOOD)
    test = write(tmp_path / "test.jsonl", GOOD[1])
    report = check_annotations([test, train])
    assert report.floor["fitted_on"] == str(train) and report.floor["measured_on"] == str(test)
    assert "1 videos also stand in" in report.findings[0].message
    grouped = {r["video_id"]: {**r, "timestamps": r["moments"]} for r in GOOD}
    (tmp_path / "g.json").write_text(json.dumps(grouped))
    own = check_annotations([tmp_path / "g.json"])
    assert not own.findings and own.floor["mIoU"] == check_annotations([train]).floor["mIoU"]
    fractions = [{**r, "moments": [[0.1, 0.2]] * len(r["moments"]), "duration": 30} for r in GOOD]
    assert "fractions" in check_annotations([write(tmp_path / "f.jsonl", *fractions)]).findings[0].message


def test_videos_and_features_are_looked_for(tmp_path):
    path = write(tmp_path / "own.jsonl", *GOOD)
    (tmp_path / "videos").mkdir()
    render(tmp_path / "videos" / "a.mp4", [100 * k for k in range(20)], 100)
    render(tmp_path / "videos" / "b2.mp4", [100 * k for k in range(20)], 100)
    (found,) = check_annotations([path], find_videos([tmp_path / "videos"]), duration_of).findings
    assert found.where == f"{path}:2" and "no file of video 'b'" in found.message
    (tmp_path / "videos" / "b2.mp4").rename(tmp_path / "videos" / "b.mp4")
    (found,) = check_annotations([path], find_videos([tmp_path / "videos"]), duration_of).findings
    assert found.level == "warning" and "is 2.00 s long" in found.message
    write_feature_store(tmp_path / "f.safetensors", [("a", np.ones((3, 2)))])
    (found,) = check_annotations([path], features=FeatureStore(tmp_path / "f.safetensors")).findings
    assert "no features of video 'b'" in found.message


def test_a_file_of_another_kind_is_given_up_soon(tmp_path, capsys):
    path = write(tmp_path / "notes.txt", *["not an annotation"] * 500)
    assert main(["check-data", str(path)]) == 1
    assert "the rest is not read" in (out := capsys.readouterr().out) and len(out.splitlines()) < 20
    (tmp_path / "picture.jsonl").write_bytes(b"\x89PNG\xff\xfe")
    assert main(["check-data", str(tmp_path / "picture.jsonl")]) == 2
    assert main(["check-data", str(tmp_path)]) == 2
