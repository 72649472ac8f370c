#!/usr/bin/env python
"""``hf-vtg inspect`` from a clone: see ``python scripts/inspect_features.py --help``."""

import sys

from hf_vtg import cli


def main(arguments: list[str] | None = None) -> int:
    return cli.main(["inspect", *(sys.argv[1:] if arguments is None else arguments)])


if __name__ == "__main__":
    sys.exit(main())
