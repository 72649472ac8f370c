#!/usr/bin/env python
"""``hf-vtg extract`` from a clone: see ``python scripts/extract_features.py --help``."""

import sys

from hf_vtg.cli import main

if __name__ == "__main__":
    sys.exit(main(["extract", *sys.argv[1:]]))
