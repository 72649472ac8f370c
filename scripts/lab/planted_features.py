"""Planted features: real sentences and real times, features that carry them by construction.

Clips inside a moment point a little towards a fixed random projection of the sentence's mean word vector, clips
outside do not. A method that joins text, features and times rightly learns this; another one stays at the floor: every
video also carries the moments of some other videos, so that it shows where sentences are, but not which.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from hf_vtg.errors import AnnotationError
from hf_vtg.features.spec import FeatureSpec
from hf_vtg.text.tokenization import WordVectors, split_words

# A mean of 0.30 is reached: it is less than asked for where sentences of a video are too alike to be told apart.
COSINE = 0.31
CLIPS_PER_SECOND = 2.0
DECOYS = 4
# Sentences of a video more alike than this share of the largest singular value cannot be told apart.
RANK_TOLERANCE = 0.2


def planted_spec(dim: int) -> FeatureSpec:
    """What the planted features are."""
    return FeatureSpec(backbone="planted", fps=CLIPS_PER_SECOND, window=1, stride=1, dim=dim)


def choose_videos(rows: Sequence[dict[str, Any]], count: int, seed: int = 0) -> list[dict[str, Any]]:
    """``count`` rows drawn without replacement, in the order of ``rows``.

    Raises:
        AnnotationError: for more than there are.
    """
    if not 0 < count <= len(rows):
        raise AnnotationError(f"{count} videos were asked for; there are {len(rows)}")
    return [rows[i] for i in np.sort(np.random.default_rng(seed).permutation(len(rows))[:count])]


class SentenceDirections:
    """Unit vectors (S, dim) of sentences: their mean word vector, less the mean of ``sentences``, projected at random.

    Without the subtraction every sentence would point nearly the same way, and a model could find "some moment"
    without reading the query. The projection depends on ``seed`` alone.
    """

    def __init__(self, vectors: WordVectors, sentences: Sequence[str], dim: int, seed: int = 0):
        self.vectors = vectors
        self.rows = dict(zip(vectors.words, vectors.vectors, strict=True))
        self.mean = self._means(sentences).mean(0)
        rng = np.random.default_rng(seed)
        self.projection = rng.standard_normal((vectors.dim, dim)) / np.sqrt(vectors.dim)

    def __call__(self, sentences: Sequence[str]) -> np.ndarray:
        """Raises AnnotationError for a sentence without a known word."""
        projected = (self._means(sentences) - self.mean) @ self.projection
        return projected / np.linalg.norm(projected, axis=1, keepdims=True)

    def _means(self, sentences: Sequence[str]) -> np.ndarray:
        means = []
        for sentence, words in zip(sentences, split_words(sentences, "contractions"), strict=True):
            known = [self.rows[word] for word in words if word in self.rows]
            if not known:
                raise AnnotationError(f"no word of {sentence!r} has a vector; give vectors of the benchmark's words")
            means.append(np.mean(known, axis=0, dtype=np.float64))
        return np.stack(means)


def inside(moments: Sequence[Sequence[float]], duration: float, num_clips: int) -> np.ndarray:
    """(T, S) bool: whether the centre of each of T equal clips is in each moment; at least one clip always is."""
    starts, ends = np.asarray(moments, dtype=np.float64).T / duration
    centres = (np.arange(num_clips) + 0.5) / num_clips
    within = (centres[:, None] >= starts) & (centres[:, None] <= ends)
    nearest = np.clip(((starts + ends) / 2 * num_clips).astype(int), 0, num_clips - 1)
    within[nearest, np.arange(len(starts))] = True
    return within


def plant(directions: np.ndarray, within: np.ndarray, rng: np.random.Generator, cosine: float = COSINE) -> np.ndarray:
    """(T, D) float32 features of length about 1.

    Each is noise plus the shortest vector whose product with each sentence's direction is ``cosine`` where the clip is
    in that sentence's moment, and 0 where it is not, also where it is in another one's.

    Args:
        directions: (S, D) unit vectors.
        within: (T, S) bool.
    """
    signal = (cosine * within) @ np.linalg.pinv(directions, rcond=RANK_TOLERANCE).T
    noise = rng.standard_normal(signal.shape)
    noise /= np.linalg.norm(noise, axis=1, keepdims=True)
    rest = np.clip(1 - (signal**2).sum(1, keepdims=True), 0.1, None)
    return (signal + np.sqrt(rest) * noise).astype(np.float32)


def planted_features(
    rows: Sequence[dict[str, Any]],
    pool: Sequence[dict[str, Any]],
    directions: SentenceDirections,
    decoys: int = DECOYS,
    seed: int = 0,
) -> Iterator[tuple[str, np.ndarray]]:
    """(video id, features) of each row; a row holds all sentences of its video.

    Args:
        pool: rows of which ``decoys`` others are planted into each video too, at the same fractions of its duration.
    """
    rng = np.random.default_rng(seed)
    for row in rows:
        num_clips = max(1, round(row["duration"] * CLIPS_PER_SECOND))
        others = [pool[i] for i in rng.choice(len(pool), decoys + 1, replace=False)]
        planted = [row, *[other for other in others if other["video_id"] != row["video_id"]][:decoys]]
        within = [inside(one["moments"], one["duration"], num_clips) for one in planted]
        sentences = [sentence for one in planted for sentence in one["sentences"]]
        yield row["video_id"], plant(directions(sentences), np.concatenate(within, axis=1), rng)


def measured_cosines(
    rows: Sequence[dict[str, Any]], directions: SentenceDirections, features: dict[str, np.ndarray]
) -> tuple[float, float]:
    """Mean over sentences of the mean cosine of clips inside, and of clips outside the sentence's moment."""
    means: tuple[list[float], list[float]] = ([], [])
    for row in rows:
        clips = features[row["video_id"]]
        within = inside(row["moments"], row["duration"], len(clips))
        cosines = clips / np.linalg.norm(clips, axis=1, keepdims=True) @ directions(row["sentences"]).T
        for column, mask in zip(cosines.T, within.T, strict=True):
            means[0].append(column[mask].mean())
            if not mask.all():
                means[1].append(column[~mask].mean())
    return float(np.mean(means[0])), float(np.mean(means[1]))
