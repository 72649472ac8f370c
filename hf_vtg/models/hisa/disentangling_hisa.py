"""HiSA's video block: what stays (background) and what changes (action) between neighbouring clips.

Three convolutions without any non-linearity (official ``Video_Dis``). With V the clips and V' their right neighbours:
background G = conv([V; V']), action A = conv([V; G]) and A' = conv([V'; G]), reconstructions R = conv([A; G]) and
R' = conv([A'; G]). Prediction needs G and A alone.

Where no dropout tells the inputs of a convolution apart, nothing is computed twice: the convolution of the shifted
clips is the shifted convolution of the clips, but for the taps at both ends; and A' - A, R' - R are convolutions of
V' - V, A' - A. All videos are convolved as one long row of real clips with gaps between them: no padding is computed.
"""

import torch
from torch import nn
from torch.nn import functional as F

from ...layers.padding import restore_sentences
from .configuration_hisa import HiSAConfig


def next_clips(clips: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """(B, T, D) clips -> the right neighbour of each; the last of ``lengths`` (B,) is its own, its end is zero."""
    last = torch.arange(clips.shape[1], device=clips.device) == lengths.unsqueeze(1) - 1
    return torch.where(last.unsqueeze(-1), clips, F.pad(clips[:, 1:], (0, 0, 0, 1)))


class ClipRow:
    """The real clips of all videos in one row, with ``gap`` zero clips before, between and behind them.

    Args:
        lengths: (B,) clips of each video; size: T.
    """

    def __init__(self, lengths: torch.Tensor, size: int, gap: int):
        positions = torch.arange(size, device=lengths.device)
        self.gap = gap
        self.inside = positions < lengths.unsqueeze(1)
        ends = (lengths + gap).cumsum(0)
        self.first = ends - lengths
        self.last = ends - 1
        self.index = (self.first.unsqueeze(1) + positions)[self.inside]
        self.length = len(self.index) + gap * (len(lengths) + 1)

    def join(self, clips: torch.Tensor) -> torch.Tensor:
        """(B, T, D) -> (row, D)"""
        return clips.new_zeros(self.length, clips.shape[-1]).index_copy(0, self.index, clips[self.inside])

    def split(self, row: torch.Tensor) -> torch.Tensor:
        """(row, D) -> (B, T, D), zeros at padding."""
        return restore_sentences(row.index_select(0, self.index), self.inside)

    def clear(self, row: torch.Tensor) -> torch.Tensor:
        """``row`` with zeros in the gaps."""
        keep = row.new_zeros(self.length, 1).index_fill(0, self.index, 1)
        return row * keep

    def convolve(self, row: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        """(row, D) and (D', D, K), the first ``gap - 1`` clips to the left -> (row, D'); gaps are not zero."""
        clips = row[1 : len(row) - 2 * self.gap + weight.shape[2]].T.unsqueeze(0)
        if torch.is_grad_enabled():
            out = F.conv1d(clips, weight, bias).squeeze(0).T
        else:
            # The row has its channels last. oneDNN takes it so, forwards at half the time, backwards at double.
            last = {"memory_format": torch.channels_last}
            clips, weight = (x.unsqueeze(2).contiguous(**last) for x in (clips, weight))
            out = F.conv2d(clips, weight, bias).squeeze(2).squeeze(0).T
        return F.pad(out, (0, 0, self.gap, self.gap))


class HiSADisentangler(nn.Module):
    """(B, T, D) clips -> background and action (B, T, D), and their reconstructions of the clips."""

    def __init__(self, config: HiSAConfig):
        super().__init__()
        dim, kernel = config.feature_dim, config.conv_kernel_size
        self.half = kernel // 2
        self.background_encoder = nn.Conv1d(2 * dim, dim, kernel, padding=self.half)
        self.action_encoder = nn.Conv1d(2 * dim, dim, kernel, padding=self.half)
        self.video_decoder = nn.Conv1d(2 * dim, dim, kernel, padding=self.half)
        self.dropout = nn.Dropout(config.disentangle_dropout)

    @property
    def drops(self) -> bool:
        """Whether each convolution sees its input with a mask of its own."""
        return self.training and self.dropout.p > 0

    def forward(self, clips: torch.Tensor, lengths: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Background and action of the first ``lengths`` (B,) clips of each video, zeros behind them."""
        layout = ClipRow(lengths, clips.shape[1], self.half + 1)
        row = layout.join(clips)
        if self.drops:
            background = self._convolve(layout, self.background_encoder, row, layout.join(next_clips(clips, lengths)))
        else:
            background = layout.clear(self._background(layout, row))
        action = self._convolve(layout, self.action_encoder, row, background)
        return layout.split(background), layout.split(action)

    def reconstruct(
        self, clips: torch.Tensor, background: torch.Tensor, action: torch.Tensor, lengths: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The neighbours' action, and the reconstructions of the clips and of their neighbours.

        Args:
            background, action: what :meth:`forward` returned for ``clips`` and ``lengths``.
        """
        layout = ClipRow(lengths, clips.shape[1], self.half + 1)
        neighbors = next_clips(clips, lengths)
        behind, own = layout.join(background), layout.join(action)
        reconstruction = self._convolve(layout, self.video_decoder, own, behind)
        if self.drops:
            other = self._convolve(layout, self.action_encoder, layout.join(neighbors), behind)
            neighbor_reconstruction = self._convolve(layout, self.video_decoder, other, behind)
        else:
            change = self._first_half(layout, self.action_encoder, layout.join(neighbors - clips))
            other = own + change
            neighbor_reconstruction = reconstruction + self._first_half(layout, self.video_decoder, change)
        return layout.split(other), layout.split(reconstruction), layout.split(neighbor_reconstruction)

    def _convolve(self, layout: ClipRow, conv: nn.Conv1d, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        row = self.dropout(torch.cat([first, second], dim=1))
        return layout.clear(layout.convolve(row, conv.weight, conv.bias))

    def _first_half(self, layout: ClipRow, conv: nn.Conv1d, first: torch.Tensor) -> torch.Tensor:
        """``conv`` on [first; 0], without its bias."""
        return layout.clear(layout.convolve(first, conv.weight[:, : first.shape[1]], None))

    def _background(self, layout: ClipRow, row: torch.Tensor) -> torch.Tensor:
        """The background encoder on [V; V'] as one convolution of V, one tap wider."""
        conv, half = self.background_encoder, self.half
        of_clips, of_neighbors = conv.weight.split(row.shape[1], dim=1)
        # Neighbour t + k - half of tap k is clip t + k - half + 1.
        merged = F.pad(of_clips, (0, 1)) + F.pad(of_neighbors, (1, 0))
        background = layout.convolve(row, merged, conv.bias)
        # But there is no neighbour of the clip before the first, and the last clip is its own.
        first, last = row.index_select(0, layout.first), row.index_select(0, layout.last)
        clips = torch.stack([-first] * half + [last] * (half + 1))
        reach = half - torch.arange(2 * half + 1, device=row.device).unsqueeze(1)
        index = torch.where(reach > 0, layout.first - 1, layout.last) + reach
        rests = torch.bmm(clips, of_neighbors.permute(2, 1, 0)).to(background.dtype)
        return background.index_add(0, index.flatten(), rests.flatten(0, 1))
