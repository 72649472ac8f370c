"""Word vectors, the tokenizer that fits them, and the tokenising of sentences."""

import gzip
import json
import logging
import tracemalloc
from collections import Counter

import numpy as np
import pytest
from transformers import AutoTokenizer, BertTokenizerFast, CanineTokenizer

from hf_vtg.errors import HFVTGError, QueryError
from hf_vtg.text.sentences import nest_sentences, sentence_words, tokenize_sentences
from hf_vtg.text.tokenization import PATTERNS, WordVectors, split_words, vocabulary_of

WORDS = ["the", "person", "n't", "'s", "turns", "t-shirt", "café", "1/2", "light", "do"]


@pytest.fixture
def vectors() -> WordVectors:
    return WordVectors.from_vocabulary(WORDS, dim=6, seed=3)


def write(path, lines):
    path.write_bytes(b"".join(line if isinstance(line, bytes) else line.encode() + b"\n" for line in lines))
    return path


def line_of(word, *values):
    return " ".join([word, *map(str, values)])


# --- tables and ids


@pytest.mark.parametrize("pattern", [*PATTERNS, r"[a-z]+"])
def test_ids_of_the_tokenizer_are_rows_of_the_table(vectors, pattern):
    tokenizer, table = vectors.build_tokenizer(pattern), vectors.table()
    assert table.shape == (len(WORDS) + 2, 6) and table.dtype == np.float32
    ids = tokenizer.convert_tokens_to_ids(WORDS)
    np.testing.assert_array_equal(table[ids], vectors.vectors)
    assert (tokenizer.pad_token_id, tokenizer.unk_token_id) == (0, 1)
    assert not table[0].any() and not table[1].any()
    ids = tokenizer("the light").input_ids
    np.testing.assert_array_equal(table[ids], vectors.vectors[[0, 8]])


def test_duplicates_and_reserved_words_do_not_shift_rows():
    words = ["a", "b", "a", "[UNK]", "cafe\u0301", "caf\u00e9", "[PAD]", "c"]
    vectors = WordVectors(words, np.arange(16.0).reshape(8, 2))
    assert vectors.words == ["a", "b", "caf\u00e9", "c"]
    tokenizer, table = vectors.build_tokenizer(), vectors.table()
    assert table[tokenizer("a b cafe\u0301 c zzz").input_ids].tolist() == [[0, 1], [2, 3], [8, 9], [14, 15], [6, 7]]


def test_rules_for_unknown_words():
    vectors = WordVectors(["<UNK>", "a", "b"], [[9, 9], [1, 2], [3, 6]])
    assert vectors.table()[1].tolist() == [9, 9]
    assert vectors.table("zeros")[1].tolist() == [0, 0]
    np.testing.assert_allclose(vectors.table("mean")[1], [13 / 3, 17 / 3], rtol=1e-6)
    assert WordVectors(["a"], [[1, 2]]).table()[1].tolist() == [0, 0]
    with pytest.raises(HFVTGError, match="'nearest'"):
        vectors.table("nearest")


@pytest.mark.parametrize(
    "words, values, message",
    [
        ([], np.zeros((0, 3)), "0 words"),
        (["a"], np.zeros((2, 3)), "1 words"),
        (["a", "b"], [[0, 1], [np.nan, 1]], "'b'"),
    ],
)
def test_bad_tables_are_refused(words, values, message):
    with pytest.raises(HFVTGError, match=message):
        WordVectors(words, values)


# --- files


def test_glove_text_with_blanks_in_words_duplicates_and_an_unknown_row(tmp_path):
    path = write(
        tmp_path / "glove.txt",
        [
            line_of("the", 1, 2.5, -3),
            line_of(". . .", 4, 5, 6),
            line_of("12", 7, 8, 9) + " ",
            line_of("person", "1e-1", 0, 0) + "\r",
            line_of("the", 0, 0, 0),
            line_of("<unk>", 3, 3, 3),
        ],
    )
    vectors = WordVectors.from_glove(path)
    assert vectors.words == ["the", ". . .", "12", "person", "<unk>"]
    np.testing.assert_allclose(vectors.vectors[:4], [[1, 2.5, -3], [4, 5, 6], [7, 8, 9], [0.1, 0, 0]])
    assert vectors.unknown.tolist() == [3, 3, 3]
    some = WordVectors.from_glove(path, vocabulary=["person", "absent"], unknown_row=1)
    assert some.words == ["person", "<unk>"] and some.unknown.tolist() == [4, 5, 6]
    assert WordVectors.from_glove(path, limit=2).words == ["the", ". . ."]
    with pytest.raises(HFVTGError, match="row 99"):
        WordVectors.from_glove(path, unknown_row=99)
    with pytest.raises(HFVTGError, match="any word of the vocabulary"):
        WordVectors.from_glove(write(tmp_path / "other.txt", [line_of("a", 1, 2)]), vocabulary=["b"])


