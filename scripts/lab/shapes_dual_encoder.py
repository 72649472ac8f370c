"""A small dual encoder of clips and sentences for moving_shapes, trained by contrast alone.

The vision tower is the shipped clip encoder, the text tower a small BERT; what is learned are the text tower and both
projections, from pairs of clips and sentences: a clip inside the moment of a sentence belongs to it, the other clips
of the video and the other sentences do not. No proposal, no boundary and no score is trained. The result is a
``VisionTextDualEncoderModel`` that ``pipeline("video-grounding")`` grounds with as it does with CLIP.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional as F
from transformers import BertConfig, BertModel, PreTrainedTokenizerBase, ResNetModel, VisionTextDualEncoderConfig

from hf_vtg.features.resampling import VideoGroundingFeatureExtractor
from hf_vtg.features.spec import FeatureSpec
from hf_vtg.metrics import grounding_metrics
from hf_vtg.models.dual_encoders.modeling_dual_encoders import VisionTextDualEncoderForVideoGrounding
from hf_vtg.moving_shapes.wording import VOCABULARY
from hf_vtg.processing import VideoGroundingProcessor
from hf_vtg.text.sentences import tokenize_sentences
from hf_vtg.text.tokenization import WordVectors
from hf_vtg.video.backbone import PACKAGED, weights_fingerprint

from .shapes_encoder import FPS, STRIDE, WINDOW, image_processor

TOWER = "hf_vtg/moving_shapes"


@dataclass(frozen=True)
class DualEncoderTraining:
    """Settings of :func:`train_dual_encoder`."""

    epochs: int = 4
    batch_videos: int = 16
    learning_rate: float = 5e-3
    weight_decay: float = 1e-2
    projection_dim: int = 64
    text_size: int = 64
    text_layers: int = 2
    seed: int = 0


def build_dual_encoder(
    settings: DualEncoderTraining,
) -> tuple[VisionTextDualEncoderForVideoGrounding, PreTrainedTokenizerBase]:
    """A fresh dual encoder on the shipped vision tower, and its tokenizer."""
    tokenizer = WordVectors.from_vocabulary(VOCABULARY, dim=2).build_tokenizer()
    tower = ResNetModel.from_pretrained(PACKAGED[TOWER])
    tower.config.hidden_size = tower.config.hidden_sizes[-1]
    torch.manual_seed(settings.seed)
    text = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=settings.text_size,
        num_hidden_layers=settings.text_layers,
        num_attention_heads=4,
        intermediate_size=2 * settings.text_size,
        max_position_embeddings=64,
        pad_token_id=tokenizer.pad_token_id,
        hidden_dropout_prob=0.0,
        attention_probs_dropout_prob=0.0,
    )
    config = VisionTextDualEncoderConfig.from_vision_text_configs(
        tower.config, text, projection_dim=settings.projection_dim
    )
    model = VisionTextDualEncoderForVideoGrounding(config, vision_model=tower, text_model=BertModel(text))
    model.vision_model.requires_grad_(False)
    return model, tokenizer


def contrastive_loss(
    model: VisionTextDualEncoderForVideoGrounding,
    features: Sequence[np.ndarray],
    sentences: Sequence[Sequence[str]],
    moments: Sequence[Sequence[tuple[float, float]]],
    tokenizer: PreTrainedTokenizerBase,
) -> torch.Tensor:
    """Of a batch of videos: each sentence against the clips of its video, each moment against all sentences.

    Args:
        features: (T_v, C) of the vision tower; moments in seconds.
    """
    text = tokenize_sentences(tokenizer, sentences)
    words = model.encode_text(text["input_ids"], text["attention_mask"], text["sentence_mask"])
    embeds = words.sentence_embeds[words.sentence_mask]
    scale = model.logit_scale.exp().clamp(max=100)
    losses, centres, first = [], [], 0
    for clips, spans in zip(features, moments, strict=True):
        visual = F.normalize(model.visual_projection(torch.from_numpy(clips)), dim=-1)
        inside = inside_clips(len(clips), spans)
        share = inside / inside.sum(1, keepdim=True)
        own = embeds[first : first + len(spans)]
        losses.append(-(share * (scale * own @ visual.T).log_softmax(1)).sum(1))
        centres.append(F.normalize(share @ visual, dim=-1))
        first += len(spans)
    flat = [sentence for video in sentences for sentence in video]
    same = torch.tensor([[a == b for b in flat] for a in flat])
    allowed = ~same | torch.eye(len(flat), dtype=torch.bool)
    logits = (scale * torch.cat(centres) @ embeds.T).masked_fill(~allowed, -torch.inf)
    return torch.cat(losses).mean() + F.cross_entropy(logits, torch.arange(len(flat)))


def inside_clips(num_clips: int, moments: Sequence[tuple[float, float]]) -> torch.Tensor:
    """(S, T) 1 where the middle of a clip lies in the moment; the nearest clip where none does."""
    middle = (torch.arange(num_clips) + 0.5) * STRIDE / float(FPS)
    start, end = torch.tensor(moments, dtype=torch.float32).unbind(1)
    inside = (middle >= start[:, None]) & (middle <= end[:, None])
    nearest = (middle - (start + end)[:, None] / 2).abs().argmin(1)
    inside[torch.arange(len(inside)), nearest] |= ~inside.any(1)
    return inside.float()


def train_dual_encoder(
    features: Mapping[str, np.ndarray], rows: Sequence[Mapping[str, Any]], settings: DualEncoderTraining, log=print
) -> tuple[VisionTextDualEncoderForVideoGrounding, PreTrainedTokenizerBase]:
    """Train on the rows of the benchmark's train split (a row a video) and the tower's features of their files."""
    model, tokenizer = build_dual_encoder(settings)
    rows = list(rows)
    learned = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(learned, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    steps = settings.epochs * -(-len(rows) // settings.batch_videos)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, settings.learning_rate, total_steps=steps)
    generator = torch.Generator().manual_seed(settings.seed)
    model.train()
    for epoch in range(settings.epochs):
        total = []
        for batch in _batches(rows, settings.batch_videos, generator):
            loss = contrastive_loss(
                model,
                [features[row["video_id"]] for row in batch],
                [row["sentences"] for row in batch],
                [row["moments"] for row in batch],
                tokenizer,
            )
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(learned, 1.0)
            optimizer.step()
            schedule.step()
            total.append(loss.item())
        log(f"dual encoder: epoch {epoch + 1}, loss {np.mean(total):.3f}", flush=True)
    return model.eval(), tokenizer


def _batches(rows: list, size: int, generator: torch.Generator) -> Iterator[list]:
    order = torch.randperm(len(rows), generator=generator).tolist()
    for first in range(0, len(order), size):
        yield [rows[i] for i in order[first : first + size]]


def save_dual_encoder(
    model: VisionTextDualEncoderForVideoGrounding, tokenizer: PreTrainedTokenizerBase, out: Path
) -> VideoGroundingProcessor:
    """Model, preprocessing, and the processor that says at which rate and window clips are taken."""
    model.save_pretrained(out)
    spec = FeatureSpec(
        backbone=str(Path(out).resolve()),
        revision=weights_fingerprint(Path(out)),
        fps=float(FPS),
        window=WINDOW,
        stride=STRIDE,
        dim=model.feature_dim,
        pooling="image_embeds",
    )
    extractor = VideoGroundingFeatureExtractor(feature_dim=model.feature_dim, feature_spec=spec)
    processor = VideoGroundingProcessor(extractor, tokenizer, nms_threshold=0.5)
    processor.save_pretrained(out)
    image_processor().save_pretrained(out)
    return processor


@torch.inference_mode()
def evaluate_dual_encoder(
    model: VisionTextDualEncoderForVideoGrounding,
    processor: VideoGroundingProcessor,
    features: Mapping[str, np.ndarray],
    rows: Sequence[Mapping[str, Any]],
) -> dict[str, float]:
    """R@n,IoU=m of zero-shot grounding with the tower's features of the files."""
    spec = processor.feature_extractor.spec
    predictions, truth = [], []
    for row in rows:
        clips = model.visual_projection(torch.from_numpy(features[row["video_id"]]))
        batch = processor(video_features=[clips], text=[row["sentences"]], spec=spec)
        (ranked,) = processor.post_process_video_grounding(model(**batch), [row["duration"]])
        predictions += [[(m["start"], m["end"]) for m in sentence] for sentence in ranked]
        truth += row["moments"]
    return grounding_metrics(predictions, truth)
