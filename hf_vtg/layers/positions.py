"""Positions of clips and words."""

import math

import torch


def sinusoidal_positions(length: int, width: int, like: torch.Tensor) -> torch.Tensor:
    """(length, width) table: sines at even, cosines at odd channels, wavelengths from 2 pi to 10,000 * 2 pi; dtype and
    device of ``like``."""
    dtype = torch.promote_types(like.dtype, torch.float32)
    positions = torch.arange(length, dtype=dtype, device=like.device)
    rates = torch.exp(torch.arange(0, width, 2, dtype=dtype, device=like.device) * (-math.log(1e4) / width))
    angles = positions.unsqueeze(1) * rates
    return torch.stack([angles.sin(), angles.cos()], dim=-1).flatten(1)[:, :width].to(like.dtype)
