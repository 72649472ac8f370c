"""HiSA's video block: what stays (background) and what changes (action) between neighbouring clips.

Three convolutions without any non-linearity (official ``Video_Dis``). With V the clips and V' their right neighbours:
background G = conv([V; V']), action A = conv([V; G]) and A' = conv([V'; G]), reconstructions R = conv([A; G]) and
R' = conv([A'; G]). Prediction needs G and A alone.

Where no dropout tells the inputs of a convolution apart, nothing is computed twice: the convolution of the shifted
clips is the shifted convolution of the clips, but for the taps at both ends; and A' - A, R' - R are convolutions of
V' - V, A' - A.
"""

import torch
from torch import nn
from torch.nn import functional as F

from .configuration_hisa import HiSAConfig


def next_clips(clips: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
    """(B, D, T) clips -> the right neighbour of each; the clip at ``last`` (B,) is its own, zeros follow its end."""
    at_last = torch.arange(clips.shape[-1], device=clips.device) == last[:, None, None]
    return torch.where(at_last, clips, F.pad(clips[..., 1:], (0, 1)))


class HiSADisentangler(nn.Module):
    """(B, D, T) clips -> background and action (B, D, T), and their reconstructions of the clips."""

    def __init__(self, config: HiSAConfig):
        super().__init__()
        dim, kernel = config.feature_dim, config.conv_kernel_size
        self.background_encoder = nn.Conv1d(2 * dim, dim, kernel, padding=kernel // 2)
        self.action_encoder = nn.Conv1d(2 * dim, dim, kernel, padding=kernel // 2)
        self.video_decoder = nn.Conv1d(2 * dim, dim, kernel, padding=kernel // 2)
        self.dropout = nn.Dropout(config.disentangle_dropout)

    @property
    def drops(self) -> bool:
        """Whether each convolution sees its input with a mask of its own."""
        return self.training and self.dropout.p > 0

    def forward(
        self, clips: torch.Tensor, last: torch.Tensor, keep: torch.Tensor | None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Background and action of the clips.

        Args:
            last: (B,) position of each video's last clip.
            keep: (B, 1, T) of zeros and ones: what is left of each convolution's output; None = all of it.
        """
        if self.drops:
            background = self._convolve(self.background_encoder, clips, next_clips(clips, last))
        else:
            background = self._background(clips, last)
        background = _kept(background, keep)
        return background, _kept(self._convolve(self.action_encoder, clips, background), keep)

    def reconstruct(
        self,
        clips: torch.Tensor,
        background: torch.Tensor,
        action: torch.Tensor,
        last: torch.Tensor,
        keep: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """The neighbours' action, and the reconstructions of the clips and of their neighbours.

        Arguments as in :meth:`forward`, and what it returned.
        """
        neighbors = next_clips(clips, last)
        if self.drops:
            neighbor_action = _kept(self._convolve(self.action_encoder, neighbors, background), keep)
            reconstruction = self._convolve(self.video_decoder, action, background)
            neighbor_reconstruction = self._convolve(self.video_decoder, neighbor_action, background)
        else:
            change = _kept(_first_half(self.action_encoder, neighbors - clips), keep)
            neighbor_action = action + change
            reconstruction = self._convolve(self.video_decoder, action, background)
            neighbor_reconstruction = reconstruction + _first_half(self.video_decoder, change)
        return neighbor_action, _kept(reconstruction, keep), _kept(neighbor_reconstruction, keep)

    def _convolve(self, conv: nn.Conv1d, first: torch.Tensor, second: torch.Tensor) -> torch.Tensor:
        return conv(self.dropout(torch.cat([first, second], dim=1)))

    def _background(self, clips: torch.Tensor, last: torch.Tensor) -> torch.Tensor:
        """The background encoder on [V; V'] as one convolution of V, one tap wider."""
        conv = self.background_encoder
        of_clips, of_neighbors = conv.weight.split(clips.shape[1], dim=1)
        half = conv.kernel_size[0] // 2
        merged = F.pad(of_clips, (0, 1)) + F.pad(of_neighbors, (1, 0))
        background = F.conv1d(F.pad(clips, (half, half + 1)), merged, conv.bias)
        # Tap k reaches neighbour t + k - half. There is none at -1, where the shifted clips begin ...
        count = min(half, clips.shape[-1])
        if count:
            first = torch.einsum("bd,odk->bok", clips[..., 0], of_neighbors[..., :half]).flip(-1)[..., :count]
            background[..., :count] -= first
        # ... and the one at ``last``, where they have ended, is the last clip.
        at_last = clips.gather(2, last[:, None, None].expand(-1, clips.shape[1], 1)).squeeze(2)
        reached = last[:, None] - torch.arange(half + 1, device=clips.device)
        ending = torch.einsum("bd,odk->bok", at_last, of_neighbors[..., half:]) * (reached >= 0)[:, None]
        return background.scatter_add(2, reached.clamp(min=0)[:, None].expand_as(ending), ending)


def _first_half(conv: nn.Conv1d, first: torch.Tensor) -> torch.Tensor:
    """``conv`` on [first; 0], without its bias."""
    return F.conv1d(first, conv.weight[:, : first.shape[1]], padding=conv.padding)


def _kept(x: torch.Tensor, keep: torch.Tensor | None) -> torch.Tensor:
    return x if keep is None else x * keep
