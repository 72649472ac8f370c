"""Sentences to token ids: the one function that processor, collator and pipeline use, for any tokenizer."""

import logging
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from transformers import BatchEncoding, PreTrainedTokenizerBase

from ..errors import QueryError
from .tokenization import PAD_ID

logger = logging.getLogger(__name__)


def nest_sentences(text: str | Sequence[str] | Sequence[Sequence[str]]) -> list[list[str]]:
    """Any accepted form of text -> for each video a list of sentences. Raises QueryError for a mixture."""
    if isinstance(text, str):
        return [[text]]
    if not isinstance(text, Sequence) or not len(text):
        raise QueryError(f"text={text!r}: give a sentence, a list of sentences, or a list of lists.")
    nested = [isinstance(video, (list, tuple)) for video in text]
    if any(nested) and not all(nested):
        raise QueryError(
            f"Item {nested.index(False)} of text is {text[nested.index(False)]!r} where others are lists of sentences."
        )
    return [list(video) for video in text] if nested[0] else [[sentence] for sentence in text]


def tokenize_sentences(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[Sequence[str]],
    max_words: int | None = None,
    drop_unknown: bool = False,
    counts: Counter | None = None,
    min_tokens: int = 1,
) -> dict[str, torch.Tensor]:
    """Tokenise the sentences of each video with any tokenizer; all code of the package comes through here.

    Args:
        sentences: B lists (videos) of at least one sentence each.
        max_words: cut longer sentences after this many words (of a subword tokenizer: words, not pieces);
            the tokenizer's own ``model_max_length`` holds as well. Special tokens stay.
        drop_unknown: leave unknown words out instead of giving them the unknown token (IA-Net).
        counts: incremented at "truncated" and "unknown_only" (sentences without a token of their own, which
            become one unknown token). With it, only the first of each kind is logged as a warning.
        min_tokens: pad to at least this L.

    Returns:
        input_ids and attention_mask (B, S, L) int64, sentence_mask (B, S) bool; right padded.

    Raises:
        QueryError: a sentence that is empty or no string, with its index.
    """
    found = Counter()
    encoded, places = _tokens(tokenizer, checked_sentences(sentences), max_words, drop_unknown, found)
    rows = []
    for ids, kept in zip(encoded["input_ids"], places, strict=True):
        if kept is None:
            rows.append(_unknown_only(tokenizer))
        else:
            rows.append(ids if len(kept) == len(ids) else [ids[position] for position in kept])
    _report(found, counts)

    per_video = np.array([len(video) for video in sentences])
    sentence_mask = np.arange(per_video.max()) < per_video[:, None]
    lengths = np.array([len(row) for row in rows])
    width = max(lengths.max(), min_tokens)
    valid = np.arange(width) < lengths[:, None]
    mask = np.zeros((*sentence_mask.shape, width), dtype=bool)
    mask[sentence_mask] = valid
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else PAD_ID
    input_ids = np.full(mask.shape, pad, dtype=np.int64)
    input_ids[mask] = np.concatenate(rows)
    return {
        "input_ids": torch.from_numpy(input_ids),
        "attention_mask": torch.from_numpy(mask.astype(np.int64)),
        "sentence_mask": torch.from_numpy(sentence_mask),
    }


def sentence_words(
    tokenizer: PreTrainedTokenizerBase,
    sentences: Sequence[str],
    max_words: int | None = None,
    drop_unknown: bool = False,
) -> list[list[str | None]]:
    """What each token of :func:`tokenize_sentences` stands for in its sentence, as it is written there.

    Returns:
        for each sentence one entry a token: a word, or the piece of it that a subword tokenizer made, or None for a
        special token. One unknown token that stands for a whole sentence is that sentence.

    Raises:
        QueryError: as :func:`tokenize_sentences`.
    """
    flat = checked_sentences([sentences])
    encoded, places = _tokens(tokenizer, flat, max_words, drop_unknown, Counter(), tokenizer.is_fast)
    rows = []
    for index, (sentence, kept) in enumerate(zip(flat, places, strict=True)):
        if kept is None:
            unknown = _unknown_id(tokenizer)
            rows.append([sentence.strip() if token == unknown else None for token in _unknown_only(tokenizer)])
            continue
        words = tokenizer.convert_ids_to_tokens(encoded["input_ids"][index])
        if tokenizer.is_fast:
            spans = encoded["offset_mapping"][index]
            words = [sentence[a:b].strip() or word for (a, b), word in zip(spans, words, strict=True)]
        special = encoded["special_tokens_mask"][index]
        rows.append([None if special[position] else words[position] for position in kept])
    return rows


