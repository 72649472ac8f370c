"""What a model sees inside: the attention of each word of a query and each clip of the video."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..errors import HFVTGError
from .figures import COLORMAP, MAX_QUERIES, PREDICTION, TRUTH, as_array, new_figure, wrapped

# More rows do not fit one figure.
MAX_WORDS = 1000
ROW, AROUND = 0.22, 1.3  # inches


def plot_attention(
    words: Sequence[str],
    weights: Any,
    duration: float,
    moment: Sequence[float] | None = None,
    truth: Sequence[float] | None = None,
    title: str | None = None,
) -> Any:
    """Attention of one query: :func:`plot_attentions` of W words and their weights (W, T)."""
    moments, truths = (None if given is None else [given] for given in (moment, truth))
    return plot_attentions([(words, weights)], duration, moments, truths, None if title is None else [title])


def plot_attentions(
    attention: Sequence[tuple[Sequence[str], Any]],
    duration: float,
    moments: Sequence[Sequence[float] | None] | None = None,
    truths: Sequence[Sequence[float] | None] | None = None,
    titles: Sequence[str] | None = None,
) -> Any:
    """Attention of words and clips (word level of IA-Net, HiSA, HSCNet), a picture for each of S queries.

    Args:
        attention: for each query its W words and (W, T) weights, any real numbers; the T clips cover the video evenly.
            The pipeline gives it: ``pipe.forward(pipe.preprocess(...), attention=True)["attention"]``.
        duration: seconds of the video.
        moments, truths: predicted and true (start, end) of each query in seconds, as bars above the words.
        titles: the queries.

    Returns:
        a ``matplotlib.figure.Figure``.

    Raises:
        HFVTGError: other shapes or numbers, too many queries or words, or weights that are not finite.
    """
    attention = [(words, as_array(weights)) for words, weights in attention]
    check_attention([words for words, _ in attention])
    for words, weights in attention:
        if weights.ndim != 2 or len(words) != len(weights) or 0 in weights.shape:
            raise HFVTGError(
                f"{len(words)} words and weights of shape {weights.shape} do not fit: (words, clips) needed."
            )
        if not np.isfinite(weights).all():
            raise HFVTGError("Attention holds NaN or infinity. Leave out padded words and clips.")
    count = len(attention)
    moments, truths = ([None] * count if given is None else given for given in (moments, truths))
    titles = [""] * count if titles is None else titles
    if not len(moments) == len(truths) == len(titles) == count:
        raise HFVTGError(
            f"Attention of {count} queries, {len(moments)} moments, {len(truths)} true moments and {len(titles)} "
            "titles do not fit."
        )
    columns = min(3, max(1, round(math.sqrt(count / 2))))
    tall = [max(len(words) for words, _ in attention[k : k + columns]) for k in range(0, count, columns)]
    heights = [ROW * most + AROUND for most in tall]
    figure = new_figure(9.0 if columns == 1 else 6.6 * columns, sum(heights))
    grid = figure.add_gridspec(len(tall), columns, height_ratios=heights)
    for k, ((words, weights), moment, truth, title) in enumerate(zip(attention, moments, truths, titles, strict=True)):
        axes = figure.add_subplot(grid[k // columns, k % columns])
        bars = [("predicted", moment, PREDICTION), ("true", truth, TRUTH)]
        _draw(axes, words, weights, duration, [bar for bar in bars if bar[1] is not None])
        axes.set_title(wrapped(title, 60 if columns == 1 else 48), loc="left", fontsize=10 if columns == 1 else 9)
    shown = {name: bar for axes in figure.axes for bar, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if shown:
        figure.legend(shown.values(), shown, loc="outside upper right", ncols=2, fontsize=8, frameon=False)
    return figure


def check_attention(words: Sequence[Sequence[str]]) -> None:
    """Raise HFVTGError if the words of so many queries do not fit a figure."""
    if not 1 <= len(words) <= MAX_QUERIES:
        raise HFVTGError(f"{len(words)} queries: a figure holds the attention of 1 to {MAX_QUERIES}. Draw several.")
    total = sum(map(len, words))
    if total > MAX_WORDS:
        raise HFVTGError(
            f"The queries have {total} words: a figure holds the attention of {MAX_WORDS}. Draw several figures."
        )


def _draw(
    axes: Any,
    words: Sequence[str],
    weights: np.ndarray,
    duration: float,
    bars: list[tuple[str, Sequence[float], str]],
) -> None:
    """Words downwards, seconds to the right, bars above, and a colour bar in axes of its own."""
    image = axes.imshow(
        weights, aspect="auto", cmap=COLORMAP, interpolation="nearest", extent=(0, duration, len(words) - 0.5, -0.5)
    )
    axes.figure.colorbar(image, ax=axes, label="weight", pad=0.01)
    axes.set_yticks(range(len(words)), [wrapped(word, 24, lines=1) for word in words], fontsize=8)
    for k, (name, (start, end), color) in enumerate(bars):
        axes.barh(-0.95 - 0.6 * k, end - start, left=start, height=0.45, color=color, label=name, linewidth=0)
    axes.set_ylim(len(words) - 0.5, -0.6 - 0.6 * len(bars) if bars else -0.5)
    axes.set_xlim(0, duration)
    axes.set_xlabel("seconds")
    axes.spines[["top", "right"]].set_visible(False)
