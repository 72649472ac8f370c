"""Feature extractor and processor: resampling, batches, post-processing, save and load."""

import json
import logging
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoProcessor,
    AutoTokenizer,
    BertTokenizerFast,
    PreTrainedConfig,
)

from hf_vtg.errors import AnnotationError, FeatureError, HFVTGError, ModelError, QueryError
from hf_vtg.features.resampling import (
    VideoGroundingFeatureExtractor,
    resample_linspace_bins,
    resample_mean_bins,
    resample_stride,
)
from hf_vtg.features.spec import FeatureSpec
from hf_vtg.moments import temporal_nms
from hf_vtg.processing import VERSION, VideoGroundingProcessor
from hf_vtg.text.tokenization import WordVectors

SPEC = FeatureSpec(backbone="some/backbone", fps=2.0, stride=1, dim=3)


class StandInConfig(PreTrainedConfig):
    model_type = "hf_vtg_stand_in"
    feature_dim: int = 3
    settings: dict | None = None

    def processor_settings(self):
        return dict(self.settings)


@pytest.fixture(scope="module", autouse=True)
def registered():
    AutoConfig.register(StandInConfig.model_type, StandInConfig, exist_ok=True)
    AutoFeatureExtractor.register(StandInConfig, VideoGroundingFeatureExtractor, exist_ok=True)
    AutoProcessor.register(StandInConfig, VideoGroundingProcessor, exist_ok=True)


@pytest.fixture
def tokenizer():
    return WordVectors.from_vocabulary(["a", "person", "sits", "down"], dim=4).build_tokenizer()


@pytest.fixture
def processor(tokenizer):
    return VideoGroundingProcessor(VideoGroundingFeatureExtractor(), tokenizer)


def random_features(*lengths, dim=3, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.normal(size=(length, dim)).astype(np.float32) for length in lengths]


# --- resampling


def mean_bins_by_hand(features, num_clips):
    """The official rule, bin by bin, with torch's own rounding."""
    rows = torch.from_numpy(features)
    total = len(rows)
    bounds = torch.round(torch.arange(0, num_clips + 1, 1.0) / num_clips * total).long().clamp(max=total - 1)
    pairs = zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True)
    return torch.stack([rows[b] if b >= e else rows[b:e].mean(0) for b, e in pairs]).numpy()


def linspace_bins_by_hand(features, num_clips):
    index = [int(x) for x in np.linspace(0, len(features) - 1, num_clips)]
    out = []
    for b, e in zip(index[:-1], index[1:], strict=True):
        out.append(features[b] if e - b <= 1 else features[b:e].mean(0))
    return np.stack([*out, features[-1]])


@pytest.mark.parametrize("num_clips", [1, 4, 7, 32, 200])
@pytest.mark.parametrize("rows", [1, 2, 5, 31, 32, 33, 97, 500])
def test_bins_equal_the_official_loops(rows, num_clips):
    features = random_features(rows, dim=4)[0]
    ours = resample_mean_bins(features, num_clips)
    np.testing.assert_allclose(ours, mean_bins_by_hand(features, num_clips), atol=1e-6)
    assert ours.dtype == np.float32 and ours.shape == (num_clips, 4)
    ours = resample_linspace_bins(features, num_clips)
    np.testing.assert_allclose(ours, linspace_bins_by_hand(features, num_clips), atol=1e-6)


@pytest.mark.parametrize("rows, bounds", [(5, [0, 1, 2, 4, 4]), (3, [0, 1, 2, 2, 2]), (10, [0, 2, 5, 8, 9])])
def test_mean_bin_bounds_round_half_to_even(rows, bounds):
    """The hand checks A1-3 of the CLEAR specification."""
    marks = np.arange(rows, dtype=np.float32)[:, None]
    expected = [marks[b : max(e, b + 1)].mean() for b, e in zip(bounds[:-1], bounds[1:], strict=True)]
    np.testing.assert_allclose(resample_mean_bins(marks, 4)[:, 0], expected)


