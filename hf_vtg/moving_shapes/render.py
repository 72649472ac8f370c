"""Draws moving_shapes scenarios: frames at arbitrary times, and H.264 files through PyAV."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np

from ..errors import VideoError, install_hint
from ..files import atomic_path
from .scenarios import generate_scenario, scenario_seeds
from .world import GENERATOR_VERSION, Draw, Scenario

FPS = 10
FRAME_SIZE = 96
RGB = {
    "red": (225, 45, 40),
    "green": (45, 175, 70),
    "blue": (60, 105, 245),
    "yellow": (240, 215, 50),
    "purple": (170, 60, 190),
    "white": (245, 245, 245),
}
MARK_RGB = (20, 20, 20)
CODEC_OPTIONS = {"preset": "veryfast", "crf": "20", "bf": "0", "g": "50", "threads": "1"}


def render_frames(scenario: Scenario, times: Sequence[float] | np.ndarray, size: int = FRAME_SIZE) -> np.ndarray:
    """Pictures uint8 (T, size, size, 3) of the scenario at ``times`` (T,) in seconds, without any file."""
    times = np.asarray(times, dtype=np.float64)
    state = scenario.state(times)
    reach = int(math.ceil(state.radius.max(initial=0.0) * size)) + 2
    canvas = np.empty((len(times), size + 4 * reach, size + 4 * reach, 3), np.uint8)
    canvas[:] = np.pad(_background(scenario.seed, size), ((2 * reach,) * 2, (2 * reach,) * 2, (0, 0)))
    # Larger objects lie below, so that none disappears behind another.
    for o in np.argsort(-state.radius.max(axis=0, initial=0.0), kind="stable"):
        shape, colour = scenario.objects[o].shape, scenario.objects[o].colour
        centre = np.stack([state.x[:, o], state.y[:, o]], axis=1) * size
        drawn = np.flatnonzero(state.visible[:, o])
        if not len(drawn):
            continue
        corner = np.clip(np.floor(centre).astype(np.int64), -reach, size + reach) - reach
        looks = np.column_stack([centre - corner, state.radius[:, o] * size, state.angle[:, o]])[drawn]
        looks, which = np.unique(looks, axis=0, return_inverse=True)
        paint, keep = _patches(shape, RGB[colour], looks, 2 * reach + 1)
        for t, k in zip(drawn, which.ravel(), strict=True):
            left, top = corner[t] + 2 * reach
            area = canvas[t, top : top + 2 * reach + 1, left : left + 2 * reach + 1]
            area[:] = (area * keep[k] + paint[k]) // 255
    return np.ascontiguousarray(canvas[:, 2 * reach : 2 * reach + size, 2 * reach : 2 * reach + size])


def _patches(shape: str, rgb: tuple[int, int, int], looks: np.ndarray, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Patches of ``looks`` (N, 4: centre x, centre y, radius in pixels, angle): colour times coverage and 255 minus
    coverage, uint16 (N, width, width, 3) and (N, width, width, 1). Float64 throughout: the rounding to 8 bits then
    does not depend on the machine."""
    pixels = np.arange(width) + 0.5
    x, y, radius, angle = (looks[:, i, None, None] for i in range(4))
    dx, dy = pixels[None, None, :] - x, pixels[None, :, None] - y
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = dy * np.cos(angle) - dx * np.sin(angle)
    cover = np.rint(255 * np.clip(0.5 - _distance(shape, u, v, radius), 0, 1))[..., None]
    # A dark bar from the centre to the rim makes the rotation of every shape visible, the circle's too.
    bar = np.maximum(np.abs(u) - 0.11 * radius, np.abs(v + 0.4 * radius) - 0.4 * radius)
    mark = np.clip(0.5 - bar, 0, 1)[..., None]
    colour = np.rint(np.asarray(rgb) * (1 - mark) + np.asarray(MARK_RGB) * mark)
    return (colour * cover).astype(np.uint16), (255 - cover).astype(np.uint16)


