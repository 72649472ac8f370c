"""moving_shapes keeps what it promises: measured over all 1,500 scenarios, from their state, texts and pixels."""

import dataclasses
import hashlib
import json
import os
import runpy
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from hf_vtg.benchmarks.moving_shapes import MovingShapes
from hf_vtg.errors import AnnotationError, VideoError
from hf_vtg.metrics import constant_moment_baseline
from hf_vtg.moving_shapes.render import FPS, FRAME_SIZE, render_frames, render_split, render_video
from hf_vtg.moving_shapes.scenarios import generate_scenario, iter_scenarios, scenario_seeds
from hf_vtg.moving_shapes.wording import VERBS, VOCABULARY, words_of
from hf_vtg.moving_shapes.world import (
    ACTIONS,
    COLOURS,
    GENERATOR_VERSION,
    MOVES,
    SHAPES,
    SPLIT_NAMES,
    SPLIT_SIZES,
    is_held_out,
    split_of_seed,
    split_seeds,
)

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def splits():
    return {split: list(iter_scenarios(split)) for split in SPLIT_SIZES}


@pytest.fixture(scope="module")
def everything(splits):
    return [scenario for scenarios in splits.values() for scenario in scenarios]


def alone(scenario, index):
    """The scenario with nothing but its object ``index``."""
    events = tuple(dataclasses.replace(e, object=0) for e in scenario.events if e.object == index)
    return dataclasses.replace(scenario, objects=(scenario.objects[index],), events=events)


# Seeds and splits


def test_same_seed_same_scenario_and_frames():
    first, second = generate_scenario(7), generate_scenario(np.int64(7))
    assert first == second
    times = np.linspace(0, first.duration, 5)
    assert (render_frames(first, times) == render_frames(second, times)).all()
    assert generate_scenario(8).events != first.events
    assert generate_scenario(7 + 10**9).events != first.events


def test_splits_own_disjoint_ranges_of_seeds():
    ranges = [split_seeds(split, base) for base in (0, 1, 5) for split in SPLIT_NAMES]
    bounds = sorted((seeds.start, seeds.stop) for seeds in ranges)
    assert all(stop <= start for (_, stop), (start, _) in zip(bounds, bounds[1:], strict=False))
    for split in SPLIT_NAMES:
        for base in (0, 5):
            seeds = split_seeds(split, base)
            assert {split_of_seed(seeds[0]), split_of_seed(seeds[-1])} == {split}
    assert {split: len(scenario_seeds(split)) for split in SPLIT_SIZES} == {
        "train": 1200,
        "validation": 100,
        "test": 200,
    }


@pytest.mark.parametrize("wrong", [-1, 1.5, "3", True])
def test_wrong_seed_is_named(wrong):
    with pytest.raises(AnnotationError, match="integer >= 0"):
        generate_scenario(wrong)


def test_unknown_split_and_config_are_named():
    with pytest.raises(AnnotationError, match="'dev'.*train, validation, test"):
        split_seeds("dev")
    with pytest.raises(AnnotationError, match="'query'.*sentence"):
        generate_scenario(0).rows("query")


# The world


@pytest.mark.slow
def test_size_and_variety(splits, everything):
    assert {split: len(s) for split, s in splits.items()} == SPLIT_SIZES
    assert len({s.video_id for s in everything}) == 1500
    assert {len(s.objects) for s in everything} == {3, 4}
    assert min(s.duration for s in everything) >= 20 and max(s.duration for s in everything) <= 60
    assert all((round(s.duration * FPS) - s.duration * FPS) < 1e-6 for s in everything)
    for scenarios in splits.values():
        assert {s.triple(i)[2] for s in scenarios for i in range(len(s.events))} == set(ACTIONS)
        assert {o.colour for s in scenarios for o in s.objects} == set(COLOURS)
        assert {o.shape for s in scenarios for o in s.objects} == set(SHAPES)
        frequency = Counter(e.action for s in scenarios for e in s.events)
        assert min(frequency.values()) > 0.05 * frequency.total()


