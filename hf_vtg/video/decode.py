"""Frames of a video file at regular times, read with PyAV in one pass and in constant memory.

The first video stream (a cover picture is none), rotation flag honoured, times in seconds since the container's
start. Which frame is taken at which time is the rule of sampling.py.
"""

import io
import os
import warnings
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

import numpy as np

from ..errors import HFVTGError, VideoError, install_hint
from .sampling import as_fraction, in_order, on_screen, sample_grid

VideoSource = str | os.PathLike | bytes | BinaryIO

# Containers whose header declares how long each stream is, and those whose duration is a guess from the bit rate.
_DECLARE_DURATION = {"mov", "matroska", "avi", "flv"}
_GUESS_DURATION = {"mpeg", "mpegvideo", "m4v", "h264", "hevc"}


class SampledFrame(NamedTuple):
    """``image`` (H, W, 3) uint8 RGB is on the screen at ``sample_time``; it appeared at ``frame_time`` (seconds)."""

    sample_time: float
    frame_time: float
    image: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its first video stream: seconds, displayed pixels, mean frames per second.

    ``duration`` is the container's, else the end of the last frame (who reads the file whole may find a picture behind
    what its header declares: ``VideoReader.duration``). ``rotation`` is the anticlockwise angle (0, 90, 180, 270) that
    turns the stored picture upright; ``width`` and ``height`` are those of the upright picture.
    """

    duration: float
    width: int
    height: int
    fps: float | None
    rotation: int
    codec: str
    container: str


def probe_video(source: VideoSource) -> VideoInfo:
    """Read the header and the first frame (all frames where the header has no duration).

    Raises VideoError for a file that is missing, not a video, without pictures, or cut off before its index.
    """
    with VideoReader(source) as video:
        frames = video.frames()
        _, first = next(frames)
        rotation = _rotation(first)
        width, height = (first.width, first.height)[:: -1 if rotation % 180 else 1]
        if video.duration is None:
            deque(frames, maxlen=0)
        rate = video.stream.average_rate
        codec, container = video.stream.codec_context.name, video.container.format.name
        return VideoInfo(video.duration, width, height, float(rate) if rate else None, rotation, codec, container)


def iter_sampled_frames(
    source: VideoSource,
    fps: float | None = None,
    times: Iterable[float] | None = None,
    on_error: str = "raise",
) -> Iterator[SampledFrame]:
    """Yield the frame on the screen at i / fps for i = 0, 1, ... or at each of ``times`` (ascending seconds).

    Explicit times at or after the end of the stream get its last frame. Only the frames that are yielded are converted
    to RGB; a frame that is on the screen at several sample times is one array. ``on_error="truncate"`` ends the video
    with a warning where its data becomes unreadable, ``"raise"`` raises VideoError.
    """
    with VideoReader(source, on_error=on_error) as video:
        yield from video.sample(fps=fps, times=times)


class VideoReader:
    """One open video file, to be read once: ``with VideoReader(path) as video: for frame in video.sample(fps=2)``.

    ``source`` is a path, the bytes of a file, or a seekable binary file (read from its beginning, left open).
    After the last frame ``duration`` and ``end`` (of the last frame) are known, both in seconds.
    Raises VideoError naming the file, the cause and the remedy.
    """

    def __init__(self, source: VideoSource, on_error: str = "raise"):
        if on_error not in ("raise", "truncate"):
            raise VideoError(f"on_error is {on_error!r}: use 'raise' or 'truncate'")
        self.on_error = on_error
        self.name, readable = source_name(source), check_readable(source)
        self._av = _import_av()
        try:
            # Tags in another encoding than UTF-8 are no reason to refuse a video.
            self.container = self._av.open(readable, metadata_errors="replace")
        except self._av.FFmpegError as error:
            raise VideoError(
                f"{self.name} cannot be opened ({_reason(error)}): it is not a video, or it was cut off before its "
                "index was written. Download or copy it again, or convert it with ffmpeg."
            ) from error
        self._formats = set(self.container.format.name.split(","))
        try:
            self.stream = self._video_stream()
        except BaseException:
            self.container.close()
            raise
        self.stream.thread_type = "AUTO"
        self.start = self._start()
        duration = None if self._formats & _GUESS_DURATION else self.container.duration
        self.container_duration = duration / 1e6 if duration is not None and duration > 0 else None
        self.end: float | None = None
        self._last_shown = Fraction(0)
        self._damaged = False

    def __enter__(self) -> "VideoReader":
        return self

    def __exit__(self, *_: object) -> None:
        self.container.close()

    @property
    def duration(self) -> float | None:
        """Seconds: the container's duration; the end of the last frame (known after it) where the container declares
        none, or less than the time of a frame that is there."""
        if self.container_duration is None or self._last_shown >= self.container_duration:
            return self.end
        return self.container_duration

    def sample(self, fps: float | None = None, times: Iterable[float] | None = None) -> Iterator[SampledFrame]:
        """See ``iter_sampled_frames``."""
        converted: tuple[Any, np.ndarray] = (None, np.empty(0))
        for time, shown, frame in on_screen(self.frames(), sample_grid(fps, times), lambda: self._grid_end(fps)):
            if frame is not converted[0]:
                converted = (frame, to_rgb(frame))
            yield SampledFrame(float(time), float(shown), converted[1])

    def seek(self, time: float | Fraction) -> None:
        """Let ``frames`` begin at a key frame at or near ``time``, where the container can find one."""
        # AVI tells the order of its frames only from the beginning on.
        if time <= 0 or "avi" in self._formats:
            return
        with suppress(self._av.FFmpegError):
            stamp = int((as_fraction(time) + self.start) / self.stream.time_base)
            self.container.seek(stamp, stream=self.stream)

    def frames(self) -> Iterator[tuple[Fraction, Any]]:
        """Yield (time since the container's start, PyAV frame) in order of time; VideoError if there is none."""
        last, late = None, 0
        # AVI stores no presentation times: the decoder puts the frames in order, their times stay in coding order.
        for time, frame in in_order(self._decoded(), times_only="avi" in self._formats):
            if last is not None and time < last[0]:
                if last[0] - time > 1:
                    raise VideoError(
                        f"{self.name}: timestamps jump back from {float(last[0]):.2f} s to {float(time):.2f} s. "
                        "Convert the file with ffmpeg, which rewrites them."
                    )
                late += 1
                continue
            gap = time - last[0] if last is not None else None
            last = (time, frame)
            yield time, frame
        if late:
            warnings.warn(f"{self.name}: {late} frames out of order were left out", stacklevel=2)
        if last is None:
            raise VideoError(
                f"{self.name} holds no picture that can be decoded (0 frames). Check the file with a player."
            )
        self._last_shown = last[0]
        self._end = last[0] + (self._frame_duration(last[1]) or gap or 0)
        self.end = float(self._end)
        self._check_complete()

    def _grid_end(self, fps: float | None) -> Fraction:
        """Where a grid of samples ends: with the last frame, which stays on the screen where the container lasts
        longer (by its sound), so that the samples span the duration to one of them. What is missing is not filled.
        """
        if fps is None or self.container_duration is None or self._damaged:
            return self._end
        return max(self._end, as_fraction(self.container_duration) - 1 / as_fraction(fps))

    def _video_stream(self):
        if self._formats & {"tty", "image2"} or any(name.endswith("_pipe") for name in self._formats):
            raise VideoError(f"{self.name} is a picture or a text, not a video. Pass a video file.")
        streams = self.container.streams
        for stream in streams.video:
            # A cover picture of an audio file is stored as a video stream of one frame.
            if not stream.disposition & self._av.stream.Disposition.attached_pic:
                return stream
        kinds = ", ".join(sorted({stream.type for stream in streams})) or "nothing"
        raise VideoError(f"{self.name} has no video stream (it holds: {kinds}). Pass a complete file with pictures.")

    def _start(self) -> Fraction:
        """The container's start; it is rounded to microseconds, so the exact start of the stream that set it."""
        starts = [
            s.start_time * s.time_base for s in self.container.streams if s.start_time is not None and s.time_base
        ]
        if self.container.start_time is None:
            return min(starts, default=Fraction(0))
        rounded = Fraction(self.container.start_time, 1_000_000)
        return next((start for start in starts if abs(start - rounded) <= Fraction(1, 1_000_000)), rounded)

    def _packets(self) -> Iterator[Any]:
        """All packets; those of the other streams tell whether a file without stream durations is complete."""
        self._packet_end = Fraction(0)
        only = () if self.stream.duration is None else (self.stream,)
        for packet in self.container.demux(*only):
            if packet.pts is not None and packet.time_base:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base - self.start
                self._packet_end = max(self._packet_end, end)
            yield packet

    def _decoded(self) -> Iterator[tuple[Fraction, Any]]:
        time, frames, delay = Fraction(0), 0, None
        step = self._nominal_step() or Fraction(1, 25)
        try:
            for packet in self._packets():
                if packet.stream is not self.stream:
                    continue
                if delay is None:
                    invented = "avi" in self._formats and None not in (packet.pts, packet.dts)
                    delay = packet.pts - packet.dts if invented else 0
                for frame in packet.decode():
                    stamp = frame.pts if frame.pts is not None else frame.dts
                    if stamp is not None:
                        time = (stamp - delay) * frame.time_base - self.start
                    elif frames:
                        time += step
                    frames += 1
                    yield time, frame
        except self._av.FFmpegError as error:
            message = (
                f"{self.name} is damaged: {_reason(error)} after {frames} frames "
                f"({float(time):.2f} s{self._of_duration()}) were decoded."
            )
            if self.on_error == "raise" or not frames:
                raise VideoError(f"{message} Repair or download it again.") from error
            warnings.warn(f"{message} The rest is left out.", stacklevel=2)
            self._damaged = True

    def _check_complete(self) -> None:
        """A file cut off in the middle often ends without any error of the decoder."""
        if self._damaged or not _DECLARE_DURATION & self._formats:
            return
        found, stream = self._end, self.stream
        if stream.duration is not None:
            declared = ((stream.start_time or 0) + stream.duration) * stream.time_base - self.start
        else:
            declared, found = Fraction(self.container_duration or 0), max(found, self._packet_end)
        if declared - found > max(1, declared / 50):
            message = f"{self.name} is cut off: {float(found):.2f} s found, {float(declared):.2f} s declared."
            if self.on_error == "raise":
                raise VideoError(f"{message} Download or copy it again.")
            warnings.warn(message, stacklevel=2)
            self._damaged = True

    def _of_duration(self) -> str:
        return f" of {self.container_duration:.2f} s" if self.container_duration is not None else ""

    def _nominal_step(self) -> Fraction | None:
        rate = self.stream.average_rate or self.stream.guessed_rate
        return 1 / Fraction(rate) if rate else None

    def _frame_duration(self, frame: Any) -> Fraction | None:
        ticks = getattr(frame, "duration", None)
        return ticks * frame.time_base if ticks else self._nominal_step()


def _rotation(frame: Any) -> int:
    """Anticlockwise degrees in 0, 90, 180, 270 that turn the stored picture upright."""
    return round((frame.rotation or 0) / 90) * 90 % 360


def to_rgb(frame: Any) -> np.ndarray:
    """A decoded frame as an upright (H, W, 3) uint8 picture."""
    image = frame.to_ndarray(format="rgb24")
    rotation = _rotation(frame)
    return np.ascontiguousarray(np.rot90(image, k=rotation // 90)) if rotation else image


def source_name(source: Any) -> str:
    """How messages call a source: its path, or what kind of data it is."""
    if isinstance(source, str | os.PathLike):
        return str(source)
    if isinstance(source, bytes | bytearray | memoryview):
        return f"<video of {len(source)} bytes>"
    return str(getattr(source, "name", f"<{type(source).__name__}>"))


def check_readable(source: VideoSource) -> Any:
    """What PyAV can open of a source: a path, or a binary file at its beginning. VideoError if there is no data."""
    name = source_name(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source).expanduser()
        if path.is_dir():
            raise VideoError(f"{name} is a folder. Pass one video file.")
        if not path.is_file():
            raise VideoError(f"{name}: no such video file. Check the path.")
        if not os.access(path, os.R_OK):
            raise VideoError(f"{name} may not be read. Change its permissions.")
        size, readable = path.stat().st_size, str(path)
    elif isinstance(source, bytes | bytearray | memoryview):
        size, readable = len(source), io.BytesIO(source)
    elif hasattr(source, "read") and hasattr(source, "seek"):
        size, readable = source.seek(0, io.SEEK_END), source
        source.seek(0)
    else:
        raise VideoError(f"a video is a path, bytes or a binary file, not {type(source).__name__}")
    if not size:
        raise VideoError(f"{name} is empty (0 bytes). Download or copy it again.")
    return readable


def _reason(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _import_av():
    try:
        import av
    except ImportError as error:
        raise HFVTGError(f"reading video files needs PyAV: {install_hint('video')}") from error
    return av
