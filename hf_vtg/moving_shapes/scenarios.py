"""Draws the scenarios of moving_shapes: which objects, which events, when, and where, from a seed alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral

import numpy as np

from ..errors import AnnotationError
from .wording import write_paragraph, write_sentences
from .world import (
    ACTIONS,
    COLOURS,
    DIRECTIONS,
    EXTENT,
    GENERATOR_VERSION,
    MOVES,
    OPPOSITE,
    SHAPES,
    SPLIT_RULES,
    SPLIT_SIZES,
    Draw,
    Event,
    Scenario,
    ShapeObject,
    SplitRules,
    is_held_out,
    split_of_seed,
    split_seeds,
)

DURATION = (20.0, 60.0)
MIN_SPEED, MAX_SPEED, MAX_CROSSING_SPEED = 0.08, 0.22, 0.30  # widths per second; the last one for enter and leave
GROWTH = (2.0, 2.15)
MIN_GAP = 0.8  # seconds between two events of one object
MIN_OVERLAPPING = 4  # events of a video that overlap an event of another object
RADIUS, RADIUS_OF_GROWING = (0.085, 0.12), (0.075, 0.085)
SIZE = {"circle": 0.95, "square": 1.1, "triangle": 1.15, "star": 1.15}  # circumradii of about equally visible shapes
MIN_SLACK = 0.15  # share of the video in which an object does nothing
TOO_CLOSE, MAX_HIDDEN = 0.9, 0.2  # distance in sums of radii, and the share of an event it may last
STEP = 0.25  # seconds between the times at which distances are checked
FIRST_PAUSE = 1.25  # stretches the pause before the first event: starts are then about uniform over the video
BOOST_HELD_OUT = 2.5  # weight of held-out triples where they are allowed, so that there are enough to report


def generate_scenario(seed: int, split_rules: SplitRules | None = None) -> Scenario:
    """The scenario of ``seed``: the same on every machine. ``split_rules`` default to those of the seed's split."""
    if isinstance(seed, bool) or not isinstance(seed, Integral) or seed < 0:
        raise AnnotationError(f"a moving_shapes seed must be an integer >= 0, not {seed!r}")
    seed = int(seed)
    rules = SPLIT_RULES[split_of_seed(seed)] if split_rules is None else split_rules
    draw = Draw(f"moving_shapes/{GENERATOR_VERSION}/{seed}")
    for _ in range(1000):
        scenario = _try_scenario(draw, seed, rules)
        if scenario is not None:
            return scenario
    raise AnnotationError(f"no scenario found for moving_shapes seed {seed}: please report it, and use another seed")


def _try_scenario(draw: Draw, seed: int, rules: SplitRules) -> Scenario | None:
    duration = round(draw.uniform(*DURATION), 1)
    favourites = draw.shuffled(ACTIONS)[:3]
    objects, events = [], []
    for index, (colour, shape) in enumerate(_draw_identities(draw, draw.integer(3, 4))):
        for _ in range(60):
            plan = _plan_object(draw, index, colour, shape, duration, favourites, rules)
            if plan is None:
                continue
            candidate = Scenario(seed, duration, (*objects, plan[0]), (*events, *plan[1]))
            if not _hidden(candidate):
                break
        else:
            return None
        objects, events = list(candidate.objects), list(candidate.events)
    events.sort(key=lambda event: (event.start, event.object))
    if _count_overlapping(events) < MIN_OVERLAPPING:
        return None
    bare = Scenario(seed, duration, tuple(objects), tuple(events))
    sentences, paragraph = write_sentences(draw, bare, rules), write_paragraph(draw, bare, rules)
    return Scenario(seed, duration, bare.objects, bare.events, sentences, paragraph)


