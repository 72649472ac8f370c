"""Attention of words and clips: from the model's output through the pipeline to the picture of the command line."""

import json

import numpy as np
import pytest
import torch

from hf_vtg import cli, grounding, visualization
from hf_vtg.errors import HFVTGError
from hf_vtg.layers.padding import restore_sentences
from hf_vtg.models.registry import METHODS

from .test_long_videos import QUERIES, TESTERS, build, features_of
from .video_files import render
from .vision_models import save_grounding_model

ATTENDING = ["hisa", "hscnet", "ianet"]
# The tokenizer of the models knows neither "slowly" nor the capital, and splits "n't".
SENTENCES = ["The person does n't sit down slowly", "a person opens the door"]


def expected(method, output):
    """(B, S, L, T) out of the method's own tensors, by another way than the model's."""
    mask = output.text_state.sentence_mask
    if method == "hisa":
        return restore_sentences(output.word_attention.transpose(1, 2), mask)
    if method == "ianet":
        inter = [step for step in output.attentions if step.video_map.shape[1:] != step.query_map.shape[1:][::-1]]
        clips = output.video_state.video_mask.shape[1]
        between = [step for step in inter if step.query_map.shape[-1] > clips]
        return restore_sentences(between[-1].query_map[..., :clips], mask)
    maps = torch.zeros(*mask.shape, int(output.text_state.word_counts.max()), output.word_similarity.shape[-1])
    for row, sentence in mask.nonzero().tolist():
        own = (output.text_state.sentence_ids[row] == sentence).nonzero().flatten()
        visible = output.video_state.video_mask[row]
        maps[row, sentence, : len(own), visible] = output.word_similarity[row][own][:, visible].softmax(-1)
    return maps


@pytest.mark.parametrize("method", METHODS)
def test_only_word_levels_have_it(method):
    tester = TESTERS[method]()
    model = tester.model()
    batch = tester.batch(model.config)
    assert model.attends_words == (method in ATTENDING)
    with torch.no_grad():
        assert model(**batch).word_clip_attention is None
        output = model(**batch, output_intermediates=True)
    if method not in ATTENDING:
        assert output.word_clip_attention is None
        return
    found, wanted = output.word_clip_attention, expected(method, output)
    words, clips = batch["attention_mask"].sum(-1), batch["video_mask"].sum(1)
    assert len(set(words[words > 0].tolist())) > 1
    for row, sentence in (words > 0).nonzero().tolist():
        real = (row, sentence, slice(int(words[row, sentence])), slice(int(clips[row])))
        torch.testing.assert_close(found[real], wanted[real])
        sums = found[real].sum(0 if method == "hisa" else 1)
        assert (sums < 1 + 1e-5).all() and (sums > (0 if method == "ianet" else 1 - 1e-5)).all()


def test_hscnet_without_a_word_level_has_none():
    model = TESTERS["hscnet"]().model(levels=["S", "P"], align_levels=["S", "P"], decoder_levels=["S", "P"])
    assert not model.attends_words
    batch = TESTERS["hscnet"]().batch(model.config)
    assert model(**batch, output_intermediates=True).word_clip_attention is None


def ask(pipe, rows, queries, **options):
    inputs = {"video": features_of(pipe, rows), "query": queries, "duration": rows / 2, **options}
    return pipe.preprocess(inputs)


def same(found, wanted):
    assert len(found) == len(wanted)
    for (words, weights), (other_words, other) in zip(found, wanted, strict=True):
        assert words == other_words
        np.testing.assert_allclose(weights, other, atol=2e-6)


@pytest.mark.parametrize("method", ATTENDING)
def test_pipeline_gives_the_words_of_each_query(method, monkeypatch):
    """Against the model itself, asked one sentence; groups of sentences and other videos of a batch change nothing."""
    pipe = build(method)
    pipe.processor.trained_seconds = None
    queries = [*SENTENCES, *QUERIES]
    inputs = [ask(pipe, 60, queries), ask(pipe, 35, queries[:1])]
    alone = [pipe.forward(item, attention=True)["attention"] for item in inputs]
    dropped = {"slowly", "does", "n't", "sit"} if pipe.processor.unknown_words == "drop" else set()
    for query, (words, weights) in zip(queries, alone[0], strict=True):
        assert words == [word for word in query.split() if word not in dropped]
        batch = pipe.processor(video_features=inputs[0]["features"], text=[[query]])
        with torch.no_grad():
            output = pipe.model(**batch, output_intermediates=True)
        np.testing.assert_allclose(weights, output.word_clip_attention[0, 0], atol=2e-6)
    assert pipe.forward(inputs[0])["attention"] is None
    monkeypatch.setattr(grounding, "GROUP_SIZE", 2)
    monkeypatch.setattr(grounding, "READINGS", 2)
    together = pipe.forward(inputs, attention=True)
    for row, wanted in zip(together, alone, strict=True):
        same(row["attention"], wanted)
    assert pipe.postprocess(together[0]) == pipe.postprocess(pipe.forward(inputs)[0])


