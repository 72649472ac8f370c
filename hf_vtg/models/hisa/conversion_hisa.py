"""Official HiSA checkpoints, configurations, batches (zhexu1997/HiSA) into ours, and our outputs under its names."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from ...configuration import WordVectorConfig
from ...errors import ModelError
from ...metrics import mean_iou, recall_at_iou
from ...moments import temporal_iou
from ..conversion import load_official_weights, resolve_config
from .configuration_hisa import HiSAConfig
from .decoding_hisa import official_decode
from .losses_hisa import boundary_nll, inside_nll, pool_span
from .modeling_hisa import HiSAForVideoGrounding, HiSAOutput

RENAMES = (
    (r"video_dis\.(\w+)\.linear\.conv1d\.", r"disentangler.\1."),
    (r"model_video_GRU\.tail_df\.lstm\.", "video_lstm.rnn."),
    (r"model_video_GRU\.head_df\.mlp\.0\.", "video_head."),
    (r"model_df\.tail_df\.lstm\.", "query_lstm.rnn."),
    (r"model_df\.pooling_layer\.projection_S\.", "attention.word_projection."),
    (r"model_df\.pooling_layer\.projection_V\.", "attention.clip_projection."),
    (r"model_df\.pooling_layer\.projection_w\.", "attention.score."),
    (r"model_df\.head_df\.mlp\.0\.", "query_head."),
    (r"rnn_localization\.", "localization_lstm.rnn."),
    (r"starting\.", "start_head."),
    (r"ending\.", "end_head."),
    (r"intering\.", "inside_head."),
)

# Modules of the published code that its forward never uses: they have no gradient and are left out.
UNUSED_MODULES = ("trm_fused", "multimodal_fc1", "multimodal_fc2")

# The published code reads word vectors from a file.
WORD_TABLE = ("text_encoder.model.vectors",)

# Configuration fields whose other value changes the published numbers: (published, other).
GOLDEN_FLAGS = {"contrast_pooling": ("official_scalar", "time_mean")}

FUSIONS = ("cross_cos", "cross_sub")
VIDEO_TENSORS = ("action", "action_neighbor", "background", "output_video", "recon", "recon_neighbor", "video_lstm")
CLIP_TENSORS = ("attended_query", "filter_start", "fused", "rnn_loc", "word_attention")
UNITS = {"charades_sta": "seconds", "anet_cap": "seconds", "tacos": "frames"}


def rename_official(name: str) -> str | None:
    """Our name of an official parameter; None for those of :data:`UNUSED_MODULES`."""
    if name.split(".")[0] in UNUSED_MODULES:
        return None
    for pattern, replacement in RENAMES:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return name


def config_from_official(official: Mapping[str, Any], variant: str = "official", **overrides) -> HiSAConfig:
    """Our configuration from an official one.

    Args:
        official: the resolved tree of the published YAML file (``DYNAMIC_FILTER``, ``HISA_CLASSIFICATION``, ...),
            alone or under ``official_cfg``, there with ``loss_weights`` beside it.
        overrides: fields of :class:`HiSAConfig` that win.

    Raises:
        ModelError: for a configuration that lacks a key, or with a fusion that the published code cannot run.
    """
    tree = official.get("official_cfg", official)
    try:
        fields = _fields_from_tree(tree)
        fields |= _loss_fields(official["loss_weights"]) if "loss_weights" in official else {}
        words = WordVectorConfig(hidden_size=tree["DYNAMIC_FILTER"]["LSTM"]["INPUT_SIZE"])
    except KeyError as error:
        raise ModelError(f"The official HiSA configuration lacks the key {error}. Give the resolved tree.") from error
    return HiSAConfig(**{"text_config": words, "variant": variant, **fields, **overrides})


def _fields_from_tree(tree: Mapping[str, Any]) -> dict[str, Any]:
    words, video = tree["DYNAMIC_FILTER"]["LSTM"], tree["DYNAMIC_FILTER"]["LSTM_VIDEO"]
    heads = tree["HISA_CLASSIFICATION"]
    fusion = heads["FUSION"].lower()
    if fusion not in FUSIONS:
        raise ModelError(f"HISA_CLASSIFICATION.FUSION={heads['FUSION']!r} cannot run; known: {', '.join(FUSIONS)}.")
    widths = {
        "DYNAMIC_FILTER.LSTM.HIDDEN_SIZE": words["HIDDEN_SIZE"],
        "DYNAMIC_FILTER.LSTM_VIDEO.HIDDEN_SIZE": video["HIDDEN_SIZE"],
        "HISA_CLASSIFICATION.INPUT_SIZE_RNN": heads["INPUT_SIZE_RNN"],
    }
    if len(set(widths.values())) > 1:
        shown = ", ".join(f"{name}={width}" for name, width in widths.items())
        raise ModelError(f"{shown}: these must be equal, since their outputs are multiplied and compared.")
    benchmark = tree.get("DATASETS", {}).get("TRAIN", "charades_sta")
    is_charades = benchmark.startswith("charades")
    return {
        "feature_dim": video["INPUT_SIZE"] // 2,
        "hidden_size": words["HIDDEN_SIZE"],
        "head_hidden_size": heads["HIDDEN_SIZE"],
        "query_lstm_bias": words["BIAS"],
        "localization_lstm_bias": tree["LOCALIZATION"]["BIAS"],
        "fusion": fusion,
        "target_rule": "floor" if is_charades else "ceil",
        "clip_stride": 3 if is_charades else 1,
    }


def _loss_fields(weights: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "start_weight": weights["start"],
        "end_weight": weights["end"],
        "inside_weight": weights["inter"],
        "reconstruction_weight": weights["recon"],
        "contrast_weight": weights["contrast"],
        "contrast_temperature": weights["tau"],
    }


def convert_official_checkpoint(
    state_dict: Mapping[str, torch.Tensor],
    official_config: Mapping[str, Any],
    variant: str = "official",
    **overrides,
) -> HiSAForVideoGrounding:
    """Our model with the official weights; its word table is empty (``set_word_vectors``).

    Args:
        state_dict: the official ``state_dict()``, with or without ``module.``.
        official_config: see :func:`config_from_official`; or one of ours.
        overrides: fields of :class:`HiSAConfig`, such as the ``text_config`` of the words.

    Raises:
        ModelError: for missing, unexpected or misshapen entries.
    """
    model = HiSAForVideoGrounding(resolve_config(official_config, config_from_official, variant, **overrides))
    load_official_weights(model, state_dict, rename_official, keep=WORD_TABLE)
    return model.eval()


def golden_batch(
    inputs: Mapping[str, torch.Tensor], config: HiSAConfig
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Official batch -> ours, one sentence a video, and the official target clips."""

    def mask(length: torch.Tensor, size: int) -> torch.Tensor:
        return torch.arange(size) < length.long().unsqueeze(1)

    features, words = inputs["videoFeat"], inputs["tokens"]
    batch = {
        "video_features": features,
        "video_mask": mask(inputs["videoFeat_lengths"], features.shape[1]),
        "inputs_embeds": words.unsqueeze(1),
        "attention_mask": mask(inputs["tokens_lengths"], words.shape[1]).unsqueeze(1),
    }
    targets = {
        "start_index": inputs["frame_start"].long().unsqueeze(1),
        "end_index": inputs["frame_end"].long().unsqueeze(1),
    }
    return batch, targets


