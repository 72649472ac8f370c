"""``hf-vtg``: grounding from the command line."""

import argparse
import json
import sys

from .errors import HFVTGError
from .pipeline import DEFAULT_MODEL, load_pipeline


def main(arguments: list[str] | None = None) -> int:
    """Run a sub-command; returns the exit status (0 = done, 2 = a message says what to change)."""
    parser = argparse.ArgumentParser(prog="hf-vtg", description="Find moments in videos by describing them.")
    commands = parser.add_subparsers(dest="command", required=True)
    _add_ground(commands)
    _add_recipes(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except HFVTGError as error:
        print(f"hf-vtg: {error}", file=sys.stderr)
        return 2


def _add_ground(commands) -> None:
    ground = commands.add_parser(
        "ground",
        help="find when a sentence happens in a video",
        epilog='example: hf-vtg ground video.mp4 --query "a person turns on the light" --model my-model',
    )
    ground.add_argument("video")
    ground.add_argument("--query", action="append", required=True, help="repeat for several sentences")
    ground.add_argument(
        "--paragraph",
        action="store_true",
        help="the queries are one text, told in order; a single one is split into sentences",
    )
    ground.add_argument("--model", default=str(DEFAULT_MODEL), help="folder or Hub id; default: the shipped one")
    ground.add_argument("--backbone", help="vision model; default: the one the model was trained with")
    ground.add_argument("--top-k", type=int, default=5, dest="top_k")
    ground.add_argument("--json", action="store_true", help="print JSON instead of a table")
    ground.set_defaults(run=_ground)


def _ground(options) -> int:
    pipe = load_pipeline(options.model)
    settings = {"top_k": options.top_k, "backbone": options.backbone, "progress": True}
    if options.paragraph:
        query = options.query[0] if len(options.query) == 1 else options.query
        answer = pipe(options.video, query, paragraph=True, **settings)
    else:
        answers = pipe(options.video, options.query, **settings)
        pairs = zip(options.query, answers, strict=True)
        answer = {"sentences": [{"sentence": sentence, "moments": moments} for sentence, moments in pairs]}
    if options.json:
        by_query = [{"query": found["sentence"], "moments": found["moments"]} for found in answer["sentences"]]
        print(json.dumps(answer if options.paragraph else by_query, indent=2))
        return 0
    if options.paragraph:
        print(f"whole paragraph: {answer['start']:.2f} s to {answer['end']:.2f} s")
    for found in answer["sentences"]:
        print(found["sentence"])
        for moment in found["moments"]:
            print(f"  {moment['start']:8.2f} s  {moment['end']:8.2f} s   score {moment['score']:.3f}")
    return 0


def _add_recipes(commands) -> None:
    recipes = commands.add_parser("recipes", help="list the papers' training settings")
    recipes.add_argument("name", nargs="?", help="one recipe, such as mmn/charades_sta")
    recipes.set_defaults(run=_recipes)


def _recipes(options) -> int:
    from .training.recipes import RECIPES, get_recipe

    recipes = RECIPES if options.name is None else {options.name: get_recipe(options.name)}
    print(json.dumps({name: recipe.to_dict() for name, recipe in recipes.items()}, indent=2))
    return 0
