"""CLEAR: one sentence on one video against the plain formulation, and what pruning saves.

Weights and inputs are random. In the train cases dropout and the slopes of the rectifiers are those of evaluation, so
that both forms compute the same. The pruned cases are given a coarse branch that sees a moment of 30 % of the video in
its middle; their name tells how much more the whole map convolves.
"""

from collections.abc import Mapping
from functools import partial

import torch
from torch.nn import functional as F

from hf_vtg import CLEARConfig, CLEARForVideoGrounding, WordVectorConfig
from hf_vtg.layers.map_geometry import map_geometry
from hf_vtg.models.clear.fine_clear import scored_map, window_size
from hf_vtg.models.clear.windows_clear import strips_area, window_geometry

from ..references import clear as plain
from .case import Case, Run

WORDS = 12
LENGTH = 0.3
Batch = Mapping[str, torch.Tensor]


def cases(sizes: list[str]) -> list[Case]:
    """One sentence in eval and train, and pruned against every cell, for each published size."""
    made = []
    for size in sizes:
        if size in CLEARConfig.presets:
            forms = {form: partial(_sentence, size, form) for form in ("ours", "plain")}
            made.append(Case(f"{size} sentence", "eval", forms))
            forms = {form: partial(_step, size, form) for form in ("ours", "plain")}
            made.append(Case(f"{size} sentence", "train", forms))
            forms = {form: partial(_pruned, size, form) for form in ("pruned", "every cell")}
            made.append(Case(f"{size} area 1/{_area_ratio(size):.2f}", "pruned", forms))
    return made


def _moment(config: CLEARConfig) -> tuple[int, int]:
    """First and last cell of a moment of ``LENGTH`` in the middle."""
    length = int(LENGTH * config.num_clips)
    first = (config.num_clips - length) // 2
    return first, first + length - 1


def _area_ratio(size: str) -> float:
    """Positions convolved for the whole map over those for the window around the moment."""
    config = CLEARConfig.for_benchmark(size)
    stack = config.predictor_kernel, config.predictor_layers
    whole = map_geometry(scored_map(config), *stack).eval
    first, last = _moment(config)
    window = window_size(torch.tensor(last - first + 1 + 2 * config.margin), config.num_clips)
    return strips_area(whole) / strips_area(window_geometry(int(window), *stack))


def _model(size: str, **fields) -> tuple[CLEARForVideoGrounding, Batch]:
    config = CLEARConfig.for_benchmark(size, text_config=WordVectorConfig(), **fields)
    torch.manual_seed(0)
    model = CLEARForVideoGrounding(config).eval()
    batch = {
        "video_features": torch.randn(1, config.num_pre_clips, config.feature_dim),
        "inputs_embeds": torch.randn(1, 1, WORDS, 300),
        "attention_mask": torch.ones(1, 1, WORDS, dtype=torch.bool),
    }
    return model, batch


def _plain_logits(model: CLEARForVideoGrounding, batch: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    features, words = batch["video_features"][0], batch["inputs_embeds"][0, 0]
    logits = model.grid.from_map(plain.fine_logits(model, features, words))[model.fine.scored]
    return plain.coarse_scores(model, features, words), logits


def _sentence(size: str, form: str) -> Run:
    model, batch = _model(size, prune=False)

    @torch.no_grad()
    def run() -> torch.Tensor:
        if form == "ours":
            output = model(**batch)
            coarse, logits = output.coarse_scores[0, 0], output.fine_logits[0, 0, model.fine.scored]
        else:
            coarse, logits = _plain_logits(model, batch)
        return torch.cat([coarse, logits])

    return run


def _step(size: str, form: str) -> Run:
    model, batch = _model(size)
    labels = torch.tensor([[[0.3, 0.6]]], dtype=torch.float64)
    mask = torch.ones(1, 1, dtype=torch.bool)
    targets = model.build_targets(labels, mask)

    def run() -> torch.Tensor:
        model.zero_grad()
        if form == "ours":
            loss = model(**batch, targets=targets).loss
        else:
            coarse, logits = _plain_logits(model, batch)
            loss = (coarse / model.config.coarse_scale - targets["coarse"][0, 0]).square().mean()
            loss = loss + F.binary_cross_entropy_with_logits(logits, targets["fine"][0, 0, model.fine.scored])
        loss.backward()
        return torch.stack([p.grad.norm() for p in model.parameters()])

    return run


def _pruned(size: str, form: str) -> Run:
    model, batch = _model(size)
    plain.confident(model, *_moment(model.config))
    with torch.no_grad():
        video = model.encode_video(batch["video_features"])
        text = model.encode_text(inputs_embeds=batch["inputs_embeds"], attention_mask=batch["attention_mask"])
    ground = model.ground if form == "pruned" else model.ground_every_candidate
    return torch.no_grad()(lambda: ground(video, text).scores)
