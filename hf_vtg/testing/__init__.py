"""For authors of methods: the abstract tester and the parity check with golden tensors.

``VideoGroundingModelTester`` is inherited in a test file; ``check_folder(FOLDER)`` compares a golden folder. Both are
loaded when they are asked for.
"""

from importlib import import_module
from typing import Any

_PARTS = {"VideoGroundingModelTester": "tester", "check_folder": "parity.check", "ParityError": "parity.manifest"}

__all__ = [*_PARTS]


def __getattr__(name: str) -> Any:
    if name in _PARTS:
        return getattr(import_module(f".{_PARTS[name]}", __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
