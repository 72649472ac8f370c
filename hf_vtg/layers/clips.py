"""Clips of methods that take a fixed number of them."""

import torch

from ..errors import ModelError


def full_length(features: torch.Tensor, mask: torch.Tensor | None, num_clips: int, method: str) -> torch.Tensor:
    """(B, T, D) features and (B, T) mask -> (B, num_clips, D), all real; what is behind them is padding.

    Args:
        method: its name, for the message.

    Raises:
        ModelError: unless every video has exactly ``num_clips`` real clips.
    """
    padded = features.shape[1] - num_clips
    complete = padded >= 0 if mask is None or padded < 0 else bool((mask.sum(1) == num_clips).all())
    if not complete or (mask is None and padded):
        raise ModelError(
            f"{method} takes exactly {num_clips} clips a video (num_pre_clips), got features of shape "
            f"{tuple(features.shape)}. Resample them with the model's processor."
        )
    return features[:, :num_clips]
