"""What a model sees inside: the scores of all proposals over start and end."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import HFVTGError
from .figures import COLORMAP, MAX_QUERIES, PREDICTION, TRUTH, as_array, new_figure, wrapped

MAX_CELLS = 512


def plot_score_map(
    moments: Any,
    scores: Any,
    duration: float,
    truth: Sequence[float] | None = None,
    title: str | None = None,
) -> Any:
    """Scores of all proposals of one query: :func:`plot_score_maps` of moments (K, 2) and scores (K,)."""
    truths, titles = None if truth is None else [truth], None if title is None else [title]
    return plot_score_maps(as_array(moments)[None], as_array(scores)[None], duration, truths, titles)


def plot_score_maps(
    moments: Any,
    scores: Any,
    duration: float,
    truths: Sequence[Sequence[float] | None] | None = None,
    titles: Sequence[str] | None = None,
) -> Any:
    """Scores of all proposals of each of S queries, a map each: start to the right, end upwards.

    Args:
        moments: (S, K, 2) candidates as fractions, as in ``output.moments[video]``.
        scores: (S, K), ``-inf`` for what is no candidate.
        duration: seconds of the video.
        truths: true (start, end) in seconds of each query, drawn as a ring; the best proposal is a cross.
        titles: the queries.

    Returns:
        a ``matplotlib.figure.Figure``.

    Raises:
        HFVTGError: other shapes or numbers, too many queries, or a query without any candidate.
    """
    moments, scores = as_array(moments), as_array(scores)
    if moments.ndim != 3 or moments.shape[2:] != (2,) or scores.shape != moments.shape[:2]:
        raise HFVTGError(
            f"A score map needs moments (K, 2) and scores (K,) of each query, not {moments.shape[1:]} and "
            f"{scores.shape[1:]} of {len(moments)} and {len(scores)}."
        )
    count = len(moments)
    if not 1 <= count <= MAX_QUERIES:
        raise HFVTGError(f"{count} queries: a figure holds 1 to {MAX_QUERIES} score maps. Draw several figures.")
    truths = [None] * count if truths is None else truths
    titles = [""] * count if titles is None else titles
    if not len(truths) == len(titles) == count:
        raise HFVTGError(f"{count} score maps, {len(truths)} true moments and {len(titles)} titles do not fit.")
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    size, letters, font = (5.0, 58, 10) if count == 1 else (3.6, 36, 8)
    figure = new_figure((size + 0.6) * columns, (size + 0.2) * rows)
    for k, (truth, title) in enumerate(zip(truths, titles, strict=True)):
        axes = figure.add_subplot(rows, columns, k + 1)
        _draw_map(axes, moments[k], scores[k], duration, truth)
        axes.set_title(wrapped(title, letters), loc="left", fontsize=font)
    return figure


def _draw_map(axes: Any, moments: np.ndarray, scores: np.ndarray, duration: float, truth: Any) -> None:
    """One map, with a colour bar in axes of its own."""
    real = np.isfinite(scores)
    if not real.any():
        raise HFVTGError("No proposal has a score: there is no map to draw.")
    seconds, scores = moments[real] * duration, scores[real]
    starts, ends = (np.unique(np.round(seconds[:, k], 6)) for k in (0, 1))
    if max(len(starts), len(ends)) <= MAX_CELLS:
        image = _grid(axes, seconds, scores, starts, ends)
    else:
        order = np.argsort(scores)
        image = axes.scatter(*seconds[order].T, c=scores[order], cmap=COLORMAP, s=8, linewidth=0)
    axes.figure.colorbar(image, ax=axes, label="score", shrink=0.85)
    best = seconds[scores.argmax()]
    mark = {"markersize": 11, "markeredgewidth": 2.2, "linestyle": "none"}
    axes.plot(*best, marker="x", color="white", **{**mark, "markeredgewidth": 4.5})
    axes.plot(*best, marker="x", color=PREDICTION, label=f"best: {best[0]:.1f} \u2013 {best[1]:.1f} s", **mark)
    if truth is not None:
        axes.plot(*truth, marker="o", color="white", fillstyle="none", **{**mark, "markeredgewidth": 4.5})
        label = f"true: {truth[0]:.1f} \u2013 {truth[1]:.1f} s"
        axes.plot(*truth, marker="o", color=TRUTH, fillstyle="none", label=label, **mark)
    axes.set(xlim=(0, duration), ylim=(0, duration), aspect="equal", facecolor="0.94")
    axes.set_xlabel("start, seconds")
    axes.set_ylabel("end, seconds")
    axes.legend(loc="lower right", fontsize=8)


def _grid(axes: Any, seconds: np.ndarray, scores: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> Any:
    """Cells at every pair of a start and an end; pairs that are no proposal stay empty."""
    cells = np.full((len(ends), len(starts)), np.nan)
    row, column = (np.searchsorted(b, np.round(seconds[:, k], 6)) for b, k in ((ends, 1), (starts, 0)))
    np.fmax.at(cells, (row, column), scores)
    return axes.pcolormesh(_edges(starts), _edges(ends), cells, cmap=COLORMAP, rasterized=True)


def _edges(centres: np.ndarray) -> np.ndarray:
    """Bounds of cells around sorted centres."""
    if len(centres) == 1:
        return centres[0] + np.array([-0.5, 0.5])
    middle = (centres[1:] + centres[:-1]) / 2
    return np.concatenate([[2 * centres[0] - middle[0]], middle, [2 * centres[-1] - middle[-1]]])
