#!/usr/bin/env python
"""Can a method learn 23 real queries by heart? See --help."""

import sys
from pathlib import Path

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.lab.overfit import main

if __name__ == "__main__":
    sys.exit(main())
