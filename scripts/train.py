#!/usr/bin/env python
"""``hf-vtg train`` from a clone, also under torchrun: see ``python scripts/train.py --help``."""

import sys

from hf_vtg.cli import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