@pytest.mark.slow
def test_times_of_events(splits):
    for scenarios in splits.values():
        events = [(e, s.duration) for s in scenarios for e in s.events]
        assert all(0 <= e.start < e.end <= duration for e, duration in events)
        assert np.median([(e.end - e.start) / duration for e, duration in events]) <= 0.2
        tenths = np.histogram([e.start / duration for e, duration in events], 10, (0, 1))[0] / len(events)
        # Uniform but for the last tenth, where few moments of 3 s and more have room.
        assert tenths[:9].min() > 0.07 and tenths[:9].max() < 0.15
    for s in (s for scenarios in splits.values() for s in scenarios):
        together = [
            any(a.object != b.object and a.start < b.end and b.start < a.end for b in s.events) for a in s.events
        ]
        assert sum(together) >= 4


def test_objects_are_distinct_and_do_one_thing_at_a_time(everything):
    for s in everything:
        assert len({(o.colour, o.shape) for o in s.objects}) == len(s.objects)
        assert len({s.triple(i) for i in range(len(s.events))}) == len(s.events)
        assert list(s.events) == sorted(s.events, key=lambda e: e.start)
        for o in range(len(s.objects)):
            mine = [e for e in s.events if e.object == o]
            assert all(a.end < b.start for a, b in zip(mine, mine[1:], strict=False))
            actions = [e.action for e in mine]
            assert "enter" not in actions[1:] and "leave" not in actions[:-1]


def test_distractors(everything):
    similar = [
        any(f is not e and (f.object == e.object or f.action == e.action) for f in s.events)
        for s in everything
        for e in s.events
    ]
    same_action = [sum(f.action == e.action for f in s.events) > 1 for s in everything for e in s.events]
    assert np.mean(similar) >= 0.5
    assert np.mean(same_action) >= 0.5


def test_motion_is_fast_enough_and_stays_inside_the_frame(everything):
    for s in everything:
        start, end = (np.array([getattr(e, name) for e in s.events]) for name in ("start", "end"))
        middle, index, who = (start + end) / 2, np.arange(len(s.events)), [e.object for e in s.events]
        before, now, later, after = (s.state(t) for t in (start, middle, middle + 0.1, end))
        velocity = np.stack([later.x - now.x, later.y - now.y], axis=-1)[index, who] / 0.1
        growth = after.radius[index, who] / before.radius[index, who]
        for i, e in enumerate(s.events):
            if e.action in ("enter", "leave"):
                assert e.end - e.start <= 4.005 and np.abs(velocity[i]).sum() >= 0.07
            elif e.action in MOVES:
                assert np.dot(velocity[i], MOVES[e.action]) >= 0.07
                assert np.dot(velocity[i], MOVES[e.action]) == pytest.approx(np.abs(velocity[i]).sum())
            else:
                assert not velocity[i].any()
            assert growth[i] >= 2 if e.action == "grow" else growth[i] == 1
            assert now.action[i, e.object] == ACTIONS.index(e.action)
        state = s.state(np.arange(0, s.duration, 0.5))
        crossing = np.isin(state.action, [ACTIONS.index("enter"), ACTIONS.index("leave")])
        for centre in (state.x, state.y):
            inside = (centre >= state.radius - 1e-9) & (centre <= 1 - state.radius + 1e-9)
            assert (inside | crossing | ~state.present).all()
        assert (state.present | (state.action == -1)).all(), "an absent object acts"


def test_direction_of_a_move_is_not_that_of_the_entrance_or_exit(everything):
    for s in everything:
        for o in range(len(s.objects)):
            directions = [
                (e.axis, np.sign(e.amount))
                for e in s.events
                if e.object == o and e.action in (*MOVES, "enter", "leave")
            ]
            assert len(set(directions)) == len(directions)


def test_held_out_triples(splits):
    held_out = [(c, s, a) for c in COLOURS for s in SHAPES for a in ACTIONS if is_held_out(c, s, a)]
    assert len(held_out) == 24
    assert {len({t[i] for t in held_out}) for i in range(3)} == {6, 4, 9}
    seen = {s.triple(i) for split in ("train", "validation") for s in splits[split] for i in range(len(s.events))}
    assert not seen & set(held_out)
    assert len(seen) == 216 - 24, "train should show every other triple"
    rows = [row for s in splits["test"] for row in s.rows()]
    assert 0.1 <= np.mean([row["held_out"][0] for row in rows]) <= 0.3
    for s in splits["test"]:
        assert [row["held_out"] == [s.triple(i) not in seen] for i, row in enumerate(s.rows())]


