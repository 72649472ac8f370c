"""Words to ids: how text falls into words, word-vector tables, and the word-level tokenizer that fits a table."""

import logging
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from ..errors import HFVTGError
from .vector_files import UNKNOWN_NAMES, read_folder, read_glove, read_npz, write_npz

logger = logging.getLogger(__name__)

PAD_TOKEN, UNK_TOKEN = "[PAD]", "[UNK]"
PAD_ID, UNK_ID = 0, 1
# Tables of one GloVe release agree on their common words; of two releases the cosines are about 0.
SAME_FAMILY, MIN_COMMON = 0.9, 20

_CHARS = r"[\p{L}\p{M}\p{N}]"
_NUMBER = r"\p{N}+(?:[.,:/]\p{N}+)+"
_SYMBOL = r"(?![\x00-\x7F])\p{S}\p{M}*"
_MARK = r"\S\p{M}*"
_SUFFIX = rf"'(?i:s|re|ve|ll|d|m)(?!{_CHARS})"
_NOT = rf"(?i:n't)(?!{_CHARS})"
_JOINED = rf"{_CHARS}+?(?:-{_CHARS}+?)*?(?={_NOT})|{_NOT}|{_SUFFIX}"
_APART = rf"{_CHARS}+?(?={_NOT})|{_NOT}|{_SUFFIX}"

# How text falls into words. "whitespace": CLEAR, HSCNet and HiSA on ActivityNet and TACoS (punctuation stays
# glued to words). "words": contractions stay whole. "contractions": split as GloVe and NLTK do ("do n't",
# "person 's"). All but "whitespace" lose punctuation; "punctuation" keeps each mark and splits at hyphens.
PATTERNS = {
    "whitespace": r"\S+",
    "words": rf"{_NUMBER}|{_CHARS}+(?:['-]{_CHARS}+)*|{_SYMBOL}",
    "contractions": rf"{_NUMBER}|{_JOINED}|{_CHARS}+(?:-{_CHARS}+|(?!{_SUFFIX})'{_CHARS}+)*|{_SYMBOL}",
    "punctuation": rf"{_NUMBER}|{_APART}|{_CHARS}+(?:(?!{_SUFFIX})'{_CHARS}+)*|{_MARK}",
}


def vocabulary_of(
    sentences: Iterable[str], pattern: str = "contractions", lowercase: bool = True, min_count: int = 1
) -> list[str]:
    """The distinct words of ``sentences``, most frequent first (equal counts: in order of appearance).

    Args:
        pattern: a name of ``PATTERNS``, or a regular expression that matches one word.
    """
    counts = Counter(word for words in split_words(sentences, pattern, lowercase) for word in words)
    return [word for word, count in counts.most_common() if count >= min_count]


def split_words(sentences: Iterable[str], pattern: str, lowercase: bool = True) -> Iterator[list[str]]:
    """The words of each sentence, as a tokenizer of the same ``pattern`` and ``lowercase`` sees them."""
    normalizer, splitter = _splitter(pattern, lowercase)
    for sentence in sentences:
        yield [word for word, _ in splitter.pre_tokenize_str(normalizer.normalize_str(sentence))]


@dataclass
class Coverage:
    """How many running words of some sentences have a vector (a vector of zeros counts as none)."""

    known: int = 0
    unknown: int = 0
    unknown_words: Counter = field(default_factory=Counter)

    @property
    def share(self) -> float:
        """Known words / all words; 1 without words."""
        return self.known / (self.known + self.unknown) if self.unknown else 1.0

    def __str__(self) -> str:
        worst = ", ".join(f"{word} ({count})" for word, count in self.unknown_words.most_common(5))
        return f"{self.known} words known, {self.unknown} unknown ({self.share:.2%} known){worst and ': ' + worst}"


