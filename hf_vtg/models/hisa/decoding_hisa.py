"""Pairs of start and end clips: the best candidates, and the published decoding (official ``visualization.py``)."""

import torch

# Elements of the score matrices that are held at once.
PAIR_ELEMENTS = 2**24


def best_pairs(
    start: torch.Tensor, end: torch.Tensor, lengths: torch.Tensor, count: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """The pairs (i, j), i <= j, within the video with the highest ``start[i] * end[j]``.

    Args:
        start, end: (R, T) probabilities.
        lengths: (R,) clips of each row.

    Returns:
        (R, count, 2) pairs in the order of i, then j, and their (R, count) scores; pair (0, 0) with score ``-inf``
        where a row has fewer.
    """
    clips = start.shape[1]
    rows = max(1, PAIR_ELEMENTS // clips**2)
    chunks = zip(start.split(rows), end.split(rows), lengths.split(rows), strict=True)
    parts = [_best_pairs(*chunk, count) for chunk in chunks]
    pairs, scores = (torch.cat(part) for part in zip(*parts, strict=True))
    return pairs, scores


def _best_pairs(start, end, lengths, count: int) -> tuple[torch.Tensor, torch.Tensor]:
    rows, clips = start.shape
    positions = torch.arange(clips, device=start.device)
    real = positions < lengths.unsqueeze(1)
    products = start.unsqueeze(2) * end.unsqueeze(1)
    ordered = positions.unsqueeze(1) <= positions
    products = products.masked_fill(~(ordered & real.unsqueeze(1)), -torch.inf).flatten(1)
    scores, index = products.topk(min(count, clips**2), dim=1)
    # In the order of the clips, whose equality does not hang on the rounding of the scores.
    index, order = torch.where(scores.isneginf(), clips**2, index).sort(dim=1)
    scores = scores.gather(1, order)
    index = torch.where(scores.isneginf(), 0, index)
    pairs = torch.stack([index // clips, index % clips], dim=-1)
    missing = count - pairs.shape[1]
    return torch.nn.functional.pad(pairs, (0, 0, 0, missing)), torch.nn.functional.pad(
        scores, (0, missing), value=-torch.inf
    )


def official_decode(start: torch.Tensor, end: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The published prediction: the one best pair i <= j over all T clips, padding included.

    Args:
        start, end: (R, T) probabilities.

    Returns:
        (R,) start clips i, (R,) end clips j, (R,) their products. The moment lasts from i to j + 1 clips; a clip is
        ``duration / T`` seconds (ActivityNet Captions: T of the video alone), on TACoS as many frames.
    """
    products = (start.unsqueeze(2) * end.unsqueeze(1)).triu()
    best, index = products.flatten(1).max(dim=1)
    return index // start.shape[1], index % start.shape[1], best