# The texts


def parse(text):
    """(colour, shape, action) named in a sentence, None for what it does not name, and its other words."""
    text = " " + " ".join(words_of(text)) + " "
    colour = next((c for c in COLOURS if f" {c} " in text), None)
    shape = next((s for s in SHAPES if f" {s} " in text), None)
    phrases = sorted(
        ((p, a) for a, forms in VERBS.items() for p in forms.seen + forms.held_out), key=lambda x: -len(x[0])
    )
    action = next((a for phrase, a in phrases if f" {phrase} " in text), None)
    return (colour, shape, action), text


def pattern(text):
    text = " ".join(words_of(text))
    for names, letter in ((COLOURS, "C"), (SHAPES, "S")):
        for name in names:
            text = text.replace(name, letter)
    return text


def fits(said, triple):
    return all(a is None or a == b for a, b in zip(said, triple, strict=True))


def test_every_sentence_stands_alone_and_has_one_answer(everything):
    for s in everything:
        triples = [s.triple(i) for i in range(len(s.events))]
        for i, row in enumerate(s.rows("sentence")):
            said, _ = parse(row["sentences"][0])
            assert said == triples[i] and triples.count(said) == 1
            assert row["moments"] == [[s.events[i].start, s.events[i].end]]
            assert row["needs_context"] == [False]


def test_paragraphs_can_be_resolved_only_with_the_neighbours(everything):
    needed = []
    for s in everything:
        triples = [s.triple(i) for i in range(len(s.events))]
        previous = None
        for query in s.paragraph:
            (colour, shape, action), text = parse(query.text)
            alone = [t for t in triples if fits((colour, shape, action), t)]
            assert query.needs_context == (len(alone) > 1), query.text
            needed.append(len(alone) > 1)
            if " other " in text:
                others = {(o.colour, o.shape) for o in s.objects} - {previous[:2]}
                [(colour, shape)] = [o for o in others if fits((colour, shape), o)]
            elif colour is None:
                assert any(f" {word} " in text for word in ("it", "that shape", "same shape"))
                colour, shape = previous[:2]
            if action is None:
                assert " so " in text or " does " in text
                action = previous[2]
            assert (colour, shape, action) == s.triple(query.event), query.text
            previous = (colour, shape, action)
        starts = [start for start, _ in s.rows("paragraph")[0]["moments"]]
        assert len(starts) >= 2 and starts == sorted(starts)
    assert np.mean(needed) >= 0.3
    for at in (slice(0, 1200), slice(1200, 1300), slice(1300, 1500)):
        assert np.mean([q.needs_context for s in everything[at] for q in s.paragraph]) >= 0.3


@pytest.mark.parametrize("config", ["sentence", "paragraph"])
def test_held_out_wordings_have_known_words(splits, config):
    rows = {split: [row for s in scenarios for row in s.rows(config)] for split, scenarios in splits.items()}
    texts = {split: [text for row in rows[split] for text in row["sentences"]] for split in rows}
    wording = [kind for row in rows["test"] for kind in row["wording"]]
    assert {kind for split in ("train", "validation") for row in rows[split] for kind in row["wording"]} == {"seen"}
    assert 0.3 <= np.mean([kind == "held_out" for kind in wording]) <= 0.7
    known = {word for text in texts["train"] for word in words_of(text)}
    assert {word for split in texts for text in texts[split] for word in words_of(text)} <= known <= set(VOCABULARY)
    patterns = {pattern(text) for split in ("train", "validation") for text in texts[split]}
    new = {pattern(text) for text, kind in zip(texts["test"], wording, strict=True) if kind == "held_out"}
    assert len(patterns) > 300 and len(new) > 200
    assert not patterns & new


def test_vocabulary_is_what_train_says(splits):
    said = {
        word
        for s in splits["train"]
        for config in ("video", "paragraph")
        for text in s.rows(config)[0]["sentences"]
        for word in words_of(text)
    }
    assert said == set(VOCABULARY)


