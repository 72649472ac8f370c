#!/usr/bin/env python
"""Train a grounding model with a paper's recipe.

python scripts/train.py --method mmn --benchmark charades_sta --annotations FILE_OR_DIR --features FILE \\
    --output_dir outputs/mmn --text_model FOLDER_OR_ID | --word_vectors GLOVE

``--set NAME=VALUE`` changes a field of the model's configuration, ``--recipe NAME=VALUE`` one of the recipe; every
other option is one of the training arguments (``--num_train_epochs 3``). Several processes: torchrun.
"""

import argparse
import json
import logging
import sys

from transformers import HfArgumentParser

from hf_vtg.errors import HFVTGError
from hf_vtg.training.arguments import VideoGroundingTrainingArguments
from hf_vtg.training.run import RunArguments, run_training


def _assignment(text: str) -> tuple[str, object]:
    name, equals, value = text.partition("=")
    if not name or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME=VALUE")
    try:
        return name, json.loads(value)
    except json.JSONDecodeError:
        return name, value


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", required=True)
    parser.add_argument("--benchmark", default="charades_sta", help="charades_sta, or jsonl for own data")
    parser.add_argument("--annotations", required=True)
    parser.add_argument("--features", required=True)
    parser.add_argument("--output_dir", default="outputs")
    parser.add_argument("--variant", default="default")
    parser.add_argument("--config", default="paragraph", choices=("sentence", "paragraph"))
    parser.add_argument("--train_split", default="train")
    parser.add_argument("--eval_split")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text_model")
    text.add_argument("--word_vectors")
    parser.add_argument("--set", action="append", type=_assignment, default=[], dest="config_overrides")
    parser.add_argument("--recipe", action="append", type=_assignment, default=[], dest="recipe_overrides")
    parser.add_argument("--allow_missing", action="store_true")
    parser.add_argument("--resume", action="store_true")
    options, rest = parser.parse_known_args()

    training = HfArgumentParser(VideoGroundingTrainingArguments)
    for action in training._actions:
        # Only what was said on the command line may win over the recipe.
        action.default = argparse.SUPPRESS
    overrides = vars(training.parse_args(rest))

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    fields = vars(options)
    for name in ("config_overrides", "recipe_overrides"):
        fields[name] = dict(fields[name])
    try:
        results = run_training(RunArguments(**fields), overrides)
    except (HFVTGError, OSError) as error:
        print(f"train.py: {error}", file=sys.stderr)
        return 2
    print(json.dumps(results["metrics"], indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
