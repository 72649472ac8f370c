"""``hf-vtg evaluate``: R@n,IoU=m and mIoU of a prediction file."""

from typing import Any

from .parser import add_command, print_json

EXAMPLES = """\
  hf-vtg evaluate --predictions outputs/mmn/predictions.jsonl --references test.jsonl
  hf-vtg evaluate --format cbp --predictions predictions.json --references ground_truth.json
  hf-vtg evaluate --format qvhighlights --predictions preds.jsonl --references highlight_val_release.jsonl
"""
DESCRIPTION = """\
Score a prediction file against a reference file. The formats are described in hf_vtg/benchmarks/predictions.py.
hf_vtg and cbp count a hit as IoU > m (strict), qvhighlights as IoU >= m (inclusive); --strict and --inclusive
override that.
"""


def add(commands: Any) -> None:
    from ..benchmarks.predictions import FORMATS
    from ..metrics import IOU_THRESHOLDS, RANKS

    parser = add_command(commands, "evaluate", run, "score a prediction file", DESCRIPTION, EXAMPLES)
    parser.add_argument("--predictions", required=True)
    parser.add_argument("--references", required=True)
    parser.add_argument("--format", default="hf_vtg", choices=FORMATS)
    counting = parser.add_mutually_exclusive_group()
    counting.add_argument("--inclusive", action="store_true", default=None, help="a hit is IoU >= m")
    counting.add_argument("--strict", action="store_false", dest="inclusive", help="a hit is IoU > m")
    parser.add_argument("--round-iou", type=int, help="decimals to which IoU is rounded first (HiSA: 2, inclusive)")
    parser.add_argument("--iou-thresholds", type=float, nargs="+", default=list(IOU_THRESHOLDS))
    parser.add_argument("--ranks", type=int, nargs="+", default=list(RANKS))
    parser.add_argument("--output", help="write all figures to this JSON file")


def run(options: Any) -> int:
    from ..benchmarks.predictions import evaluate_predictions, format_table
    from ..files import write_json

    names = ("predictions", "references", "format", "inclusive", "round_iou", "iou_thresholds", "ranks")
    results = evaluate_predictions(**{name: getattr(options, name) for name in names})
    if options.output:
        write_json(options.output, results)
    if options.json:
        print_json(results, indent=2)
    else:
        print(format_table(results))
    return 0