def test_first_word_with_blanks_word2vec_header_and_gzip(tmp_path):
    path = write(tmp_path / "a.txt", [line_of("at home", 1, 2), line_of("b", 3, 4)])
    assert WordVectors.from_glove(path).words == ["at home", "b"]
    header = write(tmp_path / "b.vec", ["2 3", line_of("a", 1, 2, 3), line_of("x y", 4, 5, 6)])
    assert WordVectors.load(header).words == ["a", "x y"]
    packed = tmp_path / "c.txt.gz"
    packed.write_bytes(gzip.compress(header.read_bytes()))
    np.testing.assert_array_equal(WordVectors.load(packed).vectors, [[1, 2, 3], [4, 5, 6]])
    packed.write_bytes(packed.read_bytes()[:-12])
    with pytest.raises(HFVTGError, match=r"c\.txt\.gz"):
        WordVectors.load(packed)


@pytest.mark.parametrize(
    "bad", ["b 1 2", "b 1 2 x", "b 1 nan 3", " 1 2 3", "b 1 2 inf", b"\xff\xfe\x00 1 2"], ids=repr
)
def test_a_malformed_line_is_named(tmp_path, bad):
    path = write(tmp_path / "glove.txt", [line_of("a", 1, 2, 3), line_of("c", 1, 2, 3), bad])
    with pytest.raises(HFVTGError, match=r"glove\.txt, line 3"):
        WordVectors.from_glove(path)


@pytest.mark.parametrize(
    "lines, message",
    [
        (["a 1 2 3", "b 1 2 3 4"], "line 2.* more than the 3 values of the first line"),
        (["a 1 2 3", "at home 5 1 2 3"], "line 2.* more than the 3 values"),
        (["a 1 2", "b 1 2 3"], "line 2.* more than the 2 values"),
        (["a 1 2 3", "b  1 2 3"], "line 2.* two spaces in a row"),
        (["a 1 2 3", "b 1  2 3"], "line 2.* two spaces in a row"),
        (["a 1 2 3", "b 1  3"], "line 2.* two spaces in a row"),
        (["a 1  2 3", "b 1 2 3"], "line 1.* two spaces in a row"),
        (["a  1  2  3", "b  1  2  3"], "line 1.* two spaces in a row"),
    ],
)
def test_no_value_or_blank_becomes_part_of_a_word(tmp_path, lines, message):
    path = write(tmp_path / "glove.txt", lines)
    for vocabulary in (None, ["a"]):
        with pytest.raises(HFVTGError, match=rf"glove\.txt, {message}"):
            WordVectors.from_glove(path, vocabulary)


@pytest.mark.parametrize(
    "text, warning",
    [
        ("a 1 2\nb 3 4\n", None),
        ("2 2\na 1 2\nb 3 4\n", None),
        ("a 1 2\nb 3 4", "does not end with a line break"),
        ("3 2\na 1 2\nb 3 4\n", "holds 2 of the 3 vectors"),
    ],
)
def test_a_file_that_may_be_cut_off_is_a_warning(tmp_path, caplog, text, warning):
    (tmp_path / "glove.txt").write_text(text)
    with caplog.at_level(logging.WARNING, logger="hf_vtg"):
        assert WordVectors.load(tmp_path / "glove.txt").words == ["a", "b"]
    assert [warning in record.message for record in caplog.records] == ([] if warning is None else [True])
    caplog.clear()
    WordVectors.from_glove(tmp_path / "glove.txt", limit=1)
    assert not caplog.records


def test_a_file_of_something_else_is_named(tmp_path):
    with pytest.raises(HFVTGError, match=r"notes\.txt, line 1"):
        WordVectors.load(write(tmp_path / "notes.txt", ["dear diary"]))
    with pytest.raises(HFVTGError, match="nowhere"):
        WordVectors.load(tmp_path / "nowhere")


def test_a_large_file_is_streamed(tmp_path):
    """40 MB of text for two words: memory stays far below the file's size."""
    path = tmp_path / "big.txt"
    numbers = " ".join(["0.123456"] * 300)
    with open(path, "w") as file:
        for i in range(15_000):
            file.write(f"w{i} {numbers}\n")
    size = path.stat().st_size
    tracemalloc.start()
    vectors = WordVectors.from_glove(path, vocabulary=["w7", "w14999"])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert vectors.words == ["w7", "w14999"] and size > 40e6 and peak < size / 40


