#!/usr/bin/env python
"""Times of MMN at the published sizes: the map by strips against the dense map, and what a further sentence costs.

python scripts/benchmark.py                       # every row; a quarter of an hour on two cores
python scripts/benchmark.py --sizes charades_sta --what eval --repeats 3

Both forms run in turn, medians of wall time are printed beside CPU seconds; peak memory is that of a fresh process
which runs one form once. Weights are random, so are features; the text encoder is left out of the map rows.
"""

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
import time

import torch

from hf_vtg import MMNConfig, MMNForVideoGrounding, WordVectorConfig
from hf_vtg.layers.map_conv import MaskedMapConv

FORMS = ("strips", "dense")


def build_map(size: str) -> tuple[MMNForVideoGrounding, MMNConfig]:
    """A model of the published ``size`` with a small word table."""
    config = MMNConfig.for_benchmark(size, text_config=WordVectorConfig(vocab_size=100))
    torch.manual_seed(0)
    return MMNForVideoGrounding(config), config


def run_map(model: MMNForVideoGrounding, cells: torch.Tensor, form: str, train: bool) -> torch.Tensor:
    conv: MaskedMapConv = model.map_conv
    conv.implementation = form
    conv.train(train)
    if not train:
        with torch.inference_mode():
            return conv(model.grid, cells)
    conv.zero_grad()
    output = conv(model.grid, cells)
    output.square().mean().backward()
    return output.detach()


def measured(function) -> tuple[float, float, torch.Tensor]:
    """Wall seconds, CPU seconds and the result."""
    wall, cpu = time.perf_counter(), time.process_time()
    result = function()
    return time.perf_counter() - wall, time.process_time() - cpu, result


def peak_memory(size: str, form: str, what: str, batch: int) -> float:
    """Peak resident GB of a fresh process that runs one form once."""
    command = [sys.executable, __file__, "--child", json.dumps([size, form, what, batch])]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(done.stdout.split()[-1])


def child(size: str, form: str, what: str, batch: int) -> None:
    model, config = build_map(size)
    run_map(model, torch.randn(batch, config.hidden_size, model.grid.num_cells), form, what == "train")
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6)


def map_rows(size: str, what: str, batch: int, repeats: int) -> None:
    model, config = build_map(size)
    cells = torch.randn(batch, config.hidden_size, model.grid.num_cells)
    results = {form: [] for form in FORMS}
    for _ in range(repeats + 1):
        for form in FORMS:
            results[form].append(measured(lambda f=form: run_map(model, cells, f, what == "train")))
    # The first round warms up.
    results = {form: rows[1:] for form, rows in results.items()}
    # Batch statistics of the earlier runs move the buffers, not the training output.
    difference = float((results["strips"][-1][2] - results["dense"][-1][2]).abs().max())
    walls = {form: statistics.median(row[0] for row in results[form]) for form in FORMS}
    for form in FORMS:
        cpu = statistics.median(row[1] for row in results[form])
        memory = peak_memory(size, form, what, batch)
        ratio = walls["dense"] / walls[form]
        print(
            f"{size:22s} {what:6s} {form:7s} B={batch}  {walls[form]:7.2f} s  {cpu:7.2f} CPU s  {memory:5.2f} GB  "
            f"{ratio:5.2f} x  max abs difference {difference:.1e}",
            flush=True,
        )


def sentence_row(size: str, repeats: int, sentences: int = 100, words: int = 12) -> None:
    """``encode_video`` once, then 100 sentences on its state."""
    model, config = build_map(size)
    model.eval()
    features = torch.randn(1, config.num_pre_clips, config.feature_dim)
    ids = torch.randint(2, 100, (1, sentences, words))
    with torch.inference_mode():
        videos = [measured(lambda: model.encode_video(features)) for _ in range(repeats)]
        state = videos[-1][2]
        texts = [measured(lambda: model(input_ids=ids, video_state=state)) for _ in range(repeats)]
    video, text = (statistics.median(row[0] for row in rows) for rows in (videos, texts))
    share = text / sentences / video
    print(
        f"{size:22s} encode_video {video:6.2f} s, {sentences} further sentences {text * 1e3:7.1f} ms "
        f"= {share:.3%} of encode_video each (word vectors and LSTM)",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", default=list(MMNConfig.presets), choices=list(MMNConfig.presets))
    parser.add_argument("--what", nargs="+", default=["eval", "train", "sentences"])
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.child:
        child(*json.loads(options.child))
        return 0
    print(
        f"{_processor()}, {options.threads} threads, torch {torch.__version__}, float32, median of {options.repeats}"
    )
    for size in options.sizes:
        for what in options.what:
            if what == "sentences":
                sentence_row(size, options.repeats)
            else:
                map_rows(size, what, options.batch, options.repeats)
    return 0


def _processor() -> str:
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as file:
            return next(line.partition(":")[2].strip() for line in file if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


if __name__ == "__main__":
    sys.exit(main())
