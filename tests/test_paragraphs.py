"""Paragraphs: text into sentences, rows into what a method reads, and one answer for a whole text."""

import numpy as np
import pytest
import torch
from transformers import pipeline

from hf_vtg import cli
from hf_vtg.errors import QueryError
from hf_vtg.text.paragraphs import split_parts, split_sentences
from hf_vtg.training.paragraph_rows import evaluation_rows, training_rows

from .testers import model_tester

SENTENCES = ["First a person opens the door.", "Then the person sits down!", "Finally the person eats, and walks."]
TEXT = f"{SENTENCES[0]} {SENTENCES[1]}\n{SENTENCES[2]}"


def rows_of(moments):
    return np.array([[m["start"], m["end"], m["score"]] for m in moments])


def close(moments):
    return pytest.approx(rows_of(moments), abs=1e-5)


# Text


@pytest.mark.parametrize(
    "text, sentences",
    [
        (TEXT, SENTENCES),
        ("A man opens Mr. Smith's door, e.g. the red one. He waits", 2),
        ('He says "Stop. Now." Then he goes.', 2),
        ("It costs 3.5 dollars. 2 men leave.", 2),
        ("He sits down.Then he eats.", 2),
        ("the person sits down then eats", ["the person sits down then eats"]),
        ("  One   word. ", ["One word."]),
    ],
)
def test_a_text_is_split_into_its_sentences(text, sentences):
    found = split_sentences(text)
    assert found == sentences or len(found) == sentences
    assert "".join(found).replace(" ", "") == "".join(text.split())


@pytest.mark.parametrize("text", ["", "  \n", None])
def test_no_text_is_an_error(text):
    with pytest.raises(QueryError, match="paragraph"):
        split_sentences(text)


def test_parts():
    assert split_parts("abcde", 2) == [["a", "b"], ["c", "d"], ["e"]]
    assert split_parts("abcde", None) == split_parts("abcde", 9) == [list("abcde")]


# Rows


def long_rows(lengths=(19, 3, 8)):
    return [
        {
            "video_id": f"v{k}",
            "duration": 10.0,
            "sentences": [f"sentence {k} {i}" for i in range(count)],
            "moments": [[0.1 * i, 0.1 * i + 1] for i in range(count)],
        }
        for k, count in enumerate(lengths)
    ]


def reader(**fields):
    return model_tester("hscnet").config(**fields)


def test_training_reads_a_random_part_in_order():
    rows, torch_rows = long_rows(), training_rows(long_rows(), reader())
    counts = set()
    for epoch in range(200):
        torch_rows.epoch.fill_(epoch)
        for row, sampled in zip(rows, torch_rows, strict=True):
            picked = [row["sentences"].index(sentence) for sentence in sampled["sentences"]]
            assert picked == sorted(set(picked)) and sampled["moments"] == [row["moments"][k] for k in picked]
            counts.add((row["video_id"], len(picked)))
    assert counts == {(f"v{k}", n) for k, longest in enumerate((8, 3, 8)) for n in range(1, longest + 1)}


def test_evaluation_reads_every_sentence_once():
    parts = evaluation_rows(long_rows(), reader())
    assert [len(part["sentences"]) for part in parts] == [8, 8, 3, 3, 8]
    assert [s for part in parts for s in part["sentences"]] == [s for row in long_rows() for s in row["sentences"]]
    whole = training_rows(long_rows(), reader(sample_sentences=False))
    assert [len(part["sentences"]) for part in whole] == [8, 8, 3, 3, 8]


def test_methods_that_read_no_paragraphs_get_their_rows():
    rows, config = long_rows(), model_tester("mmn").config()
    assert training_rows(rows, config) is rows and evaluation_rows(rows, config) is rows
    unlimited = reader(max_sentences=None)
    assert evaluation_rows(rows, unlimited) is rows and len(training_rows(rows, unlimited)) == 3


