"""``hf-vtg words``: a small table of word vectors from a GloVe file."""

import unicodedata
from pathlib import Path
from typing import Any

from ..errors import HFVTGError, QueryError
from .parser import add_command, print_json

EXAMPLES = """\
  hf-vtg words glove.840B.300d.txt --benchmark charades_sta --data_dir charades_sta/ --out words.npz
  hf-vtg words glove.6B.300d.txt --words words.txt --out words.npz --extend older.npz
"""
DESCRIPTION = """\
A small table of word vectors for a benchmark from a GloVe file, which is read line by line. Words are taken from the
sentences of all splits as every tokenizer pattern sees them, in their own case and in lower case, and from --words.
--extend adds them to an existing table and refuses one of another GloVe family; --against only compares. Printed: how
many running words have a vector, by pattern.
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "words", run, "build a table of word vectors", DESCRIPTION, EXAMPLES)
    parser.add_argument("glove", help="GloVe or word2vec text (.gz too), .npz, or folder of words and vectors")
    parser.add_argument("--benchmark")
    parser.add_argument("--data-dir", help="the benchmark's official files")
    parser.add_argument("--version", help="of the annotations")
    parser.add_argument("--words", type=Path, help="file with a word a line")
    parser.add_argument("--out", type=Path, required=True, help=".npz")
    parser.add_argument("--unknown-row", type=int, help="row of GLOVE, a text file, that unknown words get (HiSA)")
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument("--extend", type=Path, metavar="TABLE", help="keep the words of this table and add to them")
    tables.add_argument("--against", type=Path, metavar="TABLE", help="refuse vectors of another family than these")


def run(options: Any) -> int:
    from ..benchmarks import benchmark_builder
    from ..text.tokenization import PATTERNS, WordVectors, vocabulary_of

    if options.benchmark is None and options.words is None:
        raise QueryError("Say whose words: --benchmark with --data_dir, or --words FILE.")
    if options.unknown_row is not None and options.extend is not None:
        raise QueryError("--unknown_row belongs to a new table; that of --extend has its own vector of unknown words.")
    sentences = []
    if options.benchmark is not None:
        builder = benchmark_builder(options.benchmark, options.data_dir, version=options.version)
        sentences = [s for split in builder.files for row in builder.rows(split)[0] for s in row["sentences"]]
    listed = _listed_words(options.words) if options.words else []
    wanted = dict.fromkeys(listed)
    for pattern in PATTERNS:
        for lowercase in (True, False):
            wanted.update(dict.fromkeys(vocabulary_of(sentences, pattern, lowercase)))
    existing = options.extend or options.against
    older = None if existing is None else WordVectors.load(existing)
    # Words of the older table are read too: by them the families are compared.
    words = [*wanted, *(older.words if older is not None else ())]
    vectors = WordVectors.load(options.glove, words, options.unknown_row)
    if options.extend is not None:
        table = older.extended_by(vectors, options.glove)
    else:
        if older is not None:
            older.check_same_family(vectors, options.glove)
        table = vectors.restricted_to(wanted)
    table.save(options.out)
    coverage = {pattern: table.coverage(sentences, pattern) for pattern in PATTERNS if sentences}
    absent = sorted(set(listed) - set(table.words))
    if options.json:
        shares = {pattern: {"known": c.known, "unknown": c.unknown} for pattern, c in coverage.items()}
        found = {"out": str(options.out), "words": len(table), "dim": table.dim, "wanted": len(wanted)}
        print_json({**found, "coverage": shares, "without_vector": absent}, indent=2)
        return 0
    print(f"{options.out}: {len(table)} words of width {table.dim}, {len(wanted)} were wanted")
    for pattern, share in coverage.items():
        print(f"{pattern}: {share}")
    if listed:
        shown = ", ".join(absent[:20]) + (", ..." if len(absent) > 20 else "")
        print(f"{options.words}: {len(absent)} of {len(set(listed))} words have no vector{': ' * bool(absent)}{shown}")
    return 0


def _listed_words(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except ValueError as error:
        raise HFVTGError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    words = (unicodedata.normalize("NFC", line.strip(" \t\r")) for line in lines)
    return [word for word in words if word]
