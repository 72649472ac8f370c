"""Every fact of ../shared/data/README.md about the official annotation files, each file read once a session."""

import json
from collections import Counter
from functools import cache

import pytest

from hf_vtg.benchmarks import benchmark_builder
from hf_vtg.benchmarks.annotations import SplitReport
from hf_vtg.errors import AnnotationError
from hf_vtg.metrics import constant_moment_baseline

pytestmark = pytest.mark.needs_shared
SPLITS = ("train", "validation", "test")


@pytest.fixture(scope="session")
def annotations(shared):
    return shared / "data" / "annotations"


@pytest.fixture(scope="session")
def read(annotations):
    """(rows, report) of a split of the official files, straight from the builder."""

    @cache
    def rows_of(benchmark, split, config="sentence", version=None):
        folder = annotations / ("tacos_tall" if version == "tall" else benchmark)
        rows, report = benchmark_builder(benchmark, folder, config, version).rows(split)
        return list(rows), report

    return rows_of


@pytest.fixture(scope="session")
def raw(annotations):
    return cache(lambda name: json.loads((annotations / name).read_text()))


def counts(report: SplitReport):
    return (report.videos_read, report.sentences_read, report.sentences_kept, report.num_dropped, report.clipped_ends)


def queries(rows):
    """Multiset of (video, sentence, start, end)."""
    return Counter(
        (row["video_id"], sentence, *moment)
        for row in rows
        for sentence, moment in zip(row["sentences"], row["moments"], strict=True)
    )


def sentences_of(rows):
    return [sentence for row in rows for sentence in row["sentences"]]


@pytest.mark.slow
@pytest.mark.parametrize(
    "benchmark, version, expected",
    [
        ("charades_sta", None, {"train": (5338, 12408, 12404, 4, 1805), "test": (1334, 3720, 3720, 0, 562)}),
        (
            "activitynet_captions",
            None,
            {
                "train": (10009, 37421, 37417, 4, 29),
                "validation": (4917, 17505, 17505, 0, 5),
                "test": (4885, 17031, 17031, 0, 1),
            },
        ),
        (
            "tacos",
            "2dtan",
            {"train": (75, 9790, 9790, 0, 43), "validation": (27, 4436, 4436, 0, 0), "test": (25, 4001, 4001, 0, 5)},
        ),
        (
            "tacos",
            "tall",
            {"train": (75, 10146, 10146, 0, 48), "validation": (27, 4589, 4589, 0, 0), "test": (25, 4083, 4083, 0, 5)},
        ),
    ],
)
def test_counts(read, benchmark, version, expected):
    for split, numbers in expected.items():
        rows, report = read(benchmark, split, "sentence", version)
        assert counts(report) == numbers and len(rows) == report.sentences_kept
        assert len({row["video_id"] for row in rows}) == report.videos_kept
        assert queries(read(benchmark, split, "video", version)[0]) == queries(rows)
        assert all(s and s == " ".join(s.split()) for s in sentences_of(rows))
        assert all(0 <= s < e <= row["duration"] for row in rows for s, e in row["moments"])


def test_invalid_rows_are_named(read):
    for benchmark, videos in (
        ("charades_sta", ["LEOL6", "IOL8Q", "AKKWU", "AKKWU"]),
        ("activitynet_captions", ["v_N7ppHQNikv8", "v_4rKTw99bM8g", "v_0bosp4-pyTM", "v_rhOtqArO-3Y"]),
    ):
        report = read(benchmark, "train")[1]
        assert sorted(e.split(": ")[1].split()[0] for e in report.examples) == sorted(videos)


def test_charades_text_equals_the_grouped_json(read, annotations):
    folder = annotations / "charades_sta"
    grouped = benchmark_builder(
        "charades_sta", [folder / f"mmn_charades_{s}.json" for s in ("train", "test")], "video"
    )
    for split, respelled in (("train", 0), ("test", 12)):
        text, other = read("charades_sta", split, "video")[0], list(grouped.rows(split)[0])
        for name in ("video_id", "duration", "moments"):
            assert [row[name] for row in text] == [row[name] for row in other]
        assert sum(a != b for a, b in zip(sentences_of(text), sentences_of(other), strict=True)) == respelled


@pytest.mark.slow
def test_activitynet_text_is_tidied_and_keeps_its_letters(read, raw):
    blanks, newlines = [], 0
    for split, name in zip(SPLITS, ("train", "val_1", "val_2"), strict=True):
        source = raw(f"activitynet_captions/{name}.json")
        before = [s for video in source.values() for s in video["sentences"]]
        blanks += [s != s.strip() for s in before]
        newlines += sum("\n" in s for s in before)
        after = sentences_of(read("activitynet_captions", split)[0])
        assert sum(not s.isascii() for s in after) == sum(not s.isascii() for s in before) > 0
        unsorted = [v["timestamps"] != sorted(v["timestamps"], key=lambda m: m[0]) for v in source.values()]
        assert 0.024 <= sum(unsorted) / len(unsorted) <= 0.0351
        for row in read("activitynet_captions", split, "video")[0]:
            video = source[row["video_id"]]
            if all(start < end for start, end in video["timestamps"]):
                assert row["sentences"] == [" ".join(s.split()) for s in video["sentences"]]
    assert 0.675 < sum(blanks) / len(blanks) < 0.685 and newlines == 10


def test_tacos_keeps_the_duplicates_and_turns_frames_into_seconds(read, raw):
    for split, name in zip(SPLITS, ("train", "val", "test"), strict=True):
        rows = read("tacos", split, "sentence", "2dtan")[0]
        share = 1 - len(queries(rows)) / len(rows)
        assert 0.115 < share < 0.145
        source = raw(f"tacos/{name}.json")
        first = rows[0]
        video = source[first["video_id"]]
        assert first["duration"] == video["num_frames"] / 29.4
        assert first["moments"] == [[t / video["fps"] for t in video["timestamps"][0]]]


