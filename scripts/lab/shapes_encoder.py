"""Trains the clip encoder of moving_shapes on unlimited scenarios of its train seeds.

The encoder is a small ``ResNetModel`` whose input channels are the frames of a clip. Each channel of its last map is
evidence for one statement about the middle of the clip ("something red spins", "a star spins", "a red star is there")
at a place of the picture, so that the maximum over places tells which statements hold, whatever the object's size.
No channel stands for a whole (colour, shape, action): held-out triples are then combinations of known evidence.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from torch.utils.data import DataLoader, IterableDataset
from transformers import CLIPImageProcessorPil, ResNetConfig, ResNetModel

from hf_vtg.moving_shapes.render import render_frames
from hf_vtg.moving_shapes.scenarios import generate_scenario
from hf_vtg.moving_shapes.world import ACTIONS, COLOURS, SHAPES, Scenario, split_seeds

FPS = Fraction(10, 3)  # every third frame of the 10 fps files
WINDOW, STRIDE = 16, 2  # frames of a clip, and between clips
PICTURE, GRID = 96, 6
MEAN, STD = 0.4, 0.25
# The activation ends the network, so a logit is an affine function of it: 0 stands for a probability of 0.0025.
SCALE, OFFSET = 2.0, -6.0

COLOUR_ACTION = 0
SHAPE_ACTION = COLOUR_ACTION + len(COLOURS) * len(ACTIONS)
COLOUR_SHAPE = SHAPE_ACTION + len(SHAPES) * len(ACTIONS)
ANY_ACTION = COLOUR_SHAPE + len(COLOURS) * len(SHAPES)
STATEMENTS = ANY_ACTION + len(ACTIONS)


@dataclass(frozen=True)
class EncoderTraining:
    """Settings of :func:`train_encoder`; the defaults made the shipped weights."""

    steps: int = 3000
    batch_videos: int = 4
    clips_per_video: int = 12
    learning_rate: float = 2e-3
    weight_decay: float = 1e-2
    seed: int = 0
    workers: int = 1
    embedding_size: int = 32
    hidden_sizes: tuple[int, ...] = (32, 96, 128)
    depths: tuple[int, ...] = (2, 2, 2)


def build_encoder(settings: EncoderTraining) -> ResNetModel:
    config = ResNetConfig(
        num_channels=3 * WINDOW,
        num_frames=WINDOW,
        image_size=PICTURE,
        embedding_size=settings.embedding_size,
        hidden_sizes=list(settings.hidden_sizes),
        depths=list(settings.depths),
        layer_type="basic",
        hidden_act="leaky_relu",
    )
    model = ResNetModel(config)
    # Nothing holds nearly everywhere: begin there.
    torch.nn.init.constant_(model.encoder.stages[-1].layers[-1].layer[-1].normalization.bias, -2.0)
    return model


def image_processor() -> CLIPImageProcessorPil:
    """The preprocessing that is saved beside the encoder."""
    size = {"height": PICTURE, "width": PICTURE}
    return CLIPImageProcessorPil(
        size=size, resample=2, do_center_crop=False, image_mean=[MEAN] * 3, image_std=[STD] * 3, do_convert_rgb=False
    )


def sample_times(duration: float) -> np.ndarray:
    """Seconds of the sampled frames of a video of ``duration`` seconds."""
    return np.arange(math.ceil(Fraction(duration).limit_denominator(1000) * FPS)) / float(FPS)


def labels_of(scenario: Scenario, clips: np.ndarray) -> np.ndarray:
    """Which statements hold in the middle of each clip's stride, and where: bool (K, STATEMENTS, GRID * GRID)."""
    state = scenario.state((clips + 0.5) * STRIDE / float(FPS))
    cells = state.cells(GRID)
    labels = np.zeros((len(clips), STATEMENTS, GRID * GRID), bool)
    rows = np.arange(len(clips))
    for o, thing in enumerate(scenario.objects):
        colour, shape = COLOURS.index(thing.colour), SHAPES.index(thing.shape)
        there = rows[cells[:, o] >= 0]
        labels[there, COLOUR_SHAPE + colour * len(SHAPES) + shape, cells[there, o]] = True
        busy = there[state.action[there, o] >= 0]
        action, cell = state.action[busy, o], cells[busy, o]
        for first in (COLOUR_ACTION + colour * len(ACTIONS), SHAPE_ACTION + shape * len(ACTIONS), ANY_ACTION):
            labels[busy, first + action, cell] = True
    return labels


