"""The sampling rule of the package: which frame of a sequence is on the screen at each of a list of times.

For a sample time t it is the last frame with time <= t (the first frame where there is none), while t < the end: that
of the last frame, or of what goes on beside the pictures. Times are exact fractions of seconds, so that a frame whose
time is exactly t counts at t.
"""

import heapq
from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from itertools import count
from typing import TypeVar

from ..errors import VideoError

Frame = TypeVar("Frame")

# Decoders deliver frames in order of pts; a few broken streams do not. Depth of the buffer that sorts them.
_REORDER_DEPTH = 8


def as_fraction(seconds: float | Fraction) -> Fraction:
    """The simple fraction that a float stands for: 0.1 -> 1/10, 29.97 -> 2997/100 (denominators up to a million)."""
    return seconds if isinstance(seconds, Fraction) else Fraction(seconds).limit_denominator(1_000_000)


def sample_grid(fps: float | None = None, times: Iterable[float] | None = None) -> Iterator[Fraction] | list[Fraction]:
    """Sample times: an endless iterator of i / fps, or the list of ``times`` after a check."""
    if (fps is None) == (times is None):
        raise VideoError("give either fps or times")
    if times is not None:
        grid = [as_fraction(time) for time in times]
        if any(later < earlier for earlier, later in zip(grid, grid[1:], strict=False)) or (grid and grid[0] < 0):
            raise VideoError("sample times must be ascending seconds from 0")
        return grid
    if isinstance(fps, bool) or not 0 < fps <= 1000:
        raise VideoError(f"fps is {fps!r}: give frames per second, above 0 and at most 1000")
    rate = as_fraction(fps)
    if not rate:
        raise VideoError(f"fps is {fps!r}: too small")
    return (Fraction(i) / rate for i in count())


def on_screen(
    frames: Iterable[tuple[Fraction, Frame]],
    times: Iterator[Fraction] | list[Fraction],
    end: Callable[[], Fraction],
) -> Iterator[tuple[Fraction, Fraction, Frame]]:
    """The sampling rule: (sample time, frame time, frame) for each of ``times``, from frames in order of time.

    An endless grid stops at ``end()`` of the last frame, asked for after the last frame (at least one sample is made);
    a list of times is served in full, and stops the reading when it is exhausted.
    """
    endless = not isinstance(times, list)
    times = iter(times)
    time, shown = next(times, None), None
    for frame_time, frame in frames:
        while time is not None and time < frame_time:
            yield time, *(shown or (frame_time, frame))
            time = next(times, None)
        if time is None:
            return
        shown = (frame_time, frame)
    while shown is not None and time is not None and (not endless or time < end() or time == 0):
        yield time, *shown
        time = next(times, None)


def in_order(frames: Iterable[tuple[Fraction, Frame]], times_only: bool = False) -> Iterator[tuple[Fraction, Frame]]:
    """Sort (time, frame) by time within a small window; frames of equal time keep their order.

    ``times_only``: the frames are in order already and only their times are shuffled, so only these are sorted.
    """
    heap: list[tuple[Fraction, int]] = []
    waiting: dict[int, Frame] = {}
    for index, (time, frame) in enumerate(frames):
        heapq.heappush(heap, (time, 0 if times_only else index))
        waiting[index] = frame
        if len(heap) > _REORDER_DEPTH:
            yield _first(heap, waiting, times_only)
    while heap:
        yield _first(heap, waiting, times_only)


def _first(heap: list[tuple[Fraction, int]], waiting: dict[int, Frame], times_only: bool) -> tuple[Fraction, Frame]:
    time, index = heapq.heappop(heap)
    return time, waiting.pop(next(iter(waiting)) if times_only else index)
