"""Prediction files against reference files: three formats, one evaluation.

========= hf_vtg (IoU > m)
predictions  JSONL, one query a line: {"query_id": "VIDEO/INDEX", "sentence", "moments": [{"start", "end", "score"}]}
references   JSONL rows {"video_id", "duration", "sentences", "moments"}, or grouped json with "timestamps"
========= cbp (IoU > m)
predictions  {"results": {"VIDEO-INDEX": [{"timestamp": [start, end], "score"}]}}
references   grouped json {"VIDEO": {"timestamps": [[start, end]]}} in the same unit
========= qvhighlights (IoU >= m, the best of several windows)
predictions  JSONL {"qid", "pred_relevant_windows": [[start, end, score]]}
references   JSONL {"qid", "relevant_windows": [[start, end]]}, as in the official highlight_val_release.jsonl

INDEX counts the sentences of a video over all its rows from 0; for hf_vtg after the cleaning that every benchmark
gets (``annotations.clean``). Predictions are ranked as they stand in the file.
"""

import json
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import AnnotationError
from ..metrics import IOU_THRESHOLDS, RANKS, grounding_metrics
from .annotations import (
    SplitReport,
    clean,
    grouped_entries,
    json_object,
    jsonl_objects,
    read_grouped_json,
    read_jsonl,
    require,
)


@dataclass
class Queries:
    """Moments by query id, and what to say about the file below the table."""

    moments: dict[str, list[list[float]]] = field(default_factory=dict)
    sentences: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unordered: int = 0

    def add(self, query: str, moments: Any, where: str, sentence: Any = None) -> None:
        """Windows of a reference, or ranked (start, end) or (start, end, score) of a prediction."""
        where = f"{where}: query {query!r}"
        if query in self.moments:
            raise AnnotationError(f"{where} comes a second time")
        if not isinstance(moments, list):
            raise AnnotationError(f"{where} has no list of moments but {moments!r}")
        for moment in moments:
            if not _is_moment(moment):
                raise AnnotationError(f"{where}: {moment!r} is not (start, end) in finite numbers")
        scores = [moment[2] for moment in moments if len(moment) > 2]
        self.unordered += any(first < second for first, second in zip(scores, scores[1:], strict=False))
        self.moments[query] = [moment[:2] for moment in moments]
        if isinstance(sentence, str):
            self.sentences[query] = " ".join(sentence.split())


@dataclass(frozen=True)
class PredictionFormat:
    """How a pair of files is read, and whether its community counts IoU >= m."""

    read_predictions: Callable[[Path], Queries]
    read_references: Callable[[Path], Queries]
    inclusive: bool


def evaluate_predictions(
    predictions: str | Path,
    references: str | Path,
    format: str = "hf_vtg",
    inclusive: bool | None = None,
    round_iou: int | None = None,
    ranks: Iterable[int] = RANKS,
    iou_thresholds: Iterable[float] = IOU_THRESHOLDS,
) -> dict[str, Any]:
    """Score a prediction file.

    Args:
        format: ``hf_vtg``, ``cbp`` or ``qvhighlights``.
        inclusive: a hit is IoU >= m; None = the convention of the format.
        round_iou, ranks, iou_thresholds: see :func:`hf_vtg.metrics.grounding_metrics`.

    Returns:
        ``{"format", "predictions", "references": paths, "convention": "IoU > m" or "IoU >= m", "round_iou", "metrics":
        {"R@1,IoU=0.5": percent, ..., "mIoU", "num_queries", "num_unanswered"}, "notes": [str]}``. A query of the
        references without a prediction is a miss, counted in ``num_unanswered``.

    Raises:
        AnnotationError: unreadable files, or predictions for queries that the references do not have.
    """
    if format not in FORMATS:
        raise AnnotationError(f"unknown format {format!r}; known: {', '.join(FORMATS)}")
    reader = FORMATS[format]
    found = reader.read_predictions(Path(predictions))
    wanted = reader.read_references(Path(references))
    _check_same_queries(found, wanted, predictions, references)
    if found.unordered:
        found.notes.append(
            f"{found.unordered} queries are not in the order of their scores; the order of the file was used"
        )
    inclusive = reader.inclusive if inclusive is None else inclusive
    metrics = grounding_metrics(
        [found.moments.get(query, []) for query in wanted.moments],
        list(wanted.moments.values()),
        ranks=ranks,
        iou_thresholds=iou_thresholds,
        inclusive=inclusive,
        round_iou=round_iou,
    )
    return {
        "format": format,
        "predictions": str(predictions),
        "references": str(references),
        "convention": "IoU >= m" if inclusive else "IoU > m",
        "round_iou": round_iou,
        "metrics": metrics,
        "notes": wanted.notes + found.notes,
    }


