"""Video files to the frame grids that TVP reads: a fixed number of frames, spread over the whole video."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ...errors import VideoError
from ...features.spec import FeatureSpec
from ...video.cache import EncodedVideo, FeatureCache
from ...video.decode import VideoReader, VideoSource, probe_video

FRAMES_AT_ONCE = 8


class TvpFrameEncoder:
    """Encodes videos for a TVP model: ``num_frames`` frames from the first to the last, prompted, as grids.

    Args:
        model: the TVP model; image_processor: its own.
        spec: of the features; cache: a FeatureCache, used where the spec names the weights' revision.
    """

    def __init__(self, model: Any, image_processor: Any, spec: FeatureSpec, cache: FeatureCache | None = None):
        self.model, self.image_processor, self.spec = model, image_processor, spec
        self.cache = cache if spec.revision is not None else None

    def encode(self, source: VideoSource, progress: bool | None = None) -> EncodedVideo:
        """Grids (num_frames, D) of a video file."""
        entry = None if self.cache is None else self.cache.path(source, self.spec.to_dict())
        found = None if entry is None else self.cache.get(entry)
        if found is not None:
            return found
        duration = probe_video(source).duration
        times = np.linspace(0, duration, self.model.config.num_frames)
        with VideoReader(source) as video:
            samples = list(video.sample(times=times.tolist()))
        shown = np.array([sample.frame_time for sample in samples])
        encoded = EncodedVideo(self._grids([sample.image for sample in samples]), times, shown, duration)
        if entry is not None:
            self.cache.put(entry, encoded, self.spec)
        return encoded

    def encode_frames(
        self, frames: Sequence[Any] | np.ndarray, fps: float, progress: bool | None = None
    ) -> EncodedVideo:
        """Grids of decoded frames at ``fps``."""
        if len(frames) == 0:
            raise VideoError("no frames were given")
        index = np.linspace(0, len(frames) - 1, self.model.config.num_frames).round().astype(int)
        features = self._grids([np.asarray(frames[i]) for i in index])
        return EncodedVideo(features, index / fps, index / fps, len(frames) / fps)

    @torch.inference_mode()
    def _grids(self, frames: list[np.ndarray]) -> np.ndarray:
        model = self.model.eval()
        pixels = self.image_processor([list(frames)], return_tensors="pt")["pixel_values"]
        pixels = model.model.visual_prompter(pixels.to(model.device, model.dtype))
        parts = [model.model.vision_model(part) for part in pixels.split(FRAMES_AT_ONCE, dim=1)]
        return torch.cat(parts, dim=1)[0].flatten(1).float().cpu().numpy()