def test_npz_round_trip_and_foreign_npz(tmp_path, vectors, monkeypatch):
    vectors.unknown = np.ones(6, dtype=np.float32)
    vectors.save(tmp_path / "v.npz")
    again = WordVectors.load(tmp_path / "v.npz")
    assert again.words == WORDS and again.unknown.tolist() == [1] * 6
    np.testing.assert_array_equal(again.vectors, vectors.vectors)
    assert WordVectors.load(tmp_path / "v.npz", vocabulary=["light", "x"]).words == ["light"]
    np.savez(tmp_path / "w.npz", words=np.array(["a", "é"]), vectors=np.eye(2))
    assert WordVectors.from_npz(tmp_path / "w.npz").words == ["a", "é"]
    np.savez(tmp_path / "x.npz", vocabulary=np.array(["a"]))
    with pytest.raises(HFVTGError, match="vocabulary"):
        WordVectors.from_npz(tmp_path / "x.npz")
    with pytest.raises(HFVTGError, match=r"\.npz"):
        vectors.save(tmp_path / "v.bin")

    def fail(file, **arrays):
        file.write(b"half")
        raise OSError("disk full")

    monkeypatch.setattr(np, "savez_compressed", fail)
    before = (tmp_path / "v.npz").read_bytes()
    with pytest.raises(OSError, match="disk full"):
        vectors.save(tmp_path / "v.npz")
    assert (tmp_path / "v.npz").read_bytes() == before and len(list(tmp_path.iterdir())) == 3


def test_folders(tmp_path):
    np.save(tmp_path / "vectors.npy", np.eye(3))
    (tmp_path / "word2id.json").write_text(json.dumps({"b": 2, "a": 0, "<UNK>": 1}))
    vectors = WordVectors.load(tmp_path)
    assert vectors.words == ["a", "<UNK>", "b"] and vectors.unknown.tolist() == [0, 1, 0]
    (tmp_path / "word2id.json").write_text(json.dumps({"b": 2, "a": 0, "c": 3}))
    with pytest.raises(HFVTGError, match="word2id"):
        WordVectors.load(tmp_path)
    np.savez(tmp_path / "more.npz", vectors=np.eye(3))
    with pytest.raises(HFVTGError, match=r"more\.npz"):
        WordVectors.load(tmp_path)


@pytest.mark.needs_shared
def test_real_tables(shared):
    text = shared / "data" / "text"
    charades, tacos = WordVectors.load(text / "glove840b_charades"), WordVectors.load(text / "glove42b_tacos")
    stored = np.load(text / "glove840b_charades" / "vectors.npz")["vectors"]
    np.testing.assert_array_equal(charades.vectors, stored)
    np.testing.assert_array_equal(charades.table()[1], stored[0])
    assert (len(charades), charades.dim, len(tacos), tacos.dim) == (1100, 300, 1569, 300)
    ids = json.loads((text / "glove42b_tacos" / "word2id.json").read_text())
    stored = np.load(text / "glove42b_tacos" / "tacos_glove_embeds.npy").astype(np.float32)
    tokenizer, table = tacos.build_tokenizer(), tacos.table()
    words = ["cucumber", "chef's", "don't", "1/2"]
    np.testing.assert_array_equal(table[tokenizer(" ".join(words)).input_ids], stored[[ids[w] for w in words]])
    lines = (shared / "data/annotations/charades_sta/charades_sta_test.txt").read_text().splitlines()
    sentences = [line.split("##")[1] for line in lines]
    report = charades.coverage(sentences)
    assert report.share > 0.99 and report.unknown == sum(report.unknown_words.values()) > 0
    assert charades.coverage(sentences, "whitespace").share < 0.9
    ids = tokenize_sentences(charades.build_tokenizer(), [[s] for s in sentences])["input_ids"]
    assert (ids == 1).sum() == sum(count for word, count in report.unknown_words.items() if word not in charades.words)


# --- words