def _tokens(
    tokenizer: PreTrainedTokenizerBase,
    flat: Sequence[str],
    max_words: int | None,
    drop_unknown: bool,
    found: Counter,
    offsets: bool = False,
) -> tuple[BatchEncoding, list[Sequence[int] | None]]:
    """All tokens of each sentence, and the positions of those that stay; None where no word is left."""
    encoded = tokenizer(
        flat,
        return_attention_mask=False,
        return_token_type_ids=False,
        return_special_tokens_mask=True,
        return_offsets_mapping=offsets,
        split_special_tokens=True,
        verbose=False,
    )
    places: list[Sequence[int] | None] = []
    for index, (ids, special) in enumerate(zip(encoded["input_ids"], encoded["special_tokens_mask"], strict=True)):
        content = [position for position, is_special in enumerate(special) if not is_special]
        room = tokenizer.model_max_length - (len(ids) - len(content))
        if drop_unknown:
            content = [position for position in content if ids[position] != tokenizer.unk_token_id]
        kept = content
        if max_words is not None and len(content) > max_words:
            words = encoded.word_ids(index) if encoded.is_fast else range(len(ids))
            allowed = set(list(dict.fromkeys(words[position] for position in content))[:max_words])
            kept = [position for position in content if words[position] in allowed]
        kept = kept[: max(room, 1)]
        found["truncated"] += len(kept) < len(content)
        found["unknown_only"] += not content
        if not content:
            places.append(None)
        elif len(kept) == len(ids) - sum(special):
            places.append(range(len(ids)))
        else:
            allowed = set(kept)
            places.append([position for position in range(len(ids)) if special[position] or position in allowed])
    return encoded, places


def checked_sentences(sentences: Sequence[Sequence[str]]) -> list[str]:
    """The sentences of all videos in one list. Raises QueryError, naming the first that is empty or no text."""
    if isinstance(sentences, str) or not len(sentences):
        raise QueryError(f"Expected a list of sentences a video, got {sentences!r}.")
    for v, video in enumerate(sentences):
        if isinstance(video, str) or not isinstance(video, Sequence) or not len(video):
            raise QueryError(f"Video {v} of the batch has {video!r} for a list of sentences.")
        for s, sentence in enumerate(video):
            where = f"Sentence {s} of video {v} of the batch"
            if not isinstance(sentence, str):
                raise QueryError(f"{where} is {sentence!r} ({type(sentence).__name__}), not a string.")
            if not sentence.strip():
                raise QueryError(f"{where} is empty: {sentence!r}. Describe the moment to look for.")
            try:
                sentence.encode("utf-8")
            except UnicodeEncodeError as error:
                raise QueryError(f"{where} is not valid text: {sentence!r} ({error.reason}).") from None
    return [sentence for video in sentences for sentence in video]


def _unknown_only(tokenizer: PreTrainedTokenizerBase) -> list[int]:
    """One unknown token between the tokenizer's special tokens."""
    special = tokenizer("a", return_special_tokens_mask=True)["special_tokens_mask"]
    ids = tokenizer("a")["input_ids"]
    first = special.index(0)
    last = len(special) - special[::-1].index(0)
    return [*ids[:first], _unknown_id(tokenizer), *ids[last:]]


def _unknown_id(tokenizer: PreTrainedTokenizerBase) -> int:
    return tokenizer.unk_token_id if tokenizer.unk_token_id is not None else PAD_ID


def _report(found: Counter, counts: Counter | None) -> None:
    messages = {
        "truncated": "%d sentences are longer than the word limit and were cut",
        "unknown_only": "%d sentences hold no word that the tokenizer knows; each became one unknown token",
    }
    for name, message in messages.items():
        if found[name]:
            first = counts is None or not counts[name]
            logger.log(logging.WARNING if first else logging.DEBUG, message, found[name])
    if counts is not None:
        counts.update(found)
