"""``hf-vtg train``: a method on a benchmark or on own data, with a paper's recipe."""

import argparse
import contextlib
import logging
import os
import sys
from pathlib import Path
from typing import Any

from ..errors import HFVTGError, ModelError
from .extract import add_encoder_options, build_encoder
from .parser import add_command, assignment, note, print_json

EXAMPLES = """\
  hf-vtg train --recipe mmn/activitynet_captions --data_dir activitynet_captions/ \\
      --features sub_activitynet_v1-3.c3d.hdf5 --feature_preset activitynet_c3d --output_dir outputs/mmn
  hf-vtg train --method mmn --benchmark jsonl --data_dir own.jsonl --videos videos/ --fps 2 \\
      --backbone openai/clip-vit-base-patch32 --text_model sentence-transformers/all-MiniLM-L6-v2
  torchrun --nproc_per_node 4 scripts/train.py --recipe mmn/charades_sta/official --data_dir ... --features ...
"""
DESCRIPTION = """\
--recipe takes the name of a recipe (`hf-vtg recipes` lists them) and, as often as needed, FIELD=VALUE for a change of
it; --set FIELD=VALUE changes the model's configuration. Any method takes features of any vision model (--features, or
--videos with --backbone) and any text encoder (--text_model, or --word_vectors). Every other option is one of the
training arguments of transformers (--num_train_epochs 3, --bf16). Several processes: torchrun with scripts/train.py.

Weights are selected on the validation split where there is one; --select_on test is the papers' protocol. The
metrics, of the test split where there is one, are written to OUTPUT_DIR/results.json, which says both.
"""
FEATURES = "features.h5"


def add(commands: Any) -> None:
    parser = add_command(commands, "train", run, "train a grounding model", DESCRIPTION, EXAMPLES)
    parser.set_defaults(takes_rest=True)
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
    parser.add_argument("--data-dir", "--annotations", required=True, dest="annotations", help="the official files")
    parser.add_argument("--version", help="of the annotations (tacos: 2dtan or tall)")
    parser.add_argument("--features", help=f"feature file; with --videos where to write it (OUTPUT_DIR/{FEATURES})")
    parser.add_argument("--feature-preset", help="which published features these are, as activitynet_c3d")
    parser.add_argument("--output-dir", default="outputs")
    parser.add_argument("--config", help="rows of a batch: sentence, video or paragraph; default: the recipe's")
    parser.add_argument("--train-split", default="train")
    parser.add_argument("--select-on", metavar="SPLIT", help="validation if there is one; test: the papers' protocol")
    parser.add_argument("--eval-split", help="of the metrics; default: test if there is one")
    text = parser.add_mutually_exclusive_group()
    text.add_argument("--text-model", help="id or folder of any Hugging Face text model")
    text.add_argument("--word-vectors", help="GloVe file, .npz, or folder")
    parser.add_argument(
        "--set", action="append", type=assignment, default=[], dest="config_overrides", metavar="FIELD=VALUE"
    )
    parser.add_argument("--allow-missing", action="store_true", help="train although videos have no features")
    parser.add_argument("--resume", action="store_true", help="go on with a run that was stopped")
    encoding = parser.add_argument_group("features from video files")
    encoding.add_argument("--videos", nargs="+", metavar="DIR", help="encode the annotated videos first")
    add_encoder_options(encoding, required=False)


def run(options: Any) -> int:
    from accelerate import PartialState

    from ..training.run import RunArguments, run_training

    overrides = _training_arguments(options)
    fields = _chosen_recipe(vars(options))
    for name in ("config_overrides", "recipe_overrides"):
        fields[name] = dict(fields[name])
    arguments = {name: fields[name] for name in RunArguments.__dataclass_fields__}
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    # The Trainer prints its log; stdout is for the result.
    with contextlib.redirect_stdout(sys.stderr):
        arguments["features"] = _features(options, arguments)
        results = run_training(RunArguments(**arguments), overrides)
    if int(os.environ.get("RANK", 0)) == 0:
        if options.json:
            print_json(results, indent=2)
        else:
            for name, value in results["metrics"].items():
                print(f"{name:16}{value:10.2f}" if isinstance(value, float) else f"{name:16}{value:10}")
    # The threads of a process group may otherwise abort the process while the interpreter ends.
    PartialState().destroy_process_group()
    return 0


def _training_arguments(options: Any) -> dict[str, Any]:
    """The options that are training arguments; only what was said on the command line may win over the recipe."""
    from transformers import HfArgumentParser

    from ..training.arguments import VideoGroundingTrainingArguments

    training = HfArgumentParser(VideoGroundingTrainingArguments)
    for action in training._actions:
        action.default = argparse.SUPPRESS
    options.parser.more_options = list(training._option_string_actions)
    training.error = options.parser.error
    return vars(training.parse_args(options.rest))


def _features(options: Any, arguments: dict[str, Any]) -> str:
    """The feature file; encoded first from ``--videos``, the annotated ones alone."""
    if (options.videos is None) != (options.backbone is None):
        raise HFVTGError("--videos and --backbone belong together: the files, and the vision model that encodes them.")
    if options.videos is None:
        if options.features is None:
            raise HFVTGError("What should be trained on? Give --features FILE, or --videos DIR with --backbone ID.")
        return options.features
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        raise HFVTGError("Several processes would encode the same videos: run `hf-vtg extract` first.")
    from ..benchmarks import load_benchmark
    from ..video.extraction import extract_features, find_videos

    out = Path(options.features or Path(options.output_dir) / FEATURES)
    splits = load_benchmark(arguments["benchmark"], data_dir=options.annotations, version=options.version)
    annotated = {video_id for split in splits.values() for video_id in split["video_id"]}
    videos = {video_id: path for video_id, path in find_videos(options.videos).items() if video_id in annotated}
    if not videos:
        raise HFVTGError(
            f"None of the {len(annotated)} annotated videos, such as {min(annotated)!r}, is in "
            f"{', '.join(options.videos)}. A video's file is named VIDEO_ID.mp4 (or another ending)."
        )
    result = extract_features(videos, build_encoder(options), out)
    for message in result.failed.values():
        note(message)
    return str(out)


def _recipe_option(text: str) -> tuple[str, object]:
    """(field, value) of a change, or ("", name) of a recipe."""
    return assignment(text) if "=" in text else ("", text)


def _chosen_recipe(fields: dict[str, Any]) -> dict[str, Any]:
    """Method, benchmark and variant: those of the named recipe, unless said otherwise."""
    from ..models.registry import get_recipe

    names = [value for field, value in fields["recipe_overrides"] if not field]
    changes = [(field, value) for field, value in fields["recipe_overrides"] if field]
    defaults = {"benchmark": "charades_sta", "variant": "default"}
    if names:
        recipe = get_recipe(names[-1])
        defaults = {"method": recipe.method, "benchmark": recipe.benchmark, "variant": recipe.variant}
        for name in ("method", "variant"):
            if fields[name] not in (None, defaults[name]):
                raise ModelError(f"--{name} {fields[name]} contradicts --recipe {names[-1]}: leave one of them out.")
    elif fields["method"] is None:
        raise ModelError("Say what to train: --recipe METHOD/BENCHMARK, or --method METHOD. See `hf-vtg recipes`.")
    chosen = {name: fields[name] or value for name, value in defaults.items()}
    return {**fields, "recipe": names[-1] if names else None, "recipe_overrides": changes, **chosen}
