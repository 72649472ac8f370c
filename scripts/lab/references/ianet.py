"""IA-Net written plainly, as its published code is: full maps and masks, every head its own product, packed GRUs.

Takes the layers' weights from the model under test and nothing else of it. One sentence a row.
"""

import math

import numpy as np
import torch
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence


def packed(rnn: torch.nn.GRU, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    sequence = pack_padded_sequence(x, mask.sum(1).cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(rnn(sequence)[0], batch_first=True, total_length=x.shape[1])[0]


def hide(scores: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """(R, h, Q, K) scores without the keys that ``mask`` (R, K) hides."""
    return scores if mask is None else scores.masked_fill(~mask[:, None, None, :], -torch.inf)


def local_attention(layer, x: torch.Tensor, mask: torch.Tensor | None) -> torch.Tensor:
    """The whole T x T map, of which the window is kept."""
    heads, length = layer.num_heads, x.shape[1]
    query, key, value = (part.unflatten(-1, (heads, -1)).transpose(1, 2) for part in layer.in_proj(x).chunk(3, dim=-1))
    place = torch.arange(length)
    far = (place[:, None] - place).abs() > layer.window
    scores = query @ key.transpose(-1, -2) / math.sqrt(query.shape[-1]) + far * -1e10
    if mask is not None:
        scores = scores + ~mask[:, None, None, :] * -1e10
    return layer.out_proj((scores.softmax(-1) @ value).transpose(1, 2).flatten(2))


def attend(query: torch.Tensor, key: torch.Tensor, values: torch.Tensor, heads: int, mask: torch.Tensor | None):
    """Each head's map times the whole values, averaged afterwards."""
    q, k = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in (query, key))
    weights = hide(q @ k.transpose(-1, -2) / math.sqrt(q.shape[-1]), mask).softmax(-1)
    return (weights @ values.unsqueeze(1)).mean(1)


def calibrate(layer, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
    if layer is None:
        return x + attended
    both = torch.cat([x, attended], dim=-1)
    gate = torch.sigmoid(layer.gate(both))
    return gate * x + (1 - gate) * torch.tanh(layer.update(both))


def with_none(x: torch.Tensor, mask: torch.Tensor | None, none: torch.Tensor | None):
    if none is None:
        return x, mask
    extended = torch.cat([x, none.unsqueeze(0).repeat(len(x), 1, 1)], dim=1)
    return extended, None if mask is None else torch.cat([mask, torch.ones(len(x), len(none)).bool()], dim=1)


def block(layer, video, query, video_mask, query_mask):
    inter = layer.inter
    clips, clip_mask = with_none(video, video_mask, inter.none_video)
    words, word_mask = with_none(query, query_mask, inter.none_query)
    of_clips, of_words = inter.video_projection(clips), inter.query_projection(words)
    heads = inter.num_heads
    to_words = attend(of_clips[:, : video.shape[1]], of_words, words, heads, word_mask)
    to_clips = attend(of_words[:, : query.shape[1]], of_clips, clips, heads, clip_mask)
    video = calibrate(inter.video_calibration, video, to_words)
    query = calibrate(inter.query_calibration, query, to_clips)
    if layer.intra_video is None:
        return video, query
    updated = []
    for part, x, mask in ((layer.intra_video, video, video_mask), (layer.intra_query, query, query_mask)):
        projected = part.projection(x)
        updated.append(calibrate(part.calibration, x, attend(projected, projected, x, heads, mask)))
    return tuple(updated)


def additive(fusion, video: torch.Tensor, query: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    hidden = torch.tanh(fusion.video(video).unsqueeze(2) + fusion.query(query).unsqueeze(1))
    scores = fusion.score(hidden).squeeze(-1).masked_fill(~mask.unsqueeze(1), -1e30)
    return scores.softmax(-1) @ query


def predict(model, features, video_mask, embeds, word_mask) -> tuple[torch.Tensor, torch.Tensor]:
    """(R, T, D), (R, T), (R, N, E), (R, N) -> logits (R, T * A) and offsets (R, T * A, 2). Without dropout."""
    encoder, masked = model.video_encoder, model.config.mask_padding
    seen, seen_words = (video_mask, word_mask) if masked else (None, None)
    clips = features if encoder.projection is None else encoder.projection(features)
    for layer in encoder.attention:
        clips = clips + local_attention(layer, clips, seen)
    video = packed(encoder.encoder.rnn, clips, video_mask)
    query = packed(model.query_encoder.rnn, embeds, word_mask)
    for layer in model.blocks:
        video, query = block(layer, video, query, seen, seen_words)
    fused = torch.cat([video, additive(model.fusion, video, query, word_mask)], dim=-1)
    localized = packed(model.localizer.rnn, fused, video_mask)
    return model.score_head(localized).flatten(1), model.offset_head(localized).reshape(len(fused), -1, 2)


def loss(model, logits, offsets, targets) -> torch.Tensor:
    """Weighted total of the published losses, from ready-made targets of one sentence a row."""
    config = model.config
    legal = targets["legal"].to(logits.dtype)
    probability = torch.sigmoid(logits) * legal
    entropy = F.binary_cross_entropy(probability, targets["scores"][:, 0].to(logits.dtype), reduction="none")
    counted = torch.ones_like(legal) if config.count_illegal_anchors else legal
    classification = torch.stack([row[keep > 0].mean() for row, keep in zip(entropy, counted, strict=True)]).mean()
    anchors = torch.tensor(windows(logits.shape[1] // config.num_anchors, config), dtype=logits.dtype)
    anchors = anchors.trunc() if config.round_anchors_in_loss else anchors
    row, anchor = targets["positives"][:, 0].nonzero(as_tuple=True)
    boxes = anchors[anchor] + offsets[row, anchor]
    moments = targets["boundary"][row, 0].to(boxes.dtype)
    regression = F.smooth_l1_loss(boxes, moments) * (2 if config.boundary_reduction == "sum" else 1)
    return classification + config.boundary_weight * regression


def windows(length: int, config) -> list[list[float]]:
    halves = [(width - 1) * config.anchor_scale / 2 for width in config.anchor_widths]
    return [[t - half, t + half] for t in range(length) for half in halves]


def targets(moment, duration, rows, length, config) -> dict:
    """One moment in seconds, a file of ``rows`` features resampled to ``length`` clips: loops, as the loader has."""
    per_second = rows / duration
    end = min(int(per_second * moment[1]), rows - 1)
    start = min(int(per_second * moment[0]), end)
    index = [int(x) for x in np.linspace(0, rows - 1, length)]
    first = min(i for i in range(length) if index[i] >= start)
    last = max(i for i in range(length) if index[i] <= end)
    if config.stretch_label_at_last_frame and end == length - 1:
        last = length - 1
    last = max(first, last)
    overlaps = []
    for window in windows(length, config):
        shared = min(window[1], last) - max(window[0], first) + 1
        hull = max(window[1], last) - min(window[0], first) + 1
        overlaps.append(max(shared / hull, 0.0) if window[0] >= 0 and window[1] < length else 0.0)
    best = max(overlaps)
    least = config.relative_positive_iou * best if config.positive_rule == "relative" else config.positive_iou
    return {
        "boundary": [first, last],
        "iou": overlaps,
        "scores": [x / best for x in overlaps] if config.normalize_iou_targets and best else overlaps,
        "positives": [x >= least and x > 0 for x in overlaps],
    }


def nms(windows, scores, overlap: float) -> list[int]:
    """Greedy suppression one window after another; equal scores: the larger index first; 0 / 0 goes."""
    left = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    picks = []
    while left:
        best = left.pop()
        picks.append(best)
        kept = []
        for i in left:
            (a, b), (c, d) = windows[best], windows[i]
            shared = max(0, min(b, d) - max(a, c))
            union = (b - a) + (d - c) - shared
            if union and shared / union <= overlap:
                kept.append(i)
        left = kept
    return picks
