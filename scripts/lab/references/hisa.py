"""HiSA in its plain form: five convolutions of padded copies, a loop over the clips for the attention, losses by hand.

Written from the equations of the published code, with the weights of one of our models.
"""

import math

import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

EPS = 1e-13


def lstm(recurrent, states, lengths):
    packed = pack_padded_sequence(states, lengths.cpu(), batch_first=True, enforce_sorted=False)
    return pad_packed_sequence(recurrent.rnn(packed)[0], batch_first=True, total_length=states.shape[1])[0]


def masked_softmax(logits, mask):
    weights = torch.softmax(logits * mask, dim=-1) * mask
    return weights / (weights.sum(-1, keepdim=True) + EPS) + EPS


def neighbor(features, lengths):
    """Each clip's right neighbour; the last one's is itself."""
    shifted = torch.zeros_like(features)
    for video, length in enumerate(lengths.tolist()):
        shifted[video, : length - 1] = features[video, 1:length]
        shifted[video, length - 1] = features[video, length - 1]
    return shifted


def disentangle(model, features, lengths, reconstruct=True):
    """Background, action, the neighbours' action, and both reconstructions (None without ``reconstruct``)."""
    block, clips = model.disentangler, torch.arange(features.shape[1])
    keep = torch.ones(features.shape[:2])
    if model.config.pad_invariant:
        keep = (clips < lengths[:, None]).to(features.dtype)
        features = features * keep[..., None]
    else:
        lengths = torch.full_like(lengths, features.shape[1])

    def convolve(conv, first, second):
        both = block.dropout(torch.cat([first, second], dim=-1).transpose(1, 2))
        return conv(both).transpose(1, 2) * keep[..., None]

    shifted = neighbor(features, lengths)
    background = convolve(block.background_encoder, features, shifted)
    action = convolve(block.action_encoder, features, background)
    if not reconstruct:
        return background, action, None, None, None
    action_neighbor = convolve(block.action_encoder, shifted, background)
    recon = convolve(block.video_decoder, action, background)
    recon_neighbor = convolve(block.video_decoder, action_neighbor, background)
    return background, action, action_neighbor, recon, recon_neighbor


def forward(model, features, lengths, words, word_lengths, reconstruct=True):
    """One sentence a video.

    Args:
        features: (B, T, D); lengths: (B,). words: (B, L, E); word_lengths: (B,).

    Returns:
        dict of the named tensors, one row a video.
    """
    mask = (torch.arange(features.shape[1]) < lengths[:, None]).to(features.dtype)
    word_mask = (torch.arange(words.shape[1]) < word_lengths[:, None]).to(features.dtype)
    background, action, action_neighbor, recon, recon_neighbor = disentangle(model, features, lengths, reconstruct)
    video = lstm(model.video_lstm, torch.cat([action, background], dim=-1), lengths)
    video = torch.tanh(model.video_head(model.dropout(video)))
    query = model.dropout(lstm(model.query_lstm, words, word_lengths))
    attended = []
    for clip in range(features.shape[1]):
        hidden = model.attention.word_projection(query) + model.attention.clip_projection(video[:, clip : clip + 1])
        logits = model.attention.score(torch.tanh(hidden)).squeeze(-1)
        weights = masked_softmax(logits, word_mask)
        attended.append((weights[..., None] * query).sum(1))
    filtered = torch.tanh(model.query_head(torch.stack(attended, dim=1)))
    fused = filtered * video if model.config.fusion == "cross_cos" else (filtered - video).abs()
    localized = lstm(model.localization_lstm, fused, lengths)
    made = {"filter_start": filtered, "rnn_loc": localized, "recon": recon, "recon_neighbor": recon_neighbor}
    made |= {"action": action, "background": background, "action_neighbor": action_neighbor}
    for name, head in (("start", model.start_head), ("end", model.end_head), ("inter", model.inside_head)):
        made[f"logits_{name}"] = head(localized).squeeze(-1)
        made[f"prob_{name}"] = masked_softmax(made[f"logits_{name}"], mask)
    return made


def losses(model, made, features, lengths, start, end):
    """The five losses by loops over samples, of :func:`forward` and (B,) target clips; ``time_mean`` contrast."""
    samples = range(len(features))
    spans = [max(int(e - s), 1) for s, e in zip(start, end, strict=True)]
    inside = [-made["prob_inter"][b, start[b] : end[b] + 1].log().sum() / spans[b] for b in samples]
    queries = [made["filter_start"][b, start[b] : start[b] + spans[b]].mean(0) for b in samples]
    videos = [made["rnn_loc"][b, start[b] : start[b] + spans[b]].mean(0) for b in samples]
    return {
        "start": torch.stack([-made["prob_start"][b, start[b]].log() for b in samples]).mean(),
        "end": torch.stack([-made["prob_end"][b, end[b]].log() for b in samples]).mean(),
        "inter": torch.stack(inside).mean(),
        "recon_l1": reconstruction(model, made, features, lengths),
        "contrast": contrast(queries, videos, model.config.contrast_temperature),
    }


def reconstruction(model, made, features, lengths):
    if model.config.pad_invariant:
        pairs = [(features[b : b + 1, :length], b, length) for b, length in enumerate(lengths.tolist())]
    else:
        pairs = [(features[b : b + 1], b, features.shape[1]) for b in range(len(features))]
    total, count = 0.0, 0
    for own, b, length in pairs:
        shifted = neighbor(own, torch.tensor([length]))
        total = total + (own - made["recon"][b : b + 1, :length]).abs().sum()
        total = total + (shifted - made["recon_neighbor"][b : b + 1, :length]).abs().sum()
        count += own.numel()
    return total / count


def contrast(queries, videos, temperature):
    def cosine(x, y):
        return torch.dot(x, y) / (x.norm() * y.norm())

    total = 0.0
    for own, other in ((queries, videos), (videos, queries)):
        for i in range(len(own)):
            positive = torch.exp(cosine(own[i], other[i]) / temperature)
            rest = positive
            for j in range(len(own)):
                if j != i:
                    weight = 1 - cosine(own[i], own[j])
                    rest = rest + weight * torch.exp(cosine(own[i], other[j]) / temperature)
            total = total - torch.log(positive / rest)
    return total / len(queries)


def best_pair(prob_start, prob_end):
    """(i, j), i <= j, of the largest product, by looking at each pair; one sample."""
    best, found = -math.inf, None
    for i in range(len(prob_start)):
        for j in range(i, len(prob_end)):
            if prob_start[i] * prob_end[j] > best:
                best, found = prob_start[i] * prob_end[j], (i, j)
    return found