def _draw_identities(draw: Draw, count: int) -> list[tuple[str, str]]:
    """Distinct (colour, shape) pairs; each after the first usually shares its colour or its shape with the first."""
    chosen = [(draw.choice(COLOURS), draw.choice(SHAPES))]
    while len(chosen) < count:
        pair = (draw.choice(COLOURS), draw.choice(SHAPES))
        wanted = draw.random()
        if wanted < 0.3:
            pair = (chosen[0][0], pair[1])
        elif wanted < 0.6:
            pair = (pair[0], chosen[0][1])
        if pair not in chosen:
            chosen.append(pair)
    return draw.shuffled(chosen)


def _plan_object(
    draw: Draw, index: int, colour: str, shape: str, duration: float, favourites: list[str], rules: SplitRules
) -> tuple[ShapeObject, list[Event]] | None:
    """An object with its events in order of time, or None if this draw has no room in time or space."""
    actions = _draw_actions(draw, colour, shape, duration, favourites, rules)
    lengths = [_draw_length(draw, action, duration) for action in actions]
    slack = duration - sum(lengths) - MIN_GAP * (len(actions) - 1)
    if slack < MIN_SLACK * duration:
        return None
    radius = SIZE[shape] * draw.uniform(*(RADIUS_OF_GROWING if "grow" in actions else RADIUS))
    path = _plan_path(draw, shape, radius, actions, lengths)
    if path is None:
        return None
    (x, y), moves = path
    shares = [-math.log(1.0 - draw.random()) for _ in range(len(actions) + 1)]
    shares[0] *= FIRST_PAUSE
    events, clock = [], 0.0
    for action, length, share, (amount, axis) in zip(actions, lengths, shares, moves, strict=False):
        clock += slack * share / sum(shares)
        events.append(Event(index, action, round(clock, 2), round(clock + length, 2), amount, axis))
        clock += length + MIN_GAP
    return ShapeObject(colour, shape, radius, x, y), events


def _draw_actions(
    draw: Draw, colour: str, shape: str, duration: float, favourites: list[str], rules: SplitRules
) -> list[str]:
    """Two or more different actions in order of time: an entrance comes first, an exit last."""
    boost = BOOST_HELD_OUT if rules.held_out_triples else 0.0
    weights = {
        action: (3.0 if action in favourites else 1.0) * (boost if is_held_out(colour, shape, action) else 1.0)
        for action in ACTIONS
    }
    enters, leaves = (draw.random() < min(0.25 * weights[action], 0.7) for action in ("enter", "leave"))
    count = draw.integer(2, 2 + int((duration - 15.0) / 12.0))
    inner = [action for action in ACTIONS if action not in ("enter", "leave")]
    chosen = []
    while len(chosen) + enters + leaves < count:
        chosen.append(draw.choice(inner, [weights[action] for action in inner]))
        inner.remove(chosen[-1])
    return ["enter"] * enters + chosen + ["leave"] * leaves


def _draw_length(draw: Draw, action: str, duration: float) -> float:
    """Seconds an action takes: enter and leave 2.8-4, the others grow with the video."""
    if action in ("enter", "leave"):
        return draw.uniform(2.8, 4.0)
    longest = 6.0 if action == "grow" else 9.0
    return draw.uniform(max(3.0, 0.08 * duration), min(longest, 0.3 * duration))


def _draw_amount(draw: Draw, action: str, length: float) -> float:
    """``Event.amount`` without its sign along an axis; that of enter and leave follows from the path."""
    if action in MOVES:
        return length * draw.uniform(MIN_SPEED, max(MIN_SPEED, min(MAX_SPEED, 0.8 / length)))
    if action == "grow":
        return draw.uniform(*GROWTH)
    if action == "spin":
        return draw.choice((-1, 1)) * max(1, round(length * draw.uniform(0.25, 0.45)))
    if action == "blink":
        return int((length / draw.uniform(0.5, 0.56) + 1) / 2)  # on and off for 0.5 to 0.8 s each
    return 0.0


