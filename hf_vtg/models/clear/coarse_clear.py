"""The coarse branch of CLEAR: temporal blocks, multi-scale windows, and their projection onto ranges.

Official ``coarse/video.py``, ``coarse/tcn.py`` and ``coarse/sentence.py`` (Huyp777/CSUN).
"""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn.utils.parametrizations import weight_norm

from .configuration_clear import CLEARConfig
from .query_clear import CLEARQueryEncoder

# The published code draws the weights of the residual convolutions from N(0, 0.01). It does the same to the normed
# convolutions, where it has no effect: their weight is computed from magnitude and direction.
RESIDUAL_STD = 0.01


class CLEARResidualConv(nn.Conv1d):
    """1x1 convolution of a residual connection between different widths; a class of its own for its first weights."""


class CLEARTemporalBlock(nn.Module):
    """Two weight-normed dilated convolutions with a residual connection; the length is kept."""

    def __init__(self, in_channels: int, channels: int, kernel_size: int, dilation: int, dropout: float):
        super().__init__()
        settings = {"padding": (kernel_size - 1) * dilation // 2, "dilation": dilation}
        self.conv1 = weight_norm(nn.Conv1d(in_channels, channels, kernel_size, **settings))
        self.conv2 = weight_norm(nn.Conv1d(channels, channels, kernel_size, **settings))
        self.residual = CLEARResidualConv(in_channels, channels, 1) if in_channels != channels else nn.Identity()
        self.activation = nn.RReLU()
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, C, P) -> (B, C', P)."""
        hidden = self.dropout(self.activation(self.conv1(x)))
        hidden = self.dropout(self.activation(self.conv2(hidden)))
        return self.activation(hidden + self.residual(x))


class CoarseVideo(NamedTuple):
    """The coarse branch's view of a video.

    Args:
        embedding: (B, T, Db) of the T ranges, not normalised.
        blocks: per temporal block (B, C, P); windows: (B, C, candidates); ranges: (B, T, C).
    """

    embedding: torch.Tensor
    blocks: tuple[torch.Tensor, ...]
    windows: torch.Tensor
    ranges: torch.Tensor


class CLEARCoarseBranch(nn.Module):
    """Scores of T ranges that begin or end with the video.

    Args:
        num_ticks: T.
    """

    def __init__(self, config: CLEARConfig, num_ticks: int):
        super().__init__()
        channels = [config.feature_dim, *config.tcn_channels]
        width = channels[-1]
        self.tcn = nn.ModuleList(
            CLEARTemporalBlock(channels[k], channels[k + 1], config.tcn_kernel, 2**k, config.tcn_dropout)
            for k in range(len(config.tcn_channels))
        )
        self.windows = nn.ModuleList(
            nn.Conv1d(width, width, kernel, stride)
            for kernel, stride in zip(config.window_kernels, config.window_strides, strict=True)
        )
        self.range_projection = nn.Linear(config.num_candidates, num_ticks)
        self.range_hidden = nn.Linear(width, config.coarse_dim)
        self.range_embedding = nn.Linear(config.coarse_dim, config.coarse_dim)
        self.query = CLEARQueryEncoder(
            config.text_hidden_size, config.coarse_query_hidden, width, config.query_layers, config.query_bidirectional
        )
        self.query_embedding = nn.Linear(width, config.coarse_dim)
        self.activation = nn.RReLU()

    def encode_video(self, features: torch.Tensor) -> CoarseVideo:
        """(B, P, D) features -> embeddings of the T ranges."""
        blocks = [features.transpose(1, 2)]
        for block in self.tcn:
            blocks.append(block(blocks[-1]))
        clips = blocks[-1]
        used = [window for window in self.windows if window.kernel_size[0] <= clips.shape[-1]]
        windows = torch.cat([window(clips) for window in used], dim=-1)
        ranges = self.range_projection(self.activation(windows)).transpose(1, 2)
        hidden = self.activation(self.range_hidden(self.activation(ranges)))
        return CoarseVideo(self.range_embedding(hidden), tuple(blocks[1:]), windows, ranges)

    def encode_query(
        self, states: torch.Tensor, mask: torch.Tensor
    ) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor]]:
        """(R, L, E) word states -> (R, Db) embeddings, and (last LSTM state, its projection)."""
        last, projected = self.query(states, mask)
        return self.query_embedding(self.activation(projected)), (last, projected)