def test_patterns():
    def words(text, pattern):
        return next(split_words([text], pattern))

    text = "The person’s T-shirt, they don't 'sit' at 1/2 or 10:30 o'clock!"
    assert words(text, "words") == "the person's t-shirt they don't sit at 1/2 or 10:30 o'clock".split()
    split = "the person 's t-shirt they do n't sit at 1/2 or 10:30 o'clock"
    assert words(text, "contractions") == split.split()
    assert words("can't, we're; y'all", "contractions") == ["ca", "n't", "we", "'re", "y'all"]
    assert words("the T-shirt, isn't (it)?", "punctuation") == "the t - shirt , is n't ( it ) ?".split()
    assert words("a pan. a  pan\n", "whitespace") == ["a", "pan.", "a", "pan"]
    for pattern in PATTERNS:
        assert words("Café 走る 2nd cafe\u0301 ❤", pattern) == ["café", "走る", "2nd", "café", "❤"]
    assert next(split_words(["The Café"], "words", lowercase=False)) == ["The", "Café"]


def test_default_pattern_follows_the_table():
    split = WordVectors.from_vocabulary(["do", "n't", "don't"], 2)
    whole = WordVectors.from_vocabulary(["do", "don't"], 2)
    assert split.build_tokenizer().tokenize("don't") == ["do", "n't"]
    assert whole.build_tokenizer().tokenize("don't") == ["don't"]


def test_vocabulary_and_coverage():
    sentences = ["A person sits.", "a person doesn't sit", "one person"]
    assert vocabulary_of(sentences)[:3] == ["person", "a", "sits"]
    assert vocabulary_of(sentences, min_count=2) == ["person", "a"]
    vectors = WordVectors(["person", "a", "sits"], [[1, 0], [0, 1], [0, 0]])
    report = vectors.coverage(sentences)
    assert (report.known, report.unknown) == (5, 5)
    assert report.unknown_words == Counter(["sits", "does", "n't", "sit", "one"])
    assert report.share == 0.5 and "sits (1)" in str(report)


def test_saved_tokenizer_is_the_same(tmp_path, vectors):
    tokenizer = vectors.build_tokenizer(max_length=7)
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    texts = ["The person's CAFÉ", "don't zzz", "走る t-shirt 1/2"]
    assert again(texts).data == tokenizer(texts).data and set(again(texts)) == {"input_ids", "attention_mask"}
    assert again.model_max_length == 7 and (again.pad_token_id, again.unk_token_id) == (0, 1)


# --- sentences


@pytest.fixture
def bert(tmp_path) -> BertTokenizerFast:
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "person", "turn", "##s", "on", "light", "."]
    return BertTokenizerFast(vocab={piece: i for i, piece in enumerate(pieces)})


def test_ragged_paragraphs_become_one_block(vectors):
    tokenizer = vectors.build_tokenizer()
    batch = tokenize_sentences(tokenizer, [["the light", "the person turns zzz"], ["light"]])
    assert batch["input_ids"].tolist() == [[[2, 10, 0, 0], [2, 3, 6, 1]], [[10, 0, 0, 0], [0] * 4]]
    assert batch["attention_mask"].tolist() == [[[1, 1, 0, 0], [1] * 4], [[1, 0, 0, 0], [0] * 4]]
    assert batch["sentence_mask"].tolist() == [[True, True], [True, False]]
    assert set(batch) == {"input_ids", "attention_mask", "sentence_mask"}


def test_two_sentences_are_no_text_pair(bert):
    batch = tokenize_sentences(bert, [["the person", "the light turns on ."]])
    assert batch["input_ids"].tolist() == [[[2, 5, 6, 3, 0, 0, 0, 0], [2, 5, 10, 7, 8, 9, 11, 3]]]
    assert batch["attention_mask"].sum(-1).tolist() == [[4, 8]]


def test_a_left_padding_tokenizer_and_one_without_padding_are_padded_right(bert):
    bert.padding_side = "left"
    assert tokenize_sentences(bert, [["the"], ["the light"]])["input_ids"][0].tolist() == [[2, 5, 3, 0]]
    bert.pad_token = None
    assert tokenize_sentences(bert, [["the"], ["the light"]])["attention_mask"][0].tolist() == [[1, 1, 1, 0]]


def test_long_sentences_are_cut_and_counted(vectors, bert, caplog):
    counts = Counter()
    text = [["the person turns the light", "the light"]]
    with caplog.at_level(logging.WARNING):
        batch = tokenize_sentences(vectors.build_tokenizer(), text, max_words=3, counts=counts)
        tokenize_sentences(vectors.build_tokenizer(), text, max_words=3, counts=counts)
    assert batch["input_ids"].tolist() == [[[2, 3, 6], [2, 10, 0]]]
    assert counts["truncated"] == 2 and caplog.text.count("were cut") == 1
    batch = tokenize_sentences(vectors.build_tokenizer(max_length=2), text)
    assert batch["input_ids"].tolist() == [[[2, 3], [2, 10]]]
    # words, not pieces, and the special tokens stay
    batch = tokenize_sentences(bert, [["the person turns on the light"]], max_words=3)
    assert batch["input_ids"].tolist() == [[[2, 5, 6, 7, 8, 3]]]
    bert.model_max_length = 4
    batch = tokenize_sentences(bert, [["the person turns on the light"]])
    assert batch["input_ids"].tolist() == [[[2, 5, 6, 3]]]


