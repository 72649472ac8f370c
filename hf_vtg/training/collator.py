"""Rows of annotations and their features into batches of the contract."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..errors import FeatureError

METADATA = ("video_id", "duration", "sentences", "moments", "row_index")


class VideoGroundingCollator:
    """Joins rows with their features by video id, resamples, tokenises and pads.

    Args:
        processor: :class:`VideoGroundingProcessor`.
        features: mapping from video id to a (T, D) array, such as a :class:`FeatureStore`; None if the rows carry
            ``video_features`` themselves.
    """

    def __init__(self, processor, features: Mapping[str, np.ndarray] | None = None):
        self.processor = processor
        self.features = features

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of the data schema -> batch with float64 ``labels`` and ``metadata``.

        Raises:
            FeatureError: naming a video without features.
        """
        batch = self.processor(
            video_features=[self._features_of(row) for row in rows],
            text=[list(row["sentences"]) for row in rows],
            return_tensors="pt",
        )
        batch = dict(batch)
        if all(row.get("moments") is not None for row in rows):
            batch["labels"] = _labels(rows, batch["input_ids"].shape[1])
        batch["metadata"] = [{name: row.get(name) for name in METADATA} for row in rows]
        return batch

    def _features_of(self, row: dict[str, Any]) -> np.ndarray:
        if row.get("video_features") is not None:
            return row["video_features"]
        if self.features is None:
            raise FeatureError(
                f"Video {row['video_id']!r} carries no video_features and the collator has no feature store. "
                "Give VideoGroundingCollator(processor, features=FeatureStore(...))."
            )
        return self.features[row["video_id"]]


def _labels(rows: list[dict[str, Any]], num_sentences: int) -> torch.Tensor:
    labels = torch.zeros(len(rows), num_sentences, 2, dtype=torch.float64)
    for label, row in zip(labels, rows, strict=True):
        moments = torch.tensor(row["moments"], dtype=torch.float64).reshape(-1, 2)
        label[: len(moments)] = moments / row["duration"]
    return labels
