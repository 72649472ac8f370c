"""CLEAR written out plainly from its specification: one query at a time, every cell, every clip, no shared work.

Only weights are taken from the model, under our names.
"""

import torch
from torch.nn import functional as F

from hf_vtg.models.clear.decoding_clear import CLEARFusion
from hf_vtg.moments import temporal_iou

RRELU_SLOPE = 11 / 48


def rrelu(x):
    return F.leaky_relu(x, RRELU_SLOPE)


def linear(weights, name, x):
    return F.linear(x, weights[f"{name}.weight"], weights[f"{name}.bias"])


def normed_conv(weights, name, x, **settings):
    magnitude, direction = (weights[f"{name}.parametrizations.weight.original{k}"] for k in (0, 1))
    weight = magnitude * direction / direction.square().sum((1, 2), keepdim=True).sqrt()
    return F.conv1d(x, weight, weights[f"{name}.bias"], **settings)


def last_state(weights, name, words, layers):
    """Top state of a unidirectional LSTM after the last of (L, E) words, word by word."""
    for k in range(layers):
        hidden = memory = words.new_zeros(weights[f"{name}.weight_hh_l{k}"].shape[1])
        states = []
        for word in words:
            gates = weights[f"{name}.weight_ih_l{k}"] @ word + weights[f"{name}.bias_ih_l{k}"]
            gates = gates + weights[f"{name}.weight_hh_l{k}"] @ hidden + weights[f"{name}.bias_hh_l{k}"]
            into, forget, new, out = gates.chunk(4)
            memory = forget.sigmoid() * memory + into.sigmoid() * new.tanh()
            hidden = out.sigmoid() * memory.tanh()
            states.append(hidden)
        words = torch.stack(states)
    return words[-1]


