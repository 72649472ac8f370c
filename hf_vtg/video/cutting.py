"""Parts of a video file: the frames between two times, small pictures of it, and a moment as a file of its own."""

import os
import warnings
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ..errors import VideoError
from ..files import atomic_path
from .decode import VideoReader, VideoSource, source_name, to_rgb
from .sampling import as_fraction

_TICK = Fraction(1, 90_000)
_OPTIONS = {"crf": "20", "preset": "veryfast", "bf": "0"}


def frames_between(source: VideoSource, start: float, end: float) -> Iterator[tuple[Fraction, Any]]:
    """(time, PyAV frame) of the frame that is on the screen at ``start`` and of those that appear before ``end``.

    Only what lies between the key frame before ``start`` and ``end`` is decoded. At least one frame is yielded.
    """
    start, end = as_fraction(start), as_fraction(end)
    for from_key_frame in (True, False):
        with VideoReader(source) as video:
            if from_key_frame:
                video.seek(start)
            shown = None
            for time, frame in video.frames():
                if time > start:
                    if shown is None and from_key_frame and start > 0:
                        break  # the index of the file points behind the time: read all of it
                    if shown is not None:
                        yield shown
                    if shown is not None and time >= end:
                        return
                shown = (time, frame)
            else:
                yield shown
                return


def thumbnails(
    source: VideoSource, duration: float, count: int = 8, height: int = 72
) -> list[tuple[float, np.ndarray]]:
    """``count`` small pictures (``height``, W, 3) uint8 of the video, each with its time in seconds."""
    times = [duration * (k + 0.5) / count for k in range(count)]
    pictures = []
    for time in times:
        _, frame = next(frames_between(source, time, time))
        image = Image.fromarray(to_rgb(frame))
        image = image.resize((max(1, round(height * image.width / image.height)), height))
        pictures.append((time, np.asarray(image)))
    return pictures


def cut_clip(source: VideoSource, start: float, end: float, path: str | os.PathLike) -> Path:
    """Write the seconds from ``start`` to ``end`` as an mp4 (H.264, AAC) that plays everywhere.

    The first picture is the one on the screen at ``start``; every later one keeps its time to the tick, and the last
    one stays until ``end``. The file appears whole or not at all.

    Raises:
        VideoError: the video cannot be read, or the times are no moment of it.
        StorageError: the file cannot be written.
    """
    path, name = Path(path), source_name(source)
    if not 0 <= start < end < float("inf"):
        raise VideoError(f"{start!r} to {end!r} s is no moment of {name}: give 0 <= start < end in seconds.")
    begin, stop = as_fraction(start), as_fraction(end)
    import av

    try:
        with (
            atomic_path(path) as part,
            av.open(str(part), "w", format="mp4", options={"movflags": "+faststart"}) as out,
        ):
            _write(out, source, begin, stop)
    except av.FFmpegError as error:
        raise VideoError(f"{start:g} - {end:g} s of {name} cannot be cut out: {error}. Convert the video.") from error
    return path


