"""Models of transformers through our steps: TVP as it is, and dual encoders that ground without training."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoModel, AutoProcessor, TvpForVideoGrounding, pipeline

from hf_vtg import AutoModelForVideoGrounding
from hf_vtg.auto import ADAPTERS
from hf_vtg.errors import FeatureError, ModelError
from hf_vtg.layers.proposals import proposal_cells
from hf_vtg.models.dual_encoders import contrast
from hf_vtg.models.dual_encoders.contrast import best_segments, contrast_scores, multi_scale_cells
from hf_vtg.video.decode import iter_sampled_frames

from .foreign_models import BUILDERS, save_foreign_model
from .video_files import render

QUERIES = ["a person opens the door", "red book"]
DUAL_ENCODERS = sorted(set(BUILDERS) - {"tvp"})


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    root = tmp_path_factory.mktemp("foreign")
    return {name: save_foreign_model(name, root / name) for name in BUILDERS}


@pytest.fixture(scope="module")
def video(tmp_path_factory):
    """Six seconds of noise at 10 frames a second."""
    images = np.random.default_rng(0).integers(0, 255, (60, 6, 8, 3), np.uint8).repeat(8, 1).repeat(8, 2)
    path = tmp_path_factory.mktemp("video") / "noise.mp4"
    return render(path, [100 * k for k in range(60)], 100, images=images)


def test_every_adapter_is_registered_and_no_other_auto_class_changed():
    for model_class in ADAPTERS:
        assert AutoModelForVideoGrounding._model_mapping[model_class.config_class] is model_class
        assert not issubclass(AutoModel._model_mapping[model_class.config_class], ADAPTERS)


def frames_at(video, times):
    return [Image.fromarray(sample.image) for sample in iter_sampled_frames(video, times=times)]


def test_tvp_gives_what_transformers_gives(folders, video):
    """Against TvpProcessor and TvpForVideoGrounding on the same frames, one sentence at a time and rounded by them."""
    pipe = pipeline("video-grounding", model=str(folders["tvp"]), device="cpu")
    answers = pipe(str(video), QUERIES)
    model, processor = TvpForVideoGrounding.from_pretrained(folders["tvp"]), pipe._own_processor
    frames = frames_at(video, np.linspace(0, 6, model.config.num_frames).tolist())
    pixels = processor.image_processor([frames], return_tensors="pt")["pixel_values"]
    for query, ranked in zip(QUERIES, answers, strict=True):
        text = processor.tokenizer(query, return_tensors="pt")
        with torch.no_grad():
            logits = model(text["input_ids"], pixels.clone(), text["attention_mask"]).logits
        (moment,) = ranked
        assert moment["score"] == 1
        np.testing.assert_allclose([moment["start"], moment["end"]], logits[0].sort().values * 6, atol=1e-5)
        rounded = processor.post_process_video_grounding(logits, 6.0)
        assert sorted(rounded) == [round(moment["start"], 1), round(moment["end"], 1)]


def test_tvp_decodes_frames_and_refuses_other_numbers_of_them(folders, video):
    pipe = pipeline("video-grounding", model=str(folders["tvp"]), device="cpu")
    encoded = pipe.encode(video)
    assert encoded["features"].shape == (6, pipe.model.feature_dim)
    again = pipe([encoded, encoded], QUERIES, batch_size=2)
    assert again[0] == again[1] == pipe(encoded, QUERIES)
    frames = [np.asarray(frame) for frame in frames_at(video, [k / 10 for k in range(60)])]
    assert len(pipe(frames, QUERIES[0], fps=10)) == 1
    with pytest.raises(ModelError, match="exactly 6 frames"):
        pipe(encoded["features"][:5], QUERIES, duration=6.0)


@pytest.mark.parametrize("name", DUAL_ENCODERS)
def test_similarities_are_those_of_the_model(name, folders, video):
    """Against the joint forward pass of transformers, with the model's own processor."""
    own, processor = AutoModel.from_pretrained(folders[name]), AutoProcessor.from_pretrained(folders[name])
    frames = frames_at(video, [0.5 * k for k in range(12)])
    padding = "max_length" if name.startswith("siglip") else True
    inputs = processor.tokenizer(QUERIES, padding=padding, return_tensors="pt")
    if name.startswith("siglip"):
        inputs.pop("attention_mask")
    inputs = {**inputs, **processor.image_processor(frames, return_tensors="pt")}
    inputs.pop("token_type_ids", None)
    with torch.no_grad():
        output = own(**inputs)
        text, image = (torch.nn.functional.normalize(x, dim=-1) for x in (output.text_embeds, output.image_embeds))
        expected = text @ image.T
    pipe = pipeline("video-grounding", model=str(folders[name]), device="cpu")
    features = pipe.encode(video, use_cache=False)["features"]
    batch = pipe.processor(video_features=features, text=[QUERIES])
    with torch.no_grad():
        similarity = pipe.model(**batch).similarity[0]
    torch.testing.assert_close(similarity, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", DUAL_ENCODERS)
def test_pipeline_grounds_without_training(name, folders, video, tmp_path):
    pipe = pipeline("video-grounding", model=str(folders[name]), device="cpu")
    answers = pipe(str(video), QUERIES, top_k=3)
    for ranked in answers:
        assert len(ranked) == 3 and all(0 <= m["start"] < m["end"] <= 6 for m in ranked)
        assert 0 < ranked[0]["score"] <= 1
    pipe.save_pretrained(tmp_path)
    again = pipeline("video-grounding", model=str(tmp_path), device="cpu")
    assert type(AutoProcessor.from_pretrained(tmp_path)) is type(pipe._own_processor)
    assert again(str(video), QUERIES, top_k=3) == answers
    assert pipe(str(video), QUERIES[0], top_k=3) == [
        {name: pytest.approx(value, abs=1e-5) for name, value in moment.items()} for moment in answers[0]
    ]


def test_one_video_pass_for_any_number_of_queries(folders, video, monkeypatch):
    pipe = pipeline("video-grounding", model=str(folders["clip"]), device="cpu")
    seen = []
    encode = pipe.model.get_image_features
    monkeypatch.setattr(
        pipe.model, "get_image_features", lambda **k: seen.append(len(k["pixel_values"])) or encode(**k)
    )
    for queries in (QUERIES[:1], QUERIES * 20):
        seen.clear()
        pipe(str(video), queries, use_cache=False)
        assert sum(seen) == 12


def test_what_a_dual_encoder_refuses(folders):
    model = AutoModelForVideoGrounding.from_pretrained(folders["clip"])
    pipe = pipeline("video-grounding", model=str(folders["clip"]), device="cpu")
    batch = pipe.processor(video_features=np.ones((4, 12), np.float32), text=["a b"])
    with pytest.raises(ModelError, match="without training"):
        model(**batch, labels=torch.zeros(1, 1, 2, dtype=torch.float64))
    with pytest.raises(FeatureError, match="11 wide"):
        pipe(np.ones((4, 11), np.float32), "a")
    with pytest.raises(ModelError, match="CLIPModel does not ground.*AutoModelForVideoGrounding"):
        type(pipe)(model=AutoModel.from_pretrained(folders["clip"]), processor=pipe._own_processor)


def step(length, first, last, low=0.2, high=0.3):
    curve = torch.full((length,), low)
    curve[first : last + 1] = high
    return curve


@pytest.mark.parametrize("length, first, last", [(40, 10, 19), (40, 0, 3), (40, 39, 39), (200, 64, 95), (16, 1, 15)])
def test_a_step_is_found_exactly(length, first, last):
    """A known answer: of a curve that is higher inside a segment the best segment is that one, with correlation 1."""
    assert [first, last] in multi_scale_cells(length).tolist()
    moments, scores = best_segments(step(length, first, last)[None, None], torch.ones(1, length, dtype=torch.bool), 50)
    torch.testing.assert_close(moments[0, 0, 0] * length, torch.tensor([first, last + 1.0]))
    assert scores[0, 0, 0] == pytest.approx(1, abs=1e-5) and scores[0, 0, 1] < 0.999


def test_a_step_in_frame_embeddings_is_found(folders):
    model = AutoModelForVideoGrounding.from_pretrained(folders["clip"])
    pipe = pipeline("video-grounding", model=str(folders["clip"]), device="cpu")
    batch = pipe.processor(text=[QUERIES])
    with torch.no_grad():
        text = model.encode_text(**batch).sentence_embeds[0]
    features = np.random.default_rng(0).normal(0, 0.05, (60, 12)).astype(np.float32)
    features[10:20] += text[0].numpy()
    features[30:46] += text[1].numpy()
    first, second = pipe(features, QUERIES, duration=30.0)
    assert (first[0]["start"], first[0]["end"]) == (pytest.approx(5), pytest.approx(10))
    assert (second[0]["start"], second[0]["end"]) == (pytest.approx(15), pytest.approx(23))


def test_scores_are_correlations():
    """Against numpy's correlation with each segment's indicator; padding and constant curves included."""
    generator = torch.Generator().manual_seed(0)
    curves = torch.randn(2, 3, 20, generator=generator)
    curves[0, 2] = 0.7
    lengths = torch.tensor([20, 13])
    mask = torch.arange(20) < lengths[:, None]
    cells = multi_scale_cells(20)
    scores = contrast_scores(curves, mask, cells)
    for v, length in enumerate(lengths.tolist()):
        for s in range(3):
            for (first, last), score in zip(cells.tolist(), scores[v, s].tolist(), strict=True):
                inside = np.zeros(length)
                inside[first : last + 1] = 1
                if last >= length:
                    assert score == -np.inf
                elif inside.all() or (v, s) == (0, 2):
                    assert score == 0
                else:
                    expected = np.corrcoef(curves[v, s, :length].numpy(), inside)[0, 1]
                    assert score == pytest.approx(expected, abs=1e-5)


def test_grid_is_that_of_2d_tan_at_its_sizes_and_of_shorter_videos():
    np.testing.assert_array_equal(multi_scale_cells(64), proposal_cells(64, (15, 8, 8)))
    long = multi_scale_cells(100)
    np.testing.assert_array_equal(multi_scale_cells(37), long[long[:, 1] < 37])
    assert multi_scale_cells(1).tolist() == [[0, 0]]
    assert len(multi_scale_cells(2000)) < 24 * 2000


def test_groups_of_sentences_change_nothing(monkeypatch):
    curves = torch.randn(1, 7, 50, generator=torch.Generator().manual_seed(0))
    mask = torch.ones(1, 50, dtype=torch.bool)
    whole = best_segments(curves, mask, 9)
    monkeypatch.setattr(contrast, "GROUP_ELEMENTS", 1)
    for one, other in zip(whole, best_segments(curves, mask, 9), strict=True):
        assert torch.equal(one, other)
    assert whole[1].shape == (1, 7, 9)
