"""Whatever a user gets wrong: one clear error that names it, or an answer and a counted report. Never NaN."""

import errno
import json
import logging
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoProcessor, BertConfig, pipeline

from hf_vtg import (
    AutoModelForVideoGrounding,
    FeatureStore,
    MMNForVideoGrounding,
    VideoGroundingCollator,
    VideoGroundingProcessor,
    WordVectors,
    load_benchmark,
)
from hf_vtg.benchmarks import benchmark_builder
from hf_vtg.errors import AnnotationError, FeatureError, HFVTGError, ModelError, QueryError, StorageError, VideoError
from hf_vtg.features.store import write_feature_store
from hf_vtg.files import atomic_path
from hf_vtg.pipeline import load_pipeline
from hf_vtg.training import run as run_module
from hf_vtg.training.run import last_checkpoint, run_training
from hf_vtg.video.cache import FeatureCache

from .full_disk import full_disk
from .test_training import own_data, run_arguments  # noqa: F401  (a fixture)
from .test_video import audio_only, without_frames
from .testers import model_tester
from .video_files import render
from .vision_models import save_grounding_model

QUERY = "a person opens the door"
SILENT = {"disable_tqdm": True, "use_cpu": True}


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    return save_grounding_model(tmp_path_factory.mktemp("model"))


@pytest.fixture(scope="module")
def pipe(model_folder):
    return load_pipeline(model_folder)


@pytest.fixture
def video(tmp_path):
    return render(tmp_path / "a.mp4", [100 * k for k in range(12)], 100)


# Videos


def truncated(path):
    content = render(path, [100 * k for k in range(40)], 100).read_bytes()
    path.write_bytes(content[: len(content) * 2 // 3])


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("missing.mp4", None, "no such video file"),
        ("truncated.mp4", truncated, "complete file"),
        ("no_duration.mp4", without_frames, "no_duration.mp4"),
        ("sound.mp4", audio_only, "no video stream"),
    ],
)
def test_a_video_that_cannot_be_used(pipe, tmp_path, name, write, message):
    if write is not None:
        write(tmp_path / name)
    with pytest.raises(VideoError, match=message) as error:
        pipe(tmp_path / name, QUERY)
    assert name in str(error.value)


def test_a_video_of_one_frame_without_duration_is_answered(pipe, tmp_path):
    (best, *_) = pipe(render(tmp_path / "one.mp4", [0], 0), QUERY)
    assert 0 <= best["start"] < best["end"] <= 0.05 and np.isfinite(best["score"])


# Queries


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("", "empty"),
        ([QUERY, " \t"], "Sentence 1 .* is empty"),
        (None, "query"),
        (7, "7"),
        (b"a person", "query"),
        ([QUERY, None], "None .NoneType., not a string"),
        ([[QUERY]], "list.*, not a string"),
        ({"text": QUERY}, "query"),
    ],
)
def test_a_query_that_is_none(pipe, query, message):
    with pytest.raises(QueryError, match=message):
        pipe("no/such/video.mp4", query)


def features(model, rows=20):
    return np.random.default_rng(0).standard_normal((rows, model.config.feature_dim)).astype(np.float32)


@pytest.mark.parametrize("limit", [None, 8])
def test_a_long_query_is_answered_and_what_is_cut_is_counted(limit):
    """With word vectors any length is read; a Transformer reads as many positions as it has."""
    tester = model_tester("mmn")
    overrides = {}
    if limit is not None:
        text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
        overrides = {"text_config": BertConfig(vocab_size=40, max_position_embeddings=limit, **text)}
    model = tester.model(**overrides)
    processor = tester.processor(model.config)
    pipe = pipeline("video-grounding", model=model, processor=processor)
    words = [QUERY] * 500
    answer = pipe(features(model), " ".join(words), duration=10.0)
    assert answer and all(np.isfinite(list(moment.values())).all() for moment in answer)
    assert processor.counts["truncated"] == (limit is not None)
    if limit is not None:
        first = " ".join(" ".join(words).split()[:limit])
        assert pipe(features(model), first, duration=10.0) == answer
        with pytest.raises(ModelError, match=f"{limit + 1} tokens.*{limit} positions"):
            model.encode_text(torch.ones(1, 1, limit + 1, dtype=torch.long), torch.ones(1, 1, limit + 1))