def coarse_scores(model, features, words):
    """(P, D) features and (L, E) words -> (T,) scores."""
    weights, config = model.state_dict(keep_vars=True), model.config
    x = features.T[None]
    padding = [(config.tcn_kernel - 1) * 2**k // 2 for k in range(len(config.tcn_channels))]
    for k in range(len(config.tcn_channels)):
        name, settings = f"coarse.tcn.{k}", {"padding": padding[k], "dilation": 2**k}
        hidden = rrelu(normed_conv(weights, f"{name}.conv1", x, **settings))
        hidden = rrelu(normed_conv(weights, f"{name}.conv2", hidden, **settings))
        if f"{name}.residual.weight" in weights:
            x = F.conv1d(x, weights[f"{name}.residual.weight"], weights[f"{name}.residual.bias"])
        x = rrelu(hidden + x)
    candidates = []
    for k, (kernel, stride) in enumerate(zip(config.window_kernels, config.window_strides, strict=True)):
        for start in range(0, config.num_pre_clips - kernel + 1, stride):
            window = x[0, :, start : start + kernel]
            weight, bias = (weights[f"coarse.windows.{k}.{part}"] for part in ("weight", "bias"))
            candidates.append((weight * window).sum((1, 2)) + bias)
    ranges = linear(weights, "coarse.range_projection", rrelu(torch.stack(candidates, dim=1))).T
    hidden = rrelu(linear(weights, "coarse.range_hidden", rrelu(ranges)))
    embedding = linear(weights, "coarse.range_embedding", hidden)
    query = last_state(weights, "coarse.query.lstm.rnn", words, config.query_layers)
    query = linear(weights, "coarse.query_embedding", rrelu(linear(weights, "coarse.query.fc", query)))
    return torch.stack([(row * query).sum() for row in embedding])


def mask(config, interior):
    """(N, N) bool, diagonal by diagonal as published."""
    size = config.num_clips
    valid = torch.eye(size, dtype=torch.bool)
    offset = 0
    for group, count in enumerate(config.pooling_counts):
        for _ in range(count):
            offset += 2**group
            for i in range(0, size - offset, 2**group):
                valid[i, i + offset] = True
    if interior:
        valid[0, 1:] = valid[:-1, -1] = False
    return valid


def fine_logits(model, features, words):
    """(P, D) features and (L, E) words -> (N, N) logits of the dense map."""
    weights = model.state_dict(keep_vars=True)
    query = last_state(weights, "fine.query.lstm.rnn", words, model.config.query_layers)
    return predicted(model, map_of(model, features), linear(weights, "fine.query.fc", query))


def map_of(model, features):
    """(P, D) features -> (C, N, N) span maxima of the map's cells, zero elsewhere."""
    weights, config = model.state_dict(keep_vars=True), model.config
    size, interior = config.num_clips, config.fine_mask == "interior"
    clips = F.conv1d(features.T[None], weights["fine.clip_projection.weight"], weights["fine.clip_projection.bias"])
    clips = F.avg_pool1d(clips.relu(), config.num_pre_clips // size)[0]
    empty = torch.zeros(clips.shape[0], dtype=clips.dtype)
    maxima = {
        (i, j): clips[:, i : j + 1].amax(1)
        for i, j in mask(config, False).nonzero().tolist()
        if not (interior and j == size - 1)
    }
    rows = [torch.stack([maxima.get((i, j), empty) for j in range(size)], dim=1) for i in range(size)]
    return torch.stack(rows, dim=1)


def predicted(model, full, query):
    """(C, N, N) map and (C,) query -> (N, N) logits by convolutions over the whole padded map."""
    weights, config = model.state_dict(keep_vars=True), model.config
    fused = linear(weights, "fine.map_projection", full.permute(1, 2, 0)) * query
    x = F.normalize(fused, dim=-1).permute(2, 0, 1)[None]
    kernel, layers = config.predictor_kernel, config.predictor_layers
    valid = mask(config, config.fine_mask == "interior")[None, None].to(x.dtype)
    for k in range(layers):
        padding = (kernel - 1) * layers // 2 if k == 0 else 0
        count = F.conv2d(valid, torch.ones(1, 1, kernel, kernel, dtype=x.dtype), padding=padding).round()
        valid = (count > 0).to(x.dtype)
        name = f"fine.map_conv.layers.{k}.conv"
        x = F.conv2d(x, weights[f"{name}.weight"], weights[f"{name}.bias"], padding=padding).relu()
        x = x * valid / count.clamp(min=1)
    return linear(weights, "fine.predictor", x[0].permute(1, 2, 0))[..., 0]


def fused(config, coarse, fine):
    """The fused decoding in words of the specification.

    Args:
        coarse: T numbers on the scale of an IoU; fine: (i, j) -> probability of the scored cells.

    Returns:
        s, e, gain, factor (None = no pruning), and (i, j) -> score of the candidates.
    """
    size = config.num_clips
    cells = [tuple(cell) for cell in mask(config, False).nonzero().tolist()]
    prefixes, suffixes = [j for i, j in cells if i == 0], [i for i, j in cells if j == size - 1]
    p, q = coarse[: len(prefixes)], coarse[len(prefixes) :]
    whole = (p[-1] + q[0]) / 2
    e, s = prefixes[p.index(max(p))], suffixes[q.index(max(q))]
    gain = (max(max(p), max(q)) - whole) / max(abs(whole), 1e-6)
    scores = {cell: fine.get(cell, 0.0) for cell in cells}
    if config.boundary_fill:
        for i, j in cells:
            own = [p[prefixes.index(j)]] if i == 0 else []
            own += [q[suffixes.index(i)]] if j == size - 1 else []
            if own:
                filled = max(min(max((c - config.min_iou) / (config.max_iou - config.min_iou), 0), 1) for c in own)
                scores[i, j] = max(filled, scores[i, j]) if i == j else filled
    factor = None
    if s <= e and gain >= config.prune_mu:
        factor = 0.1 if gain <= config.prune_alpha else 0.0
    kept = dict(scores)
    if config.prune and factor is not None:
        margin = max(1, size // 8) if config.prune_margin is None else config.prune_margin
        kept = {(i, j): x * (1 if i >= s - margin and j <= e + margin else factor) for (i, j), x in scores.items()}
    found = {cell: x for cell, x in kept.items() if x > 0} or {cell: x for cell, x in scores.items() if x > 0}
    return s, e, gain, factor, found or {(0, size - 1): 0.0}


def confident(model, first, last):
    """``model`` whose pruning sees a moment from cell ``first`` to ``last``, whatever its coarse branch scores."""
    moment = torch.tensor([first, last + 1], dtype=torch.float64) / model.config.num_clips
    seen = temporal_iou(moment, model.fusion.tick_moments(torch.float64))

    def region(coarse, rule=None):
        return CLEARFusion.region(model.fusion, seen.to(coarse).expand_as(coarse), rule)

    model.fusion.region = region
    return model
