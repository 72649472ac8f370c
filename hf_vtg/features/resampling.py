"""Clip features of any length to one batch: checks, normalisation, the papers' resampling, padding."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from transformers import BatchFeature, FeatureExtractionMixin

from ..errors import FeatureError
from .spec import FeatureSpec

logger = logging.getLogger(__name__)

RESAMPLINGS = ("none", "stride", "mean_bins", "linspace_bins")


def resample_mean_bins(features: np.ndarray, num_clips: int, legacy: bool = True) -> np.ndarray:
    """(T, D) -> (num_clips, D): means of the rows between rounded bounds (2D-TAN, MMN, CLEAR, DepNet).

    Bound i is i / num_clips * T in float32, rounded half to even; a bin without rows takes the row at its bound.

    Args:
        legacy: clamp every bound to T - 1 as the official code does: the last row then only counts where the
            last bin is empty. False: the last bin ends at T.
    """
    rows = len(features)
    steps = np.arange(num_clips + 1, dtype=np.float32)
    bounds = np.round(steps / np.float32(num_clips) * np.float32(rows)).astype(np.int64)
    bounds = np.minimum(bounds, rows - 1)
    return _bin_means(features, bounds[:-1], bounds[-1] if legacy else rows)


def resample_linspace_bins(features: np.ndarray, num_clips: int) -> np.ndarray:
    """(T, D) -> (num_clips, D): means of the rows between int(linspace(0, T - 1)), then the last row (IA-Net)."""
    bounds = np.linspace(0, len(features) - 1, num_clips).astype(np.int64)
    bounds[-1] = len(features) - 1
    return _bin_means(features, bounds, len(features))


def resample_stride(features: np.ndarray, stride: int) -> np.ndarray:
    """(T, D) -> (ceil(T / stride), D): every ``stride``-th row from the first (HiSA)."""
    return features[::stride]


def _bin_means(features: np.ndarray, starts: np.ndarray, end: int) -> np.ndarray:
    """Mean of rows starts[i] .. starts[i + 1] - 1 (the last: end - 1); the row starts[i] where there are none."""
    counts = np.maximum(np.diff(starts, append=end), 1)
    bins = np.repeat(np.arange(len(starts)), counts)
    rows = np.arange(len(bins)) + (starts - np.cumsum(counts) + counts)[bins]
    sums = torch.zeros(len(starts), features.shape[1], dtype=torch.float64)
    # index_add_ is ten times as fast as numpy's add.reduceat along the first axis.
    sums.index_add_(0, torch.from_numpy(bins), torch.from_numpy(features[rows]).double())
    return (sums.numpy() / counts[:, None]).astype(np.float32)


class VideoGroundingFeatureExtractor(FeatureExtractionMixin):
    """Clip features of any length -> one padded batch.

    Args:
        resampling: "none", "stride", "mean_bins" or "linspace_bins".
        num_clips: rows after "mean_bins" or "linspace_bins".
        stride: of "stride".
        l2_normalize: divide each source row by its length (at least 1e-12) before resampling.
        legacy_resample: the official rounding of "mean_bins"; see :func:`resample_mean_bins`.
        feature_dim: width D that is accepted; None = that of ``feature_spec``, else any.
        feature_spec: FeatureSpec (or its dict) of the features that the model was trained on; saved.
        padding_value: of rows behind the end of a video.
    """

    model_input_names = ["video_features", "video_mask", "source_length"]

    def __init__(
        self,
        resampling: str = "none",
        num_clips: int | None = None,
        stride: int = 1,
        l2_normalize: bool = False,
        legacy_resample: bool = True,
        feature_dim: int | None = None,
        feature_spec: FeatureSpec | Mapping[str, Any] | None = None,
        padding_value: float = 0.0,
        **kwargs,
    ):
        if resampling not in RESAMPLINGS:
            raise FeatureError(f"resampling={resampling!r}: give one of {', '.join(RESAMPLINGS)}.")
        if resampling.endswith("bins") and (not isinstance(num_clips, int) or num_clips < 1):
            raise FeatureError(f"resampling={resampling!r} needs num_clips >= 1, got {num_clips!r}.")
        if not isinstance(stride, int) or stride < 1:
            raise FeatureError(f"stride={stride!r}: give an integer of at least 1.")
        spec = FeatureSpec.from_dict(feature_spec)
        if feature_dim is not None and spec.dim is not None and feature_dim != spec.dim:
            raise FeatureError(f"feature_dim={feature_dim}, but the feature spec is [{spec.describe()}].")
        self.resampling = resampling
        self.num_clips = num_clips
        self.stride = stride
        self.l2_normalize = l2_normalize
        self.legacy_resample = legacy_resample
        self.feature_dim = spec.dim if feature_dim is None else feature_dim
        self.feature_spec = None if feature_spec is None else spec.to_dict()
        self.padding_value = padding_value
        self._warned = False
        ignored = sorted(set(kwargs) - {"feature_extractor_type", "processor_class", "auto_map"})
        if ignored:
            logger.warning("VideoGroundingFeatureExtractor does not know %s", ", ".join(ignored))
        super().__init__(**kwargs)

    @property
    def spec(self) -> FeatureSpec:
        """What features the model was trained on (all unknown if nobody said)."""
        return FeatureSpec.from_dict(self.feature_spec)

    def __call__(
        self,
        video_features: Any,
        spec: FeatureSpec | Mapping[str, Any] | None = None,
        video_ids: Sequence[str] | None = None,
        return_tensors: str | None = None,
    ) -> BatchFeature:
        """Check, normalise, resample and pad.

        Args:
            video_features: (T_i, D) arrays or tensors of the videos, or one such array.
            spec: what these features are, if known.
            video_ids: names for error messages.

        Returns:
            video_features (B, T, D) float32, video_mask (B, T) bool, source_length (B,) int64: rows given.

        Raises:
            FeatureError: empty, not 2-D, of another width or another spec, NaN or infinite values.
        """
        self._check_spec(spec)
        if isinstance(video_features, (np.ndarray, torch.Tensor)):
            video_features = [video_features]
        videos = list(video_features)
        if not videos:
            raise FeatureError("The batch holds no video features.")
        names = [f"video {i} of the batch" for i in range(len(videos))]
        if video_ids is not None:
            if len(video_ids) != len(videos):
                raise FeatureError(f"{len(videos)} videos, but {len(video_ids)} names: {list(video_ids)[:5]}.")
            names = [f"video {video_id!r}" for video_id in video_ids]
        arrays = [self._checked(video, name) for video, name in zip(videos, names, strict=True)]
        widths = [array.shape[1] for array in arrays]
        if len(set(widths)) > 1:
            other = next(i for i, width in enumerate(widths) if width != widths[0])
            raise FeatureError(f"Features of {names[0]} are {widths[0]} wide, of {names[other]} {widths[other]}.")
        clips = [self.resample(array) for array in arrays]
        lengths = np.array([len(clip) for clip in clips])
        mask = np.arange(lengths.max()) < lengths[:, None]
        batch = np.full((*mask.shape, widths[0]), self.padding_value, dtype=np.float32)
        batch[mask] = np.concatenate(clips)
        source_length = np.array([len(array) for array in arrays], dtype=np.int64)
        data = {"video_features": batch, "video_mask": mask, "source_length": source_length}
        return BatchFeature(data, tensor_type=return_tensors)

    def resample(self, features: np.ndarray) -> np.ndarray:
        """(T, D) float32 of one video -> (T', D), normalised before if so configured."""
        if self.l2_normalize:
            features = features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)
        if self.resampling == "mean_bins":
            return resample_mean_bins(features, self.num_clips, self.legacy_resample)
        if self.resampling == "linspace_bins":
            return resample_linspace_bins(features, self.num_clips)
        return resample_stride(features, self.stride) if self.resampling == "stride" else features

    def to_dict(self) -> dict[str, Any]:
        output = super().to_dict()
        output.pop("_warned", None)
        return output

    def _checked(self, video: Any, name: str) -> np.ndarray:
        if isinstance(video, torch.Tensor):
            video = video.detach().cpu()
            video = video.numpy() if video.is_complex() else video.float().numpy()
        try:
            if np.iscomplexobj(video):
                raise TypeError("they are complex")
            with np.errstate(over="ignore"):
                array = np.asarray(video, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise FeatureError(f"Features of {name} are no array of numbers: {error}.") from error
        if array.ndim != 2:
            raise FeatureError(f"Features of {name} have shape {array.shape}; (T, D) was expected.")
        if not array.size:
            raise FeatureError(f"Features of {name} are empty: shape {array.shape}.")
        if self.feature_dim is not None and array.shape[1] != self.feature_dim:
            known = f" ({self.spec.describe()})" if self.spec.is_specified else ""
            raise FeatureError(
                f"Features of {name} are {array.shape[1]} wide; the model expects {self.feature_dim}{known}. "
                "Extract the kind of features it was trained on."
            )
        finite = np.isfinite(array).all(1)
        if not finite.all():
            row = int(np.argmin(finite))
            raise FeatureError(
                f"Features of {name} hold NaN or infinite values, first in row {row}. Extract them again."
            )
        return array

    def _check_spec(self, found: FeatureSpec | Mapping[str, Any] | None) -> None:
        expected, found = self.spec, FeatureSpec.from_dict(found)
        expected.check_compatible(found, "video_features")
        if not (expected.is_specified and found.is_specified) and not self._warned:
            self._warned = True
            logger.warning(
                "Nothing tells whether the features are of the kind the model was trained on: model [%s], "
                "features [%s]. Give both a FeatureSpec to have it checked.",
                expected.describe(),
                found.describe(),
            )
