#!/usr/bin/env python
"""Which levels of HSCNet matter on the paragraphs of moving_shapes. See --help."""

import sys
from pathlib import Path

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.lab.ablation import main

if __name__ == "__main__":
    sys.exit(main())
