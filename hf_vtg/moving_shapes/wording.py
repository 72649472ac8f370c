"""Wordings of moving_shapes: sentences that stand alone, and paragraphs whose sentences lean on their neighbours.

Every part of a sentence has forms that all splits use and held-out forms that occur in test (and demo) only. The
words of a held-out form are known from the seen forms of the same action, or are function words of other sentences.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from .world import COLOURS, SHAPES, Draw, Query, Scenario, SplitRules


@dataclass(frozen=True)
class Forms:
    """Interchangeable forms of one part of a sentence."""

    seen: tuple[str, ...]
    held_out: tuple[str, ...]


def _sideways(side: str) -> Forms:
    return Forms(
        (f"moves {side}", f"moves to the {side}", f"goes {side}", f"is moving to the {side}", f"slides {side}")
        + (f"travels to the {side} side",),
        (f"goes to the {side}", f"is moving {side}", f"slides to the {side} side", f"travels {side}"),
    )


def _upright(way: str, end: str) -> Forms:
    return Forms(
        (f"moves {way}", f"moves {way}wards", f"goes {way}", f"is moving {way}", f"travels to the {end}")
        + (f"slides {way}",),
        (f"goes {way}wards", f"is moving {way}wards", f"slides to the {end}", f"travels {way}"),
    )


VERBS = {
    "enter": Forms(
        ("enters", "comes in", "comes into the picture", "enters the scene", "is coming in", "appears at the edge"),
        ("enters the picture", "comes into the scene", "is coming into the picture"),
    ),
    "leave": Forms(
        ("leaves", "goes out", "goes out of the picture", "leaves the scene", "is leaving", "disappears at the edge"),
        ("leaves the picture", "goes out of the scene", "is leaving the picture"),
    ),
    "move left": _sideways("left"),
    "move right": _sideways("right"),
    "move up": _upright("up", "top"),
    "move down": _upright("down", "bottom"),
    "spin": Forms(
        ("spins", "rotates", "is spinning", "turns around", "spins in place", "is rotating"),
        ("turns in place", "is spinning around", "rotates in place"),
    ),
    "grow": Forms(
        ("grows", "gets bigger", "is growing", "becomes larger", "grows larger", "is getting bigger"),
        ("gets larger", "grows bigger", "is getting larger", "becomes bigger"),
    ),
    "blink": Forms(
        ("blinks", "flashes", "is blinking", "flashes on and off", "blinks a few times", "is flashing"),
        ("blinks on and off", "flashes a few times", "is blinking on and off"),
    ),
}
NAMES = Forms(("the {c} {s}", "a {c} {s}", "the {s} that is {c}"), ("a {s} that is {c}",))
FRAMES = Forms(("{}", "{}", "now {}", "you can see that {}", "at one point {}"), ("at one point you can see that {}",))

PARAGRAPH_FRAMES = Forms(("{}", "{}", "then {}", "after that {}"), ("and then {}",))
MEANWHILE = Forms(("meanwhile {}", "at the same time {}"), ("and at the same time {}",))
PRONOUNS = Forms(("it", "the same shape", "that shape"), ("that same shape",))
SAME_ACTION = Forms(
    ("{} does the same", "so does {}", "{} does that too"),
    ("{} does the same too", "then so does {}"),
)
OTHER = Forms(("the other {}",), ("that other {}",))
REFER_WHERE_NEEDED, REFER_ELSEWHERE = 0.95, 0.4  # how often a sentence refers back, where it may


class Writer:
    """Picks forms under the rules of a split and remembers whether a held-out one was used in the sentence."""

    def __init__(self, draw: Draw, rules: SplitRules):
        self.draw, self.share = draw, rules.held_out_wordings
        self.start()

    def start(self) -> None:
        """Begins a sentence: decides whether it may use held-out forms."""
        self.open, self.held_out = self.draw.random() < self.share, False

    def pick(self, forms: Forms, always: bool = False) -> str:
        """One of the seen forms; in an open sentence any form, or with ``always`` a held-out one."""
        seen = () if self.open and always else forms.seen
        form = self.draw.choice(seen + (forms.held_out if self.open else ()))
        self.held_out |= form not in forms.seen
        return form

    def name(self, colour: str, shape: str) -> str:
        return self.pick(NAMES).format(c=colour, s=shape)

    def verb(self, action: str) -> str:
        return self.pick(VERBS[action], always=True)


def words_of(text: str) -> list[str]:
    """Lower-case words of a text, without punctuation."""
    return re.findall(r"[a-z]+", text.lower())


def write_sentences(draw: Draw, scenario: Scenario, rules: SplitRules) -> tuple[Query, ...]:
    """One sentence an event, in order of start; each names colour, shape and action, so it has one answer."""
    writer, queries = Writer(draw, rules), []
    for index in range(len(scenario.events)):
        writer.start()
        colour, shape, action = scenario.triple(index)
        text = writer.pick(FRAMES).format(f"{writer.name(colour, shape)} {writer.verb(action)}")
        queries.append(Query(index, _finish(text), writer.held_out, False))
    return tuple(queries)


def write_paragraph(draw: Draw, scenario: Scenario, rules: SplitRules) -> tuple[Query, ...]:
    """Most of the events as a text. A sentence may refer to the one before: the same object ("it"), the same action
    ("so does the blue star"), or the other object of that shape or colour. ``needs_context`` is set where what the
    sentence says by itself fits two or more events of the video."""
    writer, queries = Writer(draw, rules), []
    previous = None
    for index in _narrate(draw, scenario):
        writer.start()
        references = [] if previous is None else _references(scenario, previous, index)
        kind, count = draw.choice(references) if references else ("none", 0)
        if draw.random() >= (REFER_WHERE_NEEDED if count > 1 else REFER_ELSEWHERE):
            kind = "none"
        colour, shape, action = scenario.triple(index)
        if kind == "none":
            text = f"{writer.name(colour, shape)} {writer.verb(action)}"
        elif kind == "action":
            text = writer.pick(SAME_ACTION, always=True).format(writer.name(colour, shape))
        elif kind == "object":
            text = f"{writer.pick(PRONOUNS)} {writer.verb(action)}"
        else:
            noun = shape if kind == "shape" else f"{colour} shape"
            text = f"{writer.pick(OTHER).format(noun)} {writer.verb(action)}"
        if previous is not None and kind != "action":
            overlaps = scenario.events[index].start < scenario.events[previous].end
            text = writer.pick(MEANWHILE if overlaps and draw.random() < 0.5 else PARAGRAPH_FRAMES).format(text)
        queries.append(Query(index, _finish(text), writer.held_out, kind != "none" and count > 1))
        previous = index
    return tuple(queries)


def _narrate(draw: Draw, scenario: Scenario) -> list[int]:
    """Indices of the events that a paragraph tells, in order of start: it passes over up to two events where that
    lets the next sentence lean on the last one."""
    told = [0]
    while told[-1] + 1 < len(scenario.events):
        following = range(told[-1] + 1, min(told[-1] + 4, len(scenario.events)))
        leaning = [any(count > 1 for _, count in _references(scenario, told[-1], index)) for index in following]
        told.append(draw.choice(following, [5.0 if leans else 0.5**i for i, leans in enumerate(leaning)]))
    return told


def _references(scenario: Scenario, previous: int, index: int) -> list[tuple[str, int]]:
    """Ways in which event ``index`` can refer to event ``previous``, told just before, each with the number of
    events of the video that the sentence would fit by itself; only those that fit several, if there are any."""
    events, objects = scenario.events, scenario.objects
    (old_colour, old_shape, old_action), (colour, shape, action) = scenario.triple(previous), scenario.triple(index)
    triples = [scenario.triple(i) for i in range(len(events))]
    found = []
    if events[previous].object == events[index].object:
        found.append(("object", sum(a == action for _, _, a in triples)))
    else:
        if old_action == action:
            found.append(("action", sum((c, s) == (colour, shape) for c, s, _ in triples)))
        if old_shape == shape and sum(o.shape == shape for o in objects) == 2:
            found.append(("shape", sum((s, a) == (shape, action) for _, s, a in triples)))
        if old_colour == colour and sum(o.colour == colour for o in objects) == 2:
            found.append(("colour", sum((c, a) == (colour, action) for c, _, a in triples)))
    return [way for way in found if way[1] > 1] or found


def _finish(text: str) -> str:
    return text[0].upper() + text[1:] + "."


def _vocabulary() -> tuple[str, ...]:
    parts = [*VERBS.values(), NAMES, FRAMES, PARAGRAPH_FRAMES, MEANWHILE, PRONOUNS, SAME_ACTION, OTHER]
    text = " ".join(form.format("", c="", s="") for forms in parts for form in forms.seen)
    return tuple(sorted({*words_of(text), *COLOURS, *SHAPES, "shape"}))


VOCABULARY = _vocabulary()
