"""Encoded videos on disk: one safetensors file a video, and a cache of them by the content of the video."""

import json
import os
import warnings
from dataclasses import dataclass
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import FeatureError
from ..features.spec import FeatureSpec
from ..files import atomic_path, cache_root
from .backbone import file_sum

# Part of every key: raise it when the sampling rule or the preprocessing changes what features mean.
_RULE = "1"


@dataclass(frozen=True)
class EncodedVideo:
    """Clip features of one video.

    ``features`` (T, D) float32; ``sample_times`` (T,) float64, the i-th is i * seconds_per_feature; ``frame_times``
    (T,) float64, when the frame on the screen at the sample time appeared; ``duration`` of the video. All in seconds
    since the container's start.
    """

    features: np.ndarray
    sample_times: np.ndarray
    frame_times: np.ndarray
    duration: float


def save_encoded(path: str | os.PathLike, video: EncodedVideo, spec: FeatureSpec, **metadata: str) -> None:
    """Write one safetensors file, whole or not at all: ``features`` (T, D), ``timestamps`` (T,) = frame times,
    ``sample_times`` (T,), ``duration`` (1,), and the spec as JSON under ``feature_spec`` in the metadata.
    """
    from safetensors.numpy import save

    arrays = {
        "features": np.ascontiguousarray(video.features, dtype=np.float32),
        "timestamps": np.ascontiguousarray(video.frame_times, dtype=np.float64),
        "sample_times": np.ascontiguousarray(video.sample_times, dtype=np.float64),
        "duration": np.array([video.duration], dtype=np.float64),
    }
    content = save(arrays, metadata={"feature_spec": json.dumps(spec.to_dict()), **metadata})
    with atomic_path(path) as temporary:
        temporary.write_bytes(content)


def load_encoded(path: str | os.PathLike) -> tuple[EncodedVideo, FeatureSpec, dict[str, str]]:
    """Read a file of ``save_encoded``: (video, spec, metadata). FeatureError if it is damaged or another kind."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="numpy") as file:
            arrays = {name: file.get_tensor(name) for name in file.keys()}
            metadata = file.metadata() or {}
        video = EncodedVideo(
            arrays["features"], arrays["sample_times"], arrays["timestamps"], float(arrays["duration"][0])
        )
        spec = FeatureSpec.from_dict(json.loads(metadata["feature_spec"]))
    except (SafetensorError, OSError, KeyError, IndexError, ValueError) as error:
        raise FeatureError(f"{path} is not a file of encoded video features ({error!r}). Make it again.") from error
    if video.features.ndim != 2 or not len(video.features) == len(video.sample_times) == len(video.frame_times):
        raise FeatureError(f"{path}: features of shape {video.features.shape} do not fit its times. Make it again.")
    return video, spec, metadata


class FeatureCache:
    """Features on disk under the sha256 of the video's content and of the settings that made them.

    ``root``: default ``features`` in ``$HF_VTG_CACHE``, else in ``hf_vtg`` beside the Hugging Face cache. A changed
    video or setting has another key. Files appear whole (two processes may write the same entry), a damaged entry
    counts as absent, and a folder that cannot be written costs a warning, not the result.
    """

    def __init__(self, root: str | os.PathLike | None = None):
        self.root = Path(root).expanduser() if root is not None else cache_root() / "features"

    def path(self, source: Any, settings: dict[str, Any]) -> Path:
        """Where the features of ``source`` (path, bytes, binary file) made with ``settings`` (JSON values) belong."""
        what = json.dumps([_RULE, content_hash(source), settings], sort_keys=True)
        key = sha256(what.encode()).hexdigest()
        return self.root / key[:2] / f"{key}.safetensors"

    def get(self, path: Path) -> EncodedVideo | None:
        """The entry, or None if there is none that is whole."""
        if not os.path.exists(path):
            return None
        try:
            video, _, metadata = load_encoded(path)
            if metadata.get("key") != path.stem:
                raise FeatureError(f"{path} holds another entry")
        except FeatureError as error:
            warnings.warn(f"{error} It is replaced.", stacklevel=3)
            return None
        return video

    def put(self, path: Path, video: EncodedVideo, spec: FeatureSpec) -> None:
        """Write the entry; a warning if that fails."""
        try:
            save_encoded(path, video, spec, key=path.stem)
        except OSError as error:
            warnings.warn(
                f"features are not cached in {self.root}: {error}. Set HF_VTG_CACHE to a folder with room.",
                stacklevel=3,
            )


def content_hash(source: Any) -> str:
    """sha256 of the bytes of a video; a file on disk is read once per (path, size, modification time)."""
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser().resolve()
        state = path.stat()
        return file_sum(str(path), state.st_size, state.st_mtime_ns)
    if isinstance(source, bytes | bytearray | memoryview):
        return sha256(source).hexdigest()
    source.seek(0)
    digest = file_digest(source, "sha256").hexdigest()
    source.seek(0)
    return digest