def _write(out: Any, source: VideoSource, begin: Fraction, stop: Fraction) -> None:
    video = sound = None
    packets, stamps = [], []
    for time, frame in frames_between(source, float(begin), float(stop)):
        # H.264 in its usual form has even sizes.
        picture = to_rgb(frame)
        picture = picture[: max(2, picture.shape[0] // 2 * 2), : max(2, picture.shape[1] // 2 * 2)]
        if video is None:
            with VideoReader(source) as header:
                video = _video_stream(out, picture, frame, header.stream.sample_aspect_ratio)
                sound = _Sound.of(out, header)
        if picture.shape[:2] != (video.height, video.width):
            picture = np.asarray(Image.fromarray(picture).resize((video.width, video.height)))
        stamps.append(round(max(time - begin, 0) / _TICK))
        packets += video.encode(_frame(picture, stamps[-1]))
    ends = [*stamps[1:], max(stamps[-1] + 1, round((stop - begin) / _TICK))]
    durations = {stamp: following - stamp for stamp, following in zip(stamps, ends, strict=True)}
    for packet in packets + video.encode():
        packet.duration = durations[packet.pts]
        out.mux(packet)
    if sound is not None:
        sound.copy(out, source, begin, stop)


def _video_stream(out: Any, picture: np.ndarray, frame: Any, ratio: Fraction | None) -> Any:
    stream = out.add_stream("libx264", rate=25, options=_OPTIONS)
    stream.height, stream.width = picture.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.time_base = _TICK
    if ratio:
        stream.codec_context.sample_aspect_ratio = 1 / ratio if frame.rotation % 180 else ratio
    return stream


def _frame(picture: np.ndarray, stamp: int) -> Any:
    import av

    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    frame.pts, frame.time_base = stamp, _TICK
    return frame


class _Sound:
    """The first sound track, cut to the sample and encoded anew; a track that cannot be is left out with a warning."""

    def __init__(self, out: Any, rate: int, layout: str):
        self.rate, self.layout = rate, layout
        self.stream = out.add_stream("aac", rate=rate, layout=layout)

    @classmethod
    def of(cls, out: Any, header: VideoReader) -> "_Sound | None":
        tracks = header.container.streams.audio
        if not tracks or not tracks[0].rate:
            return None
        return cls(out, tracks[0].rate, "mono" if tracks[0].channels == 1 else "stereo")

    def copy(self, out: Any, source: VideoSource, begin: Fraction, stop: Fraction) -> None:
        import av

        try:
            for frame in self._cut(source, begin, stop):
                out.mux(self.stream.encode(frame))
            out.mux(self.stream.encode(None))
        except (av.FFmpegError, ValueError) as error:
            warnings.warn(f"{source_name(source)}: the sound of a clip is incomplete ({error})", stacklevel=4)

    def _cut(self, source: VideoSource, begin: Fraction, stop: Fraction) -> Iterator[Any]:
        """Frames of the encoder's size, whose times count from ``begin``."""
        import av

        plain = av.AudioResampler("fltp", self.layout, self.rate)
        sized = av.AudioResampler("fltp", self.layout, self.rate, frame_size=1024)
        with VideoReader(source) as video:
            track = video.container.streams.audio[0]
            video.container.seek(max(0, int((begin + video.start - 1) * 1_000_000)))
            for decoded in video.container.decode(track):
                if decoded.pts is None:
                    continue
                time = decoded.pts * decoded.time_base - video.start
                if time >= stop:
                    break
                for frame in plain.resample(decoded):
                    yield from sized.resample(piece) if (piece := self._piece(frame, time, begin, stop)) else ()
        yield from sized.resample(None)

    def _piece(self, frame: Any, time: Fraction, begin: Fraction, stop: Fraction) -> Any:
        import av

        samples = frame.to_ndarray()
        first = max(0, round((begin - time) * self.rate))
        last = min(samples.shape[1], round((stop - time) * self.rate))
        if first >= last:
            return None
        piece = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[:, first:last]), "fltp", self.layout)
        piece.sample_rate, piece.time_base = self.rate, Fraction(1, self.rate)
        piece.pts = round((time - begin) * self.rate) + first
        return piece


def clip_name(video_id: str, query: int, rank: int, start: float, end: float) -> str:
    """File name of a moment: ``VIDEO_q1_1_12.30-15.60.mp4`` is the best answer to the first query."""
    return f"{video_id}_q{query}_{rank}_{start:.2f}-{end:.2f}.mp4"


def cut_moments(
    source: VideoSource, answers: Sequence[Sequence[dict[str, Any]]], folder: str | os.PathLike, video_id: str
) -> list[list[Path]]:
    """Cut each moment of each query to a file of ``folder``, named by :func:`clip_name`; the paths in their order."""
    return [
        [
            cut_clip(source, m["start"], m["end"], Path(folder) / clip_name(video_id, q, r, m["start"], m["end"]))
            for r, m in enumerate(moments, start=1)
        ]
        for q, moments in enumerate(answers, start=1)
    ]
