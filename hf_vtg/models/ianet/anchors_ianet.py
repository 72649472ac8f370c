"""Anchors of IA-Net and what each should learn (official ``dataloaders/clip_loader.py`` and ``utils.py``).

Moments are inclusive clip coordinates here: (start, end) with start = end for a single clip.
"""

import torch

# A fraction times the source length misses a whole number by rounding alone.
ROUNDING = 1e-9


def anchor_windows(num_clips: int, widths, scale: float, dtype: torch.dtype, device=None) -> torch.Tensor:
    """(T * A, 2) windows [t - (w - 1) * scale / 2, t + (w - 1) * scale / 2], index t * A + a."""
    half = (torch.tensor(widths, dtype=torch.float64, device=device) - 1) * scale / 2
    centre = torch.arange(num_clips, dtype=torch.float64, device=device).unsqueeze(1)
    return torch.stack([centre - half, centre + half], dim=-1).flatten(0, 1).to(dtype)


def legal_anchors(windows: torch.Tensor, lengths: torch.Tensor, num_anchors: int) -> torch.Tensor:
    """(B, K) anchors that lie within each video of ``lengths`` (B,) clips.

    In a video too short for any, those centred in it.
    """
    inside = (windows[:, 0] >= 0) & (windows[:, 1] < lengths.unsqueeze(1))
    centre = torch.arange(len(windows), device=windows.device).div(num_anchors, rounding_mode="floor")
    return torch.where(inside.any(1, keepdim=True), inside, centre < lengths.unsqueeze(1))


def source_index(source_length: torch.Tensor, lengths: torch.Tensor, num_clips: int) -> torch.Tensor:
    """(B, T) first source row of each clip: int(linspace(0, n - 1, T)) of each video, n behind its end.

    Args:
        source_length: (B,) rows n before resampling; lengths: (B,) clips after it.
    """
    last = (source_length - 1).double().unsqueeze(1)
    clip = torch.arange(num_clips, device=lengths.device)
    end = lengths.unsqueeze(1) - 1
    # numpy sets the last point of a linspace, whatever its steps add up to.
    index = torch.where(clip == end, last, clip * (last / end.clamp(min=1))).floor().long()
    return torch.where(clip <= end, index, source_length.unsqueeze(1))


def clip_labels(
    labels: torch.Tensor,
    source_length: torch.Tensor,
    lengths: torch.Tensor,
    num_clips: int,
    stretch_at_last_frame: bool = False,
) -> torch.Tensor:
    """(B, S, 2) fractions -> (B, S, 2) first and last clip after resampling, int64.

    In source rows: int(fraction * n), the end at most n - 1, the start at most the end. Then the first clip that
    starts at or behind the start, and the last that starts at or before the end.

    Args:
        stretch_at_last_frame: an end in source row T - 1 becomes the last clip (the official slip).
    """
    rows = (labels.double() * source_length[:, None, None] + ROUNDING).floor().long()
    end = torch.minimum(rows[..., 1], source_length.unsqueeze(1) - 1).clamp(min=0)
    start = torch.minimum(rows[..., 0].clamp(min=0), end)
    index = source_index(source_length, lengths, num_clips)
    first = torch.searchsorted(index, start)
    last = torch.searchsorted(index, end, right=True) - 1
    if stretch_at_last_frame:
        limit = lengths.unsqueeze(1) - 1
        last = torch.where(end == limit, limit, last)
    first = torch.minimum(first, lengths.unsqueeze(1) - 1)
    return torch.stack([first, torch.maximum(first, last)], dim=-1)


def anchor_iou(windows: torch.Tensor, moments: torch.Tensor, legal: torch.Tensor) -> torch.Tensor:
    """(B, S, K) IoU of inclusive windows, (overlap + 1) / (hull + 1) and at least 0; 0 for illegal anchors."""
    start, end = moments[..., 0:1].to(windows.dtype), moments[..., 1:2].to(windows.dtype)
    overlap = torch.minimum(windows[:, 1], end) - torch.maximum(windows[:, 0], start) + 1
    hull = torch.maximum(windows[:, 1], end) - torch.minimum(windows[:, 0], start) + 1
    return (overlap / hull).clamp(min=0) * legal.unsqueeze(1)