@dataclass
class WordVectors:
    """Words and their vectors in the order of the source.

    Duplicates of a word (after NFC normalisation) and the reserved words [PAD] and [UNK] are left out, with a
    log line.

    Args:
        words: V words.
        vectors: (V, D) float32.
        unknown: (D,) the source's own vector of unknown words. None = that of a word named like ``<unk>``.

    Raises:
        HFVTGError: shapes that do not fit, no words, values that are not finite.
    """

    words: list[str]
    vectors: np.ndarray
    unknown: np.ndarray | None = None

    def __post_init__(self):
        self.vectors = np.asarray(self.vectors, dtype=np.float32)
        if self.vectors.ndim != 2 or len(self.words) != len(self.vectors) or not self.vectors.size:
            raise HFVTGError(
                f"{len(self.words)} words and vectors of shape {self.vectors.shape}: give V > 0 words, (V, D) vectors."
            )
        finite = np.isfinite(self.vectors).all(1)
        if not finite.all():
            word = self.words[int(np.argmin(finite))]
            raise HFVTGError(f"The vector of {word!r} holds NaN or infinite values. Repair or re-download it.")
        words = [unicodedata.normalize("NFC", word) for word in self.words]
        rows = {}
        for row, word in enumerate(words):
            rows.setdefault(word, row)
        if self.unknown is None:
            named = next((rows[name] for name in UNKNOWN_NAMES if name in rows), None)
            self.unknown = None if named is None else self.vectors[named].copy()
        if self.unknown is not None:
            self.unknown = np.asarray(self.unknown, dtype=np.float32)
            if self.unknown.shape != self.vectors.shape[1:]:
                raise HFVTGError(f"unknown has shape {self.unknown.shape}, the vectors {self.vectors.shape}.")
        for reserved in (PAD_TOKEN, UNK_TOKEN):
            rows.pop(reserved, None)
        if len(rows) < len(words):
            logger.info("%d duplicate or reserved words left out", len(words) - len(rows))
            self.vectors = self.vectors[list(rows.values())]
        self.words = list(rows)

    def __len__(self) -> int:
        return len(self.words)

    @property
    def dim(self) -> int:
        """Width D of a vector."""
        return self.vectors.shape[1]

    @classmethod
    def load(
        cls, path: str | os.PathLike, vocabulary: Iterable[str] | None = None, unknown_row: int | None = None
    ) -> "WordVectors":
        """From whatever ``path`` is: GloVe or word2vec text (.gz too), .npz, or a folder of words and vectors.

        Args:
            vocabulary: words to keep; None = all.
            unknown_row: of a text file; see :meth:`from_glove`.
        """
        path = Path(path)
        if not path.exists():
            raise HFVTGError(f"No word vectors at {path}. Give a GloVe text file, a .npz, or a folder of both parts.")
        if not path.is_dir() and path.suffix != ".npz":
            return cls.from_glove(path, vocabulary, unknown_row=unknown_row)
        if unknown_row is not None:
            raise HFVTGError(f"unknown_row={unknown_row} counts the lines of a GloVe text file, which {path} is not.")
        table = cls.from_folder(path) if path.is_dir() else cls.from_npz(path)
        return table if vocabulary is None else table.restricted_to(vocabulary)

    @classmethod
    def from_glove(
        cls,
        path: str | os.PathLike,
        vocabulary: Iterable[str] | None = None,
        limit: int | None = None,
        unknown_row: int | None = None,
    ) -> "WordVectors":
        """Read GloVe text (``word v1 ... vD`` a line) line by line; only wanted vectors are kept in memory.

        Words may hold spaces (GloVe 840B), but not end in a number after one: that is a value too many. A word2vec
        header line is skipped. Fewer vectors than it tells, or no line break at the end, are a warning.

        Args:
            vocabulary: words to keep; None = all.
            limit: read the first ``limit`` vectors only (GloVe files are ordered by frequency).
            unknown_row: this row's vector (0-based) becomes that of unknown words, as HiSA's loaders do.

        Raises:
            HFVTGError: a malformed line, with its number; no word of the vocabulary in the file.
        """
        table = cls(*read_glove(path, vocabulary, limit, unknown_row))
        logger.info("%s: %d vectors of width %d kept", path, len(table), table.dim)
        return table

    @classmethod
    def from_npz(cls, path: str | os.PathLike) -> "WordVectors":
        """A file of :meth:`save`, or any .npz with ``vectors`` (V, D) and ``words`` (V strings)."""
        return cls(*read_npz(path))

    @classmethod
    def from_folder(cls, path: str | os.PathLike) -> "WordVectors":
        """A folder with words.json (a list, or a dict with one under ``words``) or word2id.json (word -> row),
        and one .npz or .npy of vectors."""
        return cls(*read_folder(path))

    @classmethod
    def from_vocabulary(cls, words: Iterable[str], dim: int = 300, seed: int = 0) -> "WordVectors":
        """Random vectors for a vocabulary without a file, of about GloVe's length (0.4 a component)."""
        words = list(words)
        return cls(words, np.random.default_rng(seed).normal(0, 0.4, (len(words), dim)).astype(np.float32))

    def restricted_to(self, vocabulary: Iterable[str]) -> "WordVectors":
        """The same vectors for the words of ``vocabulary`` alone."""
        wanted = {unicodedata.normalize("NFC", word) for word in vocabulary}
        rows = [row for row, word in enumerate(self.words) if word in wanted]
        if not rows:
            raise HFVTGError("No word of the vocabulary has a vector. Check the file and the case of the words.")
        return WordVectors([self.words[row] for row in rows], self.vectors[rows], self.unknown)

    def check_same_family(self, other: "WordVectors", where: str) -> None:
        """Whether vectors of both tables may meet in one model.

        Args:
            where: what ``other`` is, for the message.

        Raises:
            HFVTGError: another width, fewer than 20 common words, or a mean cosine of the common words below 0.9.
        """
        if self.dim != other.dim:
            raise HFVTGError(f"{where} has vectors of width {other.dim}, not {self.dim}: another release of vectors.")
        rows = {word: row for row, word in enumerate(other.words)}
        common = [word for word in self.words if word in rows]
        mine = self.vectors[[row for row, word in enumerate(self.words) if word in rows]]
        theirs = other.vectors[[rows[word] for word in common]]
        lengths = np.linalg.norm(mine, axis=1) * np.linalg.norm(theirs, axis=1)
        real = lengths > 0
        if real.sum() < MIN_COMMON:
            raise HFVTGError(f"{where} has {real.sum()} words in common with the vectors: too few to compare them.")
        cosine = float(((mine * theirs).sum(1)[real] / lengths[real]).mean())
        if cosine < SAME_FAMILY:
            raise HFVTGError(
                f"{where} is of another family of word vectors: the mean cosine of {real.sum()} common words is "
                f"{cosine:.2f}, not 1. Never mix GloVe 6B, 42B and 840B: make the whole table from one file."
            )

    def extended_by(self, other: "WordVectors", where: str = "the other table") -> "WordVectors":
        """These words, then those of ``other`` that are new; raises as :meth:`check_same_family`."""
        self.check_same_family(other, where)
        known = set(self.words)
        rows = [row for row, word in enumerate(other.words) if word not in known]
        words = [*self.words, *(other.words[row] for row in rows)]
        unknown = other.unknown if self.unknown is None else self.unknown
        return WordVectors(words, np.concatenate([self.vectors, other.vectors[rows]]), unknown)

    def save(self, path: str | os.PathLike) -> None:
        """Write a .npz that :meth:`load` reads, in one step: a failure leaves no partial file."""
        write_npz(path, self.words, self.vectors, self.unknown)

    def table(self, unknown: str = "source") -> np.ndarray:
        """(V + 2, D) float32 whose row i is the vector of id i of :meth:`build_tokenizer`; row 0 (PAD) is zero.

        Args:
            unknown: row 1 (UNK): ``"source"`` = the source's own unknown vector, else zeros; ``"zeros"``;
                ``"mean"`` of all vectors.
        """
        if unknown not in ("source", "zeros", "mean"):
            raise HFVTGError(f"unknown={unknown!r}: give 'source', 'zeros' or 'mean'.")
        table = np.zeros((len(self) + 2, self.dim), dtype=np.float32)
        if unknown == "mean":
            table[UNK_ID] = self.vectors.mean(0, dtype=np.float64)
        elif unknown == "source" and self.unknown is not None:
            table[UNK_ID] = self.unknown
        table[list(self._ids().values())[2:]] = self.vectors
        return table

    def build_tokenizer(
        self, pattern: str | None = None, lowercase: bool = True, max_length: int | None = None
    ) -> PreTrainedTokenizerFast:
        """A word-level tokenizer whose ids are the rows of :meth:`table`.

        Args:
            pattern: a name of ``PATTERNS``, or a regular expression that matches one word. None = "contractions",
                or "words" for a table that keeps contractions whole.
            max_length: longest sentence in words; None = no limit.
        """
        normalizer, splitter = _splitter(pattern or self._own_pattern(), lowercase)
        tokenizer = Tokenizer(models.WordLevel(self._ids(), unk_token=UNK_TOKEN))
        tokenizer.normalizer, tokenizer.pre_tokenizer = normalizer, splitter
        return PreTrainedTokenizerFast(
            tokenizer_object=tokenizer,
            unk_token=UNK_TOKEN,
            pad_token=PAD_TOKEN,
            padding_side="right",
            model_input_names=["input_ids", "attention_mask"],
            **({} if max_length is None else {"model_max_length": max_length}),
        )

    def coverage(self, sentences: Iterable[str], pattern: str | None = None, lowercase: bool = True) -> Coverage:
        """How many words of ``sentences`` have a vector here, and which have none."""
        lengths = np.abs(self.vectors).max(1)
        known = {word for word, length in zip(self.words, lengths, strict=True) if length > 0}
        report = Coverage()
        for words in split_words(sentences, pattern or self._own_pattern(), lowercase):
            missing = [word for word in words if word not in known]
            report.known += len(words) - len(missing)
            report.unknown += len(missing)
            report.unknown_words.update(missing)
        return report

    def _ids(self) -> dict[str, int]:
        """The one place that says which id and which row a word has."""
        return {PAD_TOKEN: PAD_ID, UNK_TOKEN: UNK_ID, **{word: i + 2 for i, word in enumerate(self.words)}}

    def _own_pattern(self) -> str:
        words = set(self.words)
        whole = "n't" not in words and "'s" not in words and any("'" in word[1:-1] for word in words)
        return "words" if whole else "contractions"


def _splitter(pattern: str, lowercase: bool) -> tuple[normalizers.Normalizer, pre_tokenizers.PreTokenizer]:
    steps = [normalizers.NFC(), normalizers.Replace("\u2019", "'")]
    if lowercase:
        steps.append(normalizers.Lowercase())
    regex = Regex(PATTERNS.get(pattern, pattern))
    return normalizers.Sequence(steps), pre_tokenizers.Split(regex, behavior="removed", invert=True)
