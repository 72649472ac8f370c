#!/usr/bin/env python
"""Compare this package with golden tensors of the published code. See --help."""

import sys

from hf_vtg.parity import main

if __name__ == "__main__":
    sys.exit(main())
