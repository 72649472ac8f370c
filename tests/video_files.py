"""Tiny video files for the tests, with pictures and times that are known."""

from fractions import Fraction

import numpy as np

MILLISECOND = Fraction(1, 1000)
STEP = 4  # grey levels between neighbouring frames


def grey(index: int) -> np.ndarray:
    return np.full((48, 64, 3), 20 + STEP * index, np.uint8)


def render(
    path,
    pts,
    last_ticks,
    time_base=MILLISECOND,
    codec="libx264",
    options=None,
    images=None,
    audio=0.0,
    mux=None,
    title=None,
):
    """Write a video whose i-th frame has the grey level of i and is shown from pts[i] * time_base."""
    import av

    with av.open(str(path), "w", options=mux or {}) as container:
        video = container.add_stream(codec, rate=25, options=options or {"bf": "0"})
        video.width, video.height, video.pix_fmt = 64, 48, "yuv420p"
        video.codec_context.time_base = time_base
        if title is not None:
            container.metadata["title"] = title
        if audio:
            sound = container.add_stream("aac", rate=8000)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, int(8000 * audio)), np.int16), "s16", "mono")
            silence.sample_rate = 8000
            silence.pts = 0
        durations = dict(zip(pts, [b - a for a, b in zip(pts, pts[1:], strict=False)] + [last_ticks], strict=True))
        packets = []
        for index, stamp in enumerate(pts):
            frame = av.VideoFrame.from_ndarray(grey(index) if images is None else images[index], format="rgb24")
            frame.pts, frame.time_base = stamp, time_base
            packets += video.encode(frame)
        for packet in packets + video.encode():
            packet.duration = durations.get(packet.pts, 0)
            container.mux(packet)
        if audio:
            for packet in sound.encode(silence) + sound.encode():
                container.mux(packet)
    return path