@pytest.mark.parametrize("rows", [3, 8, 9, 100])
def test_clean_mean_bins_use_every_row_once(rows):
    """Without the official clamp the last row counts; with it, only where the last bin is empty."""
    features = np.zeros((rows, 1), dtype=np.float32)
    features[-1] = 1
    clean, legacy = (resample_mean_bins(features, 4, legacy) for legacy in (False, True))
    assert clean[-1] > 0
    assert legacy[-1] == (1 if rows == 3 else 0)
    flat = resample_mean_bins(np.ones((rows, 1), dtype=np.float32), 4, legacy=False)
    np.testing.assert_array_equal(flat, 1)


def test_stride_keeps_the_first_row_of_each_step():
    marks = np.arange(7)[:, None]
    assert resample_stride(marks, 3)[:, 0].tolist() == [0, 3, 6]
    assert resample_stride(marks, 1) is not None and len(resample_stride(marks, 9)) == 1


@pytest.mark.needs_shared
@pytest.mark.parametrize("folder", ["mmn/dev", "mmn/dev/multiscale"])
def test_official_mmn_features(shared, folder):
    inputs = load_file(shared / "golden" / folder / "inputs.safetensors")
    outputs = load_file(shared / "golden" / folder / "outputs.safetensors")
    raw = [inputs[f"raw_frames.{v}"] for v in range(len(inputs["feats"]))]
    clips = inputs["feats"].shape[1]
    extractor = VideoGroundingFeatureExtractor("mean_bins", clips, l2_normalize=True)
    batch = extractor(raw)
    np.testing.assert_allclose(batch["video_features"], inputs["feats"], atol=1e-6)
    assert batch["source_length"].tolist() == [len(rows) for rows in raw] and batch["video_mask"].all()
    lengths = [name.split(".")[1] for name in inputs if name.startswith("avgfeats_in")]
    assert len(lengths) >= 8
    for length in lengths:
        ours = resample_mean_bins(inputs[f"avgfeats_in.{length}"], 32)
        np.testing.assert_allclose(ours, outputs[f"avgfeats_out.{length}"], atol=1e-6)


@pytest.mark.needs_shared
def test_official_ianet_features(shared):
    golden = load_file(shared / "golden/ianet/preprocess/loader.safetensors")
    annotations = json.loads((shared / "golden/ianet/preprocess/annotations.json").read_text())
    vectors = WordVectors(annotations["vocab"], golden["word_vectors"])
    rows = [name.removesuffix(".raw_features") for name in golden if name.endswith(".raw_features")]
    assert len(rows) == 7
    for row in rows:
        raw, video = golden[f"{row}.raw_features"], golden[f"{row}.video"]
        extractor = VideoGroundingFeatureExtractor("linspace_bins", len(video))
        processor = VideoGroundingProcessor(extractor, vectors.build_tokenizer(), max_words=20)
        benchmark, index = row.split(".")
        words = annotations["rows"][benchmark][int(index)][3]
        batch = processor(raw, " ".join(words), return_tensors="np")
        ids, mask = batch["input_ids"][0, 0], batch["attention_mask"][0, 0]
        np.testing.assert_array_equal(vectors.table()[ids], golden[f"{row}.words"][: len(ids)])
        np.testing.assert_array_equal(mask, golden[f"{row}.word_mask"][: len(ids)])
        assert golden[f"{row}.word_mask"].sum() == mask.sum() == min(len(words), 20)
        np.testing.assert_allclose(batch["video_features"][0], video, atol=1e-6)
        np.testing.assert_array_equal(batch["video_mask"][0], golden[f"{row}.video_mask"].astype(bool))


# --- feature extractor


def test_padding_mask_and_source_length():
    videos = random_features(7, 4)
    batch = VideoGroundingFeatureExtractor("stride", stride=3, padding_value=-1)(videos)
    assert batch["video_features"].dtype == np.float32 and batch["video_features"].shape == (2, 3, 3)
    assert batch["video_mask"].tolist() == [[True, True, True], [True, True, False]]
    assert batch["source_length"].tolist() == [7, 4]
    np.testing.assert_array_equal(batch["video_features"][1, :2], videos[1][[0, 3]])
    np.testing.assert_array_equal(batch["video_features"][1, 2], -1)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64, torch.int32])
