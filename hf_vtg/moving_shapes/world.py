"""The world of moving_shapes: objects, events, seeds, and the exact physical state at any time.

Space is the unit square (x to the right, y downwards, 1 = the width of the frame), time is in seconds. Everything
here is a closed-form function of the scenario, so frames and labels exist at arbitrary times without a video file.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..errors import AnnotationError

GENERATOR_VERSION = 1
COLOURS = ("red", "green", "blue", "yellow", "purple", "white")
SHAPES = ("circle", "square", "triangle", "star")
DIRECTIONS = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
ACTIONS = ("enter", "leave", "move left", "move right", "move up", "move down", "spin", "grow", "blink")
MOVES = {f"move {name}": vector for name, vector in DIRECTIONS.items()}

# What an action becomes when a clip is mirrored or played backwards (None: it is then none of the actions).
MIRRORED = {"move left": "move right", "move right": "move left"}
UPSIDE_DOWN = {"move up": "move down", "move down": "move up"}
REVERSED = {"enter": "leave", "leave": "enter", "grow": None} | MIRRORED | UPSIDE_DOWN

# Seeds: base seed b owns [b, b + 1) * 10**9; each split is a range of 10**8 in it, of which the benchmark uses the
# first SPLIT_SIZES videos and an encoder may use all of train's. "demo" belongs to no split.
SPLIT_SIZES = {"train": 1200, "validation": 100, "test": 200}
SPLIT_NAMES = (*SPLIT_SIZES, "demo")
SEEDS_PER_BASE, SEEDS_PER_SPLIT = 10**9, 10**8

# How far an upright shape of circumradius 1 reaches from its centre towards each side.
_SIN60, _SIN72, _COS36 = math.sin(math.pi / 3), math.sin(math.radians(72)), math.cos(math.radians(36))
EXTENT = {
    shape: dict(zip(DIRECTIONS, reach, strict=True))
    for shape, reach in {
        "circle": (1.0, 1.0, 1.0, 1.0),
        "square": (math.sqrt(0.5),) * 4,
        "triangle": (_SIN60, _SIN60, 1.0, 0.5),
        "star": (_SIN72, _SIN72, 1.0, _COS36),
    }.items()
}
OPPOSITE = {"left": "right", "right": "left", "up": "down", "down": "up"}


def is_held_out(colour: str, shape: str, action: str) -> bool:
    """Whether no video of train or validation, whatever the base seed, contains this triple.

    Each of the 24 (colour, shape) pairs misses one of the 9 actions; every action is missed by two or three pairs.
    """
    pair = COLOURS.index(colour) * len(SHAPES) + SHAPES.index(shape)
    return pair % len(ACTIONS) == ACTIONS.index(action)


@dataclass(frozen=True)
class SplitRules:
    """What a split may show: ``held_out_triples`` and a share ``held_out_wordings`` of its sentences."""

    held_out_triples: bool
    held_out_wordings: float


SEEN_ONLY = SplitRules(held_out_triples=False, held_out_wordings=0.0)
SPLIT_RULES = {
    "train": SEEN_ONLY,
    "validation": SEEN_ONLY,
    "test": SplitRules(held_out_triples=True, held_out_wordings=0.5),
    "demo": SplitRules(held_out_triples=True, held_out_wordings=0.5),
}


def split_seeds(split: str, base_seed: int = 0) -> range:
    """All seeds of a split ("train", "validation", "test", "demo") under a base seed: a range of 10**8 integers."""
    if split not in SPLIT_NAMES:
        raise AnnotationError(f"moving_shapes has no split {split!r}: choose one of {', '.join(SPLIT_NAMES)}")
    if not isinstance(base_seed, int) or base_seed < 0:
        raise AnnotationError(f"the base seed of moving_shapes must be an integer >= 0, not {base_seed!r}")
    start = base_seed * SEEDS_PER_BASE + SPLIT_NAMES.index(split) * SEEDS_PER_SPLIT
    return range(start, start + SEEDS_PER_SPLIT)


def split_of_seed(seed: int) -> str:
    """The split that owns a scenario seed; seeds beyond the four ranges of a base seed count as "demo"."""
    return SPLIT_NAMES[min(seed % SEEDS_PER_BASE // SEEDS_PER_SPLIT, len(SPLIT_NAMES) - 1)]


class Draw:
    """Random draws from ``random.Random.random`` alone, whose sequence Python guarantees across versions."""

    def __init__(self, key: str):
        self.random = random.Random(key).random

    def uniform(self, low: float, high: float) -> float:
        return low + (high - low) * self.random()

    def integer(self, low: int, high: int) -> int:
        """An integer of low..high, both included."""
        return low + int((high - low + 1) * self.random())

    def choice(self, items: Sequence, weights: Sequence[float] | None = None):
        if weights is None:
            return items[int(len(items) * self.random())]
        left = self.random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            left -= weight
            if left < 0:
                return item
        return items[max(i for i, weight in enumerate(weights) if weight > 0)]

    def shuffled(self, items: Sequence) -> list:
        return [item for _, _, item in sorted((self.random(), i, item) for i, item in enumerate(items))]


@dataclass(frozen=True)
class Event:
    """Object ``object`` (index in the scenario) does ``action`` from ``start`` to ``end`` seconds.

    ``amount``: distance of a move, enter or leave (signed along x or y as ``axis`` says), full turns of a spin
    (signed), factor of a growth, number of off phases of a blink.
    """

    object: int
    action: str
    start: float
    end: float
    amount: float
    axis: int = 0


@dataclass(frozen=True)
class ShapeObject:
    """A coloured shape: circumradius and centre (fractions of the width) before its first event."""

    colour: str
    shape: str
    radius: float
    x: float
    y: float


@dataclass(frozen=True)
class Query:
    """A sentence about one event, and what is special about it."""

    event: int
    text: str
    held_out_wording: bool
    needs_context: bool


@dataclass(frozen=True)
class SceneState:
    """State of O objects at T times; arrays are (T, O).

    ``x``, ``y``, ``radius`` in widths (the centre is outside [0, 1] while an object is crossing the edge), ``angle``
    in radians clockwise, ``present``: entered and not left, ``visible``: present and not in an off phase of a blink,
    ``action``: index in ACTIONS of the event under way, -1 for none.
    """

    x: np.ndarray
    y: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    present: np.ndarray
    visible: np.ndarray
    action: np.ndarray

    def cells(self, grid: int) -> np.ndarray:
        """Row-major index (T, O) of the cell of a grid x grid raster that holds the centre (moved into the frame if it
        is outside), -1 where the object is not present."""
        column, row = (np.clip((c * grid).astype(np.int64), 0, grid - 1) for c in (self.x, self.y))
        return np.where(self.present, row * grid + column, -1)


@dataclass(frozen=True)
class Scenario:
    """One video: ``events`` in order of start, ``sentences`` (one an event, each stands alone) and ``paragraph``."""

    seed: int
    duration: float
    objects: tuple[ShapeObject, ...]
    events: tuple[Event, ...]
    sentences: tuple[Query, ...] = ()
    paragraph: tuple[Query, ...] = ()

    @property
    def video_id(self) -> str:
        return f"shapes-v{GENERATOR_VERSION}-{self.seed:010d}"

    @property
    def split(self) -> str:
        return split_of_seed(self.seed)

    def triple(self, event: int) -> tuple[str, str, str]:
        """(colour, shape, action) of an event."""
        chosen = self.events[event]
        return self.objects[chosen.object].colour, self.objects[chosen.object].shape, chosen.action

    def state(self, times: Sequence[float] | np.ndarray) -> SceneState:
        """Position, size, visibility and action of every object at ``times`` (T,) in seconds."""
        times = np.asarray(times, dtype=np.float64)
        shape = (len(times), len(self.objects))
        x = np.broadcast_to([o.x for o in self.objects], shape).astype(np.float64)
        y = np.broadcast_to([o.y for o in self.objects], shape).astype(np.float64)
        radius = np.broadcast_to([o.radius for o in self.objects], shape).astype(np.float64)
        angle = np.zeros(shape)
        present, lit = np.ones(shape, bool), np.ones(shape, bool)
        action = np.full(shape, -1, np.int64)
        for event in self.events:
            o = event.object
            active = (times >= event.start) & (times < event.end)
            progress = np.clip((times - event.start) / (event.end - event.start), 0.0, 1.0)
            action[active, o] = ACTIONS.index(event.action)
            if event.action == "spin":
                angle[active, o] = 2 * math.pi * event.amount * progress[active]
            elif event.action == "grow":
                radius[:, o] *= event.amount**progress
            elif event.action == "blink":
                lit[:, o] &= ~(active & (np.floor(progress * (2 * event.amount - 1)) % 2 == 0))
            else:
                (x, y)[event.axis][:, o] += event.amount * progress
            if event.action == "enter":
                present[:, o] &= times >= event.start
            elif event.action == "leave":
                present[:, o] &= times < event.end
        return SceneState(x, y, radius, angle, present, present & lit, action)

    def rows(self, config: str = "sentence") -> list[dict]:
        """Rows of the data schema: "sentence" one a query, "video" one with all stand-alone sentences, "paragraph" one
        with the connected text. Beside the schema each has lists, one value a sentence: ``action``, ``held_out``
        (triple absent from train), ``wording`` ("seen" or "held_out"), ``needs_context``."""
        if config == "sentence":
            return [self._row([query]) for query in self.sentences]
        if config not in ("paragraph", "video"):
            raise AnnotationError(f"moving_shapes has no config {config!r}: choose sentence, video or paragraph")
        return [self._row(self.paragraph if config == "paragraph" else self.sentences)]

    def _row(self, queries: Sequence[Query]) -> dict:
        events = [self.events[query.event] for query in queries]
        return {
            "video_id": self.video_id,
            "duration": self.duration,
            "sentences": [query.text for query in queries],
            "moments": [[event.start, event.end] for event in events],
            "action": [event.action for event in events],
            "held_out": [is_held_out(*self.triple(query.event)) for query in queries],
            "wording": ["held_out" if query.held_out_wording else "seen" for query in queries],
            "needs_context": [query.needs_context for query in queries],
        }