@pytest.mark.slow
def test_trainer_cuts_and_evaluates_long_paragraphs(tmp_path):
    tester = model_tester("hscnet")
    model = tester.model(max_sentences=2)
    trainer = tester.trainer(model, tmp_path)
    sizes = []
    forward = model.forward

    def spy(**inputs):
        sizes.append(inputs["attention_mask"].any(-1).sum(1).max().item())
        return forward(**inputs)

    model.forward = spy
    assert trainer.evaluate()["eval_num_queries"] == 6
    predicted = trainer.predict(trainer.eval_dataset).predictions
    assert [p["query_id"] for p in predicted] == ["v0/0", "v0/1", "v1/0", "v2/0", "v2/1", "v2/2"]
    assert max(sizes) == 2
    del model.forward
    trainer.train()


# Pipeline


@pytest.fixture(scope="module")
def pipes(tmp_path_factory):
    """One pipeline of a method that reads paragraphs and one of a method that does not; and features of a video."""
    made = {}
    for name, tester in (("hscnet", model_tester("hscnet")), ("mmn", model_tester("mmn"))):
        folder = tmp_path_factory.mktemp(name)
        model = tester.model(**({"max_sentences": 4} if name == "hscnet" else {}))
        model.save_pretrained(folder)
        tester.processor(model.config).save_pretrained(folder)
        made[name] = pipeline("video-grounding", model=str(folder), device="cpu")
    return made


@pytest.fixture(scope="module")
def features():
    return np.random.default_rng(0).standard_normal((40, 10)).astype(np.float32)


@pytest.mark.parametrize("name", ["hscnet", "mmn"])
def test_a_paragraph_is_one_answer(pipes, features, name):
    pipe = pipes[name]
    answer = pipe(features, TEXT, duration=20.0, paragraph=True, top_k=3)
    assert list(answer) == ["start", "end", "sentences"] and 0 <= answer["start"] < answer["end"] <= 20
    assert [found["sentence"] for found in answer["sentences"]] == SENTENCES
    assert all(1 <= len(found["moments"]) <= 3 for found in answer["sentences"])
    listed = pipe(features, SENTENCES, duration=20.0, paragraph=True, top_k=3)
    assert listed["start"] == pytest.approx(answer["start"]) and listed["end"] == pytest.approx(answer["end"])
    single = pipe(features, SENTENCES[0], duration=20.0, paragraph=True)
    assert [found["sentence"] for found in single["sentences"]] == SENTENCES[:1]


def test_sentence_level_methods_answer_each_sentence(pipes, features):
    answer = pipes["mmn"](features, TEXT, duration=20.0, paragraph=True)
    for found in answer["sentences"]:
        assert rows_of(found["moments"]) == close(pipes["mmn"](features, found["sentence"], duration=20.0))
    best = [found["moments"][0] for found in answer["sentences"]]
    assert answer["start"] == min(m["start"] for m in best) and answer["end"] == max(m["end"] for m in best)


def test_queries_are_answered_by_themselves_and_paragraphs_together(pipes, features):
    pipe = pipes["hscnet"]
    alone = [pipe(features, sentence, duration=20.0) for sentence in SENTENCES]
    listed = pipe(features, SENTENCES, duration=20.0)
    for one, other in zip(alone, listed, strict=True):
        assert rows_of(other) == close(one)
    together = pipe(features, SENTENCES, duration=20.0, paragraph=True)
    assert not np.allclose(rows_of(together["sentences"][0]["moments"]), rows_of(alone[0]), atol=1e-4)
    model, batch = pipe.model, pipe.processor(video_features=[features], text=[SENTENCES])
    with torch.no_grad():
        output = model(**batch)
    for found, moment in zip(together["sentences"], output.moments[0, :, 0] * 20, strict=True):
        assert rows_of(found["moments"])[0, :2] == pytest.approx(moment.numpy(), abs=1e-4)
    whole = output.paragraph_moments[0] * 20
    assert [together["start"], together["end"]] == pytest.approx(whole.tolist(), abs=1e-4)


@pytest.mark.parametrize("paragraph", [False, True])
def test_the_video_is_encoded_once(pipes, features, monkeypatch, paragraph):
    pipe = pipes["hscnet"]
    encode, calls = pipe.model.encode_video, []
    monkeypatch.setattr(pipe.model, "encode_video", lambda f, *a, **k: calls.append(len(f)) or encode(f, *a, **k))
    pipe(features, SENTENCES * 3, duration=20.0, paragraph=paragraph)
    assert calls == [1]


