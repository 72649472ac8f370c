"""Videos cut and joined anew in every epoch, so that a small training set cannot be learned by heart."""

from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..errors import ModelError

KINDS = ("roll", "thin", "join")
JOINED = 0.7
# A video is cut for joining somewhere in this part of it.
MIDDLE = (0.3, 0.7)


class CutAndJoined(Dataset):
    """Rows with their own ``video_features``, cut between their moments; no moment is cut through.

    Sentences that were in the order of their moments are so again; any other order stays, for to sort them would tell
    a reader of paragraphs where to look.

    ``roll``: the part before a random cut is put behind the part after it.
    ``thin``: of half the stretches without a moment a random part is taken out, which shortens the video.
    ``join``: :data:`JOINED` of the videos are cut near the middle and go on with the second part of another one, whose
    clips are taken to be as long. Sentences of a meaning that both videos have are left out, for they may have two
    answers.

    Args:
        rows: of the data schema, indexable.
        features: video id -> (T, D) array; clip ``t`` covers ``t * duration / T`` to ``(t + 1) * duration / T``.
        kinds: of :data:`KINDS`, applied in that order.
        seed: of the cuts, which follow from it and the order of the calls.
        meanings: of the sentences of a row; two sentences of equal meaning describe the same. Needed by ``join``.

    Raises:
        ModelError: for another kind, or ``join`` without ``meanings``.
    """

    def __init__(
        self,
        rows,
        features: Mapping[str, np.ndarray],
        kinds: tuple[str, ...] = ("roll", "thin"),
        seed: int = 0,
        meanings: Callable[[Mapping[str, Any]], Sequence[Hashable]] | None = None,
    ):
        if unknown := set(kinds) - set(KINDS):
            raise ModelError(f"augmentation {', '.join(sorted(unknown))} is not known: {', '.join(KINDS)}.")
        if "join" in kinds and meanings is None:
            raise ModelError("augmentation join needs meanings=, which tells sentences of two videos apart.")
        self.rows, self.features, self.kinds, self.meanings = rows, features, kinds, meanings
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self._changed(index)
        if "join" in self.kinds and self.rng.random() < JOINED:
            return self._joined(row, self._changed(int(self.rng.integers(len(self.rows)))))
        return row

    def _joined(self, row: dict[str, Any], other: dict[str, Any]) -> dict[str, Any]:
        """``row`` as it is if it cannot be cut, or no sentence would be left."""
        second = row["duration"] / len(row["video_features"])
        videos = [
            (r["video_features"], np.asarray(r["moments"]) * len(r["video_features"]) / r["duration"])
            for r in (row, other)
        ]
        features, kept, moments = join(*videos, self.rng)
        own, others = map(self.meanings, (row, other))
        unclear = set(own) & set(others)
        chosen = [i for i in np.flatnonzero(kept) if [*own, *others][i] not in unclear]
        if not chosen:
            return row
        columns = {name: [*row[name], *other[name]] for name in sentence_columns(row)}
        return {
            **row,
            **{name: [column[i] for i in chosen] for name, column in columns.items()},
            "video_features": features,
            "duration": len(features) * second,
            "moments": (moments[chosen] * second).tolist(),
        }

    def _changed(self, index: int) -> dict[str, Any]:
        row = dict(self.rows[index])
        features = np.asarray(self.features[row["video_id"]])
        second = row["duration"] / len(features)
        moments = np.asarray(row["moments"], np.float64) / second
        in_order = (np.diff(moments[:, 0]) >= 0).all()
        if "roll" in self.kinds:
            features, moments = roll(features, moments, self.rng)
        if "thin" in self.kinds:
            features, moments = thin(features, moments, self.rng)
        order = np.argsort(moments[:, 0], kind="stable") if in_order else range(len(moments))
        return {
            **row,
            **{name: [row[name][i] for i in order] for name in sentence_columns(row)},
            "video_features": features,
            "duration": len(features) * second,
            "moments": (moments[order] * second).tolist(),
        }


def sentence_columns(row: Mapping[str, Any]) -> list[str]:
    """Columns with a value for each sentence."""
    return [name for name, value in row.items() if isinstance(value, list) and len(value) == len(row["sentences"])]


def cuts(length: int, moments: np.ndarray) -> np.ndarray:
    """Clips before which a video of ``length`` clips can be cut without cutting through a moment."""
    clips = np.arange(length)
    return clips[~((moments[:, :1] < clips) & (clips < moments[:, 1:])).any(0)]


def middle_cuts(length: int, moments: np.ndarray) -> np.ndarray:
    """Those of :func:`cuts` in the :data:`MIDDLE` of the video."""
    clips = cuts(length, moments)
    return clips[(clips >= MIDDLE[0] * length) & (clips <= MIDDLE[1] * length)]


def roll(features: np.ndarray, moments: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(T, D) and moments (S, 2) in clips, with the clips before a random cut put at the end."""
    cut = rng.choice(cuts(len(features), moments))
    return np.roll(features, -cut, axis=0), np.where(moments[:, :1] < cut, moments + len(features), moments) - cut


def thin(features: np.ndarray, moments: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(T, D) and moments (S, 2) in clips, with a random part of half the stretches between moments taken out."""
    clips = np.arange(len(features))
    free = ~((moments[:, :1] < clips + 1) & (clips < moments[:, 1:])).any(0)
    edges = np.flatnonzero(np.diff(np.concatenate(([False], free, [False]))))
    kept = np.ones(len(features), bool)
    for first, end in edges.reshape(-1, 2):
        if rng.random() < 0.5:
            a, b = np.sort(rng.integers(first, end + 1, 2))
            kept[a:b] = False
    removed = np.concatenate(([0], np.cumsum(~kept)))
    # A moment lies in clips that are kept: whole clips go before it or behind it.
    before = removed[np.floor(moments[:, 0]).astype(int).clip(0, len(features))]
    return features[kept], moments - before[:, None]


def join(
    first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray], rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The first part of one video and the second part of another, each cut in its :data:`MIDDLE`.

    Args:
        first, second: (T, D) features and (S, 2) moments in clips.

    Returns:
        features; which of the moments of both are in them, none if a video has no cut in its middle; the moments.
    """
    (a, of_a), (b, of_b) = first, second
    ends, starts = middle_cuts(len(a), of_a), middle_cuts(len(b), of_b)
    if not len(ends) or not len(starts):
        return a, np.zeros(len(of_a) + len(of_b), bool), np.concatenate([of_a, of_b])
    end, start = rng.choice(ends), rng.choice(starts)
    kept = np.concatenate([of_a[:, 1] <= end, of_b[:, 0] >= start])
    return np.concatenate([a[:end], b[start:]]), kept, np.concatenate([of_a, of_b - start + end])
