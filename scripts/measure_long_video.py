"""Time and peak memory of grounding many sentences in long videos.

Renders a file of each length once (64x64, 5 frames a second), then grounds all sentences in a fresh process a file:
python scripts/measure_long_video.py --minutes 10 120 --queries 200
"""

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

# The checkout instead of this folder, in which evaluate.py would hide the package evaluate.
sys.path[0] = str(Path(__file__).resolve().parent.parent)

from scripts.lab.resources import peak_memory

SIDE, FPS = 64, 5


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=int, nargs="+", default=[10, 120])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--model", help="folder or Hub id; default: the shipped one")
    parser.add_argument("--work", type=Path, default=Path("outputs/long_video"), help="receives the files")
    parser.add_argument("--one", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


def main() -> None:
    options = parse()
    if options.one is not None:
        print(json.dumps(measure(options.one, options.queries, options.model)))
        return
    results = []
    for minutes in options.minutes:
        video = options.work / f"{minutes}_minutes.mp4"
        if not video.exists():
            start = time.perf_counter()
            render(video, minutes)
            print(f"rendered {video} in {time.perf_counter() - start:.1f} s")
        command = [sys.executable, __file__, "--one", str(video), "--queries", str(options.queries)]
        command += ["--model", options.model] if options.model else []
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        results.append({"minutes": minutes, **json.loads(done.stdout.splitlines()[-1])})
        print(json.dumps(results[-1]), flush=True)
    print(f"peak memory: {results[-1]['peak_mib'] / results[0]['peak_mib']:.2f} x that of the first")


def render(path: Path, minutes: int) -> None:
    """A square that wanders over a background which changes every ten seconds."""
    import av

    from hf_vtg.files import atomic_path

    random = np.random.default_rng(minutes)
    with atomic_path(path) as part, av.open(str(part), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width = stream.height = SIDE
        stream.pix_fmt = "yuv420p"
        image = np.zeros((SIDE, SIDE, 3), np.uint8)
        for index in range(minutes * 60 * FPS):
            if index % (10 * FPS) == 0:
                background, colour = random.integers(0, 255, (2, 3), np.uint8)
            image[:] = background
            x, y = (index * 3) % (SIDE - 12), (index // 7) % (SIDE - 12)
            image[y : y + 12, x : x + 12] = colour
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode())


def measure(video: Path, queries: int, model: str | None) -> dict[str, float]:
    """Seconds of encoding, of all sentences, and of one sentence; peak memory of this process."""
    from hf_vtg.moving_shapes.scenarios import generate_scenario, scenario_seeds
    from hf_vtg.pipeline import DEFAULT_MODEL, load_pipeline

    known = [query.text for seed in scenario_seeds("demo") for query in generate_scenario(seed).sentences]
    sentences = [known[i % len(known)] for i in range(queries)]
    pipe = load_pipeline(model or DEFAULT_MODEL)
    loaded = peak_memory() / 2**20
    start = time.perf_counter()
    encoded = pipe.encode(str(video), use_cache=False, progress=False)
    encode_seconds = time.perf_counter() - start
    start = time.perf_counter()
    pipe(encoded, sentences[0], progress=False)
    one_seconds = time.perf_counter() - start
    start = time.perf_counter()
    answers = pipe(encoded, sentences, progress=False)
    assert len(answers) == queries and all(answers)
    return {
        "queries": queries,
        "features": len(encoded["features"]),
        "encode_s": round(encode_seconds, 1),
        "one_query_s": round(one_seconds, 2),
        "all_queries_s": round(time.perf_counter() - start, 2),
        "loaded_mib": round(loaded),
        "peak_mib": round(peak_memory() / 2**20),
    }


if __name__ == "__main__":
    main()
