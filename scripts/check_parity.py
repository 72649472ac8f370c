#!/usr/bin/env python
"""Compare this package with golden tensors of the published code. See --help."""

import sys
from pathlib import Path

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from hf_vtg.testing.parity.command import EXIT_CODES, compare, exactly, make_parser
from scripts.lab.mutations import mutate

MUTATED = """\

exit code, --mutate (the check must fail):
  1  every mutation made the comparison fail, as it must
  2  a mutation went unnoticed, or none could be tried: the check is blind there
  3  the comparison already fails without a mutation, which then proves nothing
"""


def main(arguments: list[str] | None = None) -> int:
    parser = make_parser("check_parity.py", EXIT_CODES + MUTATED)
    parser.add_argument("--mutate", action="store_true", help="perturb a weight, drop a mask, flip a flag: must fail")
    options = parser.parse_args(arguments)
    if options.mutate:
        return exactly(lambda: max(mutate(Path(folder)) for folder in options.folders))
    return exactly(lambda: compare(options.folders, options.verbose))


if __name__ == "__main__":
    sys.exit(main())