def test_tacos_versions_are_different_tasks(read):
    def mean_length(version, *splits):
        rows = [row for split in splits for row in read("tacos", split, "sentence", version)[0]]
        lengths = [e - s for row in rows for s, e in row["moments"]]
        return round(sum(lengths) / len(lengths))

    assert (mean_length("2dtan", "test"), mean_length("tall", "test"), mean_length("tall", *SPLITS)) == (32, 7, 6)


def test_both_public_forms_of_tall_give_the_same_rows(read, shared, annotations):
    seconds = shared / "data" / "predictions" / "cbp_tacos_ground_truth.json"
    rows = read("tacos", "test", "video", "tall")[0]
    for durations in ("tacos", "tacos_tall"):
        files = {"test": [seconds, annotations / durations / "test.json"]}
        builder = benchmark_builder("tacos", files, "video", "tall")
        other = {row["video_id"]: row for row in builder.rows("test")[0]}
        assert builder.report["test"].sentences_kept == 4083 and len(other) == len(rows)
        for row in rows:
            twin = other[row["video_id"]]
            assert (twin["moments"], twin["duration"]) == (row["moments"], row["duration"])
            # the form in seconds lacks the full stops
            assert [s.rstrip(". ") for s in twin["sentences"]] == [s.rstrip(". ") for s in row["sentences"]]
    with pytest.raises(AnnotationError, match="no duration; give a file that has it"):
        list(benchmark_builder("tacos", {"test": seconds}, version="tall").rows("test")[0])


@pytest.mark.parametrize(
    "benchmark, split, rows, sentences",
    [
        ("tacos", "train", 1526, 9732),
        ("tacos", "validation", 688, 4398),
        ("tacos", "test", 673, 3989),
        ("activitynet_captions", "train", 10005, 37395),
        ("activitynet_captions", "validation", 4917, 17505),
        ("activitynet_captions", "test", 4929, 17031),
        ("charades_sta", "train", 5336, 12404),
        ("charades_sta", "test", 1334, 3720),
    ],
)
def test_paragraph_counts(read, benchmark, split, rows, sentences):
    paragraphs, report = read(benchmark, split, "paragraph")
    assert (len(paragraphs), len(sentences_of(paragraphs))) == (rows, sentences)
    videos_read = sum(len(row["sentences"]) for row in read(benchmark, split, "video")[0])
    assert report.sentences_read - report.num_dropped == sentences <= videos_read
    if (benchmark, split) == ("activitynet_captions", "test"):
        assert len({row["video_id"] for row in paragraphs}) == 4885
        assert max(len(row["sentences"]) for row in paragraphs) == 8


@pytest.mark.parametrize(
    "name, benchmark, split",
    [
        ("prvg_tacos_train", "tacos", "train"),
        ("prvg_tacos_val", "tacos", "validation"),
        ("prvg_tacos_test", "tacos", "test"),
        ("prvg_activitynet_test", "activitynet_captions", "test"),
    ],
)
def test_paragraphs_equal_the_published_ones(read, annotations, name, benchmark, split):
    lines = (annotations / "paragraphs" / f"{name}.jsonl").read_text().splitlines()
    published = [json.loads(line) for line in lines]
    # PRVG's ActivityNet file is in lower case here and there, ours as annotated
    fold = str.lower if benchmark == "activitynet_captions" else str

    def paragraph(video, duration, sentences, moments):
        text = tuple(fold(" ".join(s.split())) for s in sentences)
        return video, duration, text, tuple((s, min(e, duration)) for s, e in moments)

    ours = Counter(
        paragraph(row["video_id"], row["duration"], row["sentences"], row["moments"])
        for row in read(benchmark, split, "paragraph")[0]
    )
    theirs = Counter(paragraph(p["video"], p["duration"], p["sentences"], p["timestamps"]) for p in published)
    assert ours == theirs and sum(theirs.values()) == len(published)


@pytest.mark.parametrize(
    "benchmark, folder, version, words",
    [
        ("activitynet_captions", "tacos", None, "a video of tacos, not of activitynet_captions"),
        ("activitynet_captions", "tacos_tall", None, "a video of tacos, not of activitynet_captions"),
        ("charades_sta", "activitynet_captions", None, "a video of activitynet_captions, not of charades_sta"),
        ("tacos", "activitynet_captions", None, "a video of activitynet_captions, not of tacos"),
        ("tacos", "tacos_tall", "2dtan", "load version='tall'"),
        ("tacos", "tacos", "tall", "load version='2dtan'"),
    ],
)
def test_files_of_another_benchmark_are_refused(annotations, benchmark, folder, version, words):
    builder = benchmark_builder(benchmark, {"train": annotations / folder / "train.json"}, version=version)
    with pytest.raises(AnnotationError, match=words):
        next(builder.rows("train")[0])


@pytest.mark.parametrize(
    "benchmark, divisions, floor",
    [
        ("charades_sta", 20, "30.65"),
        ("activitynet_captions", 20, "29.05"),
        ("tacos", 20, "3.10"),
        ("tacos", 50, "3.00"),
    ],
)
def test_constant_floors(read, benchmark, divisions, floor):
    """The README has 30.65, 29.06 and 3.00; the last two depend on the grid of moments tried, which it leaves open."""
    train, test = (read(benchmark, split, "video")[0] for split in ("train", "test"))
    results = constant_moment_baseline(train, test, divisions=divisions, ranks=(1,), iou_thresholds=(0.5,))
    assert f"{results['R@1,IoU=0.5']:.2f}" == floor and results["num_queries"] == len(sentences_of(test))
