"""Where the words of a paragraph are: packed one after another, and sentence by sentence."""

from dataclasses import dataclass

import torch
from transformers.utils import ModelOutput


@dataclass
class HSCNetTextState(ModelOutput):
    """What does not depend on the video. N words of the longest paragraph, S sentences.

    Args:
        words: (B, N, D) words of all sentences one after another, each seen in its whole paragraph (F^W).
        word_mask: (B, N) bool.
        sentence_ids: (B, N) sentence of each word, -1 at padding.
        word_counts: (B, S) words of each sentence.
        sentence_mask: (B, S) bool.
        slot_mask: (B, S, M) bool, whether a sentence has a word at this place; M words of the longest sentence.
        slot_index: (B, S, M) its place among the packed words; where there is no word, any valid place.
    """

    words: torch.Tensor | None = None
    word_mask: torch.Tensor | None = None
    sentence_ids: torch.Tensor | None = None
    word_counts: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None
    slot_mask: torch.Tensor | None = None
    slot_index: torch.Tensor | None = None

    def sentence_means(self, states: torch.Tensor) -> torch.Tensor:
        """(B, N, D) states of the packed words -> (B, S, D) mean of each sentence (paper, equation 3)."""
        sentences = torch.arange(self.word_counts.shape[1], device=states.device)
        member = (self.sentence_ids.unsqueeze(1) == sentences.unsqueeze(1)).to(states.dtype)
        return member @ states / self.word_counts.clamp(min=1).unsqueeze(-1).to(states.dtype)


def pack_words(
    states: torch.Tensor, attention_mask: torch.Tensor, sentence_mask: torch.Tensor
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """(B, S, L, E) token states -> (B, N, E) words without the gaps between sentences, and the other fields of
    :class:`HSCNetTextState`."""
    tokens = attention_mask.bool() & sentence_mask.unsqueeze(-1)
    flat = tokens.flatten(1)
    per_sentence = tokens.sum(-1)
    counts = per_sentence.sum(1, keepdim=True)
    # At least one place, for a batch without any word.
    longest, longest_sentence = (max(n, 1) for n in torch.stack([counts.max(), per_sentence.max()]).tolist())
    slots = torch.arange(longest_sentence, device=flat.device)
    first = (per_sentence.cumsum(1) - per_sentence).unsqueeze(-1)
    source = flat.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :longest]
    mask = torch.arange(longest, device=flat.device) < counts
    layout = {
        "word_mask": mask,
        "sentence_ids": (source // tokens.shape[-1]).masked_fill(~mask, -1),
        "word_counts": per_sentence,
        "sentence_mask": sentence_mask,
        "slot_mask": slots < per_sentence.unsqueeze(-1),
        "slot_index": (first + slots).clamp(max=longest - 1),
    }
    words = states.flatten(1, 2).gather(1, source.unsqueeze(-1).expand(-1, -1, states.shape[-1]))
    return words.masked_fill(~mask.unsqueeze(-1), 0), layout
