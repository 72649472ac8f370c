"""Pictures of answers, as matplotlib figures (extra ``demo``)."""

import textwrap
from collections.abc import Sequence
from typing import Any

from .errors import HFVTGError

# Okabe and Ito's palette: told apart with any colour vision, and in grey.
PREDICTION, TRUTH = "#0072B2", "#E69F00"
MAX_QUERIES = 60


def plot_timeline(
    queries: Sequence[str],
    moments: Sequence[Sequence[dict[str, float]]],
    duration: float,
    truth: Sequence[Sequence[float]] | None = None,
    title: str | None = None,
    top_k: int = 3,
) -> Any:
    """One row a query: its ranked moments along the video, the true moment below them.

    Args:
        queries: Q sentences.
        moments: for each query ranked ``{"start", "end", "score"}`` in seconds, as the pipeline gives them.
        duration: seconds of the video.
        truth: for each query (start, end) in seconds.
        top_k: moments drawn a query; the best is solid, the others fade.

    Returns:
        a ``matplotlib.figure.Figure``; save it with ``savefig``.

    Raises:
        HFVTGError: without matplotlib, without queries, or with lists that do not fit each other.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HFVTGError('Pictures need matplotlib: pip install "hf-vtg[demo]".') from error
    if not 1 <= len(queries) <= MAX_QUERIES:
        raise HFVTGError(f"{len(queries)} queries: a timeline shows 1 to {MAX_QUERIES}. Draw several figures.")
    if len(moments) != len(queries) or (truth is not None and len(truth) != len(queries)):
        raise HFVTGError(
            f"{len(queries)} queries, {len(moments)} answers, {len(truth or [])} true moments do not fit."
        )
    figure = Figure(figsize=(10, 1.1 + 0.55 * len(queries)), layout="constrained")
    axes = figure.add_subplot()
    for row, ranked in enumerate(moments):
        for rank, moment in reversed(list(enumerate(ranked[:top_k]))):
            width = max(moment["end"] - moment["start"], duration / 500)
            alpha = 0.9 if rank == 0 else 0.35 / rank
            axes.barh(row, width, left=moment["start"], height=0.42, color=PREDICTION, alpha=alpha, linewidth=0)
        if ranked:
            best = ranked[0]
            label = f"{best['start']:.1f} - {best['end']:.1f} s"
            right = best["end"] < 0.75 * duration
            axes.annotate(
                label,
                (best["end"] if right else best["start"], row),
                xytext=(4 if right else -4, 0),
                textcoords="offset points",
                ha="left" if right else "right",
                va="center",
                fontsize=8,
            )
        if truth is not None:
            start, end = truth[row]
            axes.barh(row + 0.3, end - start, left=start, height=0.12, color=TRUTH, linewidth=0)
    axes.set_yticks(range(len(queries)), [textwrap.fill(query, 44) for query in queries], fontsize=8)
    axes.set_ylim(len(queries) - 0.4, -0.6)
    axes.set_xlim(0, duration)
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
    handles = [_patch(PREDICTION, "predicted (best solid)")] + ([_patch(TRUTH, "true")] if truth is not None else [])
    figure.legend(handles=handles, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    if title:
        axes.set_title(title, loc="left", fontsize=10)
    return figure


def _patch(color: str, label: str):
    from matplotlib.patches import Patch

    return Patch(color=color, label=label)
