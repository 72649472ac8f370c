"""Texts into sentences, and paragraphs into parts that a method reads at once."""

from collections.abc import Sequence
from typing import TypeVar

from ..errors import QueryError

T = TypeVar("T")


def split_sentences(text: str, language: str = "en") -> list[str]:
    """The sentences of a text, in order (sentencex: abbreviations, quotes and brackets do not end one).

    Args:
        language: ISO code.

    Raises:
        QueryError: no text.
    """
    # Imported here: the models do without it.
    from sentencex import segment

    if not isinstance(text, str) or not text.strip():
        raise QueryError(f"The paragraph is {text!r}. Give a text, or a list of its sentences.")
    return [" ".join(sentence.split()) for sentence in segment(language, text) if sentence.strip()]


def split_parts(sentences: Sequence[T], max_sentences: int | None) -> list[list[T]]:
    """Consecutive parts of at most ``max_sentences`` items each; None = one part."""
    size = max_sentences or max(len(sentences), 1)
    return [list(sentences[first : first + size]) for first in range(0, len(sentences), size)]
