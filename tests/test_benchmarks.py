"""Annotation files into rows: own small files for every rule, the official files for the counts."""

import json
import logging
import subprocess
import sys

import pytest

from hf_vtg.benchmarks import base, benchmark_builder, load_benchmark
from hf_vtg.benchmarks.annotations import SplitReport, VideoAnnotation, clean
from hf_vtg.benchmarks.finding import split_of
from hf_vtg.errors import AnnotationError

TRAIN_TXT = """Z 1.0 4.0##person opens the door.
Z 0.5 40.0##  a  person leaves.
A 3.0 2.0##end before start.
C 5.0 6.5##zweite Größe.
C 5.0 6.5##zweite Größe.
"""
TRAIN_CSV = 'id,script,length\nA,x,10.0\nZ,"a, b",30.96\nC,,8\n'


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_VTG_CACHE", str(tmp_path / "cache"))
    base._announced.clear()


@pytest.fixture
def charades(tmp_path):
    folder = tmp_path / "charades"
    folder.mkdir()
    (folder / "charades_sta_train.txt").write_text(TRAIN_TXT)
    (folder / "Charades_v1_train.csv").write_text(TRAIN_CSV)
    (folder / "charades_sta_test.txt").write_text("A 0.0 10.0##whole video\n")
    (folder / "Charades_v1_test.csv").write_text("id,length\nA,10\n")
    return folder


def test_one_split_and_streamed_rows(charades):
    whole = load_benchmark("charades_sta", charades)
    assert load_benchmark("charades_sta", charades, split="test")[:] == whole["test"][:]
    assert load_benchmark("charades_sta", charades, split="train[:2]")[:] == whole["train"][:2]
    streamed = load_benchmark("charades_sta", charades, streaming=True)
    assert {split: list(rows) for split, rows in streamed.items()} == {s: list(rows) for s, rows in whole.items()}
    assert list(load_benchmark("charades_sta", charades, split="test", streaming=True)) == list(whole["test"])
    for streaming in (False, True):
        with pytest.raises(AnnotationError, match="charades.*split='val'.*val"):
            load_benchmark("charades_sta", charades, split="val", streaming=streaming)
    with pytest.raises(AnnotationError, match="charades_sta has no option num_proc. It has: clip, drop_invalid"):
        load_benchmark("charades_sta", charades, num_proc=2)
    assert benchmark_builder("moving_shapes", seed=3).config.seed == 3