# Features


def test_features_of_another_kind(pipe, tmp_path):
    """Width, NaN and spec are checked wherever features come in: pipeline, collator, feature file."""
    model, processor = pipe.model, pipe.processor
    good = features(model)
    row = {"video_id": "v", "duration": 9.0, "sentences": [QUERY], "moments": [[0.0, 1.0]]}
    bad = good.copy()
    bad[7, 3] = np.nan
    for wrong, message in ((good[:, :-1], f"{model.config.feature_dim}"), (bad, "NaN.*row 7")):
        with pytest.raises(FeatureError, match=message):
            pipe(wrong, QUERY, duration=9.0)
        with pytest.raises(FeatureError, match="video 'v'.*" + message):
            VideoGroundingCollator(processor)([{**row, "video_features": wrong}])
    other = {**processor.feature_extractor.spec.to_dict(), "fps": 3.0, "seconds_per_feature": None}
    with pytest.raises(FeatureError, match=r"fps=10,.*fps=3\.0"):
        pipe({"features": good, "spec": other, "duration": 9.0}, QUERY)
    path = tmp_path / "other.h5"
    write_feature_store(path, [("v", good)], type(processor.feature_extractor.spec).from_dict(other))
    with pytest.raises(FeatureError, match=r"fps=10,.*fps=3\.0"):
        VideoGroundingCollator(processor, FeatureStore(path))([row])
    with pytest.raises(FeatureError, match=r"'w' in .*other\.h5.*'v'"):
        VideoGroundingCollator(processor, FeatureStore(path))([{**row, "video_id": "w"}])


# Annotations


def test_rows_that_mean_nothing_are_counted_and_ids_that_come_twice_refused(tmp_path):
    def row(video_id, moments, duration=10.0):
        return {"video_id": video_id, "duration": duration, "sentences": [QUERY] * len(moments), "moments": moments}

    file = tmp_path / "train.jsonl"
    rows = [
        row("reversed", [[3.0, 2.0], [1.0, 2.0]]),
        row("empty", [[4.0, 4.0]]),
        row("negative", [[-1.0, 5.0], [-3.0, -1.0]]),
        row("beyond", [[5.0, 11.0], [10.5, 12.0]]),
    ]
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    builder = benchmark_builder("jsonl", data_dir=str(file), config="paragraph")
    builder.download_and_prepare()
    kept = {r["video_id"]: r["moments"] for r in builder.as_dataset()["train"]}
    assert kept == {"reversed": [[1.0, 2.0]], "negative": [[0.0, 5.0]], "beyond": [[5.0, 10.0]]}
    report = builder.report["train"]
    assert (report.sentences_read, report.sentences_kept, report.num_dropped) == (7, 3, 4)
    # The moment wholly before the video is moved to its start before it is dropped, that after it to its end.
    assert (report.clipped_starts, report.clipped_ends) == (2, 2)
    with pytest.raises(AnnotationError, match="'reversed'|reversed"):
        load_benchmark("jsonl", data_dir=str(file), drop_invalid=False)
    file.write_text("".join(json.dumps(r) + "\n" for r in [rows[0], rows[2], rows[0]]))
    with pytest.raises(AnnotationError, match=r"train\.jsonl:3.*'reversed'.*line 1"):
        load_benchmark("jsonl", data_dir=str(file))
    items = [("v", np.ones((2, 3), np.float32))] * 2
    with pytest.raises(FeatureError, match="'v' is given twice"):
        write_feature_store(tmp_path / "twice.npz", items)


# Folders that are no models


def without(*names):
    def spoil(folder):
        for name in names:
            (folder / name).unlink()

    return spoil


def cut_weights(folder):
    content = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(content[: len(content) // 2])


def other_shapes(folder):
    state = load_file(folder / "model.safetensors")
    state["moment_iou.weight"] = state["moment_iou.weight"][:-1].clone()
    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})


def other_config(**fields):
    def spoil(folder):
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, **fields}))

    return spoil


