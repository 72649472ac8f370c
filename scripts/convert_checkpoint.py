#!/usr/bin/env python
"""``hf-vtg convert`` from a clone: see ``python scripts/convert_checkpoint.py --help``."""

import sys

from hf_vtg.cli import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:]]))
