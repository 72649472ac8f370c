#!/usr/bin/env python
"""Writes the figures of all model cards from records; nothing in those sections is written by hand.

python scripts/make_model_card.py                             # from model_cards/results.jsonl and papers.json
python scripts/make_model_card.py outputs/compare/*.json outputs/mmn/results.json   # these are added first

A record is a results.json of train.py, or what compare_moving_shapes.py and learn_planted.py write; of two of the same
run (method, variant, benchmark, seed, blind, label) the later one counts. Fields:
"""

import argparse
import sys
from pathlib import Path

from hf_vtg.errors import HFVTGError
from hf_vtg.training.cards import RECORD_FIELDS, read_records, write_cards


def main(arguments: list[str] | None = None) -> int:
    fields = "\n".join(f"  {name:18} {meaning}" for name, meaning in RECORD_FIELDS.items())
    parser = argparse.ArgumentParser(
        description=f"{__doc__}\n{fields}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("records", nargs="*", type=Path, help=".json with one record, or .jsonl")
    parser.add_argument("--cards", type=Path, default=Path(__file__).resolve().parent.parent / "model_cards")
    options = parser.parse_args(arguments)
    try:
        written = write_cards(options.cards, [r for path in options.records for r in read_records(path)])
    except (HFVTGError, OSError) as error:
        print(f"make_model_card: {error}", file=sys.stderr)
        return 2
    print("\n".join(map(str, written)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
