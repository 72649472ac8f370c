"""The forms in which a video is given: a file, what is in one, frames, or features."""

import os
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ..errors import FeatureError

# A video file: where it is, or what is in it.
FILES = (str, os.PathLike, bytes, bytearray, memoryview)


def is_video(item: Any) -> bool:
    """Whether an item of a list is a whole video, and not a frame of one."""
    is_encoded = isinstance(item, Mapping) and "features" in item
    is_features = isinstance(item, (np.ndarray, torch.Tensor)) and item.ndim == 2 and "float" in str(item.dtype)
    return is_encoded or is_features or isinstance(item, FILES)


def to_numpy(array: Any) -> np.ndarray:
    if isinstance(array, torch.Tensor):
        array = array.detach().cpu()
        return (array.float() if array.is_floating_point() else array).numpy()
    return np.asarray(array)


def checked_duration(duration: Any) -> float:
    try:
        seconds = float(duration)
    except (TypeError, ValueError):
        seconds = float("nan")
    if not (np.isfinite(seconds) and seconds > 0):
        raise FeatureError(f"duration={duration!r} is not a positive number of seconds.")
    return seconds