def test_floor_of_a_constant_moment(splits):
    rows = {split: [row for s in splits[split] for row in s.rows("sentence")] for split in ("train", "test")}
    floor = constant_moment_baseline(rows["train"], rows["test"])
    assert 0 < floor["R@1,IoU=0.5"] <= 15


# The pictures


def test_frames_change_while_something_happens_and_only_then():
    for scenario in iter_scenarios("train", 12):
        for index in range(len(scenario.objects)):
            solo = alone(scenario, index)
            frames = render_frames(solo, np.arange(0, scenario.duration, 0.5)).astype(np.int16)
            changed = np.abs(np.diff(frames, axis=0)).max(axis=(1, 2, 3))
            start = np.arange(0, scenario.duration, 0.5)[:-1]
            during = np.zeros(len(changed), bool)
            for e in solo.events:
                within = (start >= e.start) & (start + 0.5 <= e.end)
                seen = changed[within] > 12
                if e.action == "blink":
                    assert len(seen) > 2
                    seen = seen[1:] | seen[:-1]  # an on or off phase may last longer than half a second
                assert seen.all(), f"{e} is not seen at 2 fps"
                during |= (start + 0.5 >= e.start) & (start <= e.end)
            assert changed[~during].max(initial=0) == 0


def test_entrance_starts_and_exit_ends_with_the_first_and_last_pixel():
    checked = Counter()
    for scenario in iter_scenarios("train", 40):
        for e in scenario.events:
            if e.action in ("enter", "leave"):
                solo = alone(scenario, e.object)
                empty = dataclasses.replace(solo, objects=(), events=())
                outside, moment = (e.start, e.start + 0.3) if e.action == "enter" else (e.end, e.end - 0.3)
                there = np.abs(render_frames(solo, [outside, moment]) - render_frames(empty, [0.0]).astype(np.int16))
                assert there[0].max() < 25 and there[1].max() > 40
                checked[e.action] += 1
    assert min(checked["enter"], checked["leave"]) > 10


def test_cells_hold_the_centres():
    scenario = generate_scenario(3)
    times = np.arange(0, scenario.duration, 0.2)
    state, cells = scenario.state(times), scenario.state(times).cells(6)
    assert ((cells == -1) == ~state.present).all() and cells.max() < 36
    row, column = cells // 6, cells % 6
    inside = state.present & (state.x > 0) & (state.x < 1) & (state.y > 0) & (state.y < 1)
    assert ((column == np.floor(state.x * 6)) & (row == np.floor(state.y * 6)))[inside].all()
    assert state.present.any() and (~state.visible[state.present]).any() == (
        "blink" in {e.action for e in scenario.events}
    )


def test_video_file_has_the_frames_at_their_times(tmp_path):
    av = pytest.importorskip("av")
    scenario = min(iter_scenarios("validation", 20), key=lambda s: s.duration)
    path = render_video(scenario, tmp_path / "a.mp4")
    assert path.read_bytes() == render_video(scenario, tmp_path / "b.mp4").read_bytes()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.mp4", "b.mp4"]
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.name == "h264"
        assert container.duration / 1e6 == pytest.approx(scenario.duration, abs=1e-6)
        decoded = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
    times = np.array([time for time, _ in decoded])
    assert len(times) == round(scenario.duration * FPS)
    np.testing.assert_allclose(times, np.arange(len(times)) / FPS, atol=1e-6)
    frames = np.stack([frame for _, frame in decoded]).astype(np.int16)
    assert frames.shape[1:] == (FRAME_SIZE, FRAME_SIZE, 3)
    assert np.abs(frames - render_frames(scenario, times)).mean() < 3


