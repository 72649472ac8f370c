"""``hf-vtg ground``: moments of sentences in videos, as table, JSON lines, pictures and clips."""

from pathlib import Path
from typing import Any

from ..errors import HFVTGError, QueryError, VideoError
from ..text.paragraphs import split_sentences
from .parser import add_command, device, note, positive, print_json, read_lines

EXAMPLES = """\
  hf-vtg ground video.mp4 --query "the red circle jumps"
  hf-vtg ground videos/ --queries sentences.txt --model my-model --json > predictions.jsonl
  hf-vtg ground video.mp4 --query "the red circle jumps" --top-k 3 --clips clips/ --plot timeline.png
"""
DESCRIPTION = """\
Find when sentences happen in videos. Each video is decoded and encoded once, and its features are kept in
$HF_VTG_CACHE. The model that ships with the package knows the coloured shapes of moving_shapes and nothing else:
give --model for your own videos. --json prints a line a video and sentence, which `hf-vtg evaluate` reads, and with
--paragraph a line a video.
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "ground", run, "find when a sentence happens in a video", DESCRIPTION, EXAMPLES)
    parser.add_argument("videos", nargs="+", metavar="VIDEO", help="file, or folder of files")
    parser.add_argument("--query", action="append", default=[], help="a sentence; repeat for several")
    parser.add_argument("--queries", metavar="FILE", help="text file with a sentence a line; - is stdin")
    parser.add_argument(
        "--paragraph",
        action="store_true",
        help="the sentences are one text, told in order; a single --query is split into sentences",
    )
    parser.add_argument("--model", help="folder or Hub id; default: the shipped one")
    parser.add_argument("--backbone", help="vision model; default: the one the model was trained with")
    parser.add_argument("--top-k", type=positive, default=5, help="moments a sentence (5)")
    parser.add_argument("--device", type=device, help="cpu, cuda, ...; default: the best there is")
    parser.add_argument("--no-cache", action="store_true", help="neither read nor keep features on disk")
    parser.add_argument("--clips", type=Path, metavar="DIR", help="cut each moment to an mp4 file")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="timeline as .png, .svg or .pdf")
    parser.add_argument("--map", type=Path, metavar="FILE", help="score maps of the sentences, likewise")
    parser.add_argument(
        "--attention",
        type=Path,
        metavar="FILE",
        help="attention of words and clips, likewise, of methods that have it",
    )


def run(options: Any) -> int:
    from ..pipeline import DEFAULT_MODEL, load_pipeline
    from ..video.extraction import find_videos
    from ..visualization import check_attention

    queries = [*options.query, *(read_lines(options.queries) if options.queries else [])]
    if not queries:
        raise QueryError('Nothing to look for: give --query "a sentence", or --queries FILE.')
    if options.paragraph and len(queries) == 1:
        queries = split_sentences(queries[0])
    for picture in filter(None, (options.plot, options.map, options.attention)):
        check_picture(picture, len(queries))
    videos = find_videos(options.videos)
    pipe = load_pipeline(
        options.model or str(DEFAULT_MODEL), device=None if options.device == "auto" else options.device
    )
    # Bad text, and what cannot be drawn, is found before minutes are spent on the first video.
    pipe.processor(text=[queries])
    if options.attention:
        pipe.check_attention()
        check_attention(pipe.processor.words(queries))
    failed = []
    for video_id, path in videos.items():
        try:
            encoded = pipe.encode(path, backbone=options.backbone, use_cache=not options.no_cache)
            question = {"video": encoded, "query": queries, "paragraph": options.paragraph}
            candidates = pipe.forward(pipe.preprocess(question), attention=options.attention is not None)
            answer = pipe.postprocess(candidates, top_k=options.top_k)
            if not options.paragraph:
                found = zip(queries, answer, strict=True)
                answer = {"sentences": [{"sentence": text, "moments": moments} for text, moments in found]}
            answer = {"video_id": video_id, "video": str(path), "duration": encoded["duration"], **answer}
            if options.clips:
                _cut(answer, options.clips)
            _draw(options, candidates, answer, several=len(videos) > 1)
        except VideoError as error:
            failed.append(str(error))
            continue
        if options.json:
            _print_json(answer, options.paragraph)
        else:
            _print_table(answer, several=len(videos) > 1)
    if len(failed) == len(videos):
        raise VideoError(" ".join(failed[:3]))
    for message in failed:
        note(message)
    if failed:
        note(f"{len(failed)} of {len(videos)} videos could not be read")
    return 0


def _cut(answer: dict[str, Any], folder: Path) -> None:
    from ..video.cutting import cut_moments

    rows = answer["sentences"]
    clips = cut_moments(answer["video"], [row["moments"] for row in rows], folder, answer["video_id"])
    for row, files in zip(rows, clips, strict=True):
        row["moments"] = [{**m, "clip": str(file)} for m, file in zip(row["moments"], files, strict=True)]


def _draw(options: Any, candidates: dict[str, Any], answer: dict[str, Any], several: bool) -> None:
    from ..video.cutting import thumbnails
    from ..visualization import plot_attentions, plot_score_maps, plot_timeline, save_figure

    def named(path: Path) -> Path:
        return path.with_stem(f"{path.stem}_{answer['video_id']}") if several else path

    queries, duration = [row["sentence"] for row in answer["sentences"]], answer["duration"]
    if options.plot:
        figure = plot_timeline(
            queries,
            [row["moments"] for row in answer["sentences"]],
            duration,
            title=answer["video_id"],
            thumbnails=thumbnails(answer["video"], duration),
            numbered=options.paragraph,
        )
        save_figure(figure, named(options.plot))
    if options.map:
        figure = plot_score_maps(candidates["moments"], candidates["scores"], duration, titles=queries)
        save_figure(figure, named(options.map))
    if options.attention:
        tops = (row["moments"][:1] for row in answer["sentences"])
        best = [(top[0]["start"], top[0]["end"]) if top else None for top in tops]
        save_figure(plot_attentions(candidates["attention"], duration, best, titles=queries), named(options.attention))


def _print_json(answer: dict[str, Any], paragraph: bool) -> None:
    """A video as one line, or its sentences as lines of a prediction file (benchmarks/predictions.py)."""
    if paragraph:
        print_json(answer)
        return
    place = {name: answer[name] for name in ("video_id", "video", "duration")}
    for index, row in enumerate(answer["sentences"]):
        print_json({"query_id": f"{answer['video_id']}/{index}", **place, **row})


def _print_table(answer: dict[str, Any], several: bool) -> None:
    if several:
        print(f"{answer['video']} ({answer['duration']:.2f} s)")
    if "start" in answer:
        print(f"whole paragraph: {answer['start']:.2f} s to {answer['end']:.2f} s")
    for row in answer["sentences"]:
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
        raise HFVTGError(
            f"{queries} sentences do not fit one picture: at most {MAX_QUERIES}. Leave out --plot, --map and "
            "--attention."
        )
