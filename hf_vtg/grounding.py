"""Features and sentences to candidates: many sentences in groups, videos beyond the trained length in windows."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import torch
from torch.nn.utils.rnn import pad_sequence
from tqdm.auto import tqdm

from .steps import VideoGroundingOutput
from .text.paragraphs import split_parts

# Sentences in one pass over a video's state, so that memory does not grow with their number.
GROUP_SIZE = 64
# Paragraphs, or sentences that stand alone, in one pass of a method that reads them with the video.
READINGS = 16
# Candidates a sentence that are kept while windows are merged; NMS chooses among them at the end.
KEPT = 512
TEXT = ("input_ids", "attention_mask", "sentence_mask")


@dataclass
class Candidates(VideoGroundingOutput):
    """moments (B, S, K, 2), scores (B, S, K), and paragraph_moments (B, 2) of methods that predict them.

    Args:
        attention: if it was asked for, for each video and sentence the (L, T) attention of its tokens and the video's
            clips, which cover it evenly.
    """

    attention: list[list[torch.Tensor]] | None = None


def ground_videos(
    model: Any, processor: Any, items: Sequence[Mapping[str, Any]], attention: bool = False
) -> Candidates:
    """Candidates of a batch of videos; each is encoded once, whatever the number of sentences.

    Args:
        items: with ``features`` (T_i, D), ``sentences`` and ``spec``; ``paragraph``: whether the sentences are one
            text, which a method that reads paragraphs reads together.
        attention: ask for the attention of words to clips as well, of a model that ``attends_words``.
    """
    batch = processor(video_features=[item["features"] for item in items], spec=items[0]["spec"], return_tensors="pt")
    batch = batch.to(model.device)
    if model.reads_paragraphs:
        return _ground_readings(model, processor, batch, items, attention)
    text = processor(text=[item["sentences"] for item in items], return_tensors="pt").to(model.device)
    video = {name: batch[name] for name in ("video_features", "video_mask", "source_length")}
    outputs, maps = [], [[] for _ in items]
    for group in text_groups(model, text):
        output = model(**video, **group, output_intermediates=attention)
        video = {"video_state": output.video_state}
        outputs.append(VideoGroundingOutput(moments=output.moments, scores=output.scores))
        if attention:
            for own, found in zip(maps, _attention(output, group, batch["video_mask"]), strict=True):
                own += found
    return Candidates(
        moments=torch.cat([output.moments for output in outputs], dim=1),
        scores=torch.cat([output.scores for output in outputs], dim=1),
        attention=maps if attention else None,
    )


def _ground_readings(
    model: Any,
    processor: Any,
    video: Mapping[str, torch.Tensor],
    items: Sequence[Mapping[str, Any]],
    attention: bool,
) -> Candidates:
    """As :func:`ground_videos`, with a row for each part of a paragraph and for each sentence that stands alone."""
    parts = [_readings(model, item) for item in items]
    text = processor(text=[part for own in parts for part in own], return_tensors="pt").to(model.device)
    state = model.encode_video(video["video_features"].to(model.dtype), video["video_mask"])
    counts = torch.tensor([len(own) for own in parts], device=model.device)
    owners = torch.arange(len(items), device=model.device).repeat_interleave(counts).split(READINGS)
    outputs, moments, scores, maps = [], [], [], [[] for _ in items]
    for rows, group in zip(owners, text_groups(model, text), strict=True):
        outputs.append(model(**group, video_state=model.select_videos(state, rows), output_intermediates=attention))
        if attention:
            for owner, found in zip(
                rows.tolist(), _attention(outputs[-1], group, video["video_mask"][rows]), strict=True
            ):
                maps[owner] += found
        moments += outputs[-1].moments[group["sentence_mask"]].unbind()
        scores += outputs[-1].scores[group["sentence_mask"]].unbind()
    sentences = [len(item["sentences"]) for item in items]
    whole = None
    if outputs[0].paragraph_moments is not None:
        pieces = torch.cat([output.paragraph_moments for output in outputs]).split(counts.tolist())
        whole = torch.stack([torch.stack([own[:, 0].min(), own[:, 1].max()]) for own in pieces])
    return Candidates(
        moments=pad_sequence(torch.stack(moments).split(sentences), batch_first=True),
        scores=pad_sequence(torch.stack(scores).split(sentences), batch_first=True, padding_value=-torch.inf),
        paragraph_moments=whole,
        attention=maps if attention else None,
    )


def _attention(
    output: VideoGroundingOutput, text: Mapping[str, torch.Tensor], video_mask: torch.Tensor
) -> list[list[torch.Tensor]]:
    """For each row and real sentence the (L, T) attention of its real tokens and clips."""
    counts, clips = text["attention_mask"].sum(-1).tolist(), video_mask.sum(1).tolist()
    maps = output.word_clip_attention.float().cpu()
    return [
        [maps[row, sentence, :words, : clips[row]] for sentence, words in enumerate(own) if words]
        for row, own in enumerate(counts)
    ]


def _readings(model: Any, item: Mapping[str, Any]) -> list[list[str]]:
    """The sentences in groups of which each is read at once."""
    if not model.reads_paragraphs:
        return [item["sentences"]]
    return split_parts(item["sentences"], model.config.max_sentences if item.get("paragraph") else 1)


def ground_in_windows(
    model: Any,
    processor: Any,
    item: Mapping[str, Any],
    window_seconds: float,
    progress: bool | None = None,
    attention: bool = False,
) -> Candidates:
    """Candidates of one long video from windows of ``window_seconds`` that overlap by half.

    Each window is grounded as a video of its own, the moments are placed in the whole video, and the best KEPT
    candidates of all windows remain. A moment of up to half a window lies whole in one of them. Sentences are encoded
    once. There are no ``paragraph_moments``: no window sees the whole paragraph. Attention is that within each window,
    and its mean where windows overlap.
    """
    features = item["features"]
    size = min(len(features), max(1, round(len(features) * window_seconds / item["duration"])))
    text = processor(text=_readings(model, item), return_tensors="pt").to(model.device)
    groups = list(text_groups(model, text))
    states = [model.encode_text(**group) for group in groups]
    best: list[VideoGroundingOutput | None] = [None] * len(states)
    pieces: list[list[torch.Tensor]] = []
    starts = window_starts(len(features), size)
    for start in tqdm(starts, desc="grounding", unit="window", disable=None if progress is None else not progress):
        window = processor(video_features=features[start : start + size], spec=item["spec"], return_tensors="pt")
        window = window.to(model.device)
        video_state = model.encode_video(window["video_features"].to(model.dtype), window["video_mask"])
        pieces.append([])
        for number, (group, text_state) in enumerate(zip(groups, states, strict=True)):
            rows = torch.zeros(len(group["sentence_mask"]), dtype=torch.long, device=model.device)
            own_state = model.select_videos(video_state, rows) if model.reads_paragraphs else video_state
            output = model.ground(own_state, text_state, attention)
            moments = (output.moments.double() * size + start) / len(features)
            best[number] = _best_of(best[number], moments, output.scores)
            if attention:
                pieces[-1] += chain.from_iterable(_attention(output, group, window["video_mask"][rows]))
    real = [group["sentence_mask"] for group in groups]
    joined = [_joined(windows, starts, size, len(features)) for windows in zip(*pieces, strict=True)]
    return Candidates(
        moments=torch.cat([output.moments[mask] for output, mask in zip(best, real, strict=True)]).unsqueeze(0),
        scores=torch.cat([output.scores[mask] for output, mask in zip(best, real, strict=True)]).unsqueeze(0),
        attention=[joined] if attention else None,
    )


def _joined(windows: Sequence[torch.Tensor], starts: Sequence[int], size: int, length: int) -> torch.Tensor:
    """(L, T) of each window of ``size`` rows -> one of all ``length`` rows, the mean where windows overlap."""
    words, clips = windows[0].shape
    total = windows[0].new_zeros(words, length * clips // size)
    seen = total.new_zeros(total.shape[1])
    for start, window in zip(starts, windows, strict=True):
        first = start * clips // size
        total[:, first : first + clips] += window
        seen[first : first + clips] += 1
    return total / seen


def window_starts(length: int, size: int) -> list[int]:
    """First rows of windows of ``size`` rows, half of it apart; the last one ends at the end."""
    if size >= length:
        return [0]
    return [*range(0, length - size, max(1, size // 2)), length - size]


def text_groups(model: Any, text: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Ids and masks of GROUP_SIZE sentences at a time; of READINGS rows for a model that reads rows together."""
    dim, size = (0, READINGS) if model.reads_paragraphs else (1, GROUP_SIZE)
    for group in zip(*(text[name].split(size, dim) for name in TEXT), strict=True):
        yield dict(zip(TEXT, group, strict=True))


def _best_of(before: VideoGroundingOutput | None, moments: torch.Tensor, scores: torch.Tensor) -> VideoGroundingOutput:
    if before is not None:
        moments = torch.cat([before.moments, moments], dim=2)
        scores = torch.cat([before.scores, scores], dim=2)
    scores, index = scores.topk(min(KEPT, scores.shape[2]), dim=2)
    return VideoGroundingOutput(moments=moments.gather(2, index[..., None].expand(*index.shape, 2)), scores=scores)
