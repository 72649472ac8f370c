"""HiSA: prediction and a training step against the plain form, at the published batch sizes.

Charades-STA: the lengths of the first 64 test rows (mean 28.8, at most 35 clips of every third feature). For the other
two the feature files are not public: lengths are drawn evenly from 100 to 400 clips. Weights, features and word
vectors are random. The published forward always computes both reconstructions; the middle form leaves them out.
"""

from collections.abc import Callable
from functools import partial

import torch

from hf_vtg import HiSAConfig, HiSAForVideoGrounding, WordVectorConfig

from ..references import hisa as reference
from .case import Case, Run

BATCH = {"charades_sta": 64, "activitynet_captions": 8, "tacos": 16}
CLIPS = {"charades_sta": (22, 35), "activitynet_captions": (100, 400), "tacos": (100, 400)}
WORDS = {"charades_sta": (4, 11), "activitynet_captions": (6, 25), "tacos": (5, 15)}


def cases(sizes: list[str]) -> list[Case]:
    """Prediction, and training steps without and with the published dropout (whose results cannot be compared)."""
    made = []
    for size in sizes:
        name = f"{size} batch {BATCH[size]}"
        forms = {
            "ours": partial(_scores, size),
            "plain, no decoder": partial(_plain_scores, size, False),
            "plain": partial(_plain_scores, size, True),
        }
        made.append(Case(name, "eval", forms))
        for what, dropout, share in (("train", 0.0, None), ("dropout", 0.5, 1)):
            forms = {"ours": partial(_step, size, dropout), "plain": partial(_plain_step, size, dropout)}
            made.append(Case(name, what, forms, share))
    return made


def _inputs(size: str, dropout: float) -> tuple[HiSAForVideoGrounding, list[torch.Tensor], list[torch.Tensor]]:
    """Model; features, clip counts, word vectors, word counts; first and last clip of each moment."""
    torch.manual_seed(0)
    config = HiSAConfig.for_benchmark(
        size, text_config=WordVectorConfig(), disentangle_dropout=dropout, encoder_dropout=dropout
    )
    batch = BATCH[size]
    lengths, words = (torch.randint(low, high + 1, (batch,)) for low, high in (CLIPS[size], WORDS[size]))
    lengths[0], words[0] = CLIPS[size][1], WORDS[size][1]
    features = torch.randn(batch, int(lengths.max()), config.feature_dim).relu()
    features *= (torch.arange(features.shape[1]) < lengths[:, None])[..., None]
    vectors = 0.4 * torch.randn(batch, int(words.max()), config.text_hidden_size)
    start = (0.3 * lengths).long()
    return HiSAForVideoGrounding(config), [features, lengths, vectors, words], [start, (0.7 * lengths).long()]


def _batch(features, lengths, vectors, words) -> dict[str, torch.Tensor]:
    return {
        "video_features": features,
        "video_mask": torch.arange(features.shape[1]) < lengths[:, None],
        "inputs_embeds": vectors.unsqueeze(1),
        "attention_mask": (torch.arange(vectors.shape[1]) < words[:, None]).unsqueeze(1),
    }


def _scores(size: str) -> Run:
    model, inputs, _ = _inputs(size, 0.0)
    batch = _batch(*inputs)
    model.eval()
    return torch.inference_mode()(lambda: model(**batch).prob_start[:, 0])


def _plain_scores(size: str, reconstruct: bool) -> Run:
    model, inputs, _ = _inputs(size, 0.0)
    model.eval()
    return torch.inference_mode()(lambda: reference.forward(model, *inputs, reconstruct)["prob_start"])


def _step(size: str, dropout: float) -> Run:
    model, inputs, moments = _inputs(size, dropout)
    batch = _batch(*inputs)
    targets = {name: x.unsqueeze(1) for name, x in zip(("start_index", "end_index"), moments, strict=True)}
    return _stepper(model, lambda: model(**batch, targets=targets).loss)


def _plain_step(size: str, dropout: float) -> Run:
    model, inputs, moments = _inputs(size, dropout)

    def loss() -> torch.Tensor:
        made = reference.forward(model, *inputs)
        terms = reference.losses(model, made, inputs[0], inputs[1], *moments)
        return sum(model.loss_weights[name] * value for name, value in terms.items())

    return _stepper(model, loss)


def _stepper(model: HiSAForVideoGrounding, loss: Callable[[], torch.Tensor]) -> Run:
    """Forward and backward in train mode; the optimiser's step is the same for every form."""
    model.train()

    def run() -> torch.Tensor:
        model.zero_grad()
        value = loss()
        value.backward()
        return value.detach()

    return run