def test_failed_write_keeps_the_old_file(tmp_path, monkeypatch):
    pytest.importorskip("av")
    path = tmp_path / "a.mp4"
    path.write_bytes(b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(VideoError, match="a.mp4.*No space left"):
        render_video(generate_scenario(0), path)
    assert path.read_bytes() == b"old" and [p.name for p in tmp_path.iterdir()] == ["a.mp4"]


def test_render_split_resumes(tmp_path):
    pytest.importorskip("av")
    first = list(render_split(tmp_path, "test", num_videos=1))
    both = list(render_split(tmp_path, "test", num_videos=2, workers=2))
    assert [new for _, new in first + both] == [True, False, True]
    assert [path.stem for path, _ in both] == [s.video_id for s in iter_scenarios("test", 2)]


def test_video_without_pyav_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(VideoError, match=r"\.\[video\]"):
        render_video(generate_scenario(0), tmp_path / "a.mp4")


# The builder and the script


def test_builder_gives_the_rows_of_the_schema(tmp_path):
    splits = {}
    for config in ("sentence", "paragraph", "video"):
        builder = MovingShapes(config_name=config, cache_dir=str(tmp_path), num_videos=3)
        builder.download_and_prepare()
        splits[config] = builder.as_dataset()
        assert list(splits[config]) == list(SPLIT_SIZES)
        for split, rows in splits[config].items():
            assert rows.to_list() == [row for s in iter_scenarios(split, 3) for row in s.rows(config)]
            assert builder.report[split].sentences_kept == sum(len(row["sentences"]) for row in rows)
    assert all(len(row["sentences"]) == 1 for row in splits["sentence"]["test"])
    assert len(splits["video"]["test"]) == len(splits["paragraph"]["test"]) == 3
    streamed = builder.as_streaming_dataset(split="test")
    assert list(streamed) == splits["video"]["test"].to_list()
    other = MovingShapes(config_name="video", cache_dir=str(tmp_path), num_videos=3, seed=1)
    assert other.cache_dir != builder.cache_dir
    other.download_and_prepare()
    ids = [
        {row["video_id"] for rows in data.values() for row in rows} for data in (other.as_dataset(), splits["video"])
    ]
    assert len(ids[0]) == len(ids[1]) == 9 and not ids[0] & ids[1]


def test_builder_refuses_what_it_does_not_know(tmp_path):
    for wrong, message in (({"data_dir": "x"}, "seeds.*'x'"), ({"seed": -2}, "-2"), ({"num_videos": 0}, "not 0")):
        with pytest.raises(AnnotationError, match=message):
            MovingShapes(cache_dir=str(tmp_path), **wrong)


def test_script_renders_files_and_annotations(tmp_path, monkeypatch, capsys):
    pytest.importorskip("av")
    script, out = str(ROOT / "scripts/render_moving_shapes.py"), tmp_path / "new" / "videos"
    arguments = [script, "--out", str(out), "--split", "demo", "--num_videos", "1", "--annotations", "sentence"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--seed", "2"])
    runpy.run_path(script, run_name="__main__")
    assert "1 videos of demo written, 0 already there" in capsys.readouterr().out
    [scenario] = iter_scenarios("demo", 1, seed=2)
    rows = [json.loads(line) for line in (out / "demo_sentence.jsonl").read_text().splitlines()]
    assert rows == scenario.rows("sentence")
    assert (out / f"{scenario.video_id}.mp4").stat().st_size > 1000
    monkeypatch.setattr(sys, "argv", [*arguments, "--seed", "-1"])
    with pytest.raises(SystemExit, match="error: .*base seed"):
        runpy.run_path(script, run_name="__main__")


# The freeze: a change of any of these is a new benchmark and needs a new GENERATOR_VERSION.


def test_generator_is_frozen(splits):
    assert GENERATOR_VERSION == 1
    annotations, frames = hashlib.sha256(), hashlib.sha256()
    for scenarios in splits.values():
        for scenario in scenarios:
            for config in ("sentence", "paragraph"):
                annotations.update(json.dumps(scenario.rows(config), sort_keys=True).encode())
        for scenario in scenarios[:3]:
            frames.update(render_frames(scenario, np.linspace(0, scenario.duration, 20)).tobytes())
    assert annotations.hexdigest() == "1b01f345c9e3d1fcb3ca2741ba635440f5f4232cf47794a8c54665c5da77fab4"
    assert frames.hexdigest() == "25d03333d69d862bc410bbca3fff2b9ab2f054e61ccf03aef46665c5adde96f8"