def test_one_tensor_of_any_type_is_one_video(dtype):
    video = torch.arange(6).reshape(2, 3).to(dtype).requires_grad_(dtype.is_floating_point)
    batch = VideoGroundingFeatureExtractor()(video, return_tensors="pt")
    assert batch["video_features"].dtype == torch.float32
    assert batch["video_features"].tolist() == [[[0, 1, 2], [3, 4, 5]]]


def test_normalisation_is_per_source_row_and_safe_at_zero():
    rows = np.array([[3, 4, 0], [0, 0, 0], [0, 0, 9]], dtype=np.float64)
    batch = VideoGroundingFeatureExtractor("mean_bins", 1, l2_normalize=True, legacy_resample=False)(rows)
    np.testing.assert_allclose(batch["video_features"][0, 0], [0.2, 4 / 15, 1 / 3], rtol=1e-6)
    batch = VideoGroundingFeatureExtractor(l2_normalize=True)(rows * 1e-6)
    np.testing.assert_allclose(batch["video_features"][0], [[0.6, 0.8, 0], [0, 0, 0], [0, 0, 1]], rtol=1e-6)


@pytest.mark.parametrize(
    "videos, message",
    [
        ([np.ones((2, 3)), np.ones(3)], r"video 1.*\(3,\)"),
        (np.ones((2, 3, 4)), r"\(2, 3, 4\)"),
        ([np.ones((0, 3))], "video 0.*empty"),
        ([np.ones((2, 0))], "video 0.*empty"),
        ([], "no video"),
        ([np.ones((2, 3)), np.array([[1, 2, 3], [1, np.nan, 2]])], "video 1.*row 1"),
        ([np.full((2, 3), np.inf)], "video 0.*row 0"),
        ([np.full((2, 3), 1e300)], "video 0.*row 0"),
        ([np.ones((2, 3)), np.ones((2, 4))], "video 0.*3 wide.*video 1.*4"),
        (["clip.npy"], "video 0"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_features_are_named(videos, message):
    with pytest.raises(FeatureError, match=message):
        VideoGroundingFeatureExtractor()(videos)


def test_width_and_names():
    extractor = VideoGroundingFeatureExtractor(feature_spec=SPEC)
    assert extractor.feature_dim == 3 and extractor.spec == SPEC
    with pytest.raises(FeatureError, match="'3MSZA' are 5 wide; the model expects 3.*some/backbone"):
        extractor(random_features(4, dim=5), video_ids=["3MSZA"])
    with pytest.raises(FeatureError, match="1 videos, but 2 names"):
        extractor(random_features(4), video_ids=["a", "b"])


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"resampling": "median"}, "median"),
        ({"resampling": "mean_bins"}, "num_clips"),
        ({"resampling": "linspace_bins", "num_clips": 0}, "num_clips"),
        ({"resampling": "stride", "stride": 0}, "stride=0"),
        ({"feature_dim": 4, "feature_spec": SPEC}, "feature_dim=4"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(FeatureError, match=message):
        VideoGroundingFeatureExtractor(**settings)


def test_other_features_are_refused_and_unspecified_ones_warn_once(caplog):
    extractor = VideoGroundingFeatureExtractor(feature_spec=SPEC)
    other = FeatureSpec(backbone="other/backbone", dim=3)
    with pytest.raises(FeatureError, match=r"(?s)some/backbone.*other/backbone"):
        extractor(random_features(4), spec=other)
    with caplog.at_level(logging.WARNING):
        extractor(random_features(4), spec=SPEC.to_dict())
        assert not caplog.records
        extractor(random_features(4))
        extractor(random_features(4))
    assert len(caplog.records) == 1 and "some/backbone" in caplog.text
    assert "_warned" not in extractor.to_dict()
    with caplog.at_level(logging.WARNING):
        VideoGroundingFeatureExtractor(num_clip=3)
    assert "num_clip" in caplog.text


# --- processor: batches


def test_batch_of_the_contract(processor):
    batch = processor(
        video_features=random_features(5, 3),
        text=[["a person sits", "down"], ["sits"]],
        durations=[10, 4.0],
        moments=[[[1, 2.5], [0, 10]], [(1, 4)]],
    )
    assert {name: tuple(value.shape) for name, value in batch.items()} == {
        "video_features": (2, 5, 3),
        "video_mask": (2, 5),
        "source_length": (2,),
        "input_ids": (2, 2, 3),
        "attention_mask": (2, 2, 3),
        "sentence_mask": (2, 2),
        "labels": (2, 2, 2),
    }
    assert batch["labels"].dtype == torch.float64
    assert batch["labels"].tolist() == [[[0.1, 0.25], [0, 1]], [[0.25, 1], [0, 0]]]
    kinds = {name: batch[name].dtype for name in ("video_features", "video_mask", "input_ids", "sentence_mask")}
    assert list(kinds.values()) == [torch.float32, torch.bool, torch.int64, torch.bool]
    assert set(batch) - {"labels"} == set(processor.model_input_names)
    assert isinstance(processor(text="a person", return_tensors="np")["input_ids"], np.ndarray)


def test_labels_keep_float64(processor):
    batch = processor(text="sits", durations=[30.4], moments=[[[24.3, 30.4]]])
    assert batch["labels"].tolist() == [[[24.3 / 30.4, 1.0]]]


def test_rows_of_the_data_schema_are_enough(processor):
    row = {"video_id": "v", "duration": 4.0, "sentences": ["sits", "a person"], "moments": [[0, 1], [2, 3]]}
    batch = processor(video_features=random_features(2), metadata=[row])
    assert batch["labels"].tolist() == [[[0, 0.25], [0.5, 0.75]]] and batch["metadata"] == [row]
    assert batch["input_ids"].shape == (1, 2, 2)
    batch.to("cpu")
    with pytest.raises(FeatureError, match="'v'"):
        processor(video_features=[np.full((2, 3), np.nan)], metadata=[row])
    assert set(processor(video_features=random_features(2), metadata=[{"video_id": "v"}])) == {
        "video_features",
        "video_mask",
        "source_length",
        "metadata",
    }


def test_rows_of_arrays_and_tensors_are_rows(processor):
    """What datasets gives with_format("torch") and with_format("numpy")."""
    plain = {"video_id": "v", "duration": 8.0, "sentences": ["the cat"], "moments": [[2.0, 4.0]]}
    expected = processor(np.ones((4, 3)), metadata=[plain])
    numpy_row = {"video_id": np.str_("v"), "duration": np.float32(8), "sentences": np.array(["the cat"])}
    torch_row = {**plain, "duration": torch.tensor(8.0), "moments": torch.tensor([[2.0, 4.0]])}
    for row in (
        numpy_row | {"moments": np.array([[2.0, 4.0]])},
        torch_row,
        torch_row | {"moments": [torch.tensor([2, 4])]},
    ):
        batch = processor(np.ones((4, 3)), metadata=[row])
        assert batch["metadata"] == [plain] and torch.equal(batch["labels"], expected["labels"])
        assert torch.equal(batch["input_ids"], expected["input_ids"])
    batch = processor(
        np.ones((4, 3)), ["the cat"], durations=torch.tensor([8.0]), moments=torch.tensor([[[2.0, 4.0]]])
    )
    assert torch.equal(batch["labels"], expected["labels"])


def test_moments_outside_the_video_are_cut_and_counted(processor):
    batch = processor(text=[["sits", "down"]], durations=[10.0], moments=[[[-1, 5], [5, 10]]])
    assert batch["labels"].tolist() == [[[0, 0.5], [0.5, 1]]] and processor.counts["clipped"] == 1


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"durations": [1.0]}, "2 videos with sentences"),
        ({"durations": None}, "durations"),
        ({"durations": [5.0, 0.0]}, "video 1.*0.0"),
        ({"durations": [5.0, float("nan")]}, "video 1"),
        ({"moments": [[[0, 1]], [[3, 2]]]}, r"video 1.*\[\[3, 2\]\]"),
        ({"moments": [[[0, 1], [1, 2]], [[1, 2]]]}, "video 0"),
        ({"moments": [[[0, 1]], [[0, float("nan")]]]}, "video 1"),
        ({"text": None}, "without text"),
    ],
)
def test_bad_moments_are_named(processor, arguments, message):
    good = {"text": ["sits", "down"], "durations": [5.0, 5.0], "moments": [[[0, 1]], [[1, 2]]]}
    with pytest.raises(AnnotationError, match=message):
        processor(video_features=random_features(2, 2), **{**good, **arguments})


