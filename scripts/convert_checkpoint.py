"""Turns a published checkpoint into a folder that ``pipeline("video-grounding")`` loads; see docs/."""

import argparse
import sys
from pathlib import Path

from hf_vtg.converting import Conversion, convert_checkpoint
from hf_vtg.errors import HFVTGError


def parse(arguments: list[str] | None = None) -> Conversion:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", required=True, help="mmn, hisa, ianet or clear")
    parser.add_argument("--checkpoint", required=True, type=Path, help="FILE.pth or FILE.safetensors")
    parser.add_argument("--output", required=True, type=Path, help="folder for model, processor and card")
    parser.add_argument("--benchmark", help="published experiment: charades_sta, activitynet_captions or tacos")
    parser.add_argument("--config", type=Path, help="instead: the official configuration, or ours, as JSON or YAML")
    parser.add_argument("--variant", default="official", help="official (default): the official code's numbers")
    parser.add_argument("--text_model", help="whose tokenizer to use; default distilbert-base-uncased")
    parser.add_argument("--word_vectors", help="GloVe file, npz or folder, for methods without a text model")
    parser.add_argument("--features", help="what it was trained on: a name of FEATURE_PRESETS")
    parser.add_argument("--push_to_hub", metavar="REPO", help="also publish the folder there")
    return Conversion(**vars(parser.parse_args(arguments)))


def main(arguments: list[str] | None = None) -> int:
    try:
        job = parse(arguments)
        model, _ = convert_checkpoint(job)
    except HFVTGError as error:
        print(f"convert_checkpoint: {error}", file=sys.stderr)
        return 2
    print(f"{type(model).__name__} with {sum(p.numel() for p in model.parameters())} parameters in {job.output}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
