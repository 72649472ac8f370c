"""The abstract tester of each method, for tests that need a small model of it."""

from hf_vtg.models.registry import METHODS
from hf_vtg.testing.tester import VideoGroundingModelTester

TESTERS = {name: type(f"Test{name}", (VideoGroundingModelTester,), {"method": name}) for name in METHODS}


def model_tester(method: str) -> VideoGroundingModelTester:
    """A tester of ``method``: ``model()``, ``config()``, ``batch(config)``, ``processor(config)``."""
    return TESTERS[method]()