def test_bad_text_is_named(processor, tokenizer):
    with pytest.raises(QueryError, match=r"1 videos, but sentences for 2.*\[\["):
        processor(video_features=random_features(2), text=["sits", "down"])
    with pytest.raises(QueryError, match="Sentence 0 of video 1"):
        processor(text=["sits", " "])
    with pytest.raises(QueryError, match="Nothing"):
        processor()
    with pytest.raises(QueryError, match="needs a tokenizer"):
        VideoGroundingProcessor(VideoGroundingFeatureExtractor())
    with pytest.raises(QueryError, match="unknown_words='skip'"):
        VideoGroundingProcessor(None, tokenizer, unknown_words="skip")
    with pytest.raises(QueryError, match="max_words=0"):
        VideoGroundingProcessor(None, tokenizer, max_words=0)
    with pytest.raises(QueryError, match="pad_words"):
        VideoGroundingProcessor(None, tokenizer, pad_words=True)


def test_limits_and_counts(tokenizer):
    processor = VideoGroundingProcessor(None, tokenizer, max_words=2, unknown_words="drop")
    batch = processor(text=[["zzz a person sits", "..."]])
    assert batch["input_ids"].tolist() == [[[2, 3], [1, 0]]]
    assert dict(processor.counts) == {"truncated": 1, "unknown_only": 1}
    padded = VideoGroundingProcessor(None, tokenizer, max_words=4, pad_words=True)(text=["a person"])
    assert padded["input_ids"].tolist() == [[[2, 3, 0, 0]]] and padded["attention_mask"].tolist() == [[[1, 1, 0, 0]]]


