"""Official MMN checkpoints, configurations and batches (MCG-NJU/MMN) into ours, and our outputs into their layout."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from transformers import DistilBertConfig

from ...errors import ModelError
from ...features.resampling import VideoGroundingFeatureExtractor
from ...moments import temporal_iou
from ...steps import VideoGroundingOutput
from ..conversion import load_official_weights, pad_stack, resolve_config
from .configuration_mmn import MMNConfig
from .modeling_mmn import MMNForVideoGrounding, MMNOutput

RENAMES = (
    (r"featpool\.conv\.", "clip_pooling.projection."),
    (r"proposal_conv\.convs\.(\d+)\.", r"map_conv.layers.\1.conv."),
    (r"proposal_conv\.bn\.(\d+)\.", r"map_conv.layers.\1.norm."),
    (r"proposal_conv\.conv1x1_contrastive\.", "moment_contrastive."),
    (r"proposal_conv\.conv1x1_iou\.", "moment_iou."),
    (r"text_encoder\.bert\.", "text_encoder.model."),
    (r"text_encoder\.layernorm\.", "sentence_norm."),
    (r"text_encoder\.fc_out1\.", "sentence_iou."),
    (r"text_encoder\.fc_out2\.", "sentence_contrastive."),
)

# Configuration fields whose other value changes the published numbers: (published, other).
GOLDEN_FLAGS = {"intra_video_mask": ("zero", "exclude")}

# Weight of the contrastive terms after the epochs of full contrastive losses (official ``mmn/engine/trainer.py``).
LATE_CONTRASTIVE_FACTOR = 0.01


def rename_official(name: str) -> str | None:
    """Our name of an official parameter or buffer; None for the position ids of old transformers releases."""
    if name.endswith("embeddings.position_ids"):
        return None
    for pattern, replacement in RENAMES:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return name


def config_from_official(official: Mapping[str, Any], variant: str = "official", **overrides) -> MMNConfig:
    """Our configuration from an official one.

    Args:
        official: the resolved tree of the published YAML file (``MODEL``, ``INPUT``, ...), alone or under ``cfg`` with
            the DistilBERT sizes under ``bert``; or the flat form of the golden training curves.
        overrides: fields of :class:`MMNConfig` that win.

    Raises:
        ModelError: for a configuration that lacks a key, or whose flat form has one that nobody knows.
    """
    try:
        fields = _fields_from_curve(official) if "model" in official else _fields_from_tree(official)
    except KeyError as error:
        raise ModelError(f"The official MMN configuration lacks the key {error}. Give the resolved tree.") from error
    text = dict(official.get("bert") or official.get("text_encoder") or {})
    known = set(DistilBertConfig().to_dict())
    text_config = DistilBertConfig(**{k: v for k, v in text.items() if k in known})
    if text:
        # Golden folders are made without dropout.
        text_config.dropout = text_config.attention_dropout = 0.0
    return MMNConfig(**{"text_config": text_config, "variant": variant, **fields, **overrides})


def _fields_from_tree(official: Mapping[str, Any]) -> dict[str, Any]:
    tree = official.get("cfg", official)
    mmn = tree["MODEL"]["MMN"]
    if mmn["FEAT2D"]["NAME"] != "pool":
        raise ModelError(f"FEAT2D.NAME={mmn['FEAT2D']['NAME']!r} is not supported; every published model uses 'pool'.")
    return {
        "feature_dim": mmn["FEATPOOL"]["INPUT_SIZE"],
        "num_pre_clips": tree["INPUT"]["NUM_PRE_CLIPS"],
        "num_clips": mmn["NUM_CLIPS"],
        "pool_kernel_size": mmn["FEATPOOL"]["KERNEL_SIZE"],
        "hidden_size": mmn["FEATPOOL"]["HIDDEN_SIZE"],
        "conv_hidden_size": mmn["PREDICTOR"]["HIDDEN_SIZE"],
        "joint_size": mmn["JOINT_SPACE_SIZE"],
        "pooling_counts": mmn["FEAT2D"]["POOLING_COUNTS"],
        "conv_kernel_size": mmn["PREDICTOR"]["KERNEL_SIZE"],
        "num_conv_layers": mmn["PREDICTOR"]["NUM_STACK_LAYERS"],
        **_loss_fields(mmn["LOSS"]),
        "score_power": tree["TEST"]["CONTRASTIVE_SCORE_POW"],
    }


def _fields_from_curve(official: Mapping[str, Any]) -> dict[str, Any]:
    model = official["model"]
    names = {
        "featpool_hidden": "hidden_size",
        "featpool_kernel": "pool_kernel_size",
        "joint_dim": "joint_size",
    }
    names |= {
        "conv_hidden": "conv_hidden_size",
        "conv_kernel": "conv_kernel_size",
        "conv_layers": "num_conv_layers",
    }
    fields = {names.get(name, name): value for name, value in model.items() if name != "batchnorm"}
    unknown = [name for name in fields if name not in MMNConfig.__dataclass_fields__]
    if unknown:
        raise ModelError(f"The official MMN configuration has unknown keys under 'model': {', '.join(unknown)}.")
    return {**fields, **_loss_fields(official["loss"])}


def _loss_fields(loss: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "min_iou": loss["MIN_IOU"],
        "max_iou": loss["MAX_IOU"],
        "num_positives": loss["NUM_POSTIVE_VIDEO_PROPOSAL"],
        "negative_iou": loss["NEGATIVE_VIDEO_IOU"],
        "sentence_removal_iou": loss["SENT_REMOVAL_IOU"],
        "video_temperature": loss["TAU_VIDEO"],
        "sentence_temperature": loss["TAU_SENT"],
        "margin": loss["MARGIN"],
        "contrastive_weight": loss["CONTRASTIVE_WEIGHT"],
    }


def convert_official_checkpoint(
    state_dict: Mapping[str, torch.Tensor],
    official_config: Mapping[str, Any],
    variant: str = "official",
    **overrides,
) -> MMNForVideoGrounding:
    """Our model with the official weights.

    Args:
        state_dict: the ``model`` entry of an official checkpoint, with or without ``module.``.
        official_config: see :func:`config_from_official`; or one of ours.

    Raises:
        ModelError: for missing, unexpected or misshapen entries.
    """
    model = MMNForVideoGrounding(resolve_config(official_config, config_from_official, variant, **overrides))
    load_official_weights(model, state_dict, rename_official)
    return model.eval()


def golden_batch(
    inputs: Mapping[str, torch.Tensor], config: MMNConfig
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Official batch -> ours: per-video lists of queries become (B, S, L), seconds become fractions.

    Returns:
        The batch of the contract with ``labels`` and ``durations``, and ready-made targets from the stored IoU maps.
    """
    videos = range(len(inputs["feats"]))
    durations = inputs["durations"].double()
    lengths = pad_stack([inputs[f"wordlens.{v}"] for v in videos])
    ids = pad_stack([inputs[f"queries.{v}"] for v in videos])
    moments = pad_stack([inputs[f"moments.{v}"] for v in videos]).double()
    batch = {
        "video_features": inputs["feats"],
        "input_ids": ids,
        "attention_mask": torch.arange(ids.shape[-1]) < lengths.unsqueeze(-1),
        "labels": moments / durations[:, None, None],
        "durations": durations,
    }
    index = MMNForVideoGrounding.cell_index_of(config)
    iou = pad_stack([inputs[f"iou2d.{v}"] for v in videos]).flatten(-2).index_select(-1, index)
    targets = {
        "iou2d": iou,
        "topk_index": iou.topk(config.num_positives).indices,
        "sentence_iou": temporal_iou(moments.unsqueeze(-2), moments.unsqueeze(-3)).to(iou.dtype),
    }
    return batch, targets