def _plan_path(
    draw: Draw, shape: str, radius: float, actions: list[str], lengths: list[float]
) -> tuple[list[float], list[tuple[float, int]]] | None:
    """First centre, and (amount, axis) of every action, such that the object stays inside the frame between entrance
    and exit and every motion is fast enough; None if there is no such path. The directions of all motions of an
    object differ, so that "moves left" can never mean the way it comes in or goes out."""
    free = draw.shuffled([name for name in DIRECTIONS if f"move {name}" not in actions])
    if len(free) < actions.count("enter") + actions.count("leave"):
        return None
    moves, crossings = [], []
    # Bounds of "home", the place after entering; offset is the way from there so far.
    offset, low, high = [0.0, 0.0], [radius, radius], [1.0 - radius, 1.0 - radius]
    for position, (action, length) in enumerate(zip(actions, lengths, strict=True)):
        amount, axis = _draw_amount(draw, action, length), 0
        if action in MOVES:
            axis = 0 if MOVES[action][0] else 1
            amount *= MOVES[action][axis]
            offset[axis] += amount
        elif action == "grow":
            radius *= amount
        elif action in ("enter", "leave"):
            name = free.pop()
            axis = 0 if DIRECTIONS[name][0] else 1
            sign, ahead = DIRECTIONS[name][axis], action == "enter"
            reach = radius * EXTENT[shape][name if ahead else OPPOSITE[name]]
            crossings.append((position, axis, sign, offset[axis], reach))
            shortest, longest = (length * speed - reach for speed in (MIN_SPEED, MAX_CROSSING_SPEED))
            near, far = (shortest, longest) if (sign > 0) == ahead else (1.0 - longest, 1.0 - shortest)
            low[axis], high[axis] = max(low[axis], near - offset[axis]), min(high[axis], far - offset[axis])
        moves.append((amount, axis))
        low = [max(bound, radius - moved) for bound, moved in zip(low, offset, strict=True)]
        high = [min(bound, 1.0 - radius - moved) for bound, moved in zip(high, offset, strict=True)]
    if low[0] > high[0] or low[1] > high[1]:
        return None
    centre = [draw.uniform(a, b) for a, b in zip(low, high, strict=True)]
    home = list(centre)
    for position, axis, sign, moved, reach in crossings:
        place = home[axis] + moved
        ahead = actions[position] == "enter"
        distance = (place if (sign > 0) == ahead else 1.0 - place) + reach
        moves[position] = (sign * distance, axis)
        if ahead:
            centre[axis] -= sign * distance
    return centre, moves


def _hidden(scenario: Scenario) -> bool:
    """Whether some event happens where its object nearly coincides with another for much of its time."""
    state = scenario.state(np.arange(0.0, scenario.duration, STEP))
    gap_x, gap_y = (place[:, :, None] - place[:, None, :] for place in (state.x, state.y))
    reach = TOO_CLOSE * (state.radius[:, :, None] + state.radius[:, None, :])
    near = (gap_x**2 + gap_y**2 < reach**2) & state.present[:, :, None] & state.present[:, None, :]
    crowded = near.sum(axis=2) > 1  # each object is near itself
    for event in scenario.events:
        during = crowded[int(event.start / STEP) + 1 : int(event.end / STEP) + 1, event.object]
        if np.count_nonzero(during) > MAX_HIDDEN * len(during):
            return True
    return False


def _count_overlapping(events: list[Event]) -> int:
    """Events that share at least half a second with an event of another object."""
    return sum(
        any(a.object != b.object and min(a.end, b.end) - max(a.start, b.start) >= 0.5 for b in events) for a in events
    )


def scenario_seeds(split: str, num_videos: int | None = None, seed: int = 0) -> range:
    """Seeds of the first ``num_videos`` scenarios of a split (default: all of the benchmark's split; 10 of demo)."""
    seeds = split_seeds(split, seed)
    count = SPLIT_SIZES.get(split, 10) if num_videos is None else num_videos
    if not 0 < count <= len(seeds):
        raise AnnotationError(f"num_videos must be 1 to {len(seeds)}, not {count}")
    return seeds[:count]


def iter_scenarios(split: str, num_videos: int | None = None, seed: int = 0) -> Iterator[Scenario]:
    """The scenarios of a split in order; about 5 ms each."""
    return map(generate_scenario, scenario_seeds(split, num_videos, seed))
