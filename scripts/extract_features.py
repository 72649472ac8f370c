#!/usr/bin/env python
"""Clip features of video files, by any Hugging Face image or video model.

python scripts/extract_features.py videos/ --backbone openai/clip-vit-base-patch32 --fps 2 --out features/
python scripts/extract_features.py videos/ --backbone FOLDER --fps 2 --out features.h5

OUT is a folder (one VIDEO_ID.safetensors a video; videos that are there already are not encoded again) or one
.h5 / .npz / .safetensors file. The video id is the file's name without its ending; the feature spec is stored with
the features. A video that cannot be read is reported at the end; the exit status is 1 if there is none that could.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from hf_vtg.benchmarks.feature_store import write_feature_store
from hf_vtg.errors import FeatureError, HFVTGError, VideoError
from hf_vtg.video.cache import FeatureCache, load_encoded, save_encoded
from hf_vtg.video.encoder import VideoEncoder

VIDEO_SUFFIXES = {".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".flv", ".wmv", ".mpg", ".mpeg", ".ts", ".3gp"}


def find_videos(paths: list[Path]) -> dict[str, Path]:
    """Video id -> file, of files as given and of folders searched in depth. Raises VideoError for an id twice."""
    videos: dict[str, Path] = {}
    for path in paths:
        inside = sorted(file for file in path.rglob("*") if file.suffix.lower() in VIDEO_SUFFIXES and file.is_file())
        for file in inside if path.is_dir() else [path]:
            if videos.setdefault(file.stem, file) != file:
                raise VideoError(f"{videos[file.stem]} and {file} have the same video id {file.stem!r}. Rename one.")
    if not videos:
        raise VideoError(f"no video files in {', '.join(map(str, paths))}")
    return videos


def is_done(path: Path, encoder: VideoEncoder) -> bool:
    """Whether ``path`` holds whole features of this encoder. Raises FeatureError if they are of another kind."""
    if not path.exists():
        return False
    try:
        _, spec, _ = load_encoded(path)
    except FeatureError as error:
        print(f"extract_features: {error}", file=sys.stderr)
        return False
    encoder.spec.check_compatible(spec, str(path))
    return True


def encode_all(videos: dict[str, Path], encoder: VideoEncoder, failed: list[str]) -> Iterator[tuple[str, np.ndarray]]:
    """(video id, features) of the videos that can be read; messages of the others go to ``failed``."""
    for video_id, path in videos.items():
        try:
            yield video_id, encoder.encode(path).features
        except VideoError as error:
            failed.append(str(error))


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path, nargs="+", metavar="VIDEO_OR_DIR")
    parser.add_argument("--backbone", required=True, help="id on the Hub or folder")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--fps", type=float, default=2.0, help="sampled frames per second (2)")
    parser.add_argument("--window", type=int, help="frames of a feature (the model's own)")
    parser.add_argument("--stride", type=int, help="sampled frames between features (the window)")
    parser.add_argument("--crop", help="for instance 'resize 224x224 bilinear': the whole picture")
    parser.add_argument("--revision")
    parser.add_argument("--batch_size", type=int, default=16)
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... (auto)")
    parser.add_argument("--cache", action="store_true", help="keep features in the cache as well: a rerun is quick")
    options = vars(parser.parse_args(arguments))
    paths, out, cache = options.pop("videos"), options.pop("out"), options.pop("cache")
    failed: list[str] = []
    try:
        videos = find_videos(paths)
        encoder = VideoEncoder(**options, cache=FeatureCache() if cache else None)
        print(f"extract_features: {encoder.spec.describe()}", file=sys.stderr)
        if out.suffix:
            count, present = write_feature_store(out, encode_all(videos, encoder, failed), encoder.spec), 0
        else:
            count, present = write_folder(out, videos, encoder, failed)
    except (HFVTGError, OSError) as error:
        print("\n".join([*failed, f"extract_features: {error}"]), file=sys.stderr)
        return 1
    for message in failed:
        print(f"extract_features: {message}", file=sys.stderr)
    print(f"{out}: {count} videos encoded, {present} already there, {len(failed)} of {len(videos)} failed")
    return 0 if count + present else 1


def write_folder(out: Path, videos: dict[str, Path], encoder: VideoEncoder, failed: list[str]) -> tuple[int, int]:
    """One file a video in ``out``: (number encoded, number already there)."""
    todo = {
        video_id: path for video_id, path in videos.items() if not is_done(out / f"{video_id}.safetensors", encoder)
    }
    count = 0
    for video_id, path in todo.items():
        try:
            encoded = encoder.encode(path)
        except VideoError as error:
            failed.append(str(error))
            continue
        save_encoded(out / f"{video_id}.safetensors", encoded, encoder.spec)
        count += 1
    return count, len(videos) - len(todo)


if __name__ == "__main__":
    sys.exit(main())
