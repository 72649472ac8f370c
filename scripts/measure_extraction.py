#!/usr/bin/env python
"""Frames per second of decoding alone, and of decoding and encoding, over a folder of videos.

python scripts/measure_extraction.py videos/ --backbone FOLDER_OR_ID --fps 2

Decoding alone visits every frame and converts the sampled ones to RGB, as the encoder asks for them. Both figures
count the frames of the files, so that they can be compared; files that cannot be read are named and left out.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np
import torch

from hf_vtg.errors import HFVTGError, VideoError
from hf_vtg.video.decode import VideoReader
from hf_vtg.video.encoder import VideoEncoder
from hf_vtg.video.extraction import find_videos


def decode(path: Path, fps: float) -> int:
    """Read a video as the encoder does; the number of its frames."""
    frames = 0

    class Counting(VideoReader):
        def frames(self):
            nonlocal frames
            for item in super().frames():
                frames += 1
                yield item

    with Counting(path) as video:
        for _ in video.sample(fps=fps):
            pass
    return frames


def clocks() -> np.ndarray:
    """Wall clock and CPU time of all threads, in seconds; on a busy machine only the second is comparable."""
    return np.array([time.perf_counter(), time.process_time()])


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", nargs="+")
    parser.add_argument("--backbone", required=True)
    parser.add_argument("--fps", type=float, default=2.0)
    parser.add_argument("--device")
    options = parser.parse_args(arguments)
    try:
        encoder = VideoEncoder(options.backbone, fps=options.fps, device=options.device)
        videos = find_videos(options.videos)
    except HFVTGError as error:
        print(f"measure_extraction: {error}", file=sys.stderr)
        return 2
    frames, seconds, decoding, whole = 0, 0.0, np.zeros(2), np.zeros(2)
    for path in videos.values():
        try:
            begun = clocks()
            count = decode(path, options.fps)
            decoded = clocks()
            encoded = encoder.encode(path, progress=False)
        except VideoError as error:
            print(f"left out: {error}", file=sys.stderr)
            continue
        whole += clocks() - decoded
        decoding += decoded - begun
        frames += count
        seconds += encoded.duration
    print(f"{len(videos)} files, {frames} frames, {seconds:.0f} s of video, {torch.get_num_threads()} threads")
    for name, (wall, cpu) in (("decode alone", decoding), ("decode + encode", whole)):
        print(f"{name:16}{frames / wall:8.0f} frames/s  {seconds / wall:7.1f} times real time", end="")
        print(f"  {wall:7.1f} s, {cpu:.1f} s of CPU ({frames / cpu:.0f} frames a CPU second)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
