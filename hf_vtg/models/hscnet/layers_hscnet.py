"""Building blocks of HSCNet: attention, the multi-modal layer, a level of the encoder, the prediction heads."""

import math
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional as F

from ...layers.losses import upcast
from .configuration_hscnet import HSCNetConfig


def split_heads(x: torch.Tensor, heads: int) -> torch.Tensor:
    """(B, N, D) -> (B, heads, N, D / heads)"""
    return x.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(x: torch.Tensor) -> torch.Tensor:
    """Inverse of :func:`split_heads`."""
    return x.transpose(1, 2).flatten(2)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with query, key, value and output projections."""

    def __init__(self, config: HSCNetConfig):
        super().__init__()
        self.heads, self.dropout = config.num_attention_heads, config.dropout
        for name in ("q_proj", "k_proj", "v_proj", "out_proj"):
            setattr(self, name, nn.Linear(config.hidden_size, config.hidden_size))

    def forward(self, queries: torch.Tensor, keys: torch.Tensor, key_mask: torch.Tensor) -> torch.Tensor:
        """(B, Q, D) queries, (B, N, D) keys, (B, N) real keys, at least one a row -> (B, Q, D)"""
        attended = F.scaled_dot_product_attention(
            split_heads(self.q_proj(queries), self.heads),
            split_heads(self.k_proj(keys), self.heads),
            split_heads(self.v_proj(keys), self.heads),
            attn_mask=key_mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
        )
        return self.out_proj(merge_heads(attended))


class FeedForward(nn.Module):
    """Two linear layers with ReLU and dropout between them."""

    def __init__(self, config: HSCNetConfig):
        super().__init__()
        self.fc1 = nn.Linear(config.hidden_size, config.intermediate_size)
        self.fc2 = nn.Linear(config.intermediate_size, config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc2(self.dropout(self.fc1(x).relu()))


class EncoderLayer(nn.Module):
    """Self-attention and feed-forward, each with a residual branch and layer normalisation after it."""

    def __init__(self, config: HSCNetConfig):
        super().__init__()
        self.self_attention = MultiHeadAttention(config)
        self.attention_norm = nn.LayerNorm(config.hidden_size)
        self.feed_forward = FeedForward(config)
        self.feed_forward_norm = nn.LayerNorm(config.hidden_size)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(B, N, D) states and (B, N) mask -> (B, N, D)"""
        x = self.attention_norm(x + self.dropout(self.self_attention(x, x, mask)))
        return self.feed_forward_norm(x + self.dropout(self.feed_forward(x)))


class Projections(NamedTuple):
    """What a multi-modal layer computes for each clip or query by itself.

    Args:
        fused: (B, N, D), M of the specification.
        phi, rho: (B, heads, N, D / heads), of length 1 in each head; psi likewise, of any length.
    """

    fused: torch.Tensor
    phi: torch.Tensor
    rho: torch.Tensor
    psi: torch.Tensor


