"""``hf-vtg extract``: clip features of video files, by any Hugging Face image or video model."""

import sys
from pathlib import Path
from typing import Any

from .parser import add_command, device, note, positive, positive_number, print_json

EXAMPLES = """\
  hf-vtg extract videos/ --backbone openai/clip-vit-base-patch32 --fps 2 --out features.h5
  hf-vtg extract a.mp4 b.mp4 --backbone FOLDER --fps 4 --out features/
  hf-vtg extract videos/ --backbone hf_vtg/moving_shapes --fps 8 --out features.h5
"""
DESCRIPTION = """\
Clip features of videos. OUT is a folder (a VIDEO_ID.safetensors a video) or one .h5 / .npz / .safetensors file; the
video id is the file's name without its ending, and what the features are is stored with them. Run it again to go on
after a stop, or to add videos: what is complete is not encoded again, and the file is the same, bit for bit. A video
that cannot be read is reported at the end and does not stop the others.
"""


def add(commands: Any) -> None:
    parser = add_command(commands, "extract", run, "turn videos into features", DESCRIPTION, EXAMPLES)
    parser.add_argument("videos", nargs="+", metavar="VIDEO_OR_DIR")
    parser.add_argument("--out", type=Path, required=True, help="folder, or .h5 / .npz / .safetensors file")
    add_encoder_options(parser, required=True)
    parser.add_argument("--cache", action="store_true", help="keep features in $HF_VTG_CACHE as well")


def add_encoder_options(parser: Any, required: bool) -> None:
    """What decides the features; shared with ``train``."""
    parser.add_argument("--backbone", required=required, help="id on the Hub or folder of an image or video model")
    parser.add_argument("--fps", type=positive_number, help="sampled frames per second (2)")
    parser.add_argument("--window", type=positive, help="frames of a feature (the model's own)")
    parser.add_argument("--stride", type=positive, help="sampled frames between features (the window)")
    parser.add_argument("--crop", help="for instance 'resize 224x224 bilinear': the whole picture")
    parser.add_argument("--revision", help="of the model on the Hub")
    parser.add_argument("--encode-batch", type=positive, default=16, help="pictures or clips of a forward pass (16)")
    parser.add_argument("--device", type=device, default="auto", help="cpu, cuda, ... (auto)")


def build_encoder(options: Any, cache: Any = None) -> Any:
    """The encoder of :func:`add_encoder_options`."""
    from ..video.encoder import VideoEncoder

    names = ("fps", "window", "stride", "crop", "revision", "device")
    settings = {name: getattr(options, name) for name in names}
    return VideoEncoder(options.backbone, **settings, batch_size=options.encode_batch, cache=cache)


def run(options: Any) -> int:
    from ..video.cache import FeatureCache
    from ..video.extraction import extract_features, find_videos

    videos = find_videos(options.videos)
    encoder = build_encoder(options, FeatureCache() if options.cache else None)
    print(f"hf-vtg: {encoder.spec.describe()}", file=sys.stderr)
    result = extract_features(videos, encoder, options.out)
    for message in result.failed.values():
        note(message)
    if options.json:
        print_json({**result.to_dict(), "feature_spec": encoder.spec.to_dict()}, indent=2)
        return 0
    print(
        f"{result.out}: {len(result.encoded)} videos encoded, {len(result.present)} already there, "
        f"{len(result.failed)} of {len(videos)} failed"
    )
    return 0
