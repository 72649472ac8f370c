"""Masked softmax of the published code, and the attention of each clip over the words (official ``pooling_layer``)."""

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

from ...layers.losses import upcast
from ...layers.padding import restore_sentences

SOFTMAX_EPS = 1e-13


def masked_softmax(logits: torch.Tensor, mask: torch.Tensor, exact: bool) -> torch.Tensor:
    """Softmax over the last axis where ``mask`` holds, plus 1e-13 everywhere, which keeps logarithms finite.

    Args:
        mask: bool, broadcastable; at least one True on the last axis.
        exact: False: as published (AllenNLP): masked logits are 0, and the softmax over all is cut and rescaled. The
            two differ where all real logits lie far below 0.
    """
    logits = upcast(logits)
    if exact:
        return logits.masked_fill(~mask, -torch.inf).softmax(-1) + SOFTMAX_EPS
    weights = (logits * mask).softmax(-1) * mask
    return weights / (weights.sum(-1, keepdim=True) + SOFTMAX_EPS) + SOFTMAX_EPS


class HiSAWordAttention(nn.Module):
    """Additive attention: score of clip t for word n = w . tanh(S h_n + V o_t) + c.

    Args:
        size: width C of clips and words.
        exact: see :func:`masked_softmax`.
        max_elements: the (clips, words, C) tensor is made in parts of at most so many elements, and again in the
            backward pass if there is more than one.
    """

    def __init__(self, size: int, exact: bool, max_elements: int):
        super().__init__()
        self.word_projection = nn.Linear(size, size)
        self.clip_projection = nn.Linear(size, size)
        self.score = nn.Linear(size, 1)
        self.exact = exact
        self.max_elements = max_elements

    def forward(
        self,
        words: torch.Tensor,
        word_keys: torch.Tensor,
        word_mask: torch.Tensor,
        clip_keys: torch.Tensor,
        lengths: torch.Tensor,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Attended words of each clip.

        Args:
            words: (R, L, C); word_keys: their projection; word_mask: (R, L) bool.
            clip_keys: (R, T, C) projected clips.
            lengths: (R,) real clips.

        Returns:
            (R, T, C) attended words, (R, T, L) weights; with ``exact`` zeros behind the real clips.
        """
        step = max(1, self.max_elements // word_keys.numel())
        chunks = clip_keys.split(step, dim=1)
        recompute = len(chunks) > 1 and torch.is_grad_enabled()
        shortest = int(lengths.min()) if self.exact else clip_keys.shape[1]
        logits = []
        for first, chunk in zip(range(0, clip_keys.shape[1], step), chunks, strict=True):
            rows = lengths > first if first >= shortest else slice(None)
            keys = word_keys[rows], chunk[rows]
            part = checkpoint(self._logits, *keys, use_reentrant=False) if recompute else self._logits(*keys)
            logits.append(restore_sentences(part, rows) if first >= shortest else part)
        weights = masked_softmax(torch.cat(logits, dim=1), word_mask.unsqueeze(1), self.exact)
        if self.exact:
            weights = weights * (torch.arange(weights.shape[1], device=lengths.device) < lengths[:, None])[..., None]
        return weights.to(words.dtype) @ words, weights

    def _logits(self, word_keys: torch.Tensor, clip_keys: torch.Tensor) -> torch.Tensor:
        """(R, L, C), (R, t, C) -> (R, t, L)"""
        return self.score((word_keys.unsqueeze(1) + clip_keys.unsqueeze(2)).tanh_()).squeeze(-1)
