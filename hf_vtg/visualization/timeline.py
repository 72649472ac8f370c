"""Answers along a video: a strip of pictures, and a row a query with its moments, scores and the truth."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import HFVTGError
from .figures import MAX_QUERIES, PREDICTION, TRUTH, new_figure, wrapped

WIDTH = 10.0
STRIP = 0.75  # inches
LABEL = 46  # letters a line


def plot_timeline(
    queries: Sequence[str],
    moments: Sequence[Sequence[dict[str, float]]],
    duration: float,
    truth: Sequence[Sequence[float]] | None = None,
    title: str | None = None,
    top_k: int = 3,
    thumbnails: Sequence[tuple[float, np.ndarray]] | None = None,
    numbered: bool = False,
) -> Any:
    """One row a query: its ranked moments along the video with the score of the best, the true moment below them.

    Args:
        queries: Q sentences, or the sentences of a paragraph.
        moments: for each query ranked ``{"start", "end", "score"}`` in seconds, as the pipeline gives them.
        duration: seconds of the video.
        truth: for each query (start, end) in seconds.
        top_k: moments drawn a query; the best is solid and tall, the others are paler and lower.
        thumbnails: (seconds, (H, W, 3) uint8 picture) as of ``video.cutting.thumbnails``, drawn above the rows.
        numbered: number the sentences, as those of a paragraph.

    Returns:
        a ``matplotlib.figure.Figure``; save it with :func:`save_figure`.

    Raises:
        HFVTGError: without matplotlib, without queries, or with lists that do not fit each other.
    """
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise HFVTGError(f"{len(queries)} queries: a timeline shows 1 to {MAX_QUERIES}. Draw several figures.")
    if len(moments) != len(queries) or (truth is not None and len(truth) != len(queries)):
        raise HFVTGError(
            f"{len(queries)} queries, {len(moments)} answers, {len(truth or [])} true moments do not fit."
        )
    rows = 0.5 * len(queries) if len(queries) > 1 else 0.7
    strip = STRIP if thumbnails else 0.0
    figure = new_figure(WIDTH, 1.0 + strip + rows)
    if thumbnails:
        top, axes = figure.subplots(2, 1, sharex=True, height_ratios=(strip, rows + 0.3))
        _draw_strip(top, thumbnails, duration)
    else:
        top = axes = figure.add_subplot()
    for row, ranked in enumerate(moments):
        _draw_ranked(axes, row, ranked[:top_k], duration)
        if truth is not None:
            start, end = truth[row]
            axes.barh(row + 0.32, end - start, left=start, height=0.13, color=TRUTH, linewidth=0)
    labels = [f"{k}. {query}" if numbered else query for k, query in enumerate(queries, start=1)]
    axes.set_yticks(range(len(queries)), [wrapped(label, LABEL) for label in labels], fontsize=8)
    axes.tick_params(axis="y", length=0)
    axes.set_ylim(len(queries) - 0.45, -0.55)
    axes.set_xlim(0, duration)
    axes.set_xlabel("seconds")
    axes.grid(axis="x", color="0.9", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    _add_legend(figure, truth is not None, top_k)
    if title:
        top.set_title(wrapped(title, 60, lines=1), loc="left", fontsize=10)
    return figure


def _draw_strip(axes: Any, thumbnails: Sequence[tuple[float, np.ndarray]], duration: float) -> None:
    """Pictures side by side, each at its time and as wide as its share of the video, cropped to fit it."""
    wide = duration / len(thumbnails)
    for seconds, picture in thumbnails:
        axes.imshow(picture, extent=(seconds - wide / 2, seconds + wide / 2, 0, 1), aspect="auto")
        axes.axvline(seconds + wide / 2, color="white", linewidth=1.5)
    axes.set_ylim(0, 1)
    axes.set_axis_off()


def _draw_ranked(axes: Any, row: int, ranked: Sequence[dict[str, float]], duration: float) -> None:
    for rank, moment in reversed(list(enumerate(ranked))):
        width = max(moment["end"] - moment["start"], duration / 500)
        style = {"height": 0.44, "alpha": 0.9} if rank == 0 else {"height": 0.26, "alpha": 0.4 / rank}
        axes.barh(row, width, left=moment["start"], color=PREDICTION, linewidth=0, **style)
    if not ranked:
        axes.text(duration / 2, row, "no moment found", ha="center", va="center", fontsize=8, color="0.4")
        return
    best = ranked[0]
    # Beside the axes, where no other moment lies.
    axes.text(
        1.01,
        row,
        f"{best['start']:.1f} \u2013 {best['end']:.1f} s\n{best['score']:.2f}",
        transform=axes.get_yaxis_transform(),
        va="center",
        fontsize=8,
        color=PREDICTION,
    )


def _add_legend(figure: Any, with_truth: bool, top_k: int) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=PREDICTION, label="best moment, with its score")]
    if top_k > 1:
        handles.append(Patch(color=PREDICTION, alpha=0.4, label="further moments"))
    if with_truth:
        handles.append(Patch(color=TRUTH, label="true moment"))
    figure.legend(handles=handles, loc="outside upper right", ncols=len(handles), fontsize=8, frameon=False)
