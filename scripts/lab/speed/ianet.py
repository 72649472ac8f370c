"""IA-Net: a batch in evaluation and a training step (forward and backward) against the published formulation.

Default variant at the published sizes: videos of full length, sentences of 4 to 20 words, random weights and features,
no dropout. ``memory`` is the published batch of ActivityNet Captions; its seconds are those of one turn.
"""

from functools import partial

import torch

from hf_vtg import IANetConfig, IANetForVideoGrounding, WordVectorConfig

from ..references import ianet as plain
from .case import Case, Run

BATCH = {"charades_sta": 16, "activitynet_captions": 8, "tacos": 4}
PUBLISHED_BATCH = 128


def cases(sizes: list[str]) -> list[Case]:
    """Evaluation and training step of each published size, and the memory of ActivityNet's published batch."""
    made = []
    for size in sizes:
        if size not in IANetConfig.presets:
            continue
        for what in ("eval", "train"):
            forms = {"ours": _ours, "published form": _plain}
            made.append(
                Case(
                    f"{size} B {BATCH[size]}",
                    what,
                    {name: partial(form, size, what == "train", BATCH[size]) for name, form in forms.items()},
                )
            )
        if size == "activitynet_captions":
            step = partial(_ours, size, True, PUBLISHED_BATCH)
            forms = {"blocks recomputed": partial(step, checkpointed=True), "blocks kept": step}
            made.append(Case(f"{size} B {PUBLISHED_BATCH}", "memory", forms))
    return made


def _inputs(size: str, batch: int) -> tuple[IANetForVideoGrounding, dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """A model, a batch of one sentence a video, and its targets."""
    config = IANetConfig.for_benchmark(size, dropout=0.0, text_config=WordVectorConfig(vocab_size=2))
    torch.manual_seed(0)
    model = IANetForVideoGrounding(config)
    words = config.max_words
    lengths = torch.linspace(4, words, batch).long()
    feed = {
        "video_features": torch.randn(batch, config.num_clips, config.feature_dim),
        "video_mask": torch.ones(batch, config.num_clips, dtype=torch.bool),
        "inputs_embeds": torch.randn(batch, 1, words, config.text_hidden_size),
        "attention_mask": (torch.arange(words) < lengths.unsqueeze(1)).unsqueeze(1),
    }
    labels = torch.rand(batch, 1, 2, dtype=torch.float64).sort(-1).values
    targets = model.build_targets(labels, torch.ones(batch, 1, dtype=torch.bool), feed["video_mask"])
    return model, feed, targets


def _ours(size: str, train: bool, batch: int, checkpointed: bool = False) -> Run:
    model, feed, targets = _inputs(size, batch)
    model.train(train)
    if checkpointed:
        model.gradient_checkpointing_enable()
    if train:
        return partial(_step, model, lambda: model(**feed, targets=targets).loss)
    return torch.inference_mode()(lambda: model(**feed).anchor_logits[:, 0])


def _plain(size: str, train: bool, batch: int) -> Run:
    model, feed, targets = _inputs(size, batch)
    features, mask = feed["video_features"], feed["video_mask"]
    embeds, tokens = feed["inputs_embeds"][:, 0], feed["attention_mask"][:, 0]

    def predict() -> tuple[torch.Tensor, torch.Tensor]:
        return plain.predict(model, features, mask, embeds, tokens)

    if train:
        return partial(_step, model, lambda: plain.loss(model, *predict(), targets))
    return torch.inference_mode()(lambda: predict()[0])


def _step(model: IANetForVideoGrounding, loss) -> torch.Tensor:
    """Loss and gradients, whose lengths are compared."""
    model.zero_grad()
    value = loss()
    value.backward()
    return torch.stack([value.detach(), *(p.grad.norm() for p in model.parameters())])
