"""Any Hugging Face image or video model as an encoder of video files: frames in, clip features (T, D) out."""

import math
import numbers
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm
from transformers import PreTrainedModel

from ..errors import FeatureError, VideoError
from ..features.spec import FeatureSpec
from .backbone import Backbone
from .cache import EncodedVideo, FeatureCache
from .decode import VideoReader, VideoSource, check_readable
from .sampling import as_fraction, on_screen, sample_grid

Sample = tuple[float, float, np.ndarray]


class VideoEncoder:
    """Encodes videos with a frozen vision model.

    ```python
    encoder = VideoEncoder("openai/clip-vit-base-patch32", fps=2.0, device="auto")
    encoded = encoder.encode("video.mp4")  # encoded.features (T, D), encoded.duration in seconds
    ```

    Frames are sampled at i / ``fps`` by the rule of sampling.py. Feature j stands for the time from
    j * stride / fps to (j + 1) * stride / fps; there are ceil(N / stride) features of N sampled frames. An image model
    sees the frame at the beginning of that time. A clip model sees ``window`` frames centred on it; at the ends of the
    video, and throughout a video shorter than a window, the first and last frames are repeated.

    The model is not a submodule of anything: attached to a module that is trained, it stays as it is (evaluation
    mode, weights and running statistics).

    Args:
        backbone: Hub id or folder of an image model or a clip model, or a FeatureSpec to be reproduced.
        fps: sampled frames per second (2).
        window: frames of a feature: 1 for image models, the model's own clip length for clip models.
        stride: sampled frames between features; default: the window.
        batch_size: images or clips in one forward pass.
        device: as in torch, or "auto": CUDA where there is one. Default: CPU.
        dtype: of the model (float32).
        pooling, crop: see FeatureSpec; default: the model's own (``Backbone``, ``FramePreprocessor``).
        revision: of the Hub model, or the expected ``sha256:...`` of a folder's weights.
        cache: a FeatureCache; default: features are not kept.
        trust_remote_code: run the model code of the Hub repository; only for repositories that you trust.
        model: the backbone, where it is loaded already.

    ``spec`` is the complete FeatureSpec; where width or pooling are not given, one black picture is encoded for them.
    Raises ModelError if the backbone cannot be loaded, FeatureError if it is not the one that the spec names.
    """

    def __init__(
        self,
        backbone: str | Path | FeatureSpec | dict[str, Any],
        fps: float | None = None,
        window: int | None = None,
        stride: int | None = None,
        batch_size: int = 16,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        pooling: str | None = None,
        crop: str | None = None,
        revision: str | None = None,
        cache: FeatureCache | None = None,
        trust_remote_code: bool = False,
        model: PreTrainedModel | None = None,
    ):
        asked = FeatureSpec(fps=fps, window=window, stride=stride, pooling=pooling, crop=crop, revision=revision)
        given = FeatureSpec(backbone=str(backbone)) if isinstance(backbone, str | Path) else backbone
        wanted = _merge(FeatureSpec.from_dict(given), asked)
        if not wanted.is_specified:
            raise FeatureError("no backbone: pass a Hub id, a folder, or a FeatureSpec that names one")
        if isinstance(batch_size, bool) or not isinstance(batch_size, int) or batch_size < 1:
            raise FeatureError(f"batch_size is {batch_size!r}: give a positive integer")
        name = Path(wanted.backbone) if isinstance(backbone, Path) else wanted.backbone
        self.backbone = Backbone(
            name, wanted.revision, wanted.pooling, wanted.crop, device, dtype, trust_remote_code, model
        )
        clip_length = self.backbone.clip_length
        window = wanted.window or clip_length or 1
        if clip_length is None and window != 1:
            raise FeatureError(f"{self.backbone.name} is an image model: window is {window}, it must be 1")
        self.batch_size = batch_size
        self.cache = cache
        self.spec = FeatureSpec(
            backbone=self.backbone.name,
            revision=self.backbone.revision,
            fps=wanted.fps or 2.0,
            window=window,
            stride=wanted.stride or window,
            dim=wanted.dim,
            pooling=wanted.pooling,
            crop=self.backbone.preprocessor.crop,
            normalization=self.backbone.preprocessor.normalization,
        )
        # A branch or tag has become a commit; the weights of a folder were compared when it was opened.
        replace(wanted, revision=None).check_compatible(self.spec, "VideoEncoder")
        if wanted.dim is None or wanted.pooling is None:
            black = np.zeros((64, 64, 3), np.uint8)
            dim = self._encode_batch([[black] * window]).shape[1]
            self.spec = replace(self.spec, dim=dim, pooling=self.backbone.pooling)

    @classmethod
    def from_spec(
        cls, spec: FeatureSpec | dict[str, Any], backbone: str | Path | None = None, **kwargs: Any
    ) -> "VideoEncoder":
        """The encoder that a spec describes; ``backbone`` replaces the place of the model (and its revision)."""
        spec = FeatureSpec.from_dict(spec)
        if backbone is not None:
            spec = replace(spec, backbone=str(backbone), revision=None, dim=None)
        return cls(spec, **kwargs)

    def encode(self, source: VideoSource, progress: bool | None = None) -> EncodedVideo:
        """Features of a video file (path, bytes, binary file), decoded once and encoded in batches as it is read.

        ``progress``: a bar on stderr; None shows it on a terminal only. Memory does not grow with the length of the
        video but for the features. Raises VideoError for a file that cannot be read to its end.
        """
        entry = None
        if self.cache is not None:
            check_readable(source)
            entry = self.cache.path(source, self._settings())
            found = self.cache.get(entry)
            if found is not None:
                return found
        with VideoReader(source) as video:
            samples = video.sample(fps=self.spec.fps)
            parts = self._encode_samples(samples, video.duration, progress, Path(video.name).name)
            encoded = EncodedVideo(*parts, duration=float(video.duration))
        if entry is not None:
            self.cache.put(entry, encoded, self.spec)
        return encoded

    def encode_frames(
        self,
        frames: Sequence[Any] | np.ndarray,
        fps: float | None = None,
        timestamps: Sequence[float] | None = None,
        duration: float | None = None,
        progress: bool | None = None,
    ) -> EncodedVideo:
        """Features of decoded frames: a (N, H, W, 3) uint8 array, or a list of such pictures or PIL images.

        The frames' times are ``timestamps`` (ascending seconds) or index / ``fps``; they are then sampled like those
        of a file, the last frame being shown as long as the one before. With neither, the frames are taken to be
        sampled at the encoder's rate already. ``duration`` (seconds) defaults to the end of the last frame.
        """
        if len(frames) == 0:
            raise VideoError("no frames were given")
        if fps is not None and timestamps is not None:
            raise VideoError("give fps or timestamps of the frames, not both")
        if timestamps is not None:
            if not np.isfinite(timestamps).all():
                raise VideoError("timestamps of frames must be finite seconds")
            times = [as_fraction(float(time)) for time in timestamps]
            if len(times) != len(frames) or any(b < a for a, b in zip(times, times[1:], strict=False)):
                raise VideoError(f"{len(frames)} frames need as many ascending timestamps, not {len(times)}")
            last = times[-1] - times[-2] if len(times) > 1 else 1 / as_fraction(self.spec.fps)
        else:
            rate = fps if fps is not None else self.spec.fps
            if not (isinstance(rate, numbers.Real) and 0 < rate < math.inf and (rate := as_fraction(rate))):
                raise VideoError(f"fps is {fps!r}: give the frames per second of the frames")
            times, last = [Fraction(i) / rate for i in range(len(frames))], 1 / rate
        end = times[-1] + last
        chosen = on_screen(zip(times, frames, strict=True), sample_grid(self.spec.fps), lambda: end)
        samples = ((float(time), float(shown), _to_array(frame)) for time, shown, frame in chosen)
        parts = self._encode_samples(samples, float(end), progress, "frames")
        return EncodedVideo(*parts, duration=float(end if duration is None else duration))

    def _encode_samples(
        self, samples: Iterable[Sample], duration: float | None, progress: bool | None, name: str
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        total = math.ceil(duration / self.spec.seconds_per_feature) if duration else None
        features, count, times, shown = np.empty((0, 0), np.float32), 0, [], []
        clips = windows(samples, self.spec.window, self.spec.stride)
        with tqdm(total=total, desc=name, unit="feature", disable=None if progress is None else not progress) as bar:
            while batch := list(islice(clips, self.batch_size)):
                part = self._encode_batch([clip for _, _, clip in batch])
                if count + len(part) > len(features):
                    # One block for all: many small ones between the large ones of the model keep those from reuse.
                    larger = np.empty((max(total or 0, 2 * count, count + len(part)), part.shape[1]), np.float32)
                    if count:
                        larger[:count] = features[:count]
                    features = larger
                features[count : count + len(part)] = part
                count += len(part)
                del part
                times.extend(time for time, _, _ in batch)
                shown.extend(time for _, time, _ in batch)
                bar.update(len(batch))
        return features[:count], np.array(times), np.array(shown)

    def _encode_batch(self, clips: list[list[np.ndarray]]) -> np.ndarray:
        if self.backbone.clip_length is None:
            inputs = self.backbone.preprocessor([clip[0] for clip in clips])
        else:
            # Neighbouring windows share frames: each frame of the batch is prepared once.
            frames = {id(frame): frame for clip in clips for frame in clip}
            pixels = self.backbone.preprocessor(list(frames.values()))["pixel_values"]
            place = {key: i for i, key in enumerate(frames)}
            inputs = pixels[torch.tensor([[place[id(frame)] for frame in clip] for clip in clips])]
        features = self.backbone(inputs).numpy()
        if len(features) != len(clips):
            raise FeatureError(f"{self.backbone.name} gave {len(features)} features of {len(clips)} inputs")
        if self.spec.dim not in (None, features.shape[1]):
            raise FeatureError(
                f"{self.backbone.name} gives features of width {features.shape[1]}: not [{self.spec.describe()}]"
            )
        return features

    def _settings(self) -> dict[str, Any]:
        """What decides the features besides the video; the place of a folder does not, its weights do."""
        settings = self.spec.to_dict() | {"dtype": str(self.backbone.model.dtype)}
        if str(self.spec.revision).startswith("sha256:"):
            settings["backbone"] = None
        return settings


def windows(samples: Iterable[Sample], window: int, stride: int) -> Iterator[tuple[float, float, list[np.ndarray]]]:
    """(sample time, frame time, ``window`` frames) for j = 0 .. ceil(N / stride) - 1, from a stream of N samples.

    The times are those of sample j * stride. The frames begin at j * stride - (window - stride) // 2 (at j * stride if
    the window is the shorter), with the first and last frames repeated beyond the ends. Holds at most window + stride
    samples.
    """
    lead = max(0, (window - stride) // 2)
    held: deque[Sample] = deque()
    first = count = j = 0

    def cut() -> tuple[float, float, list[np.ndarray]]:
        indices = (min(max(j * stride - lead + k, 0), count - 1) - first for k in range(window))
        time, shown, _ = held[j * stride - first]
        return time, shown, [held[i][2] for i in indices]

    for sample in samples:
        held.append(sample)
        count += 1
        while j * stride - lead + window <= count and j * stride < count:
            yield cut()
            j += 1
            while first < min(max(j * stride - lead, 0), count):
                held.popleft()
                first += 1
    while j * stride < count:
        yield cut()
        j += 1


def _to_array(frame: Any) -> np.ndarray:
    """One decoded picture as (H, W, 3) uint8."""
    image = np.asarray(frame.convert("RGB")) if hasattr(frame, "convert") else np.asarray(frame)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        raise VideoError(f"a frame is {image.dtype} of shape {image.shape}; give uint8 (height, width, 3) in RGB")
    return image


def _merge(spec: FeatureSpec, asked: FeatureSpec) -> FeatureSpec:
    """Explicit arguments beside a spec: they fill its gaps, and must not contradict it."""
    different = spec.differences(asked)
    if different:
        raise FeatureError(
            f"{', '.join(different)}: the arguments [{asked.describe()}] contradict the spec [{spec.describe()}]. "
            "Change the spec: dataclasses.replace(spec, ...)."
        )
    known = {name: value for name, value in asked.to_dict().items() if value is not None}
    return replace(spec, seconds_per_feature=None, **{k: v for k, v in known.items() if k != "seconds_per_feature"})
