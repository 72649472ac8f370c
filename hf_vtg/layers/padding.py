"""Work on what is real alone."""

from collections.abc import Callable

import torch

from .text import restore_sentences


def real_only(layer: Callable[..., torch.Tensor], mask: torch.Tensor | None, *states: torch.Tensor) -> torch.Tensor:
    """``layer``, which sees each position by itself, at the real positions alone; zeros at the others.

    Args:
        mask: (B, T); None = all are real.
        states: (B, T, ...) arguments of ``layer``.
    """
    if mask is None or bool(mask.all()):
        return layer(*states)
    return restore_sentences(layer(*(x[mask] for x in states)), mask)
