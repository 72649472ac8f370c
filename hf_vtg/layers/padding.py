"""Work on what is real alone: sentences and positions without their padding, and back."""

from collections.abc import Callable

import torch


def select_sentences(
    sentence_mask: torch.Tensor,
    input_ids: torch.Tensor | None,
    attention_mask: torch.Tensor,
    inputs_embeds: torch.Tensor | None = None,
) -> tuple[torch.Tensor | None, torch.Tensor, torch.Tensor | None]:
    """Real sentences only: (B, S, L) tensors -> (R, L) rows in the order of ``sentence_mask.nonzero()``."""
    ids = None if input_ids is None else input_ids[sentence_mask]
    embeds = None if inputs_embeds is None else inputs_embeds[sentence_mask]
    return ids, attention_mask[sentence_mask], embeds


def restore_sentences(rows: torch.Tensor, sentence_mask: torch.Tensor) -> torch.Tensor:
    """Inverse of :func:`select_sentences`: (R, ...) rows -> (B, S, ...), zeros at padded sentences."""
    full = rows.new_zeros(*sentence_mask.shape, *rows.shape[1:])
    full[sentence_mask] = rows
    return full


def real_only(layer: Callable[..., torch.Tensor], mask: torch.Tensor | None, *states: torch.Tensor) -> torch.Tensor:
    """``layer``, which sees each position by itself, at the real positions alone; zeros at the others.

    Args:
        mask: (B, T); None = all are real.
        states: (B, T, ...) arguments of ``layer``.
    """
    if mask is None or bool(mask.all()):
        return layer(*states)
    return restore_sentences(layer(*(x[mask] for x in states)), mask)
