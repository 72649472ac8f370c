"""Parity with the published code: golden folders against this package. See ``scripts/check_parity.py``."""

from .check import check_folder, plan_mutations
from .command import main
from .comparing import Report, Row
from .manifest import GoldenFolder, ParityError
from .mutate import Mutation

__all__ = ["GoldenFolder", "Mutation", "ParityError", "Report", "Row", "check_folder", "main", "plan_mutations"]