class MultiModalLayer(nn.Module):
    """Joint attention of clips and queries by cosine per head over a learned temperature (paper, eq. 1-2)."""

    def __init__(self, config: HSCNetConfig):
        super().__init__()
        width = config.hidden_size
        self.heads, self.dropout = config.num_attention_heads, config.dropout
        self.sigma_floor, self.initial_log_sigma = config.sigma_floor, math.log(config.sigma_init)
        for name in ("fusion_proj", "phi_proj", "rho_proj", "psi_proj", "out_proj"):
            setattr(self, name, nn.Linear(width, width))
        self.log_sigma = nn.Parameter(torch.tensor(self.initial_log_sigma))
        self.attention_norm = nn.LayerNorm(width)
        self.video_feed_forward, self.query_feed_forward = FeedForward(config), FeedForward(config)
        self.video_norm, self.query_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.residual_dropout = nn.Dropout(config.dropout)

    def project(self, states: torch.Tensor) -> Projections:
        """(B, N, D) clips or queries -> their own part of the layer."""
        fused = self.fusion_proj(states)
        psi = split_heads(self.psi_proj(fused), self.heads)
        phi, rho = (
            F.normalize(upcast(split_heads(linear(fused), self.heads)), dim=-1, eps=1e-12).to(psi.dtype)
            for linear in (self.phi_proj, self.rho_proj)
        )
        return Projections(fused, phi, rho, psi)

    @property
    def sigma(self) -> torch.Tensor:
        """Temperature of the cosines."""
        return upcast(self.log_sigma).exp().clamp(min=self.sigma_floor)

    def forward(
        self, clips: Projections, queries: Projections, mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both sides' projections, and the (B, N + Q) mask of clips, then queries -> (B, N, D) and (B, Q, D)"""
        fused, phi, rho, psi = (torch.cat(pair, dim=-2) for pair in zip(clips, queries, strict=True))
        attended = F.scaled_dot_product_attention(
            phi / self.sigma.to(phi.dtype),
            rho,
            psi,
            attn_mask=mask[:, None, None],
            dropout_p=self.dropout if self.training else 0.0,
            scale=1.0,
        )
        hidden = self.attention_norm(fused + self.residual_dropout(self.out_proj(merge_heads(attended))))
        video, query = hidden.split([clips.fused.shape[1], queries.fused.shape[1]], dim=1)
        return (
            self.video_norm(video + self.residual_dropout(self.video_feed_forward(video))),
            self.query_norm(query + self.residual_dropout(self.query_feed_forward(query))),
        )


class EncoderLevel(nn.Module):
    """The multi-modal layers of one level."""

    def __init__(self, config: HSCNetConfig, depth: int):
        super().__init__()
        self.layers = nn.ModuleList(MultiModalLayer(config) for _ in range(depth))

    def interact(
        self,
        clips: torch.Tensor | Projections,
        queries: torch.Tensor,
        clip_mask: torch.Tensor,
        query_mask: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, N, D) clips, or the first layer's projections of them, and (B, Q, D) queries -> both, after all."""
        mask = torch.cat([clip_mask, query_mask], dim=1)
        for layer in self.layers:
            projected = clips if isinstance(clips, Projections) else layer.project(clips)
            clips, queries = layer(projected, layer.project(queries), mask)
        return clips, queries


class PoolingLevel(EncoderLevel):
    """A level above another: its clips are encoded anew, its queries are means that look at what they are means of."""

    def __init__(self, config: HSCNetConfig, depth: int):
        super().__init__(config, depth)
        self.query_attention = MultiHeadAttention(config)
        self.query_norm = nn.LayerNorm(config.hidden_size)
        self.video_encoder = EncoderLayer(config)
        self.dropout = nn.Dropout(config.dropout)

    def pool(self, means: torch.Tensor, parts: torch.Tensor, part_mask: torch.Tensor) -> torch.Tensor:
        """(B, Q, D) means, and the (B, N, D) states of the level below (all of the paragraph) -> (B, Q, D) queries."""
        return self.query_norm(means + self.dropout(self.query_attention(means, parts, part_mask)))


class PredictionHead(nn.Module):
    """(..., in) semantics -> (..., 2) start and end as fractions, at least float32, not clamped to the video."""

    def __init__(self, in_features: int, config: HSCNetConfig):
        super().__init__()
        self.fc1 = nn.Linear(in_features, config.hidden_size)
        self.fc2 = nn.Linear(config.hidden_size, 2)
        self.box_format = config.box_format

    def forward(self, semantics: torch.Tensor) -> torch.Tensor:
        return segments_from_logits(self.fc2(self.fc1(semantics).relu()), self.box_format)


def segments_from_logits(logits: torch.Tensor, box_format: str) -> torch.Tensor:
    """(..., 2) logits of (centre, width), ``"cw"``, or (start, end), ``"se"`` -> (..., 2) start and end."""
    values = upcast(logits).sigmoid()
    if box_format == "se":
        return values
    centre, half = values[..., 0], values[..., 1] / 2
    return torch.stack([centre - half, centre + half], dim=-1)