def test_long_paragraphs_are_read_in_parts(pipes, features):
    """9 sentences at most 4 at a time: parts of 4, 4 and 1; the extent is that of the parts together."""
    pipe, many = pipes["hscnet"], SENTENCES * 3
    answer = pipe(features, many, duration=20.0, paragraph=True)
    parts = [pipe(features, many[k : k + 4], duration=20.0, paragraph=True) for k in (0, 4, 8)]
    expected = [found["moments"] for part in parts for found in part["sentences"]]
    assert len(answer["sentences"]) == 9
    for found, moments in zip(answer["sentences"], expected, strict=True):
        assert rows_of(found["moments"]) == close(moments)
    assert answer["start"] == pytest.approx(min(part["start"] for part in parts), abs=1e-5)
    assert answer["end"] == pytest.approx(max(part["end"] for part in parts), abs=1e-5)


@pytest.mark.parametrize("name", ["hscnet", "mmn"])
def test_batches_of_paragraphs_lists_and_sentences(pipes, features, name):
    pipe = pipes[name]
    inputs = [
        {"video": features, "query": TEXT, "duration": 20.0, "paragraph": True},
        {"video": features[:17], "query": SENTENCES[0], "duration": 9.0},
        {"video": features[5:], "query": SENTENCES, "duration": 18.0},
        {"video": features[3:], "query": SENTENCES * 2, "duration": 18.0, "paragraph": True},
    ]
    batched = pipe([dict(item) for item in inputs], batch_size=4)
    for item, answer in zip(inputs, batched, strict=True):
        expected = pipe(dict(item))
        if item.get("paragraph"):
            assert answer["start"] == pytest.approx(expected["start"], abs=1e-4)
            answer, expected = ([found["moments"] for found in each["sentences"]] for each in (answer, expected))
        pairs = [(answer, expected)] if isinstance(item["query"], str) and "paragraph" not in item else None
        for ours, theirs in pairs or zip(answer, expected, strict=True):
            assert rows_of(ours) == close(theirs)


def test_without_a_paragraph_decoder_the_extent_is_that_of_the_best_moments(features):
    tester = model_tester("hscnet")
    model = tester.model(levels=["W", "S"])
    pipe = pipeline("video-grounding", model=model, processor=tester.processor(model.config), device="cpu")
    answer = pipe(features, TEXT, duration=20.0, paragraph=True)
    assert answer["start"] == min(found["moments"][0]["start"] for found in answer["sentences"])


@pytest.mark.parametrize("name", ["hscnet", "mmn"])
def test_a_paragraph_on_a_long_video_spans_its_windows(pipes, features, name):
    """No window sees the whole paragraph, so its extent is that of the best moments."""
    answer = pipes[name](features, SENTENCES * 2, duration=60.0, window_seconds=20.0, paragraph=True)
    best = [found["moments"][0] for found in answer["sentences"]]
    assert len(best) == 6 and all(0 <= m["start"] < m["end"] <= 60 for m in best)
    assert answer["start"] == min(m["start"] for m in best) and answer["end"] == max(m["end"] for m in best)


def test_bad_paragraphs_are_named(pipes, features):
    with pytest.raises(QueryError, match="paragraph"):
        pipes["mmn"](features, "  ", duration=20.0, paragraph=True)
    with pytest.raises(QueryError, match="Sentence 1 .* empty"):
        pipes["hscnet"](features, ["a person eats", ""], duration=20.0, paragraph=True)


def test_command_line_paragraph(pipes, tmp_path, capsys):
    import json

    from .video_files import render
    from .vision_models import save_grounding_model

    model = save_grounding_model(tmp_path)
    video = render(tmp_path / "a.mp4", [100 * k for k in range(12)], 100)
    command = ["ground", str(video), "--model", str(model), "--paragraph", "--query", TEXT]
    assert cli.main(command) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("whole paragraph: ")
    assert [line for line in lines[1:] if not line.startswith(" ")] == SENTENCES
    assert cli.main([*command, "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert [found["sentence"] for found in answer["sentences"]] == SENTENCES and answer["start"] <= answer["end"]