# --- processor: settings, save and load


def test_built_from_a_model_config(tokenizer):
    settings = {
        "resampling": "mean_bins",
        "num_clips": 4,
        "l2_normalize": True,
        "legacy_resample": False,
        "nms_threshold": 0.4,
        "max_words": 3,
    }
    processor = VideoGroundingProcessor.from_model_config(StandInConfig(settings=settings), tokenizer, SPEC)
    extractor = processor.feature_extractor
    assert {**vars(extractor), **vars(processor)}.items() >= settings.items()
    assert extractor.feature_dim == 3 and extractor.spec == SPEC
    without_spec = VideoGroundingProcessor.from_model_config(StandInConfig(settings={}, feature_dim=7), tokenizer)
    assert without_spec.feature_extractor.feature_dim == 7 and not without_spec.feature_extractor.spec.is_specified
    with pytest.raises(ModelError, match="clips"):
        VideoGroundingProcessor.from_model_config(StandInConfig(settings={"clips": 4}), tokenizer)


def test_built_from_a_model_config_and_word_vectors():
    vectors = WordVectors.from_vocabulary(["a", "Pan.", "pan"], dim=2)
    config = StandInConfig(settings={"word_pattern": "whitespace", "lowercase": False, "unknown_words": "drop"})
    processor = VideoGroundingProcessor.from_model_config(config, vectors)
    assert processor(text="a Pan. zzz")["input_ids"].tolist() == [[[2, 3]]]


@pytest.mark.parametrize("kind", ["words", "bert"])
def test_save_and_load(tmp_path, tokenizer, kind):
    if kind == "bert":
        pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "person", "sit", "##s"]
        tokenizer = BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)})
    extractor = VideoGroundingFeatureExtractor(
        "linspace_bins", 6, 2, True, False, feature_spec=SPEC, padding_value=0.5
    )
    processor = VideoGroundingProcessor(extractor, tokenizer, nms_threshold=0.45, max_words=9, unknown_words="drop")
    processor(text="...")
    processor.save_pretrained(tmp_path)
    StandInConfig(settings={}).save_pretrained(tmp_path)
    inputs = {"video_features": random_features(9, 4), "text": [["a person sits", "zzz"], ["sits"]]}
    expected = processor(**inputs)
    for again in (VideoGroundingProcessor.from_pretrained(tmp_path), AutoProcessor.from_pretrained(tmp_path)):
        assert type(again) is VideoGroundingProcessor
        assert again.to_dict() == processor.to_dict()
        assert again.feature_extractor.spec == SPEC
        assert (again.nms_threshold, again.max_words, again.unknown_words) == (0.45, 9, "drop")
        for name, value in again(**inputs).items():
            assert torch.equal(value, expected[name])
    assert AutoFeatureExtractor.from_pretrained(tmp_path).to_dict() == extractor.to_dict()
    assert AutoTokenizer.from_pretrained(tmp_path)("a person").input_ids == tokenizer("a person").input_ids
    changed = AutoProcessor.from_pretrained(tmp_path, nms_threshold=0.9)
    assert changed.nms_threshold == 0.9


