"""Every method through the abstract tester: it is tested because it is registered."""

from hf_vtg.models.registry import METHODS

from .testers import TESTERS

globals().update({f"Test_{name}": tester for name, tester in TESTERS.items()})


def test_every_method_has_a_smallest_size():
    assert TESTERS.keys() == METHODS.keys() and all(tester.tiny_fields for tester in TESTERS.values())
