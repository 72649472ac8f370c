#!/usr/bin/env python
"""Writes the figures of all model cards from records; nothing in those sections is written by hand. The table of
methods in README.md is written too.

python scripts/make_model_card.py                             # from model_cards/results.jsonl and the papers
python scripts/make_model_card.py outputs/compare/*.json outputs/mmn/results.json   # these are added first

A record is a results.json of train.py, or what compare_moving_shapes.py and learn_planted.py write; of two of the same
run (method, variant, benchmark, seed, blind, label) the later one counts. Fields:
"""

import argparse
import sys
from pathlib import Path

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.errors import HFVTGError
from hf_vtg.files import write_text
from scripts.lab.cards import RECORD_FIELDS, read_records, with_method_table, write_cards

ROOT = Path(__file__).resolve().parent.parent
CARDS = ROOT / "model_cards"


def main(arguments: list[str] | None = None) -> int:
    fields = "\n".join(f"  {name:18} {meaning}" for name, meaning in RECORD_FIELDS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{fields}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="*", type=Path, help=".json with one record, or .jsonl")
    parser.add_argument("--cards", type=Path, default=CARDS)
    options = parser.parse_args(arguments)
    try:
        written = write_cards(options.cards, [r for path in options.records for r in read_records(path)])
        if options.cards == CARDS:
            page = ROOT / "README.md"
            write_text(page, with_method_table(page.read_text(encoding="utf-8"), str(page)))
            written.append(page)
    except (HFVTGError, OSError) as error:
        print(f"make_model_card: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
