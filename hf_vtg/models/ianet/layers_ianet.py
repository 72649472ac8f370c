"""Attention layers of IA-Net in forms that compute less than the published ones and give the same numbers."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint
from transformers.modeling_layers import GradientCheckpointingLayer
from transformers.utils import ModelOutput

from ...layers.padding import real_only
from .configuration_ianet import IANetConfig


@dataclass
class IANetAttention(ModelOutput):
    """One inter- or intra-modal step of the R real sentences, in the order of ``sentence_mask.nonzero()``.

    Args:
        video, query: (R, T, d), (R, N, d) after the step.
        video_map, query_map: averaged over the heads; where each clip looks, (R, T, N + K) words or (R, T, T) clips,
            and where each word looks, (R, N, T + K) clips or (R, N, N) words.
        attended_video, attended_query: (R, T, d), (R, N, d) what was found there.
    """

    video: torch.Tensor | None = None
    query: torch.Tensor | None = None
    video_map: torch.Tensor | None = None
    query_map: torch.Tensor | None = None
    attended_video: torch.Tensor | None = None
    attended_query: torch.Tensor | None = None


def masked_softmax(scores: torch.Tensor, mask: torch.Tensor | None, dim: int) -> torch.Tensor:
    """Softmax over the entries where ``mask`` (broadcastable) holds; finite even where none does."""
    if mask is not None:
        scores = scores.masked_fill(~mask, torch.finfo(scores.dtype).min)
    return scores.softmax(dim)


class LocalSelfAttention(nn.Module):
    """Multi-head self-attention of each clip to the clips at most ``window`` away.

    Blocks of clips meet themselves and the window on either side, not the whole video: the cost grows with T, not T^2.
    """

    BLOCK = 16

    def __init__(self, width: int, num_heads: int, window: int):
        super().__init__()
        self.num_heads, self.window = num_heads, window
        self.in_proj = nn.Linear(width, 3 * width)
        self.out_proj = nn.Linear(width, width)

    def forward(self, clips: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        """(B, T, W) clips -> (B, T, W); ``mask`` (B, T) hides clips from all others."""
        length, device = clips.shape[1], clips.device
        if mask is None:
            mask = torch.ones(clips.shape[:2], dtype=torch.bool, device=device)
        query, key, value = self.in_proj(clips).chunk(3, dim=-1)
        fill = -length % self.BLOCK
        query = F.pad(query * (clips.shape[-1] // self.num_heads) ** -0.5, (0, 0, 0, fill))
        query = query.unflatten(1, (-1, self.BLOCK)).unflatten(-1, (self.num_heads, -1)).transpose(2, 3)
        beyond, span = (self.window, self.window + fill), self.BLOCK + 2 * self.window
        # (B, blocks, heads, W / heads, span)
        keys, values = (
            F.pad(x, (0, 0, *beyond)).unfold(1, span, self.BLOCK).unflatten(2, (self.num_heads, -1))
            for x in (key, value)
        )
        distance = torch.arange(span, device=device) - torch.arange(self.BLOCK, device=device).unsqueeze(1)
        near = (distance >= 0) & (distance <= 2 * self.window)
        visible = F.pad(mask, beyond).unfold(1, span, self.BLOCK)[:, :, None, None] & near
        attended = masked_softmax(query @ keys, visible, -1) @ values.transpose(-1, -2)
        return self.out_proj(attended.transpose(2, 3).flatten(3).flatten(1, 2)[:, :length])


class Calibration(nn.Module):
    """x <- z * x + (1 - z) * r, z = sigmoid(W_z [x; m] + b_z), r = tanh(W_r [x; m] + b_r) (equations 7 to 12).

    They may be taken apart: the part of x computed ahead, and the part of m applied to what m averages.
    """

    def __init__(self, size: int):
        super().__init__()
        self.gate = nn.Linear(2 * size, size)
        self.update = nn.Linear(2 * size, size)

    def own(self, x: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., 2 d), the part of x in both projections."""
        size = x.shape[-1]
        weight = torch.cat([self.gate.weight[:, :size], self.update.weight[:, :size]])
        return F.linear(x, weight, torch.cat([self.gate.bias, self.update.bias]))

    def attended(self, values: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., 2 d), the part of the attended values m, or of the values that m averages."""
        size = values.shape[-1]
        return F.linear(values, torch.cat([self.gate.weight[:, size:], self.update.weight[:, size:]]))

    def calibrate(self, x: torch.Tensor, attended: torch.Tensor) -> torch.Tensor:
        """(..., d) and (..., d) attended values -> (..., d)."""
        both = torch.cat([x, attended], dim=-1)
        return self(x, self.gate(both), self.update(both))

    def forward(self, x: torch.Tensor, gate: torch.Tensor, update: torch.Tensor) -> torch.Tensor:
        """(..., d) and what the projections say, (..., d) each -> (..., d)."""
        # Not torch.lerp, which refuses the mixed precisions of autocast.
        update = update.tanh()
        return update + gate.sigmoid() * (x - update)


class InterAttention(nn.Module):
    """Clips attend to words and words to clips, both possibly to learnable none tokens (equations 1 to 12).

    The scores q W_q (v W_v)' are computed as (q W_q W_v') v': there are far fewer words than clips. Likewise the
    calibration of the clips is applied to the words before they are averaged.
    """

    def __init__(self, config: IANetConfig):
        super().__init__()
        size = config.hidden_size
        self.num_heads = config.num_attention_heads
        self.video_projection = nn.Linear(size, size, bias=False)
        self.query_projection = nn.Linear(size, size, bias=False)
        self.none_video = self.none_query = None
        if config.num_none_tokens:
            self.none_video = nn.Parameter(torch.empty(config.num_none_tokens, size))
            self.none_query = nn.Parameter(torch.empty(config.num_none_tokens, size))
        calibrated = config.use_calibration_inter
        self.video_calibration = Calibration(size) if calibrated else None
        self.query_calibration = Calibration(size) if calibrated else None

    def forward(
        self,
        video: torch.Tensor,
        query: torch.Tensor,
        video_mask: torch.Tensor | None,
        query_mask: torch.Tensor | None,
        own_video: torch.Tensor | None = None,
        states: list[IANetAttention] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(R, T, d) clips and (R, N, d) words -> both, updated from each other's incoming state.

        Args:
            video_mask, query_mask: (R, T), (R, N); None = all take part.
            own_video: ``video_calibration.own(video)``, if it is known.
            states: gets what happened, if a list.
        """
        length, words = video.shape[1], query.shape[1]
        clips, clip_mask = _with_none(video, video_mask, self.none_video)
        tokens, token_mask = _with_none(query, query_mask, self.none_query)
        to_clips, to_words = self._attention(clips, tokens, clip_mask, token_mask)
        to_clips, to_words = to_clips[:, :words], to_words[..., :length].transpose(1, 2)
        attended_query = to_clips @ clips
        if self.video_calibration is None:
            attended_video = to_words @ tokens
            new_video, new_query = video + attended_video, query + attended_query
        else:
            attended_video = to_words @ tokens if states is not None else None
            own_video = self.video_calibration.own(video) if own_video is None else own_video
            parts = torch.baddbmm(own_video, to_words, real_only(self.video_calibration.attended, token_mask, tokens))
            new_video = self.video_calibration(video, *parts.chunk(2, dim=-1))
            new_query = real_only(self.query_calibration.calibrate, query_mask, query, attended_query)
        if states is not None:
            states.append(IANetAttention(new_video, new_query, to_words, to_clips, attended_video, attended_query))
        return new_video, new_query

    def _attention(self, clips, tokens, clip_mask, token_mask) -> tuple[torch.Tensor, torch.Tensor]:
        """Maps averaged over the heads, (R, N + K, T + K): softmax over clips, and softmax over words."""
        folded = real_only(self._folded, token_mask, tokens).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        scores = (folded.flatten(1, 2) @ clips.transpose(1, 2)).unflatten(1, (self.num_heads, -1))
        over_clips = None if clip_mask is None else clip_mask[:, None, None, :]
        over_words = None if token_mask is None else token_mask[:, None, :, None]
        return masked_softmax(scores, over_clips, -1).mean(1), masked_softmax(scores, over_words, -2).mean(1)

    def _folded(self, tokens: torch.Tensor) -> torch.Tensor:
        """(..., d) -> (..., heads * d), what clips are multiplied with for a head's scores."""
        weight = self.video_projection.weight.unflatten(0, (self.num_heads, -1))
        projected = self.query_projection(tokens).unflatten(-1, (self.num_heads, -1))
        return torch.einsum("...hc,hcd->...hd", projected * weight.shape[1] ** -0.5, weight).flatten(-2)