def test_sentences_without_tokens_become_one_unknown(vectors, bert):
    counts = Counter()
    batch = tokenize_sentences(vectors.build_tokenizer(), [["!!!"], ["the ..."]], counts=counts)
    assert batch["input_ids"].tolist() == [[[1]], [[2]]] and counts["unknown_only"] == 1
    assert tokenize_sentences(bert, [["\u200b"]], counts=counts)["input_ids"].tolist() == [[[2, 1, 3]]]
    assert counts["unknown_only"] == 2


def test_unknown_words_can_be_dropped(vectors):
    text = [["zzz the yyy light xxx person", "zzz"]]
    batch = tokenize_sentences(vectors.build_tokenizer(), text, max_words=2, drop_unknown=True)
    assert batch["input_ids"].tolist() == [[[2, 10], [1, 0]]]


def test_text_cannot_forge_special_tokens(vectors, bert):
    assert 0 not in tokenize_sentences(vectors.build_tokenizer(), [["the [PAD] light"]])["input_ids"]
    assert (tokenize_sentences(bert, [["the [SEP] light"]])["input_ids"] == 3).sum() == 1


@pytest.mark.parametrize(
    "text, message",
    [
        ([["a", ""]], "Sentence 1 of video 0"),
        ([["a"], [" \n"]], "Sentence 0 of video 1"),
        ([["a", 3]], "Sentence 1 of video 0.*3.*int"),
        ([["a"], []], "Video 1"),
        ([["a"], "b"], "Video 1"),
        ([], "list of sentences"),
        ("a", "list of sentences"),
        ([["\ud800"]], "not valid text"),
    ],
)
def test_bad_sentences_are_named(vectors, text, message):
    with pytest.raises(QueryError, match=message):
        tokenize_sentences(vectors.build_tokenizer(), text)


def test_forms_of_text():
    assert nest_sentences("a b") == [["a b"]]
    assert nest_sentences(["a", "b"]) == [["a"], ["b"]]
    assert nest_sentences([["a", "b"], ("c",)]) == [["a", "b"], ["c"]]
    for bad in ([["a"], "b"], [], 7, None):
        with pytest.raises(QueryError):
            nest_sentences(bad)


def test_tokens_stand_for_the_words_of_the_sentence(vectors, bert):
    """As they are written there, one a token of the batch, whatever was cut or left out."""
    texts = ["The light's Café does n’t", "zzz", "turns 1/2 the light"]
    cases = [
        (vectors.build_tokenizer(), {}, ["The", "light", "'s", "Café", "does", "n’t"], ["zzz"]),
        (vectors.build_tokenizer("whitespace"), {}, texts[0].split(), ["zzz"]),
        (vectors.build_tokenizer(), {"max_words": 2}, ["The", "light"], ["zzz"]),
        (vectors.build_tokenizer(), {"drop_unknown": True}, ["The", "light", "'s", "Café", "n’t"], ["zzz"]),
        (bert, {"max_words": 2}, [None, "The", "light", None], [None, "zzz", None]),
    ]
    for tokenizer, options, first, second in cases:
        words = sentence_words(tokenizer, texts, **options)
        assert words[:2] == [first, second]
        mask = tokenize_sentences(tokenizer, [texts], **options)["attention_mask"][0]
        assert [len(row) for row in words] == mask.sum(-1).tolist()
    assert sentence_words(bert, ["The person turns on."]) == [[None, "The", "person", "turn", "s", "on", ".", None]]
    # A tokenizer that cannot say where its tokens come from.
    assert sentence_words(CanineTokenizer(), ["on"]) == [[None, "o", "n", None]]
    with pytest.raises(QueryError, match="is empty"):
        sentence_words(bert, ["the", " "])


@pytest.mark.needs_shared
def test_bert_vocabulary(shared):
    bert = BertTokenizerFast(vocab=str(shared / "data/text/tokenizers/bert_uncased/vocab.txt"))
    batch = tokenize_sentences(bert, [["A person turns on the light.", "sits"]])
    assert batch["input_ids"].tolist() == [
        [[101, 1037, 2711, 4332, 2006, 1996, 2422, 1012, 102], [101, 7719, 102, 0, 0, 0, 0, 0, 0]]
    ]
