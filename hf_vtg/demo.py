"""The two-minute demo: a video rendered for the occasion, or the user's own, and when its sentences happen."""

import argparse
import random
import sys
from pathlib import Path
from typing import Any

import numpy as np

from .errors import HFVTGError
from .files import write_json
from .moments import temporal_iou
from .pipeline import DEFAULT_MODEL, load_pipeline
from .video.cutting import thumbnails
from .visualization import plot_timeline, save_figure

NUM_QUERIES = 5


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="demo.sh", description=__doc__)
    parser.add_argument("--video", help="own video file; default: a moving_shapes video rendered now")
    parser.add_argument("--query", action="append", help="sentence; repeat for several (needed with --video)")
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="folder or Hub id; default: the shipped one")
    parser.add_argument("--backbone", help="vision model; default: the one the model was trained with")
    parser.add_argument("--seed", type=int, help="of the rendered video; default: random, printed")
    parser.add_argument("--output", type=Path, default=Path("outputs/demo"), help="folder for the results")
    options = parser.parse_args(arguments)
    if options.video and not options.query:
        parser.error("--video needs at least one --query")
    return options


def main(arguments: list[str] | None = None) -> int:
    """Run the demo; returns the exit status."""
    options = parse(arguments)
    try:
        run(options)
    except HFVTGError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Ground the queries, print a table, write ``moments.json`` and ``timeline.png``. Returns what is in the json."""
    if options.video:
        video, queries, truth = options.video, options.query, None
    else:
        video, queries, truth = render(options)
    pipe = load_pipeline(options.model)
    encoded = pipe.encode(video, backbone=options.backbone)
    answers = pipe(encoded, queries)
    rows = [
        {"query": query, "moments": ranked, **({} if truth is None else {"true": truth[k]})}
        for k, (query, ranked) in enumerate(zip(queries, answers, strict=True))
    ]
    for row in rows:
        print(describe(row))
    result = {"video": str(video), "duration": encoded["duration"], "model": options.model, "queries": rows}
    write_json(options.output / "moments.json", result)
    pictures = thumbnails(video, encoded["duration"])
    figure = plot_timeline(queries, answers, encoded["duration"], truth, Path(video).name, thumbnails=pictures)
    save_figure(figure, options.output / "timeline.png")
    print(f"\nwritten: {options.output / 'moments.json'} and {options.output / 'timeline.png'}")
    return result


def render(options: argparse.Namespace) -> tuple[Path, list[str], list[list[float]] | None]:
    """A moving_shapes video that no split contains, with sentences, a paragraph and their true moments."""
    from .moving_shapes.render import render_video
    from .moving_shapes.scenarios import generate_scenario
    from .moving_shapes.world import split_of_seed, split_seeds

    seeds = split_seeds("demo")
    seed = seeds[random.randrange(len(seeds))] if options.seed is None else options.seed
    if split_of_seed(seed) != "demo":
        raise HFVTGError(f"Seed {seed} belongs to the split {split_of_seed(seed)!r}. Give one from {seeds[0]} on.")
    scenario = generate_scenario(seed)
    video = render_video(scenario, options.output / f"{scenario.video_id}.mp4")
    print(f"rendered {video} (moving_shapes, seed {seed}, outside all splits)\n")
    if options.query:
        return video, options.query, None
    alone, paragraph = scenario.rows("video")[0], scenario.rows("paragraph")[0]
    queries = [*alone["sentences"][:NUM_QUERIES], *paragraph["sentences"]]
    return video, queries, [*alone["moments"][:NUM_QUERIES], *paragraph["moments"]]


def describe(row: dict[str, Any]) -> str:
    """One line: the best moment, the true one and their IoU if it is known, and the sentence."""
    if not row["moments"]:
        return f"{'no moment found':>16}   {row['query']}"
    best = row["moments"][0]
    line = f"{best['start']:6.1f} - {best['end']:5.1f} s"
    if "true" in row:
        start, end = row["true"]
        iou = float(temporal_iou(np.array([best["start"], best["end"]]), np.array([start, end])))
        line += f"   true {start:6.1f} - {end:5.1f} s   IoU {iou:.2f}"
    return f"{line}   {row['query']}"


if __name__ == "__main__":
    sys.exit(main())
