"""How each method learns our own benchmarks: the experiments of its sizes, by name."""

from hf_vtg.errors import ModelError
from hf_vtg.models.registry import METHODS, get_method
from hf_vtg.recipe import Experiment

MOVING_SHAPES, PLANTED, CHARADES_REAL = "moving_shapes", "planted", "charades_real"


def methods_with(name: str) -> list[str]:
    """Methods that have the experiment."""
    return sorted(method for method, known in METHODS.items() if name in known.sizes.experiments)


def experiment(method: str, name: str) -> Experiment:
    """The experiment ``name`` of a method. ModelError where it has none."""
    found = get_method(method).sizes.experiments.get(name)
    if found is None:
        raise ModelError(
            f"Method {method!r} has no experiment {name!r}. Those that have: {', '.join(methods_with(name))}."
        )
    return found