def _distance(shape: str, u: np.ndarray, v: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """Signed distance in pixels to the outline (negative inside) of an upright shape with this circumradius."""
    if shape == "square":
        return np.maximum(np.abs(u), np.abs(v)) - radius * math.sqrt(0.5)
    away = np.hypot(u, v)
    if shape == "circle":
        return away - radius
    if shape == "triangle":
        side = np.maximum(v, math.sqrt(0.75) * np.abs(u) - 0.5 * v) - 0.5 * radius
    else:
        # Fold the plane into half a point of the star: its outline is one line from the tip to the notch.
        fold = math.radians(72)
        turn = np.abs(np.mod(np.arctan2(u, -v) + fold / 2, fold) - fold / 2)
        notch_u, notch_v = 0.5 * math.sin(fold / 2), 0.5 * math.cos(fold / 2)
        side = (1 - notch_v) * away * np.sin(turn) + notch_u * (away * np.cos(turn) - radius)
        side /= math.hypot(notch_u, 1 - notch_v)
    return np.maximum(side, away - radius)  # blunts the tips, which soft edges would prolong


def _background(seed: int, size: int) -> np.ndarray:
    """A dim, nearly grey picture (size, size, 3) uint8: a slope of brightness and a few faint blots and bars."""
    draw = Draw(f"moving_shapes/{GENERATOR_VERSION}/{seed}/background")
    y, x = np.mgrid[0:size, 0:size] / size
    picture = np.full((size, size, 3), draw.uniform(70, 115)) + [draw.uniform(-8, 8) for _ in range(3)]
    picture += ((x - 0.5) * draw.uniform(-25, 25) + (y - 0.5) * draw.uniform(-25, 25))[..., None]
    for _ in range(draw.integer(3, 7)):
        cx, cy, strength = draw.random(), draw.random(), draw.uniform(-14, 14)
        wide, high, turn = draw.uniform(0.02, 0.15), draw.uniform(0.05, 0.3), draw.uniform(0, math.pi)
        u = (x - cx) * math.cos(turn) + (y - cy) * math.sin(turn)
        v = (y - cy) * math.cos(turn) - (x - cx) * math.sin(turn)
        edge = (
            np.maximum(np.abs(u) / wide, np.abs(v) / high) if draw.random() < 0.5 else np.hypot(u / wide, v / high)
        ) - 1
        picture += (strength * np.clip(-edge * 6, 0, 1))[..., None]
    return np.clip(np.rint(picture), 0, 255).astype(np.uint8)


def render_video(scenario: Scenario, path: str | os.PathLike) -> Path:
    """Writes the scenario as an H.264 mp4 of FPS frames a second; frame k shows the time k / FPS.

    The file appears under ``path`` only when it is complete; on failure what was there before stays.

    Raises:
        VideoError: PyAV is missing, or the file cannot be written.
    """
    try:
        import av
    except ImportError as error:
        raise VideoError(f"writing videos needs PyAV: {install_hint('video')}") from error
    path = Path(path)
    frames = render_frames(scenario, np.arange(round(scenario.duration * FPS)) / FPS)
    try:
        with atomic_path(path) as part, av.open(str(part), "w", format="mp4") as container:
            stream = container.add_stream("libx264", rate=FPS, options=CODEC_OPTIONS)
            stream.height, stream.width = frames.shape[1:3]
            stream.pix_fmt = "yuv420p"
            for frame in frames:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
            container.mux(stream.encode())
    except (OSError, av.FFmpegError) as error:
        raise VideoError(f"cannot write {path}: {error}; check the folder, its rights and the free space") from error
    return path


def render_split(
    out_dir: str | os.PathLike, split: str, num_videos: int | None = None, seed: int = 0, workers: int = 1
) -> Iterator[tuple[Path, bool]]:
    """Writes the videos of a split as ``out_dir/VIDEO_ID.mp4``; what is there already is not written again.

    Yields:
        (path, written) for each video, in order.
    """
    job = partial(_render_one, Path(out_dir))
    seeds = scenario_seeds(split, num_videos, seed)
    if workers <= 1:
        yield from map(job, seeds)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(job, seeds, chunksize=4)


def _render_one(out_dir: Path, seed: int) -> tuple[Path, bool]:
    scenario = generate_scenario(seed)
    path = out_dir / f"{scenario.video_id}.mp4"
    if path.exists():
        return path, False
    return render_video(scenario, path), True
