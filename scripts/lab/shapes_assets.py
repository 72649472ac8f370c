"""The stages that make the shipped encoder and model of moving_shapes, each from the files of the one before."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hf_vtg.features.spec import FeatureSpec
from hf_vtg.features.store import FeatureStore, write_feature_store
from hf_vtg.files import write_json
from hf_vtg.metrics import constant_moment_baseline
from hf_vtg.models.mmn.modeling_mmn import MMNForVideoGrounding
from hf_vtg.moving_shapes.render import render_split
from hf_vtg.moving_shapes.scenarios import scenario_seeds
from hf_vtg.moving_shapes.world import GENERATOR_VERSION
from hf_vtg.processing import VideoGroundingProcessor
from hf_vtg.video.encoder import VideoEncoder

from .experiments import MOVING_SHAPES, experiment
from .shapes_encoder import FPS, STRIDE, EncoderTraining, train_encoder
from .shapes_grounding import BlankFeatures, load_rows, report, train_grounding

PACKAGED_NAME = "hf_vtg/moving_shapes"


@dataclass
class AssetsRun:
    """Folders and settings of one run; ``None`` = what made the shipped weights.

    Args:
        work: receives ``videos/SPLIT``, ``features/SPLIT.safetensors`` and reports.
        out: receives ``encoder`` and ``model`` (of a blind run: ``work/blind_NAME/model``).
        num_train: train on the first so many videos of train, and choose the epoch on a twelfth as many of validation.
        split, seed, num_videos: which videos are reported; another ``seed`` is a new benchmark of the same kind.
    """

    work: Path
    out: Path
    blind: str | None = None
    encoder_steps: int | None = None
    epochs: int | None = None
    num_train: int | None = None
    split: str = "test"
    seed: int = 0
    num_videos: int | None = None
    workers: int = 2

    @property
    def model_dir(self) -> Path:
        return (self.work / f"blind_{self.blind}" if self.blind else self.out) / "model"

    def videos(self) -> None:
        for split in ("train", "validation"):
            list(render_split(self.work / "videos" / split, split, self._count(split), workers=self.workers))
        self._render_reported()

    def encoder(self) -> None:
        """Train the encoder and store it in half precision."""
        settings = EncoderTraining(**({"steps": self.encoder_steps} if self.encoder_steps else {}))
        model = train_encoder(self.out / "encoder", settings)
        save_half(model, self.out / "encoder")

    def features(self) -> None:
        for split in ("train", "validation"):
            self._extract(split, self.work / "videos" / split, self._count(split), 0)

    def grounding(self) -> dict[str, Any]:
        """Train on the features of train, choose the epoch on validation, store in half precision."""
        changes = {"epochs": self.epochs} if self.epochs else {}
        counts = {split: self._count(split) for split in ("train", "validation")}
        features = JoinedStores([FeatureStore(self._features(split, 0, count)) for split, count in counts.items()])
        rows = {
            split: rows.select(range(counts[split] or len(rows)))
            for split, rows in load_rows(self.blind).items()
            if split in counts
        }
        checkpoints = self.work / f"checkpoints_{self.blind or 'model'}"
        recipe = experiment("mmn", MOVING_SHAPES).recipe.replace(**changes)
        trainer = train_grounding(features, checkpoints, blind=self.blind, recipe=recipe, splits=rows)
        save_half(trainer.model, self.model_dir)
        trainer.processing_class.save_pretrained(self.model_dir)
        return {name: value for name, value in trainer.state.log_history[-1].items() if "loss" not in name}

    def report(self) -> dict[str, Any]:
        """Figures on the reported videos, from their files; the encoder runs in full precision."""
        self._render_reported()
        path = self._features(self.split, self.seed, self.num_videos)
        if not path.exists():
            self._extract(self.split, self._reported_videos(), self.num_videos, self.seed)
        store = FeatureStore(path)
        model = MMNForVideoGrounding.from_pretrained(self.model_dir, dtype=torch.float32)
        processor = VideoGroundingProcessor.from_pretrained(self.model_dir)
        rows = load_rows(self.blind, self.seed)
        tested = rows[self.split].select(range(self.num_videos or len(rows[self.split])))
        result = report(model, processor, BlankFeatures(store) if self.blind == "video" else store, tested)
        result["constant moment"] = constant_moment_baseline(rows["train"], tested, ranks=(1,))
        report_file = self.work / f"report_{self.blind or 'model'}_{self.split}_{self.seed}.json"
        write_json(report_file, {"split": self.split, "seed": self.seed, "blind": self.blind, **result})
        return result

    def _count(self, split: str) -> int | None:
        """Videos of a split that training sees; None = all."""
        if self.num_train is None:
            return None
        return self.num_train if split == "train" else max(1, self.num_train // 12)

    def _reported_videos(self) -> Path:
        return self.work / "videos" / (f"{self.split}_{self.seed}" if self.seed else self.split)

    def _render_reported(self) -> None:
        list(render_split(self._reported_videos(), self.split, self.num_videos, self.seed, self.workers))

    def _features(self, split: str, seed: int = 0, num_videos: int | None = None) -> Path:
        return self.work / "features" / f"{split}_{seed}_{num_videos or 'all'}.safetensors"

    def _extract(self, split: str, videos: Path, num_videos: int | None, seed: int) -> None:
        folder = str(self.out / "encoder")
        ids = [f"shapes-v{GENERATOR_VERSION}-{number:010d}" for number in scenario_seeds(split, num_videos, seed)]
        paths = [videos / f"{video_id}.mp4" for video_id in ids]
        spec = shipped_spec(folder)
        with ProcessPoolExecutor(self.workers) as pool:
            features = pool.map(partial(_encode, folder), paths, chunksize=4)
            write_feature_store(self._features(split, seed, num_videos), zip(ids, features, strict=True), spec)


def save_half(model: torch.nn.Module, folder: Path) -> None:
    """Weights in half precision, a configuration that loads them in full: half is for the disk alone."""
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    write_json(folder / "config.json", {**config, "dtype": "float32"})
    for file in folder.iterdir():
        file.chmod(0o644)


class JoinedStores:
    """Several stores of the same kind of features as one."""

    def __init__(self, stores: list[FeatureStore]):
        self.stores, self.spec, self.dim = stores, stores[0].spec, stores[0].dim
        for store in stores[1:]:
            self.spec.check_compatible(store.spec, str(store))

    def __getitem__(self, video_id: str) -> np.ndarray:
        return next(store for store in self.stores if video_id in store)[video_id]

    def __iter__(self) -> Iterator[str]:
        return (video_id for store in self.stores for video_id in store)

    def __len__(self) -> int:
        return sum(map(len, self.stores))


def shipped_spec(folder: str) -> FeatureSpec:
    """The spec of the encoder's features under the name that it has in the package."""
    return FeatureSpec.from_dict({**_encoder(folder).spec.to_dict(), "backbone": PACKAGED_NAME})


@lru_cache(maxsize=1)
def _encoder(folder: str) -> VideoEncoder:
    encoder = VideoEncoder(Path(folder), fps=float(FPS), stride=STRIDE, pooling="max", batch_size=32)
    encoder.backbone.model.to(memory_format=torch.channels_last)
    return encoder


def _encode(folder: str, path: Path) -> np.ndarray:
    torch.set_num_threads(1)
    return _encoder(folder).encode(path, progress=False).features