# --- post-processing


def greedy(moments, scores, threshold):
    """Plain greedy suppression on Python floats: indices kept, best first."""
    order = sorted(range(len(scores)), key=lambda k: -scores[k])
    kept = []
    for k in order:
        if scores[k] == -np.inf:
            continue
        s, e = moments[k]

        def overlap(other, s=s, e=e):
            a, b = moments[other]
            union = max(e, b) - min(s, a)
            return max(min(e, b) - max(s, a), 0) / union if union > 0 else 0

        if all(overlap(other) <= threshold for other in kept):
            kept.append(k)
    return kept


def outputs_of(b, s, k, seed=0):
    rng = np.random.default_rng(seed)
    moments = np.sort(rng.integers(0, 33, (b, s, k, 2)) / 32, axis=-1)
    scores = rng.normal(size=(b, s, k)).astype(np.float32)
    scores[..., -2:] = -np.inf
    return SimpleNamespace(moments=torch.from_numpy(moments).float(), scores=torch.from_numpy(scores))


@pytest.mark.parametrize("top_k, threshold", [(5, 0.5), (None, 0.3), (1, 0.7), (None, 1.0), (100, None)])
def test_post_processing_equals_plain_greedy(processor, top_k, threshold):
    outputs, durations = outputs_of(3, 2, 40), [10.0, 31.7, 163.7]
    results = processor.post_process_video_grounding(outputs, durations, top_k, threshold)
    assert [len(video) for video in results] == [2, 2, 2]
    for v, video in enumerate(results):
        for s, sentence in enumerate(video):
            moments, scores = outputs.moments[v, s].tolist(), outputs.scores[v, s].tolist()
            kept = greedy(moments, scores, processor.nms_threshold if threshold is None else threshold)[:top_k]
            assert [r["score"] for r in sentence] == [scores[k] for k in kept]
            np.testing.assert_allclose(
                [[r["start"], r["end"]] for r in sentence], np.array(moments)[kept] * durations[v], rtol=1e-12
            )
            assert all(type(value) is float for r in sentence for value in r.values())


def test_padded_sentences_are_left_out(processor):
    outputs = outputs_of(2, 3, 6)
    outputs.scores[0, 1:] = -np.inf
    outputs.moments[0, 1:] = np.nan
    results = processor.post_process_video_grounding(outputs, torch.tensor([4.0, 5.0]))
    assert [len(video) for video in results] == [1, 3]
    mask = torch.tensor([[True, True, False], [True, False, False]])
    results = processor.post_process_video_grounding(outputs, [4.0, 5.0], sentence_mask=mask)
    assert [len(video) for video in results] == [2, 1] and results[0][1] == []


def test_moments_stay_inside_the_video(processor):
    outputs = {
        "moments": torch.tensor([[[[-0.2, 0.5], [0.6, 1.3], [0.99999999, 1.0]]]]),
        "scores": torch.tensor([[[3.0, 2.0, 1.0]]]),
    }
    for space in ("fractions", "seconds"):
        results = processor.post_process_video_grounding(outputs, [30.4], nms_threshold=1.0, nms_space=space)[0][0]
        assert all(0 <= r["start"] <= r["end"] <= 30.4 for r in results)
        assert (results[0]["start"], results[1]["end"]) == (0.0, 30.4)


