"""Word tables from GloVe text: what is kept, that the file is streamed, and that families are not mixed."""

import json
import subprocess
import sys

import numpy as np
import pytest

from hf_vtg.errors import HFVTGError
from hf_vtg.text.tokenization import WordVectors

from .script_loading import SCRIPTS, load_script

WORDS = [f"word{i}" for i in range(40)]


def write_glove(path, words, seed=0, dim=8):
    vectors = np.random.default_rng(seed).standard_normal((len(words), dim))
    lines = (" ".join([word, *(f"{v:.5f}" for v in vector)]) for word, vector in zip(words, vectors, strict=True))
    path.write_text("".join(f"{line}\n" for line in lines))
    return path


def build(*arguments):
    return load_script("build_word_vectors").main([str(argument) for argument in arguments])


def test_the_words_of_a_benchmark_are_kept(tmp_path, capsys):
    row = {"video_id": "a", "duration": 5.0, "sentences": ["Word1, word2-word3 isn't Zzz."], "moments": [[0, 1]]}
    (tmp_path / "train.jsonl").write_text(json.dumps(row) + "\n")
    glove = write_glove(tmp_path / "glove.txt", [*WORDS, "Word1", "is", "n't", "word2-word3", "."])
    (tmp_path / "more.txt").write_text("word9\nabsent\n")
    out = tmp_path / "table.npz"
    options = ["--benchmark", "jsonl", "--data_dir", tmp_path / "train.jsonl", "--words", tmp_path / "more.txt"]
    assert build(glove, *options, "--out", out) == 0
    table = WordVectors.load(out)
    assert set(table.words) == {"word1", "Word1", "word2", "word3", "word2-word3", "is", "n't", ".", "word9"}
    printed = capsys.readouterr().out
    assert "contractions: 4 words known, 1 unknown (80.00% known): zzz (1)" in printed
    assert "whitespace: 1 words known, 3 unknown" in printed


def test_a_row_can_stand_for_unknown_words(tmp_path, capsys):
    """As HiSA's loaders do, whether or not the row's word is wanted."""
    glove = write_glove(tmp_path / "glove.txt", WORDS)
    (tmp_path / "words.txt").write_text("word1\nword2\n")
    words, out = ["--words", tmp_path / "words.txt"], tmp_path / "table.npz"
    assert build(glove, *words, "--out", out, "--unknown_row", 7) == 0
    table, whole = WordVectors.load(out), WordVectors.load(glove)
    assert table.words == ["word1", "word2"]
    assert np.allclose(table.table()[1], whole.vectors[whole.words.index("word7")])
    assert build(out, *words, "--out", tmp_path / "again.npz", "--unknown_row", 1) == 2
    assert "counts the lines of a GloVe text file" in capsys.readouterr().err