def write_jsonl(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def row(video_id="v", duration=10.0, sentences=("a",), moments=((1, 2),)):
    return {"video_id": video_id, "duration": duration, "sentences": sentences, "moments": moments}


def test_charades_sentence_rows(charades):
    data = load_benchmark("charades_sta", charades)
    assert list(data) == ["train", "test"]
    assert list(data["train"]) == [
        row("Z", 30.96, ["person opens the door."], [[1.0, 4.0]]),
        row("Z", 30.96, ["a person leaves."], [[0.5, 30.96]]),
        row("C", 8.0, ["zweite Größe."], [[5.0, 6.5]]),
        row("C", 8.0, ["zweite Größe."], [[5.0, 6.5]]),
    ]
    assert data["train"].features == base.FEATURES


def test_charades_videos_keep_the_order_of_the_file_and_paragraphs_that_of_time(charades):
    for config, order in (("video", (0, 1)), ("paragraph", (1, 0))):
        train = load_benchmark("charades_sta", charades, config=config)["train"]
        assert train["video_id"][:] == ["Z", "C"]
        assert train[0]["sentences"] == [("person opens the door.", "a person leaves.")[i] for i in order]
        assert train[0]["moments"] == [([1.0, 4.0], [0.5, 30.96])[i] for i in order]


def test_grouped_json_gives_the_same_rows(charades, tmp_path):
    grouped = {
        "Z": {
            "duration": 30.96,
            "timestamps": [[1.0, 4.0], [0.5, 30.96]],
            "sentences": ["person opens the door.", "a person leaves."],
        },
        "C": {"duration": 8.0, "timestamps": [[5.0, 6.5]] * 2, "sentences": ["zweite Größe."] * 2},
    }
    path = tmp_path / "mmn_charades_train.json"
    path.write_text(json.dumps(grouped))
    for config in ("sentence", "paragraph", "video"):
        text = load_benchmark("charades_sta", charades, config=config)["train"]
        assert load_benchmark("charades_sta", path, config=config)["train"][:] == text[:]


def test_report_counts_and_is_still_there_on_a_cache_hit(charades, caplog):
    with caplog.at_level(logging.WARNING, logger="hf_vtg"):
        load_benchmark("charades_sta", charades)
    logged = [r.getMessage() for r in caplog.records if r.name.startswith("hf_vtg")]
    assert len(logged) == 1 and "4 of 5 sentences" in logged[0] and "dropped 1" in logged[0]
    assert "clipped 1 ends" in logged[0]
    builder = benchmark_builder("charades_sta", charades)
    stored = json.loads((base.Path(builder.cache_dir) / base.REPORT_FILE).read_text())
    assert stored["train"]["dropped"] == {"end not after start": 1}
    assert "charades_sta_train.txt" in stored["train"]["examples"][0]
    assert builder.report["train"] == SplitReport(**stored["train"])
    counts = builder.report["train"]
    assert (counts.videos_read, counts.videos_kept, counts.sentences_read, counts.sentences_kept) == (3, 2, 5, 4)
    assert builder.report["test"].is_clean
    base._announced.clear()
    caplog.clear()
    with caplog.at_level(logging.WARNING, logger="hf_vtg"):
        load_benchmark("charades_sta", charades)
        load_benchmark("charades_sta", charades)
    assert [r.getMessage() for r in caplog.records if r.name.startswith("hf_vtg")] == logged


def test_an_edited_file_is_read_again(charades):
    before = load_benchmark("charades_sta", charades)["train"]
    with (charades / "charades_sta_train.txt").open("a") as file:
        file.write("A 1.0 2.0##one more\n")
    after = load_benchmark("charades_sta", charades)["train"]
    assert len(after) == len(before) + 1 and ["one more"] in after["sentences"][:]


def test_streaming_gives_the_same_rows(charades):
    streamed = benchmark_builder("charades_sta", charades).as_streaming_dataset()
    prepared = load_benchmark("charades_sta", charades)
    for split in prepared:
        assert list(streamed[split]) == list(prepared[split])


def test_times_stay_float64(charades):
    (charades / "charades_sta_test.txt").write_text("A 0.1 6.9##x\n")
    assert load_benchmark("charades_sta", charades)["test"][0]["moments"] == [[0.1, 6.9]]


def test_one_split_alone_and_files_instead_of_a_folder(charades):
    text, table = charades / "charades_sta_test.txt", charades / "Charades_v1_test.csv"
    for given in (text, str(text), [text, table], {"test": text}, {"test": [text, table]}):
        assert list(load_benchmark("charades_sta", given)) == ["test"]


def test_lone_grouped_json_is_a_train_split(tmp_path):
    folder = tmp_path / "own"
    folder.mkdir()
    entry = {"duration": 5, "timestamps": [[0, 1]], "sentences": ["a"]}
    (folder / "annotations.json").write_text(json.dumps({"v": entry}))
    for name in ("charades_sta", "jsonl"):
        for given in (folder, folder / "annotations.json"):
            data = load_benchmark(name, given)
            assert list(data) == ["train"] and data["train"][:]["duration"] == [5.0]


def test_clip_and_drop_can_be_switched_off(charades):
    kept = load_benchmark("charades_sta", charades, clip=False)["train"]
    assert kept[1]["moments"] == [[0.5, 40.0]]
    with pytest.raises(AnnotationError, match=r"A 3-2 of 10 s"):
        load_benchmark("charades_sta", charades, drop_invalid=False)


def test_clean():
    report = SplitReport()
    sentences = [" a\n b ", "\t", "before", "after", "reversed", "touch", "e\u0301 日本"]
    moments = [[-1, 99], [0, 1], [-5, -1], [10, 11], [4, 3], [3, 3], [0, 10]]
    video = clean(VideoAnnotation("v", 10.0, sentences, moments, "f:1"), report)
    assert video.sentences == ["a b", "e\u0301 日本"] and video.moments == [[0.0, 10.0], [0, 10]]
    assert report.dropped == {"empty sentence": 1, "end not after start": 4}
    assert (report.clipped_starts, report.clipped_ends) == (2, 2)
    assert clean(VideoAnnotation("w", 1.0, ["x"], [[1, 1]]), report) is None
    assert (report.videos_read, report.videos_kept) == (2, 1)


def test_jsonl_splits(tmp_path):
    write_jsonl(tmp_path / "my_train.jsonl", row("a"), row("b", 12, ["x", "y"], [[0, 1], [2, 30]]))
    write_jsonl(tmp_path / "my-val.jsonl", row("c"))
    write_jsonl(tmp_path / "test_2.jsonl", row("d"))
    data = load_benchmark("jsonl", tmp_path, config="paragraph")
    assert {split: rows["video_id"][:] for split, rows in data.items()} == {
        "train": ["a", "b"],
        "validation": ["c"],
        "test": ["d"],
    }
    assert data["train"][1] == row("b", 12.0, ["x", "y"], [[0, 1], [2, 12]])
    other = write_jsonl(tmp_path / "rows.jsonl", row("e"))
    assert list(load_benchmark("jsonl", other)) == ["train"]
    assert list(load_benchmark("jsonl", {"validation": other})) == ["validation"]
    write_jsonl(tmp_path / "training.jsonl", row("f"))
    with pytest.raises(AnnotationError, match=r"my_train.jsonl and training.jsonl"):
        load_benchmark("jsonl", tmp_path)


@pytest.mark.parametrize(
    "lines, words",
    [
        ([row("a"), row("b"), row("a")], r"rows.jsonl:3: video 'a' was already given in line 1"),
        ([row(moments=[[0, float("nan")]])], r"rows.jsonl:1: moment \[0, nan\]"),
        ([row(duration=0)], "duration of 'v' is 0"),
        ([row(duration=float("inf"))], "duration of 'v' is inf"),
        ([row(duration="10")], "duration of 'v' is '10'"),
        ([row(video_id=3)], "video_id is 3"),
        ([row(sentences=["a", "b"])], "1 moments and 2 sentences"),
        ([row(sentences="a")], "str instead of a list"),
        ([row(sentences=[None])], "a sentence of 'v' is None"),
        ([row(), row("w", sentences=["a \ud800"])], r"rows.jsonl:2: a sentence of 'w' is 'a \\ud800', with half"),
        ([row(video_id="\udc00")], "rows.jsonl:1: video_id is .* with half"),
        ([row(duration=10**400)], "rows.jsonl:1: duration of 'v' is inf"),
        ([row(moments=[[-(10**400), 1]])], r"rows.jsonl:1: moment \[-inf, 1\]"),
        ([row(moments=[[0, 1, 2]])], r"\[0, 1, 2\]"),
        ([row(moments=[[0, True]])], "True"),
        ([{"video_id": "a", "sentences": []}], "rows.jsonl:1: lacks duration, moments"),
        ([[1]], "rows.jsonl:1: a line must be a JSON object"),
        ([row(), row("w", moments=[[5, 4]])], None),
        ([row(moments=[[5, 4]])], "no usable sentence"),
        ([], "holds no line"),
    ],
)
def test_jsonl_refusals(tmp_path, lines, words):
    path = write_jsonl(tmp_path / "rows.jsonl", *lines)
    if words is None:
        assert len(load_benchmark("jsonl", path)["train"]) == 1
        return
    with pytest.raises(AnnotationError, match=words):
        load_benchmark("jsonl", path)


def test_broken_json_names_file_and_line(tmp_path):
    (tmp_path / "rows.jsonl").write_text(json.dumps(row()) + "\n{oops\n")
    with pytest.raises(AnnotationError, match=r"rows.jsonl:2: not JSON"):
        load_benchmark("jsonl", tmp_path / "rows.jsonl")
    (tmp_path / "x.json").write_text('{"v": {"duration": 5, "timestamps": [], "sentences": []}, "v": {}}')
    with pytest.raises(AnnotationError, match="'v' comes twice"):
        load_benchmark("jsonl", tmp_path / "x.json")
    for name, place in (("deep.json", "deep.json"), ("deep.jsonl", "deep.jsonl:1")):
        (tmp_path / name).write_text('{"v":' * 100_000)
        with pytest.raises(AnnotationError, match=f"{place}: nested too deeply"):
            load_benchmark("jsonl", tmp_path / name)
    (tmp_path / "x.json").write_text(json.dumps({"v": {"duration": 5, "timestamps": [[0, 1]], "sentences": ["a"]}}))
    (tmp_path / "x.json").write_text((tmp_path / "x.json").read_text().replace("5", "5" * 5000))
    with pytest.raises(AnnotationError, match="x.json, 'v': duration of 'v' is inf"):
        load_benchmark("jsonl", tmp_path / "x.json")
    (tmp_path / "x.json").write_bytes(b"\xff\xfe")
    with pytest.raises(AnnotationError, match="UTF-8"):
        load_benchmark("jsonl", tmp_path / "x.json")


@pytest.mark.parametrize(
    "line, words", [("A 1.0##x", "train.txt:6"), ("A a b##x", "train.txt:6"), ("N 1 2##x", "length of video 'N'")]
)
def test_charades_line_refusals(charades, line, words):
    with (charades / "charades_sta_train.txt").open("a") as file:
        file.write(line + "\n")
    with pytest.raises(AnnotationError, match=words):
        load_benchmark("charades_sta", charades)


@pytest.mark.parametrize("mark", ["\u2028", "\x0b", "\x0c", "\x85"])
def test_only_a_newline_ends_a_line(charades, tmp_path, mark):
    (charades / "charades_sta_train.txt").write_bytes(f"A 0 1##a{mark}b\r\nC 1 2##c\r\n".encode())
    (tmp_path / "rows.jsonl").write_text(json.dumps(row(sentences=[f"a{mark}b"]), ensure_ascii=False))
    rows = list(load_benchmark("charades_sta", charades)["train"])
    assert [r["sentences"] for r in rows] == [["a b"], ["c"]]
    assert load_benchmark("jsonl", tmp_path / "rows.jsonl")["train"][0]["sentences"] == ["a b"]


def test_lines_ended_by_a_lone_return_do_not_become_one_sentence(charades):
    (charades / "charades_sta_train.txt").write_bytes(b"A 0 1##a\rC 1 2##c\r")
    with pytest.raises(AnnotationError, match="train.txt:1: expected"):
        load_benchmark("charades_sta", charades)


@pytest.mark.parametrize(
    "name, text, words",
    [
        ("charades_sta_train.txt", "A 0 1##a\nA 0 1##café\n", r"train.txt:2: b'\\xe9' is not UTF-8"),
        ("Charades_v1_train.csv", "id,script,length\nA,café,10\n", "train.csv:2: .* save the file as UTF-8"),
        ("Charades_v1_train.csv", f"id,script,length\nA,{'x' * 200_000},10\n", "train.csv: not CSV"),
        ("Charades_v1_train.csv", "id,length\nA,10\nA,20\n", "train.csv:3: length of 'A' is 20, but 10 before"),
        ("Charades_v1_train.csv", "id,length\nA,0\n", "train.csv:2: length of 'A' is '0', not a positive"),
    ],
)
def test_damaged_charades_files_are_named(charades, name, text, words):
    (charades / name).write_bytes(text.encode("latin-1"))
    with pytest.raises(AnnotationError, match=words):
        load_benchmark("charades_sta", charades)


def test_a_length_given_twice_alike_is_no_error(charades):
    with (charades / "Charades_v1_train.csv").open("a") as file:
        file.write("A,again,10\n")
    assert len(load_benchmark("charades_sta", charades)["train"]) == 4


def test_what_is_missing_is_named(charades, tmp_path):
    with pytest.raises(AnnotationError, match=r"charades_sta_train.txt \+ Charades_v1_train.csv"):
        load_benchmark("charades_sta")
    with pytest.raises(AnnotationError, match=r"nowhere does not exist.*mmn_charades_test.json"):
        load_benchmark("charades_sta", tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(AnnotationError, match="no annotations found"):
        load_benchmark("charades_sta", tmp_path / "empty")
    (charades / "Charades_v1_test.csv").unlink()
    with pytest.raises(AnnotationError, match="the test split .* lacks Charades_v1_test.csv"):
        load_benchmark("charades_sta", charades)
    with pytest.raises(AnnotationError, match="config 'sentences'"):
        load_benchmark("charades_sta", charades, config="sentences")
    with pytest.raises(AnnotationError, match="no version 'tall'"):
        load_benchmark("charades_sta", charades, version="tall")
    with pytest.raises(AnnotationError, match="did you mean 'charades_sta'"):
        load_benchmark("charades-sta", charades)


def test_split_names():
    names = {"val_1.json": "validation", "charades_sta_train.txt": "train", "trainer.json": None, "a.json": None}
    names |= {"dev.jsonl": "validation", "TEST.jsonl": "test", "train_test.json": None, "contest.json": None}
    assert {name: split_of(name) for name in names} == names


@pytest.mark.slow
def test_registry_imports_nothing_heavy():
    code = "import sys, hf_vtg.benchmarks; print([m for m in ('datasets', 'h5py') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip() == "[]"


def tacos_2dtan(*starts, seconds=10):
    """A video of 1 s at 10 frames a second per start, as 2D-TAN writes it."""
    moments = [[start, start + 5] for start in starts]
    sentences = [f"s{i}" for i in range(len(starts))]
    return {"fps": 10, "num_frames": seconds * 10, "timestamps": moments, "sentences": sentences}


def write_splits(folder, benchmark, video_id, entry):
    names = {"tacos": "val", "activitynet_captions": "val_1"}
    last = {"tacos": "test", "activitynet_captions": "val_2"}
    folder.mkdir()
    for name in ("train", names[benchmark], last[benchmark]):
        (folder / f"{name}.json").write_text(json.dumps({video_id: entry}))
    return folder


def lengths(rows):
    return [len(row["sentences"]) for row in rows]


def test_tacos_paragraphs(tmp_path):
    """Groups of 1, 2, 3 and 17 sentences: each begins where a start is before the one before."""
    groups = [[50], [40, 40], [30, 31, 31], list(range(20, 37))]
    folder = write_splits(tmp_path / "t", "tacos", "s1-d1.avi", tacos_2dtan(*sum(groups, [])))
    data = load_benchmark("tacos", folder, config="paragraph")
    assert lengths(data["train"]) == lengths(data["validation"]) == [3, 8, 9]
    assert lengths(data["test"]) == [2, 3, 8, 8, 1]
    assert data["train"][0] == row("s1-d1.avi", 10.0, ["s3", "s4", "s5"], [[3.0, 3.5], [3.1, 3.6], [3.1, 3.6]])
    report = benchmark_builder("tacos", folder, "paragraph").report
    assert (report["train"].num_dropped, report["test"].num_dropped) == (3, 1)
    assert report["train"].sentences_read == report["test"].sentences_read == 23
    assert lengths(load_benchmark("tacos", folder, config="video")["train"]) == [23]


def test_activitynet_paragraphs(tmp_path):
    moments = [[i, i + 1] for i in range(17)]
    entry = {"duration": 20.0, "timestamps": moments, "sentences": [f" s{i}\n" for i in range(17)]}
    folder = write_splits(tmp_path / "a", "activitynet_captions", "v_0123456789a", entry)
    data = load_benchmark("activitynet_captions", folder, config="paragraph")
    assert [lengths(data[split]) for split in ("train", "validation", "test")] == [[17], [17], [8, 8, 1]]
    assert data["test"][2]["sentences"] == ["s16"] and data["test"][2]["moments"] == [[16.0, 17.0]]
    invalid = {**entry, "timestamps": [*moments[:-1], [3, 3]]}
    (folder / "train.json").write_text(json.dumps({"v_0123456789a": invalid, "v_0123456789b": entry}))
    report = benchmark_builder("activitynet_captions", folder, "paragraph").report["train"]
    assert (report.videos_read, report.videos_kept, report.num_dropped) == (2, 1, 17)
    assert lengths(load_benchmark("activitynet_captions", folder, config="video")["train"]) == [16, 17]
    with pytest.raises(AnnotationError, match="end not after start"):
        load_benchmark("activitynet_captions", folder, config="paragraph", drop_invalid=False)


def test_new_builders_stream_and_rebuild_after_an_edit(tmp_path):
    entry = {"duration": 20.0, "timestamps": [[0, 1]], "sentences": ["a"]}
    for name, video_id, before in (
        ("tacos", "s1-d1.avi", tacos_2dtan(1, 2)),
        ("activitynet_captions", "v_0123456789a", entry),
    ):
        folder = write_splits(tmp_path / name, name, video_id, before)
        data = load_benchmark(name, folder)
        streamed = benchmark_builder(name, folder).as_streaming_dataset()
        assert all(list(streamed[split]) == list(data[split]) for split in data) and len(data) == 3
        after = {**before, "sentences": ["changed", *before["sentences"][1:]]}
        (folder / "train.json").write_text(json.dumps({video_id: after}))
        assert load_benchmark(name, folder)["train"][0]["sentences"] == ["changed"]


def test_tall_forms_and_refusals(tmp_path):
    tall = {"duration": 294.0, "timestamps": [[29.4, 58.8]], "sentences": ["a."]}
    seconds = {"timestamps": [[1.0, 2.0]], "sentences": ["a"], "encoded_sentences": [[7]]}
    files = {name: tmp_path / f"{name}.json" for name in ("tall", "seconds", "2dtan")}
    files["tall"].write_text(json.dumps({"s1-d1.avi": tall}))
    files["seconds"].write_text(json.dumps({"s1-d1": seconds}))
    files["2dtan"].write_text(json.dumps({"s1-d1.avi": {**tacos_2dtan(1), "fps": "x"}}))
    for given in ([files["tall"]], [files["seconds"], files["tall"]]):
        (got,) = load_benchmark("tacos", {"test": given}, version="tall")["test"]
        assert (got["video_id"], got["duration"], got["moments"]) == ("s1-d1.avi", 10.0, [[1.0, 2.0]])
    for version, name, words in (
        (None, "tall", "load version='tall'"),
        (None, "2dtan", "fps is 'x'"),
        ("tall", "2dtan", "load version='2dtan'"),
        ("tall", "seconds", "no duration; give a file"),
    ):
        with pytest.raises(AnnotationError, match=words):
            load_benchmark("tacos", {"test": files[name]}, version=version)
    with pytest.raises(AnnotationError, match="'tall' has no paragraphs"):
        load_benchmark("tacos", {"test": files["tall"]}, config="paragraph", version="tall")
    with pytest.raises(AnnotationError, match="s1-d1.avi' is a video of tacos, not of charades_sta"):
        load_benchmark("charades_sta", {"test": files["tall"]})


@pytest.mark.parametrize(
    "companion, words",
    [
        ({"fps": 0, "num_frames": 9}, "fps is 0"),
        ({"fps": "x", "num_frames": 9}, "fps is 'x'"),
        ({"fps": 1e-308, "num_frames": 9}, "duration of 's1-d1.avi' is inf"),
        ({"fps": 10}, "lacks num_frames"),
        ({"duration": "10"}, "duration of 's1-d1.avi' is '10'"),
        ({"duration": 10**400}, "duration of 's1-d1.avi' is inf"),
    ],
)
def test_tall_durations_that_are_none_name_their_own_file(tmp_path, companion, words):
    files = [tmp_path / "seconds.json", tmp_path / "lengths.json"]
    files[0].write_text(json.dumps({"s1-d1": {"timestamps": [[1.0, 2.0]], "sentences": ["a"]}}))
    files[1].write_text(json.dumps({"s1-d1.avi": companion}))
    with pytest.raises(AnnotationError, match=f"lengths.json, 's1-d1.avi': {words}"):
        load_benchmark("tacos", {"test": files}, version="tall")
