"""Rows as a method that reads paragraphs sees them: parts of them, at random in training, one after another else.

Methods that answer each sentence by itself get their rows as they are.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import PreTrainedConfig, TrainerCallback

from ..text.paragraphs import split_parts
from .callbacks import started_epochs

# Columns with one entry a sentence that the collator reads.
PER_SENTENCE = ("sentences", "moments")


def training_rows(rows: Any, config: PreTrainedConfig, seed: int = 0) -> Any:
    """What a model of ``config`` trains on; ``rows`` itself, unless the method reads paragraphs."""
    if rows is not None and _reads_paragraphs(config) and config.sample_sentences:
        return SampledSentences(rows, config.max_sentences, seed)
    return evaluation_rows(rows, config)


def evaluation_rows(rows: Any, config: PreTrainedConfig) -> Any:
    """What a model of ``config`` is evaluated on: every sentence once, at most ``max_sentences`` at a time."""
    if rows is None or not _reads_paragraphs(config) or config.max_sentences is None:
        return rows
    return ParagraphParts(rows, config.max_sentences)


class SampledSentences(Dataset):
    """Of each row a random number of sentences, 1 to ``max_sentences``, without replacement and in their order
    (the loaders of DepNet and PRVG).

    ``seed``, ``epoch`` and the row decide them, not what was drawn before: a run that is resumed within an epoch goes
    on with the same sentences.
    """

    def __init__(self, rows: Any, max_sentences: int | None, seed: int = 0):
        self.rows, self.max_sentences, self.seed = rows, max_sentences, seed
        # Shared, so that the workers of a data loader that keeps them follow.
        self.epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row = self.rows[index]
        rng = np.random.default_rng((self.seed, int(self.epoch), index))
        total = len(row["sentences"])
        count = rng.integers(1, min(total, self.max_sentences or total), endpoint=True)
        return _with_sentences(row, sorted(rng.choice(total, count, replace=False).tolist()))


class SampledEpochs(TrainerCallback):
    """Tells :class:`SampledSentences` the epoch; the data loaders of accelerate do not tell every dataset."""

    def __init__(self, rows: SampledSentences):
        self.rows = rows

    def on_epoch_begin(self, args, state, control, **kwargs):
        self.rows.epoch.fill_(started_epochs(state))


class ParagraphParts(Dataset):
    """Every row cut into consecutive parts of at most ``max_sentences`` sentences."""

    def __init__(self, rows: Any, max_sentences: int):
        self.rows = rows
        self.parts = [
            (index, part)
            for index in range(len(rows))
            for part in split_parts(range(len(rows[index]["sentences"])), max_sentences)
        ]

    def __len__(self) -> int:
        return len(self.parts)

    def __getitem__(self, index: int) -> dict[str, Any]:
        row, sentences = self.parts[index]
        return _with_sentences(self.rows[row], sentences)


def _reads_paragraphs(config: PreTrainedConfig) -> bool:
    # Models of transformers train here too, with configurations of their own.
    return getattr(config, "reads_paragraphs", False)


def _with_sentences(row: dict[str, Any], chosen: Sequence[int]) -> dict[str, Any]:
    columns = {name: [row[name][k] for k in chosen] for name in PER_SENTENCE if row.get(name) is not None}
    return {**row, **columns}