def test_ties_are_decided_on_fractions_or_as_the_official_rounding_does(processor):
    """IoU of exactly 0.5 is kept on fractions; float32 seconds decide it either way."""
    outputs = {
        "moments": torch.tensor([[[[3 / 16, 7 / 16], [3 / 16, 5 / 16]]]]),
        "scores": torch.tensor([[[2.0, 1.0]]]),
    }
    seen = set()
    for duration in np.linspace(10, 40, 301).round(1).tolist():
        exact, official = (
            processor.post_process_video_grounding(outputs, [duration], nms_space=space)[0][0]
            for space in ("fractions", "seconds")
        )
        seconds = outputs["moments"][0, 0].numpy() * np.float32(duration)
        assert len(exact) == 2
        assert len(official) == len(greedy(seconds, [2.0, 1.0], np.float32(0.5)))
        assert official[0]["end"] == seconds[0, 1] and exact[0]["end"] == 7 / 16 * duration
        seen.add(len(official))
    assert seen == {1, 2}


@pytest.mark.needs_shared
@pytest.mark.parametrize("folder", ["mmn/dev", "mmn/dev/multiscale"])
def test_official_mmn_decoding(shared, processor, folder):
    """From the official score maps, in float32 seconds, every survivor is the official one."""
    golden = shared / "golden" / folder
    inputs, outputs = (load_file(golden / f"{name}.safetensors") for name in ("inputs", "outputs"))
    threshold = json.loads((golden / "config.json").read_text())["cfg"]["TEST"]["NMS_THRESH"]
    cells = np.argwhere(outputs["mask2d"])
    moments = torch.tensor((cells + [0, 1]) / len(outputs["mask2d"]), dtype=torch.float32)
    checked = 0
    for v, duration in enumerate(inputs["durations"].tolist()):
        scores = torch.from_numpy(outputs[f"scores2d.{v}"])[:, cells[:, 0], cells[:, 1]][None]
        batch = {"moments": moments.expand(1, scores.shape[1], -1, -1), "scores": scores}
        results = processor.post_process_video_grounding(batch, [duration], None, threshold, "seconds")[0]
        for s, sentence in enumerate(results):
            official = outputs[f"nms_moments.{v}.{s}"]
            ours = np.array([[r["start"], r["end"]] for r in sentence])
            np.testing.assert_allclose(ours, official, atol=1e-4, rtol=1e-5)
            checked += 1
    assert checked == sum(name.startswith("nms_moments") for name in outputs)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"nms_space": "frames"}, "frames"),
        ({"durations": [1.0]}, "do not fit"),
        ({"durations": [1.0, 0.0]}, "positive"),
        ({"top_k": 0}, "top_k"),
        ({"nms_threshold": -1}, "-1"),
    ],
)
def test_bad_post_processing_is_refused(processor, arguments, message):
    with pytest.raises(HFVTGError, match=message):
        processor.post_process_video_grounding(outputs_of(2, 1, 5), **{"durations": [1.0, 2.0], **arguments})
    outputs = outputs_of(1, 1, 5)
    outputs.scores[0, 0, 0] = np.nan
    with pytest.raises(HFVTGError, match="NaN"):
        processor.post_process_video_grounding(outputs, [1.0])


def test_post_processing_is_fast(processor):
    """2,548 candidates of one sentence: about 0.5 ms measured; the bound leaves room for a loaded machine."""
    outputs = outputs_of(1, 1, 2548)
    times = []
    for _ in range(30):
        start = time.perf_counter()
        temporal_nms(outputs.moments, outputs.scores, 0.5, top_k=5)
        times.append(time.perf_counter() - start)
    assert min(times) < 5e-3


def test_a_processor_of_a_newer_version_is_refused_and_an_older_one_read(tmp_path):
    tokenizer = WordVectors.from_vocabulary(["a", "cat"], dim=3).build_tokenizer()
    VideoGroundingProcessor(tokenizer=tokenizer, max_words=7).save_pretrained(tmp_path)
    path = tmp_path / "processor_config.json"
    saved = json.loads(path.read_text())
    assert saved.pop("version") == VERSION
    path.write_text(json.dumps(saved))
    assert VideoGroundingProcessor.from_pretrained(tmp_path).max_words == 7
    for version, message in ((VERSION + 1, "written by a newer one"), ("two", "version 'two'")):
        path.write_text(json.dumps({**saved, "version": version}))
        with pytest.raises(HFVTGError, match=message) as refusal:
            VideoGroundingProcessor.from_pretrained(tmp_path)
        assert "processor_config.json" in str(refusal.value) and "\n" not in str(refusal.value)