def test_families_are_not_mixed(tmp_path, capsys):
    first = write_glove(tmp_path / "first.txt", WORDS)
    other = write_glove(tmp_path / "other.txt", [*WORDS, "new"], seed=1)
    same = write_glove(tmp_path / "same.txt", [*WORDS, "new"])
    wide = write_glove(tmp_path / "wide.txt", WORDS, dim=9)
    (tmp_path / "words.txt").write_text("\n".join(["new", *WORDS[:30]]))
    older, out = tmp_path / "older.npz", tmp_path / "out.npz"
    words = ["--words", tmp_path / "words.txt"]
    assert build(first, *words, "--out", older) == 0
    for source, message in ((other, "another family.*30 common words"), (wide, "width 9, not 8")):
        for option in ("--extend", "--against"):
            assert build(source, *words, "--out", out, option, older) == 2
        with pytest.raises(HFVTGError, match=message):
            WordVectors.load(older).check_same_family(WordVectors.load(source), "it")
    assert not out.exists() and "Never mix GloVe 6B, 42B and 840B" in capsys.readouterr().err
    # the same random numbers, so the 40 common words agree, and one more follows
    assert build(same, *words, "--out", out, "--extend", older) == 0
    extended = WordVectors.load(out)
    assert extended.words == [*WORDS[:30], "new", *WORDS[30:]] or extended.words == [*WORDS[:30], "new"]
    np.testing.assert_array_equal(extended.vectors[:30], WordVectors.load(older).vectors)
    few = WordVectors(WORDS[:5], WordVectors.load(older).vectors[:5])
    with pytest.raises(HFVTGError, match="5 words in common"):
        few.check_same_family(WordVectors.load(older), "it")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(tmp_path):
    """A file of 60 MB after one of 2 MB adds less than 5 MB to the peak of the process (5 GB would add no more)."""
    numbers = " ".join(["0.123456"] * 300)
    for name, count in (("small", 700), ("big", 22_000)):
        with (tmp_path / f"{name}.txt").open("w") as file:
            file.writelines(f"w{i} {numbers}\n" for i in range(count))
    (tmp_path / "words.txt").write_text("w3\nw600\nw21999\n")
    code = f"""
import sys
from scripts.lab.resources import peak_memory
sys.path.insert(0, {str(SCRIPTS)!r})
import build_word_vectors
peaks = []
for name in ("small", "big"):
    glove = f"{tmp_path}/{{name}}.txt"
    build_word_vectors.main([glove, "--words", "{tmp_path}/words.txt", "--out", "{tmp_path}/t.npz"])
    peaks.append(peak_memory())
print(peaks[0], peaks[1])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPTS.parent)
    assert done.returncode == 0, done.stderr
    small, big = (int(value) for value in done.stdout.splitlines()[-1].split())
    assert (tmp_path / "big.txt").stat().st_size > 59e6 and big - small < 5e6 and big < 1e9
    assert WordVectors.load(tmp_path / "t.npz").words == ["w3", "w600", "w21999"]


@pytest.mark.slow
@pytest.mark.needs_shared
def test_the_two_real_families_are_told_apart(shared, tmp_path, capsys):
    text = shared / "data" / "text"
    options = ["--benchmark", "charades_sta", "--data_dir", shared / "data/annotations/charades_sta"]
    for option in ("--against", "--extend"):
        assert (
            build(text / "glove42b_tacos", *options, "--out", tmp_path / "t.npz", option, text / "glove840b_charades")
            == 2
        )
    assert "another family" in capsys.readouterr().err and not (tmp_path / "t.npz").exists()
    assert build(text / "glove840b_charades", *options, "--out", tmp_path / "t.npz") == 0
    assert "contractions" in capsys.readouterr().out
    assert (
        build(text / "glove840b_charades", *options, "--out", tmp_path / "u.npz", "--extend", tmp_path / "t.npz") == 0
    )


def glove_file(path, words, width=5):
    rows = [
        " ".join([word, *(f"{number + column / 8:.3f}" for column in range(width))])
        for number, word in enumerate(words)
    ]
    path.write_text("\n".join(rows) + "\n")
    return path


def test_marks_of_windows_editors_cost_no_word(tmp_path, capsys):
    glove = glove_file(tmp_path / "glove.txt", ["word0", "word1", "word2"])
    glove.write_bytes(b"\xef\xbb\xbf" + glove.read_bytes())
    listed = tmp_path / "words.txt"
    listed.write_bytes("\ufeffword0\r\nword1\r\nword2 \r\nabsent\r\n\r\n".encode())
    out = tmp_path / "w.npz"
    assert load_script("build_word_vectors").main([str(glove), "--words", str(listed), "--out", str(out)]) == 0
    assert WordVectors.load(out).words == ["word0", "word1", "word2"]
    assert "1 of 4 words have no vector: absent" in capsys.readouterr().out


def test_damaged_tables_are_named(tmp_path, capsys):
    """Each as what is extended and as the source; nothing is written."""
    glove, listed = glove_file(tmp_path / "glove.txt", ["word0", "word1"]), tmp_path / "words.txt"
    listed.write_text("word0\nword1\n")
    whole = tmp_path / "whole.npz"
    script = load_script("build_word_vectors").main
    assert script([str(glove), "--words", str(listed), "--out", str(whole)]) == 0
    content = whole.read_bytes()
    damaged = {"empty.npz": b"", "junk.npz": b"junk" * 99, "cut.npz": content[:-30]}
    damaged["flipped.npz"] = content[:60] + bytes(40) + content[100:]
    for name, value in damaged.items():
        (tmp_path / name).write_bytes(value)
    for name, value in (("text", "not JSON"), ("numbers", "[1, 2]"), ("ids", '{"a": "x", "b": 1}')):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "words.json").write_text(value)
        np.save(folder / "vectors.npy", np.ones((2, 5), np.float32))
    latin = tmp_path / "latin.txt"
    latin.write_bytes("caf\u00e9\n".encode("latin-1"))
    out = tmp_path / "out.npz"
    for bad in (*(tmp_path / name for name in (*damaged, "text", "numbers", "ids")), latin):
        for command in (
            [glove, "--words", bad] if bad == latin else [glove, "--words", listed, "--extend", bad],
            [glove, "--words", bad] if bad == latin else [bad, "--words", listed],
        ):
            assert script([*map(str, command), "--out", str(out)]) == 2, bad
            assert str(bad) in capsys.readouterr().err
            assert not out.exists()
