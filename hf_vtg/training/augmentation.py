"""Videos cut and joined anew in every epoch, so that a small training set cannot be learned by heart."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from ..errors import ModelError

KINDS = ("roll", "thin")


class CutAndJoined(Dataset):
    """Rows with their own ``video_features``, cut between their moments; no moment is cut through.

    ``roll``: the part before a random cut is put behind the part after it; sentences are in the order of their moments
    again.
    ``thin``: of half the stretches without a moment a random part is taken out, which shortens the video.

    Args:
        rows: of the data schema, indexable.
        features: video id -> (T, D) array; clip ``t`` covers ``t * duration / T`` to ``(t + 1) * duration / T``.
        kinds: of :data:`KINDS`, applied in that order.
        seed: of the cuts, which follow from it and the order of the calls.

    Raises:
        ModelError: for another kind.
    """

    def __init__(
        self, rows, features: Mapping[str, np.ndarray], kinds: tuple[str, ...] = ("roll", "thin"), seed: int = 0
    ):
        if unknown := set(kinds) - set(KINDS):
            raise ModelError(f"augmentation {', '.join(sorted(unknown))} is not known: {', '.join(KINDS)}.")
        self.rows, self.features, self.kinds = rows, features, kinds
        self.rng = np.random.default_rng(seed)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = dict(self.rows[index])
        features = np.asarray(self.features[row["video_id"]])
        second = row["duration"] / len(features)
        moments = np.asarray(row["moments"], np.float64) / second
        if "roll" in self.kinds:
            features, moments = roll(features, moments, self.rng)
        if "thin" in self.kinds:
            features, moments = thin(features, moments, self.rng)
        order = np.argsort(moments[:, 0], kind="stable")
        return {
            **row,
            "sentences": [row["sentences"][i] for i in order],
            "video_features": features,
            "duration": len(features) * second,
            "moments": (moments[order] * second).tolist(),
        }


def roll(features: np.ndarray, moments: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """(T, D) and moments (S, 2) in clips, with the clips before a random cut put at the end."""
    cuts = np.arange(len(features))
    allowed = cuts[~((moments[:, :1] < cuts) & (cuts < moments[:, 1:])).any(0)]
    cut = rng.choice(allowed)
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
