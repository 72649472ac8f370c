"""Checkpoints and batches of the golden implementation of HSCNet into ours, and our outputs into its layout.

No code was published. The names are those of an implementation written from the specification alone.
"""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch.nn import functional as F

from ...errors import ModelError
from ...layers.padding import restore_sentences
from ...metrics import grounding_metrics
from ...moments import temporal_iou
from ..conversion import load_official_weights
from .configuration_hscnet import HSCNetConfig
from .losses_hscnet import predicted_moments
from .modeling_hscnet import HSCNetForVideoGrounding, HSCNetOutput

RENAMES = (
    (r"video_encoder\.", "clip_encoder."),
    (r"text_encoder\.", "word_encoder."),
    (r"aggregation\.word\.", "aggregation.W."),
    (r"aggregation\.sentence\.", "aggregation.S."),
    (r"aggregation\.paragraph\.", "aggregation.P."),
    (r"decoder\.(word|sentence)_lstm\.", r"decoder.\1_lstm.rnn."),
)
WORD_TABLE = "text_encoder.model.vectors"

# Configuration fields whose other value changes the numbers: (golden, other).
GOLDEN_FLAGS = {"box_format": ("cw", "se")}

FIELDS = {
    "video_dim": "feature_dim",
    "heads": "num_attention_heads",
    "depths": "encoder_depths",
    **{
        name: name
        for name in (
            "hidden_size",
            "intermediate_size",
            "num_clips",
            "temperature",
            "sigma_floor",
            "num_feature_layers",
            "box_format",
            "decoder_bidirectional",
        )
    },
}
OPTIONAL_FIELDS = ("levels", "align_levels", "decoder_levels", "sigma_init")


def rename_official(name: str) -> str:
    """Our name of a parameter."""
    for pattern, replacement in RENAMES:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return name


def config_from_official(official: Mapping[str, Any], variant: str = "official", **overrides) -> HSCNetConfig:
    """Our configuration from that of a golden folder.

    Raises:
        ModelError: for a configuration that lacks a key.
    """
    missing = [name for name in (*FIELDS, "word_dim") if name not in official]
    if missing:
        raise ModelError(f"The HSCNet configuration lacks {', '.join(missing)}.")
    fields = {own: official[name] for name, own in FIELDS.items()}
    fields |= {name: official[name] for name in OPTIONAL_FIELDS if name in official}
    text = {"model_type": "word_vectors", "hidden_size": official["word_dim"]}
    return HSCNetConfig(**{"text_config": text, "variant": variant, "dropout": 0.0, **fields, **overrides})


def convert_official_checkpoint(
    state_dict: Mapping[str, torch.Tensor],
    official_config: Mapping[str, Any],
    variant: str = "official",
    **overrides,
) -> HSCNetForVideoGrounding:
    """Our model with the weights of a golden folder; its word table is empty, the words' vectors are given.

    Raises:
        ModelError: for missing, unexpected or misshapen entries.
    """
    model = HSCNetForVideoGrounding(config_from_official(official_config, variant, **overrides))
    load_official_weights(model, {**state_dict, WORD_TABLE: model.get_buffer(WORD_TABLE)}, _rename_all)
    return model.eval()


def _rename_all(name: str) -> str:
    return name if name == WORD_TABLE else rename_official(name)


