"""Features and sentences to candidates: many sentences in groups, videos beyond the trained length in windows."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from tqdm.auto import tqdm

from .modeling import VideoGroundingOutput

# Sentences in one pass over a video's state, so that memory does not grow with their number.
GROUP_SIZE = 64
# Candidates a sentence that are kept while windows are merged; NMS chooses among them at the end.
KEPT = 512
TEXT = ("input_ids", "attention_mask", "sentence_mask")


def ground_videos(model: Any, processor: Any, items: Sequence[Mapping[str, Any]]) -> VideoGroundingOutput:
    """Candidates of a batch of videos; each is encoded once, whatever the number of sentences.

    Args:
        items: with ``features`` (T_i, D), ``sentences`` and ``spec``.

    Returns:
        moments (B, S, K, 2) and scores (B, S, K).
    """
    batch = processor(
        video_features=[item["features"] for item in items],
        text=[item["sentences"] for item in items],
        spec=items[0]["spec"],
        return_tensors="pt",
    ).to(model.device)
    video = {name: batch[name] for name in ("video_features", "video_mask", "source_length")}
    outputs = []
    for text in sentence_groups(model, batch):
        output = model(**video, **text)
        video = {"video_state": output.video_state}
        outputs.append(VideoGroundingOutput(moments=output.moments, scores=output.scores))
    return VideoGroundingOutput(
        moments=torch.cat([output.moments for output in outputs], dim=1),
        scores=torch.cat([output.scores for output in outputs], dim=1),
    )


def ground_in_windows(
    model: Any, processor: Any, item: Mapping[str, Any], window_seconds: float, progress: bool | None = None
) -> VideoGroundingOutput:
    """Candidates of one long video from windows of ``window_seconds`` that overlap by half.

    Each window is grounded as a video of its own, the moments are placed in the whole video, and the best KEPT
    candidates of all windows remain. A moment of up to half a window lies whole in one of them. Sentences are encoded
    once.
    """
    features = item["features"]
    size = max(1, round(len(features) * window_seconds / item["duration"]))
    text = processor(text=[item["sentences"]], return_tensors="pt").to(model.device)
    states = [model.encode_text(**group) for group in sentence_groups(model, text)]
    best: list[VideoGroundingOutput | None] = [None] * len(states)
    starts = window_starts(len(features), size)
    for start in tqdm(starts, desc="grounding", unit="window", disable=None if progress is None else not progress):
        window = processor(video_features=features[start : start + size], spec=item["spec"], return_tensors="pt")
        window = window.to(model.device)
        video_state = model.encode_video(window["video_features"].to(model.dtype), window["video_mask"])
        for group, text_state in enumerate(states):
            output = model.ground(video_state, text_state)
            moments = (output.moments.double() * min(size, len(features)) + start) / len(features)
            best[group] = _best_of(best[group], moments, output.scores)
    return VideoGroundingOutput(
        moments=torch.cat([output.moments for output in best], dim=1),
        scores=torch.cat([output.scores for output in best], dim=1),
    )


def window_starts(length: int, size: int) -> list[int]:
    """First rows of windows of ``size`` rows, half of it apart; the last one ends at the end."""
    if size >= length:
        return [0]
    return [*range(0, length - size, max(1, size // 2)), length - size]


def sentence_groups(model: Any, text: Mapping[str, torch.Tensor]) -> Iterator[dict[str, torch.Tensor]]:
    """Ids and masks of GROUP_SIZE sentences at a time; of all at once for a model that reads them as a paragraph."""
    total = text["input_ids"].shape[1]
    size = total if getattr(model.config, "reads_paragraphs", False) else GROUP_SIZE
    for first in range(0, total, size):
        yield {name: text[name][:, first : first + size] for name in TEXT}


def _best_of(before: VideoGroundingOutput | None, moments: torch.Tensor, scores: torch.Tensor) -> VideoGroundingOutput:
    if before is not None:
        moments = torch.cat([before.moments, moments], dim=2)
        scores = torch.cat([before.scores, scores], dim=2)
    scores, index = scores.topk(min(KEPT, scores.shape[2]), dim=2)
    return VideoGroundingOutput(moments=moments.gather(2, index[..., None].expand(*index.shape, 2)), scores=scores)
