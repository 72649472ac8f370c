"""Rows of annotations and their features into batches of the contract."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import FeatureError
from ..processing import SCHEMA, VideoGroundingProcessor

METADATA = (*SCHEMA, "row_index")


class VideoGroundingCollator:
    """Joins rows with their features by video id, resamples, tokenises and pads.

    Args:
        processor: of the model.
        features: mapping from video id to a (T, D) array, such as a :class:`FeatureStore`; None if the rows carry
            ``video_features`` themselves. Its ``spec``, where it has one, is checked against the processor's.
    """

    def __init__(self, processor: VideoGroundingProcessor, features: Mapping[str, np.ndarray] | None = None):
        self.processor = processor
        self.features = features

    def __call__(self, rows: list[dict[str, Any]]) -> dict[str, Any]:
        """Rows of the data schema -> batch with ``metadata``, and float64 ``labels`` if every row has moments.

        Raises:
            FeatureError: naming a video without features.
        """
        return self.processor(
            video_features=[self._features_of(row) for row in rows],
            metadata=[{name: row.get(name) for name in METADATA} for row in rows],
            spec=getattr(self.features, "spec", None),
        ).data

    def _features_of(self, row: dict[str, Any]) -> np.ndarray:
        if row.get("video_features") is not None:
            return row["video_features"]
        if self.features is None:
            raise FeatureError(
                f"Video {row.get('video_id')!r} carries no video_features and the collator has no feature store. "
                "Give VideoGroundingCollator(processor, features=FeatureStore(...))."
            )
        if row.get("video_id") is None:
            raise FeatureError(f"A row with the keys {sorted(row)} has no video_id to find its features by.")
        try:
            return self.features[row["video_id"]]
        except KeyError as error:
            if isinstance(error, FeatureError):
                raise
            raise FeatureError(f"Video {row['video_id']!r} is not among the {len(self.features)} features.") from None