def golden_outputs(
    model: HiSAForVideoGrounding,
    output: HiSAOutput,
    targets: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Our tensors under the official names, one row a sample.

    Args:
        output: of a forward with ``output_intermediates=True``.
    """
    video, text = output.video_state, output.text_state
    start, end = targets["start_index"][:, 0], targets["end_index"][:, 0]
    tensors = {name: video[name] for name in VIDEO_TENSORS} | {name: output[name] for name in CLIP_TENSORS}
    tensors |= {
        f"{kind}_{name}": output[f"{kind}_{name}"][:, 0]
        for kind in ("logits", "prob")
        for name in ("start", "end", "inter")
    }
    tensors["query_lstm"] = text.query_lstm[:, 0]
    tensors["disentangled"] = torch.cat([video.action, video.background], dim=-1)
    tensors["mask"] = video.video_mask.long()
    tensors["start_nll_per_sample"] = boundary_nll(tensors["prob_start"], start)
    tensors["end_nll_per_sample"] = boundary_nll(tensors["prob_end"], end)
    tensors["inter_nll_per_sample"] = inside_nll(tensors["prob_inter"], start, end, model.config.inside_divisor)
    for side, clips in (("text", output.filter_start), ("video", output.rnn_loc)):
        tensors[f"{side}_global_scalar"] = pool_span(clips, start, end, "official_scalar")[:, 0]
        tensors[f"{side}_global_meanvec"] = pool_span(clips, start, end, "time_mean")
    return tensors | _decoded_pairs(tensors)


def _decoded_pairs(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    start, end, best = official_decode(tensors["prob_start"], tensors["prob_end"])
    return {"decoded_start_index": start, "decoded_end_index": end, "joint_score_max": best}


def golden_decoded(
    model: HiSAForVideoGrounding, entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], folder: Any
) -> dict[str, Any]:
    """The published decoding and metrics of each benchmark, from its stored distributions.

    Args:
        tensors: outputs of a forward run, which are decoded too.
    """
    made: dict[str, Any] = _decoded_pairs(tensors) if "prob_start" in tensors else {}
    files = dict.fromkeys(entry["file"] for entry in folder.entries("decoding"))
    tables = [folder.json(file) for file in files if file.endswith(".json")]
    for file in files:
        stored = folder.tensors(file) if file.endswith(".safetensors") else {}
        for benchmark in {name.partition(".")[0] for name in stored}:
            fields = {n.partition(".")[2]: t for n, t in stored.items() if n.startswith(f"{benchmark}.")}
            asked = {name: value for table in tables for name, value in table.get(benchmark, {}).items()}
            values = _decoded_benchmark(benchmark, fields, asked)
            made |= {f"{benchmark}.{name}": value for name, value in values.items()}
    return made


def _decoded_benchmark(
    benchmark: str, fields: Mapping[str, torch.Tensor], asked: Mapping[str, Any]
) -> dict[str, torch.Tensor | float | str]:
    """Moments, IoU and metrics; ``asked`` holds the thresholds of each recall as its keys."""
    clip = {
        "charades_sta": lambda: fields["factor"] / fields["fps"],
        "anet_cap": lambda: fields["duration"] / fields["lengths"],
        "tacos": lambda: fields["factor"],
    }[benchmark]()
    start, end, _ = official_decode(fields["prob_start"], fields["prob_end"])
    predicted = torch.stack([start, end + 1], dim=-1) * clip.unsqueeze(1)
    iou = temporal_iou(predicted, torch.stack([fields["gt_start"], fields["gt_end"]], dim=-1))
    made = {"pred_start": predicted[:, 0], "pred_end": predicted[:, 1], "iou": iou, "unit": UNITS[benchmark]}
    ranked = iou.unsqueeze(1).numpy()
    made["mIoU"] = mean_iou(ranked) / 100
    for name, decimals in (("recall_rounded2", 2), ("recall_unrounded", None)):
        for threshold in asked.get(name, ()):
            recall = recall_at_iou(ranked, 1, float(threshold), inclusive=True, round_iou=decimals)
            made[f"{name}.{threshold}"] = recall
    return made


def golden_losses(model: HiSAForVideoGrounding, output: HiSAOutput) -> dict[str, torch.Tensor]:
    """Weighted terms under the published names, which carry the weight."""
    names = {"recon_l1": "recon", "contrast": "contrast"}
    weights = {name: model.loss_weights[name] for name in names}
    return {f"weighted.{names[n]}_x{w:g}": w * output.losses[n] for n, w in weights.items()}


def golden_group(name: str) -> str:
    """The published optimiser's group of an official parameter."""
    return "bias" if "bias" in name else "weight"


def golden_step(
    model: HiSAForVideoGrounding, output: HiSAOutput, inputs: Mapping[str, Any], step: int
) -> dict[str, Any]:
    """Signs of the published scalar pooling, on which its contrast hangs, whichever pooling is trained."""
    start, end = (inputs["targets"][name][:, 0] for name in ("start_index", "end_index"))
    sides = (output.filter_start.detach(), output.rnn_loc.detach())
    pooled = [pool_span(x, start, end, "official_scalar")[:, 0] for x in sides]
    signs = ["".join("-+"[int(value > 0)] for value in side) for side in pooled]
    return {
        "stage": "full",
        "pooled_signs_query": signs[0],
        "pooled_signs_video": signs[1],
        "pooled_min_abs": float(torch.cat(pooled).abs().min()),
    }
