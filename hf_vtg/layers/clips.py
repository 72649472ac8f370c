"""Clips of methods that take a fixed number of them."""

import torch
from torch import nn
from torch.nn import functional as F

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


def pool_clips(features: torch.Tensor, projection: nn.Conv1d, kernel_size: int, stride: int) -> torch.Tensor:
    """(B, M, D) features -> (B, C, N) clips: a 1x1 convolution, ReLU, average pooling (2D-TAN, FrameAvgPool)."""
    return F.avg_pool1d(projection(features.transpose(1, 2)).relu(), kernel_size, stride)


class ClipPooling(nn.Module):
    """:func:`pool_clips` with a projection of its own."""

    def __init__(self, feature_dim: int, channels: int, kernel_size: int, stride: int):
        super().__init__()
        self.projection = nn.Conv1d(feature_dim, channels, 1)
        self.kernel_size, self.stride = kernel_size, stride

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """(B, M, D) -> (B, C, N)"""
        return pool_clips(features, self.projection, self.kernel_size, self.stride)
