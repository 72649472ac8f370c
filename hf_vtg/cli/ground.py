"""``hf-vtg ground``: moments of sentences in videos, as table, JSON lines, pictures and clips."""

from pathlib import Path
from typing import Any

from ..errors import HFVTGError, QueryError, VideoError
from ..pipeline import DEFAULT_MODEL, load_pipeline
from .parser import add_command, note, positive, print_json, read_lines

EXAMPLES = """\
  hf-vtg ground video.mp4 --query "the red circle jumps"
  hf-vtg ground videos/ --queries sentences.txt --model my-model --json > predictions.jsonl
  hf-vtg ground video.mp4 --query "the red circle jumps" --top-k 3 --clips clips/ --plot timeline.png
"""
DESCRIPTION = """\
Find when sentences happen in videos. Each video is decoded and encoded once, and its features are kept in
$HF_VTG_CACHE. The model that ships with the package knows the coloured shapes of moving_shapes and nothing else:
give --model for your own videos. --json prints a line a video and sentence, which `hf-vtg evaluate` reads.
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "ground", run, "find when a sentence happens in a video", DESCRIPTION, EXAMPLES)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="file, or folder of files")
    parser.add_argument("--query", action="append", default=[], help="a sentence; repeat for several")
    parser.add_argument("--queries", metavar="FILE", help="text file with a sentence a line; - is stdin")
    parser.add_argument("--model", default=str(DEFAULT_MODEL), help="folder or Hub id; default: the shipped one")
    parser.add_argument("--backbone", help="vision model; default: the one the model was trained with")
    parser.add_argument("--top-k", type=positive, default=5, help="moments a sentence (5)")
    parser.add_argument("--device", help="cpu, cuda, ...; default: the best there is")
    parser.add_argument("--no-cache", action="store_true", help="neither read nor keep features on disk")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="cut each moment to an mp4 file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="timeline as .png, .svg or .pdf")
    parser.add_argument("--map", type=Path, metavar="FILE", help="score map of the first sentence, likewise")


def run(options: Any) -> int:
    from ..benchmarks.extraction import find_videos

    queries = [*options.query, *(read_lines(options.queries) if options.queries else [])]
    if not queries:
        raise QueryError('Nothing to look for: give --query "a sentence", or --queries FILE.')
    for picture in filter(None, (options.plot, options.map)):
        check_picture(picture, len(queries))
    videos = find_videos(options.videos)
    pipe = load_pipeline(options.model, device=options.device)
    # Bad text is found before minutes are spent on the first video.
    pipe.processor(text=[queries])
    failed = []
    for video_id, path in videos.items():
        try:
            encoded = pipe.encode(path, backbone=options.backbone, use_cache=not options.no_cache)
            answers = pipe(encoded, queries, top_k=options.top_k)
            rows = _rows(video_id, path, encoded["duration"], queries, answers)
            if options.clips:
                _cut(path, rows, options.clips)
            _draw(options, pipe, encoded, rows, several=len(videos) > 1)
        except VideoError as error:
            failed.append(str(error))
            continue
        _show(rows, options.json, several=len(videos) > 1)
    if len(failed) == len(videos):
        raise VideoError(" ".join(failed[:3]))
    for message in failed:
        note(message)
    if failed:
        note(f"{len(failed)} of {len(videos)} videos could not be read")
    return 0


def _rows(video_id: str, path: Path, duration: float, queries: list[str], answers: list) -> list[dict[str, Any]]:
    """Lines of a prediction file (benchmarks/predictions.py), with the video's path and duration."""
    return [
        {
            "query_id": f"{video_id}/{index}",
            "video_id": video_id,
            "video": str(path),
            "duration": duration,
            "sentence": query,
            "moments": moments,
        }
        for index, (query, moments) in enumerate(zip(queries, answers, strict=True))
    ]


def _cut(path: Path, rows: list[dict[str, Any]], folder: Path) -> None:
    from ..video.cutting import cut_moments

    clips = cut_moments(path, [row["moments"] for row in rows], folder, rows[0]["video_id"])
    for row, files in zip(rows, clips, strict=True):
        row["moments"] = [{**m, "clip": str(file)} for m, file in zip(row["moments"], files, strict=True)]


def _draw(options: Any, pipe: Any, encoded: dict[str, Any], rows: list[dict[str, Any]], several: bool) -> None:
    from ..video.cutting import thumbnails
    from ..visualization import plot_score_map, plot_timeline, save_figure

    def named(path: Path) -> Path:
        return path.with_stem(f"{path.stem}_{rows[0]['video_id']}") if several else path

    queries, duration = [row["sentence"] for row in rows], encoded["duration"]
    if options.plot:
        pictures = thumbnails(rows[0]["video"], duration)
        figure = plot_timeline(
            queries, [row["moments"] for row in rows], duration, title=rows[0]["video_id"], thumbnails=pictures
        )
        save_figure(figure, named(options.plot))
    if options.map:
        candidates = pipe.forward(pipe.preprocess({"video": encoded, "query": queries[0]}))
        figure = plot_score_map(candidates["moments"][0], candidates["scores"][0], duration, title=queries[0])
        save_figure(figure, named(options.map))


def _show(rows: list[dict[str, Any]], as_json: bool, several: bool) -> None:
    if as_json:
        for row in rows:
            print_json(row)
        return
    if several:
        print(f"{rows[0]['video']} ({rows[0]['duration']:.2f} s)")
    for row in rows:
        print(row["sentence"])
        for moment in row["moments"]:
            clip = f"   {moment['clip']}" if "clip" in moment else ""
            print(f"  {moment['start']:8.2f} s  {moment['end']:8.2f} s   score {moment['score']:.3f}{clip}")
    if several:
        print()


def check_picture(path: Path, queries: int) -> None:
    """Raise HFVTGError before the work if a picture could not be drawn after it."""
    from ..visualization import FORMATS, MAX_QUERIES

    if path.suffix.lower() not in FORMATS:
        raise HFVTGError(f"{path} is no picture that can be written: choose a name that ends in {', '.join(FORMATS)}.")
    if queries > MAX_QUERIES:
        raise HFVTGError(f"{queries} sentences do not fit one picture: at most {MAX_QUERIES}. Leave out --plot.")