class VideoStream(IterableDataset):
    """Endless (frames, clips, labels) of fresh scenarios, the same for any number of workers.

    frames uint8 (H, W, T + WINDOW, 3): clip j are the frames from j * STRIDE on, the first and last ones repeated
    at the ends, as VideoEncoder does. clips (K,): numbers of drawn clips. labels: see :func:`labels_of`.
    """

    def __init__(self, seeds: range, clips_per_video: int):
        self.seeds, self.clips_per_video = seeds, clips_per_video

    def __iter__(self) -> Iterator[tuple[torch.Tensor, np.ndarray, torch.Tensor]]:
        info = torch.utils.data.get_worker_info()
        number, workers = (info.id, info.num_workers) if info else (0, 1)
        for seed in self.seeds[number::workers]:
            random = np.random.default_rng(seed)
            scenario = generate_scenario(seed)
            times = sample_times(scenario.duration)
            frames = render_frames(scenario, times)
            if random.random() < 0.5:
                frames = compress(frames)
            clips = random.integers(0, math.ceil(len(times) / STRIDE), self.clips_per_video)
            yield torch.from_numpy(pad_frames(frames)), clips, torch.from_numpy(labels_of(scenario, clips))


def pad_frames(frames: np.ndarray) -> np.ndarray:
    """(T, H, W, 3) -> (H, W, T + WINDOW, 3), the frames that lie before and after the video repeated."""
    before = (WINDOW - STRIDE) // 2
    index = np.clip(np.arange(-before, len(frames) + WINDOW - before), 0, len(frames) - 1)
    return np.ascontiguousarray(frames[index].transpose(1, 2, 0, 3))


def compress(frames: np.ndarray) -> np.ndarray:
    """Frames (T, H, W, 3) uint8 with their colours at half the resolution, as in a video file."""
    import av

    tall = av.VideoFrame.from_ndarray(frames.reshape(-1, *frames.shape[2:]), format="rgb24")
    return tall.reformat(format="yuv420p").to_ndarray(format="rgb24").reshape(frames.shape)


def to_pixels(frames: torch.Tensor, clips: np.ndarray) -> torch.Tensor:
    """Padded frames uint8 (H, W, T', 3) of a video -> normalised clips (K, H, W, WINDOW * 3) bfloat16."""
    values = frames.bfloat16().sub_(255 * MEAN).mul_(1 / 255 / STD)
    return torch.stack([values[:, :, j * STRIDE : j * STRIDE + WINDOW] for j in clips.tolist()]).flatten(3)


def evidence_loss(hidden: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Binary cross entropy of every statement in every cell, and of its maximum over the picture.

    A statement is not judged in the eight cells around one where it holds: an object is about as large as a cell.

    Args:
        hidden: (B, C, GRID, GRID) with C >= STATEMENTS; labels: bool (B, STATEMENTS, GRID * GRID).
    """
    logits = hidden[:, :STATEMENTS].float() * SCALE + OFFSET
    target = labels.view(-1, STATEMENTS, GRID, GRID).float()
    judged = 1 - F.max_pool2d(target, 3, 1, 1) + target
    cells = F.binary_cross_entropy_with_logits(logits, target, judged, reduction="sum")
    whole = F.binary_cross_entropy_with_logits(logits.amax((2, 3)), target.amax((2, 3)), reduction="sum")
    return (cells + whole) / len(hidden)


def train_encoder(out: Path, settings: EncoderTraining, log: Any = print) -> ResNetModel:
    """Train for ``settings.steps`` batches and save model and preprocessing to ``out``."""
    torch.manual_seed(settings.seed)
    torch.set_flush_denormal(True)
    model = build_encoder(settings).to(memory_format=torch.channels_last).train()
    optimizer = torch.optim.AdamW(
        model.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, betas=(0.9, 0.98)
    )
    # The first seeds are those of the benchmark's own train videos: they come to the model later, as files.
    stream = VideoStream(split_seeds("train")[2000 + 10**6 * settings.seed :], settings.clips_per_video)
    loader = iter(DataLoader(stream, batch_size=None, num_workers=settings.workers, prefetch_factor=16))
    start, mean = time.monotonic(), None
    for step in range(settings.steps):
        rate = min(1.0, (step + 1) / 150) * (0.5 + 0.5 * math.cos(math.pi * step / settings.steps))
        for group in optimizer.param_groups:
            group["lr"] = settings.learning_rate * rate
        videos = [next(loader) for _ in range(settings.batch_videos)]
        pixels = torch.cat([to_pixels(frames, clips) for frames, clips, _ in videos]).permute(0, 3, 1, 2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            hidden = model(pixels).last_hidden_state
        loss = evidence_loss(hidden, torch.cat([labels for _, _, labels in videos]))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 20.0)
        optimizer.step()
        mean = loss.item() if mean is None else mean + 0.02 * (loss.item() - mean)
        if (step + 1) % 50 == 0:
            log(f"encoder: step {step + 1}, {time.monotonic() - start:.0f} s, loss {mean:.2f}", flush=True)
        if (step + 1) % 500 == 0:
            save_encoder(model, out)
    save_encoder(model, out)
    return model


def save_encoder(model: ResNetModel, out: Path) -> None:
    model.save_pretrained(out)
    image_processor().save_pretrained(out)
