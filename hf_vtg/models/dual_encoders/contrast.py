"""From similarities along time to ranked segments, without anything learned."""

from functools import lru_cache

import torch

from ...layers.proposals import proposal_cells

# 2D-TAN's scheme, continued to any length: every segment of up to 16 clips, then 8 lengths at each coarser scale.
FIRST_COUNT, FURTHER_COUNT = 15, 8
# Elements of the largest temporary tensor: sentences are taken in groups, so that memory does not grow with them.
GROUP_ELEMENTS = 4_000_000


@lru_cache(maxsize=8)
def multi_scale_cells(num_clips: int) -> torch.Tensor:
    """(P, 2) first and last clip of the segments of a video of ``num_clips`` clips; P grows like 23 * num_clips.

    The segments of a shorter video are those of a longer one that end in time.
    """
    counts, offset, stride = [], 0, 1
    while offset < num_clips - 1:
        full = FIRST_COUNT if stride == 1 else FURTHER_COUNT
        counts.append(min(full, (num_clips - 1 - offset) // stride))
        if counts[-1] < full:
            break
        offset, stride = offset + full * stride, 2 * stride
    return torch.from_numpy(proposal_cells(num_clips, counts))


def contrast_scores(similarity: torch.Tensor, video_mask: torch.Tensor, cells: torch.Tensor) -> torch.Tensor:
    """Correlation of the similarity along time with "inside the segment": (B, S, P) in [-1, 1].

    It is the difference of the means inside and outside, weighted by how much of the video is on either side, and
    divided by the standard deviation: of all segments the best one is the step that fits the curve with the smallest
    squared error. A curve without variation, and a segment that is the whole video, score 0.

    Args:
        similarity: (B, S, T); video_mask: (B, T) bool; cells: (P, 2) first and last clip. Cells that end behind the
            video score ``-inf``.
    """
    length = video_mask.sum(1).double()[:, None, None]
    real = video_mask[:, None, :]
    curve = similarity.double().masked_fill(~real, 0)
    centred = (curve - curve.sum(-1, keepdim=True) / length).masked_fill(~real, 0)
    spread = centred.square().sum(-1, keepdim=True)
    # What rounding leaves of a constant curve is no variation.
    flat = spread <= 1e-12 * (curve.square().sum(-1, keepdim=True) + 1e-12)
    sums = torch.nn.functional.pad(centred.cumsum(-1), (1, 0)).float()
    first, last = cells[:, 0], cells[:, 1]
    inside = sums.index_select(-1, last + 1) - sums.index_select(-1, first)
    width = (last - first + 1).double()
    scale = (length / (width * (length - width) * spread)).sqrt().float()
    undefined = flat | (width >= length)
    return (inside * scale).masked_fill(undefined, 0).masked_fill(last >= length, -torch.inf)


def best_segments(
    similarity: torch.Tensor, video_mask: torch.Tensor, num_candidates: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The best segments of each sentence.

    Args:
        similarity: (B, S, T) of sentence and clip; video_mask: (B, T) bool.
        num_candidates: at most this many a sentence are kept.

    Returns:
        moments (B, S, K, 2) as fractions and scores (B, S, K), best first.
    """
    cells = multi_scale_cells(video_mask.shape[1]).to(similarity.device)
    count = min(num_candidates, len(cells))
    group = max(1, GROUP_ELEMENTS // (len(similarity) * len(cells)))
    found = [contrast_scores(part, video_mask, cells).topk(count, dim=-1) for part in similarity.split(group, dim=1)]
    scores = torch.cat([part.values for part in found], dim=1)
    chosen = cells[torch.cat([part.indices for part in found], dim=1)]
    ends = (chosen + chosen.new_tensor([0, 1])).to(scores.dtype)
    return (ends / video_mask.sum(1)[:, None, None, None]).clamp(max=1), scores