def golden_outputs(
    model: MMNForVideoGrounding,
    output: MMNOutput,
    targets: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Our tensors under the official names and in the official layout: dense maps, one entry a video.

    Args:
        output: of a forward with ``output_intermediates=True``.
        targets: from ``build_targets``.
        inputs: the official batch, for the number of words of each video.
    """
    grid, video, text = model.grid, output.video_state, output.text_state
    counts = text.sentence_mask.sum(1).tolist()
    tensors = {
        "mask2d": grid.to_map(torch.ones(grid.num_cells, dtype=torch.uint8)),
        "pooled_feats": video.pooled_feats,
        "map2d": grid.to_map(video.map2d),
        "map2d_contrastive": grid.to_map(video.map2d_contrastive.transpose(1, 2)),
        "map2d_iou": grid.to_map(video.map2d_iou.transpose(1, 2)),
    }
    tensors |= {f"masked_weight.{k}": weight for k, weight in enumerate(video.masked_weight or ())}
    tensors |= {f"bn_out.{k}": normed for k, normed in enumerate(video.bn_out or ())}
    per_video = {
        "sent_contrastive": text.sent_contrastive,
        "sent_iou": text.sent_iou,
        "contrastive_scores": grid.to_map(output.contrastive_scores),
        "iou_scores": grid.to_map(output.iou_scores),
        "scores2d": grid.to_map(output.scores),
        "topk_index": targets["topk_index"],
        "iou2d": grid.to_map(targets["iou2d"]),
    }
    for name, tensor in per_video.items():
        tensors |= {f"{name}.{v}": tensor[v, :count] for v, count in enumerate(counts)}
    for v, count in enumerate(counts):
        words = inputs[f"queries.{v}"].shape[1]
        tensors[f"bert_last_hidden.{v}"] = text.token_states[v, :count, :words]
    return tensors


def golden_candidates(model: MMNForVideoGrounding, tensors: Mapping[str, torch.Tensor]) -> VideoGroundingOutput:
    """Candidates for post-processing from score maps in the official layout (``scores2d.v``)."""
    videos = sorted(int(name.split(".")[1]) for name in tensors if name.startswith("scores2d."))
    scores = pad_stack([model.grid.from_map(tensors[f"scores2d.{v}"]) for v in videos], value=-torch.inf)
    return VideoGroundingOutput(moments=model.grid.moments(scores.dtype).expand(*scores.shape, 2), scores=scores)


def golden_sample(inputs: Mapping[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    """Official inputs of video ``index`` alone."""
    sample = {name: inputs[name][index : index + 1] for name in ("feats", "durations")}
    suffix = f".{index}"
    own = {n.removesuffix(suffix): t for n, t in inputs.items() if n.endswith(suffix) and not n.startswith("avgfeats")}
    return sample | {f"{name}.0": tensor for name, tensor in own.items()}


def golden_loss_weights(model: MMNForVideoGrounding, official: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Weights of ``total`` and, after the published stage of full contrastive losses, ``total_late``."""
    weights = dict(model.loss_weights)
    late = official.get("training", {}).get("late_contrastive_factor", LATE_CONTRASTIVE_FACTOR)
    return {"total": weights, "total_late": weights | {n: late * weights[n] for n in ("loss_vid", "loss_sent")}}


def golden_processor_settings(official: Mapping[str, Any]) -> dict[str, Any]:
    """Processor settings of the official test configuration."""
    tree = official.get("official_cfg") or official.get("cfg", official)
    return {"nms_threshold": tree["TEST"]["NMS_THRESH"]}


def golden_processed(
    config: MMNConfig, official: Mapping[str, Any], inputs: Mapping[str, torch.Tensor], folder: Any
) -> dict[str, torch.Tensor]:
    """What the feature extractor makes of ``raw_frames.v``, and without normalisation of ``avgfeats_in.T``."""
    settings = config.processor_settings()
    names = ("resampling", "num_clips", "l2_normalize", "legacy_resample")
    extractor = VideoGroundingFeatureExtractor(**{name: settings[name] for name in names})
    plain = VideoGroundingFeatureExtractor(**{name: settings[name] for name in names} | {"l2_normalize": False})
    made = {}
    for name, tensor in inputs.items():
        if name.startswith("raw_frames."):
            made[name] = torch.from_numpy(extractor.resample(tensor.numpy()))
        elif name.startswith("avgfeats_in."):
            made[name.replace("_in", "_out")] = torch.from_numpy(plain.resample(tensor.numpy()))
    return made


def golden_group(name: str) -> str:
    """The published optimiser's group of an official parameter."""
    return "bert" if "bert" in name else "base"


def golden_step(
    model: MMNForVideoGrounding, output: MMNOutput, inputs: Mapping[str, Any], step: int
) -> dict[str, Any]:
    """Stage and freezing of a training step, as they are in the model at that moment."""
    late = model.loss_weights["loss_vid"] < model.default_loss_weights()["loss_vid"]
    frozen = not any(p.requires_grad for p in model.text_encoder.parameters())
    return {"stage": "late" if late else "full", "bert_frozen": frozen}