class IntraAttention(nn.Module):
    """Self-attention of one modality with query = key, and calibration (section 3.3)."""

    def __init__(self, config: IANetConfig):
        super().__init__()
        self.num_heads = config.num_attention_heads
        self.projection = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.calibration = Calibration(config.hidden_size) if config.use_calibration_intra else None

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(R, T, d) -> the new (R, T, d), the map averaged over the heads (R, T, T), the attended (R, T, d)."""
        projected = real_only(self.projection, mask, x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        scores = (projected * projected.shape[-1] ** -0.5) @ projected.transpose(-1, -2)
        weights = masked_softmax(scores, None if mask is None else mask[:, None, None, :], -1).mean(1)
        attended = weights @ x
        calibrate = torch.add if self.calibration is None else self.calibration.calibrate
        new = real_only(calibrate, mask, x, attended)
        return new, weights, attended


class IANetBlock(GradientCheckpointingLayer):
    """Inter-modal, then intra-modal attention."""

    def __init__(self, config: IANetConfig):
        super().__init__()
        self.inter = InterAttention(config)
        self.intra_video = IntraAttention(config) if config.use_intra else None
        self.intra_query = IntraAttention(config) if config.use_intra else None

    def forward(
        self,
        video: torch.Tensor,
        query: torch.Tensor,
        video_mask: torch.Tensor | None,
        query_mask: torch.Tensor | None,
        own_video: torch.Tensor | None = None,
        states: list[IANetAttention] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """See :class:`InterAttention`; ``states`` gets the inter- and the intra-modal step."""
        video, query = self.inter(video, query, video_mask, query_mask, own_video, states)
        if self.intra_video is not None:
            video, video_map, attended_video = self.intra_video(video, video_mask)
            query, query_map, attended_query = self.intra_query(query, query_mask)
            if states is not None:
                states.append(IANetAttention(video, query, video_map, query_map, attended_video, attended_query))
        return video, query


class AdditiveFusion(nn.Module):
    """S[t, n] = w . tanh(W_v v_t + b + W_q q_n), softmax over words (official ``v2s``).

    The (T, N, d) tensors are computed in pieces that fit a cache. Where there are many, the backward pass computes
    them again instead of keeping them.
    """

    KEPT_PIECES = 16

    def __init__(self, config: IANetConfig):
        super().__init__()
        self.chunk = config.attention_chunk
        self.video = nn.Linear(config.hidden_size, config.hidden_size)
        self.query = nn.Linear(config.hidden_size, config.hidden_size, bias=False)
        self.score = nn.Linear(config.hidden_size, 1, bias=False)

    def forward(self, video: torch.Tensor, query: torch.Tensor, query_mask: torch.Tensor) -> torch.Tensor:
        """(R, T, d) clips, (R, N, d) words -> (R, T, d) the words that each clip gathers."""
        clips, words = self.video(video), real_only(self.query, query_mask, query)
        _, length, size = clips.shape
        per_clip = words.shape[1] * size
        rows = max(1, self.chunk // (length * per_clip))
        piece = max(1, min(length, self.chunk // per_clip))
        recompute = torch.is_grad_enabled() and clips.numel() * words.shape[1] > self.KEPT_PIECES * self.chunk
        scores = []
        longest = torch.stack([mask.sum(1).max() for mask in query_mask.split(rows)]).tolist()
        for clip_rows, word_rows, most in zip(clips.split(rows), words.split(rows), longest, strict=True):
            parts = [self._scores(part, word_rows[:, :most], recompute) for part in clip_rows.split(piece, dim=1)]
            scores.append(F.pad(torch.cat(parts, dim=1), (0, words.shape[1] - most)))
        scores = torch.cat(scores)
        return masked_softmax(scores, query_mask.unsqueeze(1), -1) @ query

    def _scores(self, clips: torch.Tensor, words: torch.Tensor, recompute: bool) -> torch.Tensor:
        if recompute:
            return checkpoint(self._piece, clips, words, use_reentrant=False, preserve_rng_state=False)
        return self._piece(clips, words)

    def _piece(self, clips: torch.Tensor, words: torch.Tensor) -> torch.Tensor:
        return self.score((clips.unsqueeze(2) + words.unsqueeze(1)).tanh()).squeeze(-1)


class CosineFusion(nn.Module):
    """Softmax over words of their cosine with each clip (section 3.5)."""

    def __init__(self, config: IANetConfig):
        super().__init__()
        self.temperature = config.cosine_temperature

    def forward(self, video: torch.Tensor, query: torch.Tensor, query_mask: torch.Tensor) -> torch.Tensor:
        """(R, T, d) clips, (R, N, d) words -> (R, T, d) the words that each clip gathers."""
        cosine = F.normalize(video, dim=-1) @ F.normalize(query, dim=-1).transpose(1, 2)
        return masked_softmax(cosine / self.temperature, query_mask.unsqueeze(1), -1) @ query


def _with_none(x: torch.Tensor, mask: torch.Tensor | None, none: torch.Tensor | None):
    """(R, T + K, d) and its mask: the none tokens stand behind the real ones and are always visible."""
    if none is None:
        return x, mask
    rows = torch.cat([x, none.to(x.dtype).expand(len(x), -1, -1)], dim=1)
    return rows, None if mask is None else F.pad(mask, (0, len(none)), value=True)
