"""HSCNet: batched paragraphs against one after another written plainly, and a paragraph against its sentences alone.

Weights, features and words are random; paragraphs are as long as the benchmark's. Dropout is off in every form, so
that they compute the same.
"""

from functools import partial

import torch

from hf_vtg import HSCNetConfig, HSCNetForVideoGrounding, WordVectorConfig

from ..references import hscnet as plain
from .case import Case, Run

BATCH = 4
# Words of the sentences of each video: about the mean and the longest of each benchmark.
PARAGRAPHS = {
    "charades_sta": [[6, 7], [5, 6, 8], [7, 6], [6, 5, 7, 6]],
    "activitynet_captions": [[13, 12, 14, 15], [11, 20, 9], [14, 13, 12], [30, 12, 16, 10, 9, 14]],
    "tacos": [[9, 7, 12, 8, 10, 6, 9, 11], [8, 10, 9, 6, 7, 9], [12, 9, 8, 10, 7, 6, 9, 8], [10, 8, 7]],
}


def cases(sizes: list[str]) -> list[Case]:
    """For each published size a batch in eval and train, and a paragraph of 8 sentences against its sentences."""
    made = []
    for size in [size for size in sizes if size in HSCNetConfig.presets]:
        for what in ("eval", "train"):
            forms = {"batched": partial(_batched, size, what), "one by one": partial(_plain, size, what)}
            made.append(Case(f"{size} paragraphs", what, forms))
        forms = {form: partial(_paragraph, size, form) for form in ("one paragraph", "alone, a batch", "alone")}
        # One part of one: nothing is compared, the two answer differently.
        made.append(Case(f"{size} 8 sentences", "paragraph", forms, share=1))
    return made


def _prepare(size: str, paragraphs: list[list[int]]) -> tuple[HSCNetForVideoGrounding, dict[str, torch.Tensor]]:
    text = WordVectorConfig(vocab_size=100)
    config = HSCNetConfig.for_benchmark(size, text_config=text, dropout=0.0)
    torch.manual_seed(0)
    model = HSCNetForVideoGrounding(config).eval()
    model.set_word_vectors(torch.randn(text.vocab_size, text.hidden_size))
    shape = len(paragraphs), max(map(len, paragraphs)), max(map(max, paragraphs))
    lengths = torch.zeros(shape[:2], dtype=torch.long)
    for row, words in enumerate(paragraphs):
        lengths[row, : len(words)] = torch.tensor(words)
    mask = torch.arange(shape[2]) < lengths.unsqueeze(-1)
    batch = {
        "video_features": torch.randn(len(paragraphs), config.num_clips, config.feature_dim),
        "video_mask": torch.ones(len(paragraphs), config.num_clips, dtype=torch.bool),
        "input_ids": torch.randint(2, text.vocab_size, shape) * mask,
        "attention_mask": mask,
        "labels": torch.rand(*shape[:2], 2, dtype=torch.float64).sort(-1).values,
    }
    return model, batch


def _batched(size: str, what: str) -> Run:
    model, batch = _prepare(size, PARAGRAPHS[size])
    inputs = batch if what == "train" else {name: value for name, value in batch.items() if name != "labels"}

    def run() -> torch.Tensor:
        if what == "eval":
            with torch.inference_mode():
                output, real = model(**inputs), batch["attention_mask"].any(-1)
                # Moments of fresh weights are all alike; similarities are not.
                return torch.cat([output.segments.final[real], output.sentence_similarity[real]], dim=-1)
        model.zero_grad()
        loss = model(**inputs).loss
        loss.backward()
        return _loss_and_gradients(loss, model)

    return run


def _plain(size: str, what: str) -> Run:
    model, batch = _prepare(size, PARAGRAPHS[size])

    def run() -> torch.Tensor:
        if what == "eval":
            with torch.inference_mode():
                found = plain.paragraphs(model, batch)
                return torch.cat([torch.cat([row["final"], row["A_S"]], dim=-1) for row in found])
        model.zero_grad()
        loss = sum(plain.losses(model, batch)[1].values())
        loss.backward()
        return _loss_and_gradients(loss, model)

    return run


def _loss_and_gradients(loss: torch.Tensor, model: torch.nn.Module) -> torch.Tensor:
    """The loss, and the length of each parameter's gradient."""
    return torch.stack([loss.detach(), *(parameter.grad.norm() for parameter in model.parameters())])


def _paragraph(size: str, form: str) -> Run:
    """Eight sentences on a video that is encoded once: read together, in a batch of one each, or in eight calls."""
    model, batch = _prepare(size, [(PARAGRAPHS[size][0] * 8)[:8]])
    text = {name: batch[name] for name in ("input_ids", "attention_mask")}
    calls = [text]
    if form != "one paragraph":
        rows = {name: value.transpose(0, 1) for name, value in text.items()}
        calls = [rows] if form == "alone, a batch" else [{n: v[k : k + 1] for n, v in rows.items()} for k in range(8)]

    @torch.inference_mode()
    def run() -> torch.Tensor:
        state = model.encode_video(batch["video_features"], batch["video_mask"])
        rows = torch.zeros(len(calls[0]["input_ids"]), dtype=torch.long)
        return torch.cat([model(**call, video_state=model.select_videos(state, rows)).scores for call in calls])

    return run
