#!/usr/bin/env python
"""Score a prediction file against a reference file: R@n,IoU=m and mIoU.

python scripts/evaluate.py --predictions outputs/mmn/predictions.jsonl --references test.jsonl
python scripts/evaluate.py --format cbp --predictions predictions.json --references ground_truth.json
python scripts/evaluate.py --format qvhighlights --predictions preds.jsonl --references highlight_val_release.jsonl

The formats are described in hf_vtg/benchmarks/predictions.py. hf_vtg and cbp count a hit as IoU > m (strict),
qvhighlights as IoU >= m (inclusive); --strict and --inclusive override that.
"""

import argparse
import json
import sys

from hf_vtg.benchmarks.predictions import FORMATS, evaluate_predictions, format_table
from hf_vtg.cache import atomic_path
from hf_vtg.errors import HFVTGError
from hf_vtg.metrics import IOU_THRESHOLDS, RANKS


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--predictions", required=True)
    parser.add_argument("--references", required=True)
    parser.add_argument("--format", default="hf_vtg", choices=FORMATS)
    counting = parser.add_mutually_exclusive_group()
    counting.add_argument("--inclusive", action="store_true", default=None, help="a hit is IoU >= m")
    counting.add_argument("--strict", action="store_false", dest="inclusive", help="a hit is IoU > m")
    parser.add_argument("--round_iou", type=int, help="decimals to which IoU is rounded first (HiSA: 2, inclusive)")
    parser.add_argument("--iou_thresholds", type=float, nargs="+", default=list(IOU_THRESHOLDS))
    parser.add_argument("--ranks", type=int, nargs="+", default=list(RANKS))
    parser.add_argument("--output", help="write all figures to this JSON file")
    options = vars(parser.parse_args(arguments))
    output = options.pop("output")
    try:
        results = evaluate_predictions(**options)
        if output:
            with atomic_path(output) as path:
                path.write_text(json.dumps(results, indent=2) + "\n", encoding="utf-8")
    except (HFVTGError, OSError) as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    print(format_table(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
