"""One comparison of the benchmark."""

from collections.abc import Callable
from dataclasses import dataclass

import torch

Run = Callable[[], torch.Tensor]


@dataclass(frozen=True)
class Case:
    """Several forms of the same computation, or of two computations whose times are to be compared.

    Args:
        name: unique in its module; begins with the size.
        what: ``"eval"``, ``"train"`` or another word that ``--what`` selects.
        forms: form name -> builder. A builder prepares weights and inputs (the same for each form: seed them) and
            returns a function that runs the form once and returns the tensor to compare. The first form is ours,
            the last one the plain reference.
        share: number of equal parts of the first form's work, where the forms compute different things: the time of
            one part is printed as a share of the last form's, and nothing is compared.
    """

    name: str
    what: str
    forms: dict[str, Callable[[], Run]]
    share: int | None = None
