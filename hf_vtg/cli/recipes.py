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
        "Every number of a published training, as `hf-vtg train` applies it: the recipe's own (--recipe FIELD=VALUE\n"
        "changes them), those of the model (--set FIELD=VALUE), and how text and features reach it.",
        EXAMPLES,
    )
    parser.add_argument("name", nargs="?", help="one recipe, such as mmn/charades_sta, or those of a method")


def run(options: Any) -> int:
    from ..models.registry import all_recipes, get_recipe

    recipes = all_recipes()
    of_method = {name: recipe for name, recipe in recipes.items() if recipe.method == options.name}
    chosen = recipes if options.name is None else of_method or {options.name: get_recipe(options.name)}
    if options.json:
        print_json({name: _record(recipe) for name, recipe in chosen.items()}, indent=2)
    elif options.name in chosen:
        for name, value in _record(chosen[options.name]).items():
            if isinstance(value, dict) and name in ("model", "processor"):
                print(f"\n{name}")
                for part, setting in value.items():
                    print(f"  {part:34}{setting}")
            else:
                print(f"{name:36}{value}")
    else:
        fields = {name: recipe.to_dict() for name, recipe in chosen.items()}
        wide = max(map(len, fields)) + 2
        print(f"{'recipe':{wide}}" + "".join(f"{title:>11}" for title in COLUMNS.values()))
        for name, values in fields.items():
            print(f"{name:{wide}}" + "".join(f"{values[column]:>11}" for column in COLUMNS))
    return 0


def _record(recipe: Any) -> dict[str, Any]:
    """The recipe's fields, and those of the model and the processor that it trains."""
    from ..configuration import VideoGroundingConfig
    from ..models.registry import get_method

    config_class = get_method(recipe.method).config_class
    known = recipe.benchmark in config_class.presets
    config = config_class.for_benchmark(recipe.benchmark, recipe.variant) if known else config_class()
    of_all = set(VideoGroundingConfig.__dataclass_fields__) - {"feature_dim"}
    model = {name: value for name, value in config.to_dict().items() if name in type(config).__dataclass_fields__}
    text = {"text_encoder": config.text_config.model_type, "text_hidden_size": config.text_hidden_size}
    return {
        **recipe.to_dict(),
        "model": {**text, **{name: value for name, value in model.items() if name not in of_all}},
        "processor": config.processor_settings(),
    }
