"""``hf-vtg convert``: a published checkpoint as a folder that every command and ``from_pretrained`` loads."""

from pathlib import Path
from typing import Any

from .parser import add_command, print_json

EXAMPLES = """\
  hf-vtg convert --method mmn --checkpoint best_charades.pth --benchmark charades_sta --output mmn-charades
  hf-vtg convert --method hisa --checkpoint hisa.safetensors --config official.yaml --output hisa-charades \\
      --word_vectors glove.840B.300d.txt
"""


def add(commands: Any) -> None:
    from ..benchmarks.facts import FEATURES, PUBLISHED

    parser = add_command(
        commands,
        "convert",
        run,
        "turn a published checkpoint into a folder of ours",
        'Turns a published checkpoint into a folder that pipeline("video-grounding") loads. Nothing in it is run.',
        EXAMPLES,
    )
    parser.add_argument("--method", required=True, help="one with published weights; an unknown one lists them")
    parser.add_argument("--checkpoint", required=True, type=Path, help="FILE.pth or FILE.safetensors")
    parser.add_argument("--output", required=True, type=Path, help="folder for model, processor and card")
    parser.add_argument("--benchmark", help=f"published experiment: {', '.join(PUBLISHED)}")
    parser.add_argument("--config", type=Path, help="instead: the official configuration, or ours, as JSON or YAML")
    parser.add_argument("--variant", default="official", help="official (default): the official code's numbers")
    parser.add_argument("--text-model", help="whose tokenizer to use; default distilbert-base-uncased")
    parser.add_argument("--word-vectors", help="GloVe file, npz or folder, for methods without a text model")
    parser.add_argument("--features", help=f"what it was trained on: {', '.join(FEATURES)}")
    parser.add_argument("--push-to-hub", metavar="REPO", help="also publish the folder there")


def run(options: Any) -> int:
    from ..models.checkpoints import Conversion, convert_checkpoint

    job = Conversion(**{name: getattr(options, name) for name in Conversion.__dataclass_fields__})
    model, _ = convert_checkpoint(job)
    done = {"model": type(model).__name__, "parameters": sum(p.numel() for p in model.parameters())}
    if options.json:
        print_json({**done, "output": str(job.output)}, indent=2)
    else:
        print(f"{done['model']} with {done['parameters']} parameters in {job.output}")
    return 0
