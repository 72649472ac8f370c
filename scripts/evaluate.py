#!/usr/bin/env python
"""``hf-vtg evaluate`` from a clone: see ``python scripts/evaluate.py --help``."""

import sys

from hf_vtg.cli import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