def test_sentences_of_a_paragraph_are_read_together():
    pipe = build("hscnet", max_sentences=2)
    found = pipe.forward(ask(pipe, 60, QUERIES, paragraph=True), attention=True)["attention"]
    assert [words for words, _ in found] == [query.split() for query in QUERIES]
    batch = pipe.processor(video_features=features_of(pipe, 60), text=[QUERIES[:2]])
    with torch.no_grad():
        output = pipe.model(**batch, output_intermediates=True)
    for k in (0, 1):
        np.testing.assert_allclose(found[k][1], output.word_clip_attention[0, k, : len(found[k][0])], atol=2e-6)
    alone = pipe.forward(ask(pipe, 60, QUERIES), attention=True)["attention"]
    assert np.abs(alone[0][1] - found[0][1]).max() > 1e-4
    same(alone[2:], found[2:])


@pytest.mark.parametrize("method", ATTENDING)
@pytest.mark.parametrize("paragraph", [False, True])
def test_windows_are_laid_over_each_other(method, paragraph):
    """Against plain calls on each window."""
    pipe = build(method)
    pipe.processor.trained_seconds = None
    item = ask(pipe, 90, QUERIES, paragraph=paragraph)
    found = pipe.forward(item, window_seconds=20.0, attention=True)["attention"]
    parts = []
    for start in (0, 20, 40, 50):
        window = {**item, "features": item["features"][start : start + 40], "duration": 20.0}
        parts.append(pipe.forward(window, attention=True)["attention"])
    for k, (words, weights) in enumerate(found):
        clips = parts[0][k][1].shape[1]
        wide = np.full((4, len(words), 90 * clips // 40), np.nan)
        for number, start in enumerate((0, 20, 40, 50)):
            first = start * clips // 40
            wide[number, :, first : first + clips] = parts[number][k][1]
        assert words == QUERIES[k].split()
        np.testing.assert_allclose(weights, np.nanmean(wide, axis=0), atol=2e-6)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Method -> folder of a model; under "videos" a file that is a video and one that is none."""
    root = tmp_path_factory.mktemp("attention")
    for method in METHODS:
        save_grounding_model(root / method, method)
    (root / "videos").mkdir()
    render(root / "videos" / "a.mp4", [100 * k for k in range(12)], 100)
    (root / "videos" / "bad.mp4").write_bytes(b"no video at all")
    return root


@pytest.mark.parametrize("method", ATTENDING)
@pytest.mark.parametrize("paragraph", [False, True])
def test_the_command_draws_it(method, paragraph, folders, tmp_path, capsys, monkeypatch):
    figures = []
    save = visualization.save_figure
    monkeypatch.setattr(
        visualization, "save_figure", lambda figure, path: figures.append(figure) or save(figure, path)
    )
    asked = ["--query", "The person sits down. A person opens the door.", "--paragraph"]
    if not paragraph:
        asked = ["--query", "The person sits down.", "--query", "A person opens the door."]
    command = ["ground", str(folders / "videos" / "a.mp4"), "--model", str(folders / method / "model"), *asked]
    assert cli.main([*command, "--attention", str(tmp_path / "a.png"), "--json"]) == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rows = rows[0]["sentences"] if paragraph else rows
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    pictures = [axes for axes in figures[0].axes if axes.get_xlabel() == "seconds"]
    shown = [[label.get_text() for label in axes.get_yticklabels()] for axes in pictures]
    glued = "" if "down." not in sum(shown, []) else "."
    assert shown == [f"The person sits down{glued}".split(), f"A person opens the door{glued}".split()]
    for axes, row in zip(pictures, rows, strict=True):
        best = row["moments"][0]
        (bar,) = axes.patches
        assert (bar.get_x(), bar.get_x() + bar.get_width()) == pytest.approx((best["start"], best["end"]))
        assert axes.get_xlim() == (0, pytest.approx(1.2)) and axes.get_title("left") == row["sentence"]


@pytest.mark.parametrize("method", sorted(set(METHODS) - set(ATTENDING)))
def test_a_method_without_it_is_one_message(method, folders, capsys):
    """Before the video is read."""
    command = ["ground", str(folders / "videos" / "bad.mp4"), "--model", str(folders / method / "model")]
    assert cli.main([*command, "--query", "a person", "--attention", "a.png"]) == 2
    (message,) = [line for line in capsys.readouterr().err.splitlines() if line.startswith("hf-vtg: ")]
    assert "has no attention of words to clips. Methods whose word level has it: HiSA, HSCNet, IANet." in message
    assert str(folders / method / "model") in message


def test_what_cannot_be_drawn_is_refused_before_the_video_is_read(folders, capsys):
    command = ["ground", str(folders / "videos" / "bad.mp4"), "--model", str(folders / "hisa" / "model")]
    assert cli.main([*command, "--query", "person " * 1001, "--attention", "a.svg"]) == 2
    assert "1001 words" in capsys.readouterr().err
    assert cli.main([*command, "--query", "A person. " * 61, "--paragraph", "--attention", "a.svg"]) == 2
    assert "61 sentences do not fit" in capsys.readouterr().err
    assert cli.main([*command, "--query", "a", "--attention", "a.doc"]) == 2
    assert "ends in .png" in capsys.readouterr().err
    with pytest.raises(HFVTGError, match="a MMNForVideoGrounding, has no attention"):
        pipe = build("mmn")
        pipe.forward(ask(pipe, 30, QUERIES), attention=True)