def golden_batch(
    inputs: Mapping[str, torch.Tensor], config: HSCNetConfig
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """The flat word axis (B, Nw) with sentence ids becomes (B, S, L)."""
    sentence_ids = inputs["sentence_ids"]
    sentences = inputs["moments"].shape[1] if "moments" in inputs else int(inputs["num_sentences"].max())
    slots = _slot_index(sentence_ids)
    longest = int(slots.max()) + 1
    video, word = (sentence_ids >= 0).nonzero(as_tuple=True)
    place = video, sentence_ids[video, word], slots[video, word]
    embeds = inputs["word_features"].new_zeros(len(sentence_ids), sentences, longest, config.text_hidden_size)
    embeds[place] = inputs["word_features"][video, word]
    attention_mask = torch.zeros(embeds.shape[:3], dtype=torch.bool)
    attention_mask[place] = True
    batch = {
        "video_features": inputs["video_features"],
        "video_mask": inputs["video_mask"],
        "inputs_embeds": embeds,
        "attention_mask": attention_mask,
        "sentence_mask": torch.arange(sentences) < inputs["num_sentences"].unsqueeze(1),
    }
    # Kept in their own precision: clip centres on a moment's end are in or out by it.
    batch |= {own: inputs[name] for own, name in (("labels", "moments"), ("durations", "durations")) if name in inputs}
    return batch, {}


def _slot_index(sentence_ids: torch.Tensor) -> torch.Tensor:
    """(B, Nw) running count of each word in its sentence, -1 at padding."""
    real = sentence_ids >= 0
    same = (sentence_ids.unsqueeze(2) == sentence_ids.unsqueeze(1)) & real.unsqueeze(1)
    return same.tril(-1).sum(-1).masked_fill(~real, -1)


def golden_outputs(
    model: HSCNetForVideoGrounding,
    output: HSCNetOutput,
    targets: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Our tensors under the golden names; word axes as long as those of the stored batch.

    Args:
        output: of a forward with ``output_intermediates=True``.
        targets: from ``build_targets``.
    """
    text, segments = output.text_state, output.segments
    tensors = dict(output.intermediates)
    tensors |= {
        name: restore_sentences(tensors[name], text.sentence_mask) for name in ("word_lstm", "z") if name in tensors
    }
    tensors |= {"F_V": output.video_state.clips, "F_W": text.words, "pred_moments": output.moments.squeeze(2)}
    tensors |= {"T": segments.final, "T_S": segments.sentence, "T_P": segments.paragraph, "T_W": segments.word}
    maps = {"A_W": output.word_similarity, "A_S": output.sentence_similarity, "A_P": output.paragraph_similarity}
    tensors |= maps | {"sentence_mask": text.sentence_mask, "slot_mask": text.slot_mask}
    ids, words = text.sentence_ids, text.word_mask
    tensors |= {"word_mask": words, "word_slot_index": _slot_index(ids)}
    if "sentence_clips" in targets:
        tensors |= {"clip_sets_S": targets["sentence_clips"], "clip_sets_P": targets["paragraph_clips"]}
        video = torch.arange(len(ids)).unsqueeze(1)
        tensors["clip_sets_W"] = targets["sentence_clips"][video, ids.clamp(min=0)] & words.unsqueeze(-1)
        tensors["paragraph_target"] = targets["paragraph"]
    missing = inputs["sentence_ids"].shape[1] - words.shape[1]
    for name in ("F_W", "V_W", "Q_W", "A_W", "g_W", "word_mask", "word_slot_index", "clip_sets_W"):
        if missing and name != "V_W" and tensors.get(name) is not None:
            pad = (0, 0) * (tensors[name].ndim - 2) + (0, missing)
            tensors[name] = F.pad(tensors[name], pad, value=-1 if name == "word_slot_index" else 0)
    return {name: tensor for name, tensor in tensors.items() if tensor is not None}


def golden_sample(inputs: Mapping[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    """Inputs of paragraph ``index`` alone, without padded words, sentences and clips."""
    sample = {name: tensor[index : index + 1] for name, tensor in inputs.items()}
    words, clips = int((sample["sentence_ids"] >= 0).sum()), int(sample["video_mask"].sum())
    limits = {"word_features": words, "sentence_ids": words, "video_features": clips, "video_mask": clips}
    limits["moments"] = int(sample["num_sentences"])
    return {name: tensor[:, : limits[name]] if name in limits else tensor for name, tensor in sample.items()}


def golden_decoded(
    model: HSCNetForVideoGrounding, entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], folder: Any
) -> dict[str, Any]:
    """Leaves of ``decode.json``: seconds and IoU of each sentence, and the metrics over all."""
    inputs = folder.tensors(folder.run()["inputs"])
    video, sentence = tensors["sentence_mask"].bool().nonzero(as_tuple=True)
    durations = inputs["durations"].double()[video].unsqueeze(1)
    found = predicted_moments(tensors["T"].double())[video, sentence] * durations
    wanted = inputs["moments"].double()[video, sentence] * durations
    leaves: dict[str, Any] = {}
    for row, iou in enumerate(temporal_iou(found, wanted).tolist()):
        leaves[f"sentences.{row}.iou"] = iou
        for name, values in (("predicted_seconds", found), ("target_seconds", wanted)):
            leaves |= {f"sentences.{row}.{name}.{end}": float(values[row, end]) for end in (0, 1)}
    stored = folder.json(entry["file"]).get("metrics", {})
    thresholds = {name: float(name.split("@")[1]) for name in stored if "@" in name}
    metrics = grounding_metrics(
        [[tuple(moment)] for moment in found.tolist()], wanted.tolist(), ranks=(1,), iou_thresholds=thresholds.values()
    )
    leaves |= {f"metrics.{name}": metrics[f"R@1,IoU={value:g}"] for name, value in thresholds.items()}
    return leaves | {"metrics.mIoU": metrics["mIoU"]}