SPOILT = {
    "empty": (lambda folder: [path.unlink() for path in folder.iterdir()], "model_type"),
    "no_config": (without("config.json"), "model_type"),
    "config_cut_off": (lambda folder: (folder / "config.json").write_text('{"model_type": "m'), "not a valid JSON"),
    "another_model": (other_config(model_type="bert"), "BertConfig"),
    "unknown_model": (other_config(model_type="nonsense"), "nonsense"),
    "wrong_field": (other_config(num_clips="many"), "num_clips"),
    "no_weights": (without("model.safetensors"), "model.safetensors"),
    "weights_cut_off": (cut_weights, "deserializing"),
    "weights_of_another_size": (other_shapes, "other shapes"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_folder_that_is_no_model(model_folder, tmp_path, name):
    """Our classes raise one ModelError. ``transformers.pipeline`` raises errors of its own, which name the folder
    and end with ours where the model's class was reached."""
    spoil, message = SPOILT[name]
    folder = tmp_path / name
    shutil.copytree(model_folder, folder)
    spoil(folder)
    for load in (AutoModelForVideoGrounding.from_pretrained, load_pipeline):
        with pytest.raises(ModelError, match=message) as error:
            load(folder)
        assert f"{folder} cannot be loaded as" in str(error.value) and "--output_dir" in str(error.value)
    with pytest.raises(Exception, match=message) as error:
        pipeline("video-grounding", model=str(folder), device="cpu")
    last = str(error.value).strip().splitlines()[-1]
    assert message in last or "ModelError" in last or name in ("unknown_model", "another_model")


def test_a_class_names_the_folder_that_it_cannot_load(model_folder, tmp_path):
    for load in (MMNForVideoGrounding, VideoGroundingProcessor, AutoModelForVideoGrounding):
        for source in (tmp_path / "absent", str(tmp_path / "absent"), model_folder / "config.json"):
            with pytest.raises(ModelError, match=str(source)):
                load.from_pretrained(source)


@pytest.mark.parametrize("missing", ["processor_config.json", "tokenizer.json"])
def test_a_folder_without_processor(model_folder, tmp_path, missing):
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    (folder / missing).unlink()
    for load in (AutoProcessor.from_pretrained, load_pipeline, lambda f: pipeline("video-grounding", model=str(f))):
        with pytest.raises(ModelError, match=f"{folder} cannot be loaded as VideoGroundingProcessor"):
            load(folder)


def test_a_checkpoint_with_missing_keys_does_not_answer_at_random(model_folder, tmp_path, caplog):
    """Loading it reports the keys (a new head is trained so); the pipeline refuses until they were written."""
    state = load_file(model_folder / "model.safetensors")
    shutil.copytree(model_folder, tmp_path / "cut")
    lost = ["moment_iou.weight", "text_encoder.model.vectors"]
    kept = {name: tensor for name, tensor in state.items() if name not in lost}
    save_file(kept, tmp_path / "cut" / "model.safetensors", metadata={"format": "pt"})
    logger = logging.getLogger("transformers")
    logger.addHandler(caplog.handler)
    model, info = AutoModelForVideoGrounding.from_pretrained(tmp_path / "cut", output_loading_info=True)
    logger.removeHandler(caplog.handler)
    assert sorted(info["missing_keys"]) == lost == model.random_weights()
    assert all(name in caplog.text for name in lost)
    processor = VideoGroundingProcessor.from_pretrained(tmp_path / "cut")
    for load in (load_pipeline, lambda f: pipeline("video-grounding", model=str(f))):
        with pytest.raises(ModelError, match="lacks 2 weights.*moment_iou.weight.*random"):
            load(tmp_path / "cut")
    model.set_word_vectors(state["text_encoder.model.vectors"])
    assert model.random_weights() == ["moment_iou.weight"]
    with pytest.raises(ModelError, match="moment_iou"):
        pipeline("video-grounding", model=model, processor=processor)
    model.load_state_dict({"moment_iou.weight": state["moment_iou.weight"]}, strict=False)
    assert model.random_weights() == []
    whole, mended = load_pipeline(model_folder), pipeline("video-grounding", model=model, processor=processor)
    tensors = mended.model.state_dict()
    assert all(torch.equal(tensors[name], value) for name, value in whole.model.state_dict().items())
    # Where a file's tensors begin in memory decides the order of sums: scores are equal but for rounding.
    expected, answer = (pipe(features(model), QUERY, duration=9.0) for pipe in (whole, mended))
    for found, moment in zip(answer, expected, strict=True):
        assert found == {**moment, "score": pytest.approx(moment["score"], rel=1e-5)}
    again = AutoModel.from_pretrained(tmp_path / "cut")
    torch.optim.SGD(again.parameters(), lr=0.1)
    again(**model_tester("mmn").batch(again.config)).loss.backward()
    torch.optim.SGD(again.parameters(), lr=0.1).step()
    assert again.random_weights() == ["text_encoder.model.vectors"]


# Places that cannot be written


def test_a_cache_that_cannot_be_written(pipe, video, tmp_path, monkeypatch):
    """Answers are given without it, with a warning; what is nothing but a cache is one error with the remedy."""
    expected = pipe(video, QUERY, use_cache=False)
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HF_VTG_CACHE", str(tmp_path / "file" / "cache"))
    fresh = pipeline("video-grounding", model=pipe.model, processor=pipe.processor)
    with pytest.warns(UserWarning, match="not cached in .*HF_VTG_CACHE"):
        assert fresh(video, QUERY) == expected
    (tmp_path / "train.jsonl").write_text(
        json.dumps({"video_id": "v", "duration": 9.0, "sentences": [QUERY], "moments": [[0, 1]]})
    )
    with pytest.raises(StorageError, match=r"file.*HF_VTG_CACHE"):
        load_benchmark("jsonl", data_dir=str(tmp_path / "train.jsonl"))


def test_a_read_only_file_system(pipe, video, tmp_path, monkeypatch):
    expected = pipe(video, QUERY, use_cache=False)

    def read_only(*args, **kwargs):
        raise OSError(errno.EROFS, "Read-only file system")

    cache = FeatureCache(tmp_path / "cache")
    monkeypatch.setattr("hf_vtg.files.tempfile.mkstemp", read_only)
    monkeypatch.setattr("hf_vtg.files.tempfile.mkdtemp", read_only)
    monkeypatch.setattr("hf_vtg.video.cache.cache_root", lambda: tmp_path)
    fresh = pipeline("video-grounding", model=pipe.model, processor=pipe.processor)
    with pytest.warns(UserWarning, match="Read-only file system"):
        assert fresh(video, QUERY) == expected
    assert not list(cache.root.rglob("*.safetensors"))
    for write in (pipe.save_pretrained, lambda path: WordVectors.from_vocabulary(["a"], 2).save(path / "w.npz")):
        with pytest.raises(StorageError, match=f"{tmp_path}.*Read-only file system"):
            write(tmp_path / "out")


# A full disk


def test_a_full_disk_while_a_dataset_is_cached(tmp_path):
    rows = [{"video_id": f"v{k}", "duration": 9.0, "sentences": [QUERY], "moments": [[0, 1]]} for k in range(500)]
    file = tmp_path / "train.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with full_disk(5000), pytest.raises(StorageError, match=r"cache.*too large.*HF_VTG_CACHE"):
        load_benchmark("jsonl", data_dir=str(file), cache_dir=str(tmp_path / "cache"))
    assert len(load_benchmark("jsonl", data_dir=str(file), cache_dir=str(tmp_path / "cache"))["train"]) == 500


@pytest.mark.parametrize("name", ["f.h5", "f.npz", "f.safetensors", "words.npz"])
def test_a_full_disk_leaves_the_old_file(tmp_path, name):
    path = tmp_path / name

    def write(rows):
        values = np.random.default_rng(rows).standard_normal((rows, 8)).astype(np.float32)
        if name == "words.npz":
            WordVectors([f"w{k}" for k in range(rows)], values).save(path)
        else:
            write_feature_store(path, [("a", values), ("b", values)])

    write(3)
    before = path.read_bytes()
    with full_disk(4000), pytest.raises(StorageError, match=f"{name} cannot be written: .*too large.*unchanged"):
        write(4000)
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == [name]


def test_a_full_disk_costs_the_cached_features_not_the_answer(pipe, video, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_VTG_CACHE", str(tmp_path / "cache"))
    expected = pipe(video, QUERY, use_cache=False)
    fresh = pipeline("video-grounding", model=pipe.model, processor=pipe.processor)
    fresh(render(tmp_path / "b.mp4", [0, 100], 100), QUERY)
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]
    with full_disk(100), pytest.warns(UserWarning, match="too large"):
        assert fresh(video, QUERY) == expected
    assert len(kept) == 1 and [path for path in (tmp_path / "cache").rglob("*") if path.is_file()] == kept
    assert fresh(video, QUERY) == expected


@pytest.mark.parametrize(("what", "size"), [("model", 100), ("model", 3000), ("processor", 100), ("pipe", 3000)])
def test_a_full_disk_leaves_the_old_model(pipe, model_folder, tmp_path, what, size):
    """At 3,000 bytes the configuration is written and the weights are not."""
    folder = tmp_path / "model"
    shutil.copytree(model_folder, folder)
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with full_disk(size), pytest.raises(StorageError, match=f"{folder} cannot be written: .*too large"):
        {"model": pipe.model, "processor": pipe.processor, "pipe": pipe}[what].save_pretrained(folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_saved_model_replaces_parts_of_an_older_one(pipe, tmp_path):
    pipe.model.save_pretrained(tmp_path, max_shard_size="2KB")
    assert (tmp_path / "model.safetensors.index.json").exists()
    pipe.model.save_pretrained(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]
    pipe.model.save_pretrained(tmp_path, max_shard_size="2KB")
    assert not (tmp_path / "model.safetensors").exists()
    loaded = AutoModelForVideoGrounding.from_pretrained(tmp_path)
    assert torch.equal(loaded.moment_iou.weight, pipe.model.moment_iou.weight)


@pytest.mark.slow
def test_a_full_disk_leaves_earlier_checkpoints_to_resume_from(own_data, monkeypatch):  # noqa: F811
    """The disk fills up while the second checkpoint is written, then while results.json is."""

    def run(out, **options):
        arguments = run_arguments(own_data, output_dir=str(out), recipe_overrides={"epochs": 3}, **options)
        return run_training(arguments, SILENT)

    whole, out = own_data / "whole", own_data / "out"
    expected = run(whole)
    save = run_module.VideoGroundingTrainer._save_checkpoint

    def full_at_the_second(trainer, *args):
        if trainer.state.global_step == 2:
            with full_disk(20_000):
                return save(trainer, *args)
        return save(trainer, *args)

    monkeypatch.setattr(run_module.VideoGroundingTrainer, "_save_checkpoint", full_at_the_second)
    with pytest.raises(StorageError, match="checkpoint-2 cannot be written"):
        run(out)
    assert last_checkpoint(out) == str(out / "checkpoint-1")
    monkeypatch.setattr(run_module.VideoGroundingTrainer, "_save_checkpoint", save)
    write = run_module.write_text

    def full_at_the_end(path, text):
        with full_disk(50):
            write(path, text)

    monkeypatch.setattr(run_module, "write_text", full_at_the_end)
    with pytest.raises(StorageError, match="predictions.jsonl cannot be written"):
        run(out, resume=True)
    monkeypatch.setattr(run_module, "write_text", write)
    assert run(out, resume=True)["metrics"] == expected["metrics"]
    results = (out / "results.json").read_text()
    with full_disk(50), pytest.raises(StorageError, match="results.json cannot be written"):
        write(out / "results.json", "x" * 1000)
    assert (out / "results.json").read_text() == results
    ends = [load_file(folder / "model.safetensors") for folder in (whole, out)]
    assert all(torch.equal(ends[0][name], ends[1][name]) for name in ends[0])


def test_an_error_of_ours_passes_through_an_atomic_file(tmp_path):
    with pytest.raises(FeatureError, match="mine"), atomic_path(tmp_path / "f"):
        raise FeatureError("mine")
    assert issubclass(StorageError, HFVTGError) and issubclass(StorageError, OSError)
    assert not list(tmp_path.iterdir())