def format_table(results: Mapping[str, Any]) -> str:
    """The results of :func:`evaluate_predictions` as text: one header line, a row a rank, mIoU, notes."""
    metrics = results["metrics"]
    cells = {}
    for name, value in metrics.items():
        rank, separator, threshold = name.partition(",")
        if separator:
            cells.setdefault(rank, {})[threshold] = value
    thresholds = list(next(iter(cells.values()), {}))
    rounding = "" if results["round_iou"] is None else f", IoU rounded to {results['round_iou']} decimals"
    lines = [
        f"{results['format']}: n = {metrics['num_queries']} queries "
        f"({metrics['num_unanswered']} without a prediction), hit: {results['convention']}{rounding}, percent",
        " " * 6 + "".join(f"{threshold:>10}" for threshold in thresholds),
    ]
    lines += [f"{rank:<6}" + "".join(f"{row[t]:>10.2f}" for t in thresholds) for rank, row in cells.items()]
    lines.append(f"{'mIoU':<6}{metrics['mIoU']:>10.4f}")
    return "\n".join(lines + [f"note: {note}" for note in results["notes"]])


def _hf_vtg_predictions(path: Path) -> Queries:
    queries = Queries()
    for number, line in jsonl_objects(path):
        where = f"{path}:{number}"
        require(line, ("query_id", "moments"), where)
        queries.add(str(line["query_id"]), _listed(line["moments"], where), where, line.get("sentence"))
    return queries


def _hf_vtg_references(path: Path) -> Queries:
    queries, report, counts = Queries(), SplitReport(), Counter()
    for row in read_grouped_json(path) if path.suffix == ".json" else read_jsonl(path, unique=False):
        row = clean(row, report)
        for sentence, moment in zip(row.sentences, row.moments, strict=True) if row else ():
            queries.add(f"{row.video_id}/{counts[row.video_id]}", [moment], row.where, sentence)
            counts[row.video_id] += 1
    if not report.is_clean:
        queries.notes.append(f"references: {report.describe()}")
    return queries


def _cbp_predictions(path: Path) -> Queries:
    queries = Queries()
    results = json_object(path).get("results")
    if not isinstance(results, dict):
        raise AnnotationError(f'{path} has no object "results" of moments by query')
    for query, moments in results.items():
        queries.add(query, _listed(moments, f"{path}: query {query!r}", "timestamp"), str(path))
    return queries


def _cbp_references(path: Path) -> Queries:
    queries = Queries()
    for video_id, entry, where in grouped_entries(path):
        require(entry, ("timestamps",), where)
        for index, window in enumerate(entry["timestamps"]):
            queries.add(f"{video_id}-{index}", [window], where)
    return queries


def _qvhighlights_predictions(path: Path) -> Queries:
    return _qvhighlights(path, "pred_relevant_windows")


def _qvhighlights_references(path: Path) -> Queries:
    return _qvhighlights(path, "relevant_windows")


def _qvhighlights(path: Path, key: str) -> Queries:
    queries = Queries()
    for number, line in jsonl_objects(path):
        require(line, ("qid", key), f"{path}:{number}")
        queries.add(str(line["qid"]), line[key], f"{path}:{number}")
    return queries


FORMATS = {
    "hf_vtg": PredictionFormat(_hf_vtg_predictions, _hf_vtg_references, inclusive=False),
    "cbp": PredictionFormat(_cbp_predictions, _cbp_references, inclusive=False),
    "qvhighlights": PredictionFormat(_qvhighlights_predictions, _qvhighlights_references, inclusive=True),
}


def _check_same_queries(found: Queries, wanted: Queries, predictions: Any, references: Any) -> None:
    extra = [query for query in found.moments if query not in wanted.moments]
    if extra:
        raise AnnotationError(
            f"{predictions}: {len(extra)} of {len(found.moments)} predictions are for queries that {references} "
            f"lacks, such as {_some(extra)}; it has {len(wanted.moments)}, such as {_some(list(wanted.moments))}. "
            "Give the references of the same split and version"
        )
    for query, windows in wanted.moments.items():
        if not windows or any(end < start for start, end in windows):
            raise AnnotationError(f"{references}: query {query!r} has no window, or one that ends early: {windows}")
    for query, sentence in found.sentences.items():
        if wanted.sentences.get(query, sentence) != sentence:
            raise AnnotationError(
                f"query {query!r} is {sentence!r} in {predictions} but {wanted.sentences[query]!r} in {references}: "
                "the two number their sentences differently"
            )


def _listed(moments: Any, where: str, key: str | None = None) -> list[list[float]]:
    """Dicts with start and end, or with both under ``key``, as lists (start, end, score)."""
    if not isinstance(moments, list):
        raise AnnotationError(f"{where}: moments are {json.dumps(moments)[:80]}, not a list")
    listed = []
    for moment in moments:
        try:
            bounds = [moment["start"], moment["end"]] if key is None else list(moment[key])
            listed.append(bounds + ([moment["score"]] if moment.get("score") is not None else []))
        except (KeyError, TypeError, AttributeError) as error:
            wanted = "'start' and 'end'" if key is None else f"{key!r}"
            raise AnnotationError(f"{where}: moment {moment!r} has no {wanted}") from error
    return listed


def _is_moment(moment: Any) -> bool:
    if not isinstance(moment, list) or len(moment) not in (2, 3):
        return False
    return all(isinstance(x, int | float) and not isinstance(x, bool) and math.isfinite(x) for x in moment)


def _some(values: Sequence[str]) -> str:
    return ", ".join(map(repr, values[:3]))
