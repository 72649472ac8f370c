"""``hf-vtg recipes``: the papers' training settings."""

from typing import Any

from .parser import add_command, print_json

EXAMPLES = """\
  hf-vtg recipes
  hf-vtg recipes mmn/charades_sta
  hf-vtg recipes mmn/charades_sta/official --json
"""
COLUMNS = {"epochs": "epochs", "learning_rate": "rate", "per_device_batch_size": "batch", "num_processes": "processes"}


def add(commands: Any) -> None:
    parser = add_command(
        commands,
        "recipes",
        run,
        "list the papers' training settings",
        "Every number of a published training, as `hf-vtg train` applies it.",
        EXAMPLES,
    )
    parser.add_argument("name", nargs="?", help="one recipe, such as mmn/charades_sta")


def run(options: Any) -> int:
    from ..training.recipes import RECIPES, get_recipe

    recipes = RECIPES if options.name is None else {options.name: get_recipe(options.name)}
    fields = {name: recipe.to_dict() for name, recipe in recipes.items()}
    if options.json:
        print_json(fields, indent=2)
    elif options.name is not None:
        for name, value in fields[options.name].items():
            print(f"{name:24}{value}")
    else:
        wide = max(map(len, fields)) + 2
        print(f"{'recipe':{wide}}" + "".join(f"{title:>11}" for title in COLUMNS.values()))
        for name, values in fields.items():
            print(f"{name:{wide}}" + "".join(f"{values[column]:>11}" for column in COLUMNS))
    return 0
