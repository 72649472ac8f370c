#!/usr/bin/env python
"""Train a grounding model with a paper's recipe.

python scripts/train.py --recipe mmn/activitynet_captions --data_dir activitynet_captions/ \\
    --features sub_activitynet_v1-3.c3d.hdf5 --feature_preset activitynet_c3d --output_dir outputs/mmn
python scripts/train.py --method mmn --benchmark jsonl --data_dir own.jsonl --features FILE --word_vectors GLOVE

``--recipe`` takes the name of a recipe (``hf-vtg recipes`` lists them) and, as often as needed, FIELD=VALUE for a
change of it; ``--set FIELD=VALUE`` changes the model's configuration. Every other option is one of the training
arguments (``--num_train_epochs 3``, ``--bf16``). Several processes: torchrun.

Weights are selected on the validation split where there is one; ``--select_on test`` is the papers' protocol. The
metrics, of the test split where there is one, are written to OUTPUT_DIR/results.json, which says both.
"""

import argparse
import json
import logging
import sys

from transformers import HfArgumentParser

from hf_vtg.errors import HFVTGError, ModelError
from hf_vtg.training.arguments import VideoGroundingTrainingArguments
from hf_vtg.training.recipes import get_recipe
from hf_vtg.training.recipes.recipe import ROWS
from hf_vtg.training.run import RunArguments, run_training


def _assignment(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def _recipe_option(text: str) -> tuple[str, object]:
    """(field, value) of a change, or ("", name) of a recipe."""
    return _assignment(text) if "=" in text else ("", text)


def _chosen_recipe(fields: dict) -> dict:
    """Method, benchmark and variant: those of the named recipe, unless said otherwise."""
    names = [value for field, value in fields["recipe_overrides"] if not field]
    fields["recipe_overrides"] = [(field, value) for field, value in fields["recipe_overrides"] if field]
    defaults = {"benchmark": "charades_sta", "variant": "default"}
    if names:
        recipe = get_recipe(names[-1])
        defaults = {"method": recipe.method, "benchmark": recipe.benchmark, "variant": recipe.variant}
        for name in ("method", "variant"):
            if fields[name] not in (None, defaults[name]):
                raise ModelError(f"--{name} {fields[name]} contradicts --recipe {names[-1]}: leave one of them out.")
    elif fields["method"] is None:
        raise ModelError("Say what to train: --recipe METHOD/BENCHMARK, or --method METHOD. See `hf-vtg recipes`.")
    return {**fields, **{name: fields[name] or value for name, value in defaults.items()}}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--recipe",
        action="append",
        type=_recipe_option,
        default=[],
        dest="recipe_overrides",
        metavar="METHOD/BENCHMARK[/VARIANT] | FIELD=VALUE",
    )
    parser.add_argument("--method", help="instead of the name of a recipe")
    parser.add_argument("--benchmark", help="default: the recipe's, else charades_sta; jsonl: own data")
    parser.add_argument("--variant", help="default or official")
    parser.add_argument("--data_dir", "--annotations", required=True, dest="annotations", help="the official files")
    parser.add_argument("--version", help="of the annotations (tacos: 2dtan or tall)")
    parser.add_argument("--features", required=True)
    parser.add_argument("--feature_preset", help="which published features these are, as activitynet_c3d")
    parser.add_argument("--output_dir", default="outputs")
    parser.add_argument("--config", choices=ROWS, help="rows of a batch; default: the recipe's")
    parser.add_argument("--train_split", default="train")
    parser.add_argument("--select_on", metavar="SPLIT", help="validation if there is one; test: the papers' protocol")
    parser.add_argument("--eval_split", help="of the metrics; default: test if there is one")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text_model")
    text.add_argument("--word_vectors")
    parser.add_argument("--set", action="append", type=_assignment, default=[], dest="config_overrides")
    parser.add_argument("--allow_missing", action="store_true")
    parser.add_argument("--resume", action="store_true")
    options, rest = parser.parse_known_args()

    training = HfArgumentParser(VideoGroundingTrainingArguments)
    for action in training._actions:
        # Only what was said on the command line may win over the recipe.
        action.default = argparse.SUPPRESS
    overrides = vars(training.parse_args(rest))

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        fields = _chosen_recipe(vars(options))
        for name in ("config_overrides", "recipe_overrides"):
            fields[name] = dict(fields[name])
        results = run_training(RunArguments(**fields), overrides)
    except (HFVTGError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results["metrics"], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
