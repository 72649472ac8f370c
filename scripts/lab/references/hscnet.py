"""HSCNet written plainly: one paragraph after another, one sentence after another, attention as its formulas say.

Takes the layers' weights from the model under test and nothing else of it: no packing, no masks, no padding.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F


def attend(scores: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    weights = scores.exp() / scores.exp().sum(-1, keepdim=True)
    return weights @ values


def heads_of(x: torch.Tensor, count: int) -> list[torch.Tensor]:
    return list(x.chunk(count, dim=-1))


def attention(module, queries: torch.Tensor, keys: torch.Tensor) -> torch.Tensor:
    """(Q, D) and (N, D) -> (Q, D)"""
    parts = zip(
        *(heads_of(x, module.heads) for x in (module.q_proj(queries), module.k_proj(keys), module.v_proj(keys))),
        strict=True,
    )
    return module.out_proj(torch.cat([attend(q @ k.T / math.sqrt(k.shape[-1]), v) for q, k, v in parts], dim=-1))


def feed_forward(module, x: torch.Tensor) -> torch.Tensor:
    return module.fc2(F.relu(module.fc1(x)))


def encoder_layer(module, x: torch.Tensor) -> torch.Tensor:
    x = module.attention_norm(x + attention(module.self_attention, x, x))
    return module.feed_forward_norm(x + feed_forward(module.feed_forward, x))


def multi_modal_layer(module, clips: torch.Tensor, queries: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    fused = module.fusion_proj(torch.cat([clips, queries]))
    sigma = module.log_sigma.exp().clamp(min=module.sigma_floor)
    parts = []
    for phi, rho, psi in zip(
        *(heads_of(linear(fused), module.heads) for linear in (module.phi_proj, module.rho_proj, module.psi_proj)),
        strict=True,
    ):
        cosine = (phi / phi.norm(dim=-1, keepdim=True)) @ (rho / rho.norm(dim=-1, keepdim=True)).T
        parts.append(attend(cosine / sigma, psi))
    hidden = module.attention_norm(fused + module.out_proj(torch.cat(parts, dim=-1)))
    video, query = hidden[: len(clips)], hidden[len(clips) :]
    return (
        module.video_norm(video + feed_forward(module.video_feed_forward, video)),
        module.query_norm(query + feed_forward(module.query_feed_forward, query)),
    )


def positions(length: int, width: int) -> torch.Tensor:
    table = torch.zeros(length, width)
    for channel in range(0, width, 2):
        angle = torch.arange(length) / 1e4 ** (channel / width)
        table[:, channel], table[:, channel + 1] = angle.sin(), angle.cos()
    return table


def head(module, x: torch.Tensor) -> torch.Tensor:
    centre, width = module.fc2(F.relu(module.fc1(x))).sigmoid().unbind(-1)
    return torch.stack([centre - width / 2, centre + width / 2], dim=-1)


def aggregate(module: nn.Linear, clips, queries, temperature: float) -> tuple[torch.Tensor, torch.Tensor]:
    clips, queries = (x / x.norm(dim=-1, keepdim=True) for x in (clips, queries))
    similarity = queries @ clips.T / temperature
    return similarity, module(torch.cat([queries, attend(similarity, clips)], dim=-1))


def paragraph(model, features: torch.Tensor, sentences: list[torch.Tensor]) -> dict[str, torch.Tensor]:
    """One video (N, D) and the word vectors (L_i, E) of its sentences -> segments and similarity maps."""
    config, decoder = model.config, model.decoder
    clips = model.video_projection(features) + positions(len(features), config.hidden_size)
    for layer in model.clip_encoder:
        clips = encoder_layer(layer, clips)
    words = model.word_projection(torch.cat(sentences))
    words = words + positions(len(words), config.hidden_size)
    for layer in model.word_encoder:
        words = encoder_layer(layer, words)
    counts = [len(sentence) for sentence in sentences]

    queries, states = words, {}
    for name, level in (("W", model.word_level), ("S", model.sentence_level), ("P", model.paragraph_level)):
        if name != "W":
            pieces = queries.split(counts) if name == "S" else [queries]
            means = torch.stack([piece.mean(0) for piece in pieces])
            queries = level.query_norm(means + attention(level.query_attention, means, queries))
            clips = encoder_layer(level.video_encoder, clips)
        for layer in level.layers:
            clips, queries = multi_modal_layer(layer, clips, queries)
        states[name] = aggregate(model.aggregation[name], clips, queries, config.temperature)

    (_, word_semantics), (_, sentence_semantics), (_, whole) = (states[name] for name in "WSP")
    decoded = decoder.sentence_lstm.rnn(torch.cat([sentence_semantics, whole.expand_as(sentence_semantics)], dim=-1))[
        0
    ]
    word_segments, final = [], []
    for own, piece in zip(decoded, word_semantics.split(counts), strict=True):
        outputs = decoder.word_lstm.rnn(torch.cat([piece, own.expand_as(piece)], dim=-1))[0]
        word_segments.append(head(decoder.word_head, outputs))
        semantics = attention(decoder.word_attention, own.unsqueeze(0), outputs)[0]
        final.append(head(decoder.final_head, torch.cat([semantics, own])))
    return {
        "final": torch.stack(final),
        "sentence": head(decoder.sentence_head, decoded),
        "paragraph": head(decoder.paragraph_head, whole),
        "word": torch.cat(word_segments),
        **{f"A_{name}": similarity for name, (similarity, _) in states.items()},
    }


def clips_of(moment: torch.Tensor, count: int) -> list[int]:
    start, end = moment.tolist()
    inside = [k for k in range(count) if start <= (k + 0.5) / count <= end]
    return inside or [min(int(count * (start + end) / 2), count - 1)]


def located(segment: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    (s, e), (t, f) = segment, target.to(segment.dtype)
    overlap = (torch.minimum(e, f) - torch.maximum(s, t)).clamp(min=0)
    union = (e - s) + (f - t) - overlap
    hull = torch.maximum(e, f) - torch.minimum(s, t)
    return (s - t).abs() + (e - f).abs() + 1 - (overlap / union - (hull - union) / hull)


def aligned(similarity: torch.Tensor, clips: list[int]) -> torch.Tensor:
    return -similarity.softmax(-1)[clips].sum().log()


def paragraphs(model, batch: dict[str, torch.Tensor]) -> list[dict[str, torch.Tensor]]:
    """:func:`paragraph` of each row of a batch."""
    found = []
    for row in range(len(batch["video_features"])):
        lengths = [n for n in batch["attention_mask"][row].sum(-1).tolist() if n]
        vectors = model.text_encoder.model.vectors
        sentences = [vectors[batch["input_ids"][row, k, :n]] for k, n in enumerate(lengths)]
        found.append(paragraph(model, batch["video_features"][row][batch["video_mask"][row]], sentences))
    return found


def losses(model, batch: dict[str, torch.Tensor]) -> tuple[list[dict[str, torch.Tensor]], dict[str, torch.Tensor]]:
    """Everything of each paragraph, and the unweighted losses over the batch."""
    terms: dict[str, list[torch.Tensor]] = {}

    def add(name: str, value: torch.Tensor) -> None:
        terms.setdefault(name, []).append(value)

    found = paragraphs(model, batch)
    for row, made in enumerate(found):
        lengths = [n for n in batch["attention_mask"][row].sum(-1).tolist() if n]
        moments = batch["labels"][row, : len(lengths)]
        sets = [clips_of(moment, int(batch["video_mask"][row].sum())) for moment in moments]
        hull = torch.stack([moments[:, 0].min(), moments[:, 1].max()])
        add("align_paragraph", aligned(made["A_P"][0], sorted({k for clips in sets for k in clips})))
        add("paragraph", located(made["paragraph"][0], hull))
        words = zip(made["A_W"].split(lengths), made["word"].split(lengths), strict=True)
        for k, (similarity, segments) in enumerate(words):
            add("align_sentence", aligned(made["A_S"][k], sets[k]))
            add("sentence", located(made["sentence"][k], moments[k]))
            add("grounding", located(made["final"][k], moments[k]))
            add("union", located(torch.stack([segments[:, 0].min(), segments[:, 1].max()]), moments[k]))
            for word in range(lengths[k]):
                add("align_word", aligned(similarity[word], sets[k]))
                start, end = segments[word]
                add("subset", F.relu(moments[k, 0].float() - start) + F.relu(end - moments[k, 1].float()))
    return found, {name: torch.stack(values).mean() for name, values in terms.items()}
