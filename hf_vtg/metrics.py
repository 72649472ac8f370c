"""R@n,IoU=m and mIoU of ranked moments, as pure functions; a wrapper for ``evaluate`` and the constant floor.

Convention (DESIGN.md section 7): IoU over continuous seconds, a hit is IoU > m as 2D-TAN and PRVG count it,
averages over queries, figures in percent. Moment-DETR and MMN count IoU >= m (``inclusive=True``); HiSA rounds the
IoU to two decimals first and counts inclusively (``round_iou=2, inclusive=True``).
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from .errors import HFVTGError
from .moments import pairwise_iou

RANKS = (1, 5)
IOU_THRESHOLDS = (0.1, 0.3, 0.5, 0.7)


def grounding_metrics(
    predictions: Sequence[Any],
    references: Sequence[Any],
    ranks: Iterable[int] = RANKS,
    iou_thresholds: Iterable[float] = IOU_THRESHOLDS,
    inclusive: bool = False,
    round_iou: int | None = None,
) -> dict[str, float]:
    """All figures of one table.

    Args:
        predictions: per query a ranked list or array (K, 2) of (start, end) in seconds, best first; K may differ.
            An empty one is a miss. A reversed moment (end < start) overlaps nothing and is a miss too.
        references: per query one window (2,) or several (G, 2); of several the best one counts.
        ranks: each n of R@n: the best of the first n predictions counts.
        iou_thresholds: each m of IoU=m.
        inclusive: a hit is IoU >= m instead of IoU > m.
        round_iou: decimals to which IoU is rounded before it is compared (not for mIoU).

    Returns:
        ``{"R@1,IoU=0.5": percent, ..., "mIoU": percent of the first prediction, "num_queries": n,
        "num_unanswered": queries without a prediction}``.

    Raises:
        HFVTGError: unequal lengths, no query at all, or NaN, infinity or a wrong shape, naming the query's index.
    """
    ranks = [_checked_rank(n) for n in ranks]
    thresholds = [_checked_threshold(m) for m in iou_thresholds]
    ious = ranked_ious(predictions, references, max_rank=max(ranks, default=1))
    results = {
        f"R@{n},IoU={m:g}": recall_at_iou(ious, n, m, inclusive=inclusive, round_iou=round_iou)
        for n in ranks
        for m in thresholds
    }
    unanswered = int((ious[:, 0] < 0).sum())
    return results | {"mIoU": mean_iou(ious), "num_queries": len(ious), "num_unanswered": unanswered}


def ranked_ious(predictions: Sequence[Any], references: Sequence[Any], max_rank: int | None = None) -> np.ndarray:
    """IoU of each ranked prediction with the best window of its query.

    Arguments and errors as in :func:`grounding_metrics`; only the first ``max_rank`` predictions are scored.

    Returns:
        (queries, K) float64, at least one column; -1 where a query has no prediction of that rank.
    """
    _check_lengths(predictions, references)
    if len(references) == 0:
        raise HFVTGError("there is no query to score: predictions and references are empty")
    predicted = [_moments(p, f"prediction {i}", ranked=True) for i, p in enumerate(predictions)]
    windows = [_moments(r, f"reference {i}", ranked=False) for i, r in enumerate(references)]
    predicted, has_prediction = _pad([p[:max_rank] for p in predicted])
    windows, _ = _pad(windows)
    return np.where(has_prediction, pairwise_iou(predicted, windows).max(-1), -1.0)


def recall_at_iou(
    ious: np.ndarray, rank: int, threshold: float, inclusive: bool = False, round_iou: int | None = None
) -> float:
    """Percent of queries with a hit among the first ``rank`` columns of :func:`ranked_ious`."""
    best = np.asarray(ious)[:, : _checked_rank(rank)].max(-1)
    if round_iou is not None:
        best = np.round(best, round_iou)
    threshold = _checked_threshold(threshold)
    hits = (best >= threshold) if inclusive else (best > threshold)
    return float(hits.mean() * 100)


def mean_iou(ious: np.ndarray) -> float:
    """Mean IoU of the first prediction in percent; a query without one counts as 0."""
    return float(np.asarray(ious)[:, 0].clip(min=0).mean() * 100)


def best_constant_moment(
    fractions: Sequence[Any], iou_threshold: float = 0.5, divisions: int = 20
) -> tuple[float, float]:
    """The fixed (start, end), as fractions of any video, with the highest R@1,IoU=``iou_threshold`` (strict).

    Args:
        fractions: (N, 2) annotated moments as fractions of their videos.
        divisions: every pair of bounds i / ``divisions`` is tried; equal recalls are decided by the mean IoU.
    """
    moments = _moments(fractions, "the list of moments to fit", ranked=False)
    start, end = np.triu_indices(divisions + 1, k=1)
    candidates = np.stack([start, end], -1) / divisions
    totals = np.zeros((2, len(candidates)))
    for part in np.array_split(moments, len(moments) // 1000 + 1):
        iou = pairwise_iou(candidates, part)
        totals += (iou > iou_threshold).sum(-1), iou.sum(-1)
    best = np.lexsort(totals[::-1])[-1]
    return float(candidates[best, 0]), float(candidates[best, 1])


def constant_moment_baseline(
    train_rows: Iterable[Mapping[str, Any]],
    test_rows: Iterable[Mapping[str, Any]],
    iou_threshold: float = 0.5,
    divisions: int = 20,
    **options: Any,
) -> dict[str, Any]:
    """What a predictor reaches that sees neither video nor query: the floor below any trained model.

    Args:
        train_rows, test_rows: rows of the benchmark (``duration`` and ``moments`` in seconds).
        iou_threshold, divisions: how the moment is fitted on train, see :func:`best_constant_moment`.
        options: passed to :func:`grounding_metrics`.

    Returns:
        The figures of :func:`grounding_metrics` on test and ``"constant_moment"``, the fitted fractions.
    """
    train = [[s / row["duration"], e / row["duration"]] for row in train_rows for s, e in row["moments"]]
    constant = best_constant_moment(train, iou_threshold, divisions)
    queries = [(row["duration"], moment) for row in test_rows for moment in row["moments"]]
    predictions = [[[constant[0] * duration, constant[1] * duration]] for duration, _ in queries]
    results = grounding_metrics(predictions, [moment for _, moment in queries], **options)
    return {**results, "constant_moment": list(constant)}


def video_grounding_metric(**options: Any):
    """An ``evaluate.Metric`` over :func:`grounding_metrics` (``compute``, ``add``, ``add_batch``, ``combine``).

    ``options`` are those of ``evaluate.Metric``; ``cache_dir`` defaults to the cache of this package.
    ``compute`` takes the options of :func:`grounding_metrics`.
    """
    from .files import cache_root

    options.setdefault("cache_dir", str(cache_root() / "metrics"))
    return _metric_class()(**options)


def __getattr__(name: str):
    if name == "VideoGroundingMetric":
        return _metric_class()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def _metric_class():
    """Defined on first use: ``evaluate`` imports ``datasets``, which costs seconds."""
    if "_VideoGroundingMetric" in globals():
        return globals()["_VideoGroundingMetric"]
    import datasets
    import evaluate

    class VideoGroundingMetric(evaluate.Metric):
        """R@n,IoU=m and mIoU; see :func:`grounding_metrics`."""

        def _info(self):
            moments = datasets.List(datasets.List(datasets.Value("float64")))
            return evaluate.MetricInfo(
                description="R@n,IoU=m and mIoU of ranked moments in seconds.",
                citation="",
                inputs_description=grounding_metrics.__doc__,
                features=datasets.Features({"predictions": moments, "references": moments}),
            )

        def add(self, *, prediction, reference, **kwargs):
            """Add one query."""
            self.add_batch(predictions=[prediction], references=[reference], **kwargs)

        def add_batch(self, *, predictions, references, **kwargs):
            """Add queries."""
            _check_lengths(predictions, references)
            predictions = [_moments(p, f"prediction {i}", ranked=True).tolist() for i, p in enumerate(predictions)]
            references = [_moments(r, f"reference {i}", ranked=False).tolist() for i, r in enumerate(references)]
            super().add_batch(predictions=predictions, references=references, **kwargs)

        def _compute(self, predictions, references, **kwargs):
            return grounding_metrics(predictions, references, **kwargs)

    globals()["_VideoGroundingMetric"] = VideoGroundingMetric
    return VideoGroundingMetric


def _moments(value: Any, label: str, ranked: bool) -> np.ndarray:
    """One query's moments as (K, 2) float64, checked; ``ranked``: predictions, which may be none or reversed."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
    try:
        moments = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise HFVTGError(f"{label} is not a list of (start, end) numbers: {_short(value)}") from error
    if ranked and moments.shape in ((0,), (0, 2)):
        return np.zeros((0, 2))
    if not ranked and moments.shape == (2,):
        moments = moments[None]
    if moments.ndim != 2 or moments.shape[-1] != 2 or len(moments) == 0:
        form = "(K, 2), ranked" if ranked else "(2,), or (G, 2) with at least one window"
        raise HFVTGError(f"{label} has shape {moments.shape}; (start, end) moments have {form}")
    if not np.isfinite(moments).all():
        raise HFVTGError(f"{label} holds a number that is not finite: {_short(moments.tolist())}")
    if not ranked and (moments[:, 1] < moments[:, 0]).any():
        raise HFVTGError(f"{label} ends before it starts: {_short(moments.tolist())}; drop or correct it")
    return moments


def _check_lengths(predictions: Sequence[Any], references: Sequence[Any]) -> None:
    if len(predictions) != len(references):
        raise HFVTGError(
            f"{len(predictions)} predictions for {len(references)} references: give one list of moments a query"
        )


def _pad(moments: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Ragged (K_i, 2) -> (N, max K, 2) filled with (0, 0), which overlaps nothing, and which are real; K >= 1."""
    counts = np.array([len(m) for m in moments])
    real = np.arange(max(1, counts.max())) < counts[:, None]
    padded = np.zeros((*real.shape, 2))
    padded[real] = np.concatenate(moments)
    return padded, real


def _checked_rank(rank: int) -> int:
    if isinstance(rank, bool) or int(rank) != rank or rank < 1:
        raise HFVTGError(f"rank {rank!r}: R@n needs a whole number of at least 1")
    return int(rank)


def _checked_threshold(threshold: float) -> float:
    if not 0 <= threshold <= 1:
        raise HFVTGError(f"IoU threshold {threshold!r} is not between 0 and 1")
    return float(threshold)


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 120 else text[:117] + "..."
