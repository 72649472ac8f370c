"""``hf-vtg check-data``: is my annotation file right, what is in it, and what would guessing reach?"""

from typing import Any

from .parser import add_command, positive, print_json

EXAMPLES = """\
  hf-vtg check-data train.jsonl
  hf-vtg check-data train.jsonl test.jsonl --videos videos/ --features features.h5
"""
DESCRIPTION = """\
Check own annotations, a line a video, times in seconds:
  {"video_id": "cat01", "duration": 31.2, "sentences": ["a cat jumps"], "moments": [[3.5, 6.0]]}
video_id is the name of the video file without its ending. Every problem is named with its line and what to do. The
floor is what the best constant moment reaches, without looking at video or sentence: a trained model must beat it.
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "check-data", run, "check own annotations", DESCRIPTION, EXAMPLES)
    parser.add_argument("files", nargs="+", metavar="FILE", help=".jsonl (or grouped .json), one a split")
    parser.add_argument("--videos", metavar="DIR", help="also look for the video files, and compare durations")
    parser.add_argument("--features", metavar="FILE", help="also look for the features")
    parser.add_argument("--max-findings", type=positive, default=50, help="printed findings (50); --json has all")


def run(options: Any) -> int:
    from ..benchmarks.checking import check_annotations
    from ..features.store import FeatureStore
    from ..video.decode import probe_video
    from ..video.extraction import find_videos

    report = check_annotations(
        options.files,
        find_videos([options.videos]) if options.videos else None,
        lambda file: probe_video(file).duration,
        FeatureStore(options.features) if options.features else None,
    )
    if options.json:
        print_json(report.to_dict(), indent=2)
        return 1 if report.errors else 0
    for finding in report.findings[: options.max_findings]:
        print(finding)
    if len(report.findings) > options.max_findings:
        print(f"... and {len(report.findings) - options.max_findings} more; --max-findings shows them")
    for path, figures in report.statistics.items():
        print(f"\n{path}: {figures['videos']} videos, {figures['sentences']} sentences")
        for name, value in figures.items():
            if isinstance(value, dict):
                print(f"  {name:20} {value['min']:8.2f} to {value['max']:.2f}, median {value['median']:.2f}")
    _print_floor(report.floor)
    warnings = len(report.findings) - report.errors
    print(f"\n{report.errors} errors, {warnings} warnings")
    return 1 if report.errors else 0


def _print_floor(floor: dict[str, Any] | None) -> None:
    if floor is None:
        return
    start, end = floor["constant_moment"]
    print(f"\nfloor: always {start:.0%} to {end:.0%} of the video, fitted on {floor['fitted_on']}", end="")
    print(f", measured on {floor['measured_on']}" if floor["measured_on"] != floor["fitted_on"] else " itself")
    recalls = "   ".join(f"{name} {value:.2f}" for name, value in floor.items() if name.startswith(("R@", "mIoU")))
    print(f"  {recalls}   ({floor['num_queries']} queries, percent)")
