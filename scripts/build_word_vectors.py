#!/usr/bin/env python
"""A small table of word vectors for a benchmark from a GloVe file, which is read line by line.

python scripts/build_word_vectors.py glove.840B.300d.txt --benchmark charades_sta --data_dir charades_sta/ --out w.npz
python scripts/build_word_vectors.py glove.6B.300d.txt --words words.txt --out w.npz --extend older.npz

Words are taken from the sentences of all splits as every tokenizer pattern sees them, in their own case and in lower
case, and from ``--words``. ``--extend`` adds them to an existing table and refuses one of another GloVe family;
``--against`` only compares. Printed: how many running words have a vector, by pattern.
"""

import argparse
import sys
import unicodedata
from pathlib import Path

from hf_vtg.benchmarks import benchmark_builder
from hf_vtg.errors import HFVTGError
from hf_vtg.tokenization import PATTERNS, WordVectors, vocabulary_of


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("glove", help="GloVe or word2vec text (.gz too), .npz, or folder of words and vectors")
    parser.add_argument("--benchmark")
    parser.add_argument("--data_dir", help="the benchmark's official files")
    parser.add_argument("--version", help="of the annotations")
    parser.add_argument("--words", type=Path, help="file with a word a line")
    parser.add_argument("--out", type=Path, required=True, help=".npz")
    parser.add_argument("--unknown_row", type=int, help="row of GLOVE, a text file, that unknown words get (HiSA)")
    tables = parser.add_mutually_exclusive_group()
    tables.add_argument("--extend", type=Path, metavar="TABLE", help="keep the words of this table and add to them")
    tables.add_argument("--against", type=Path, metavar="TABLE", help="refuse vectors of another family than these")
    options = parser.parse_args(arguments)
    if options.benchmark is None and options.words is None:
        parser.error("say whose words: --benchmark with --data_dir, or --words")
    if options.unknown_row is not None and options.extend is not None:
        parser.error("--unknown_row belongs to a new table; the one of --extend has its own vector of unknown words")
    try:
        run(options)
    except (HFVTGError, OSError) as error:
        print(f"build_word_vectors: {error}", file=sys.stderr)
        return 2
    return 0


def run(options) -> None:
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
    print(f"{options.out}: {len(table)} words of width {table.dim}, {len(wanted)} were wanted")
    for pattern in PATTERNS if sentences else ():
        print(f"{pattern}: {table.coverage(sentences, pattern)}")
    if listed:
        absent = sorted(set(listed) - set(table.words))
        shown = ", ".join(absent[:20]) + (", ..." if len(absent) > 20 else "")
        print(f"{options.words}: {len(absent)} of {len(set(listed))} words have no vector{': ' * bool(absent)}{shown}")


def _listed_words(path: Path) -> list[str]:
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except ValueError as error:
        raise HFVTGError(f"{path} is not UTF-8 text: {error}. Save it as UTF-8.") from error
    words = (unicodedata.normalize("NFC", line.strip(" \t\r")) for line in lines)
    return [word for word in words if word]


if __name__ == "__main__":
    sys.exit(main())
