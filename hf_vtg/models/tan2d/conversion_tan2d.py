"""Official 2D-TAN checkpoints, configurations and batches (microsoft/VideoX) into ours, outputs into their layout."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from ...configuration import WordVectorConfig
from ...errors import ModelError
from ...layers.proposals import ProposalGrid
from ..conversion import load_official_weights, resolve_config
from .configuration_tan2d import TAN2DConfig
from .modeling_tan2d import TAN2DForVideoGrounding, TAN2DOutput

# Beginning of an official name -> of ours; the rest is equal.
PREFIXES = {
    r"frame_layer\.vis_conv\.": "clip_pooling.projection.",
    r"prop_layer\.layers\.": "proposal_conv.scales.",
    r"fusion_layer\.textual_encoder\.": "words.rnn.",
    r"fusion_layer\.tex_linear\.": "sentence_projection.",
    r"fusion_layer\.vis_conv\.": "cell_projection.",
    r"map_layer\.convs\.(\d+)\.": r"map_conv.layers.\1.conv.",
    r"pred_layer\.": "scorer.",
}
# Official class of the proposals -> ours.
PROPOSALS = {"SparsePropMaxPool": "pool", "PropMaxPool": "pool", "SparsePropConv": "conv"}

# Configuration field whose other value changes the published numbers: (published, other).
GOLDEN_FLAGS = {"min_iou": (0.5, 0.45)}


def rename_official(name: str) -> str | None:
    """Our name of an official parameter; itself if it is none."""
    for prefix, own in PREFIXES.items():
        renamed, found = re.subn(f"^{prefix}", own, name)
        if found:
            return renamed
    return name


def config_from_official(official: Mapping[str, Any], variant: str = "official", **overrides) -> TAN2DConfig:
    """Our configuration from the blocks TAN, DATASET and LOSS of an official YAML file.

    Args:
        overrides: fields of :class:`TAN2DConfig` that win.

    Raises:
        ModelError: for a missing key, or a model that the published experiments do not have.
    """
    try:
        fields = _read(official)
    except KeyError as error:
        raise ModelError(
            f"The official 2D-TAN configuration lacks the key {error}. Give TAN, DATASET, LOSS."
        ) from error
    return TAN2DConfig(**{"variant": variant, **fields, **overrides})


def _read(official: Mapping[str, Any]) -> dict[str, Any]:
    tan, data, loss = official["TAN"], official["DATASET"], official["LOSS"]["PARAMS"]
    frame, cells, fusion, conv = (tan[f"{block}_MODULE"]["PARAMS"] for block in ("FRAME", "PROP", "FUSION", "MAP"))
    samples, stride = data["NUM_SAMPLE_CLIPS"], data["TARGET_STRIDE"]
    kernels, widths = conv["KERNEL_SIZES"], conv["HIDDEN_SIZES"]
    padding = [(kernels[0] - 1) * len(kernels) // 2] + [0] * (len(kernels) - 1)
    name = tan["PROP_MODULE"]["NAME"]
    _refuse_unless(name in PROPOSALS, "TAN.PROP_MODULE.NAME", name, f"one of {', '.join(PROPOSALS)}")
    window = (frame["KERNEL_SIZE"], frame["STRIDE"])
    _refuse_unless(window == (stride, stride), "KERNEL_SIZE and STRIDE of FRAME_MODULE", window, "TARGET_STRIDE")
    bidirectional = fusion["LSTM"]["BIDIRECTIONAL"]
    _refuse_unless(not bidirectional, "FUSION_MODULE's LSTM.BIDIRECTIONAL", bidirectional, "false")
    _refuse_unless(len(set(kernels)) == 1, "MAP_MODULE's KERNEL_SIZES", kernels, "the same in all layers")
    _refuse_unless(len(set(widths)) == 1, "MAP_MODULE's HIDDEN_SIZES", widths, "the same in all layers")
    _refuse_unless(list(conv["PADDINGS"]) == padding, "MAP_MODULE's PADDINGS", conv["PADDINGS"], f"{padding}")
    for other in ("STRIDES", "DILATIONS"):
        _refuse_unless(set(conv.get(other, [1])) == {1}, f"MAP_MODULE's {other}", conv.get(other), "1 in all layers")
    _refuse_unless(not loss.get("BIAS"), "LOSS.PARAMS.BIAS", loss.get("BIAS"), "0")
    counts = list(cells["NUM_SCALE_LAYERS"]) if "NUM_SCALE_LAYERS" in cells else [cells["NUM_LAYERS"]]
    return {
        "text_config": WordVectorConfig(hidden_size=fusion["TXT_INPUT_SIZE"]),
        "feature_dim": frame["INPUT_SIZE"],
        "num_pre_clips": samples,
        "num_clips": samples // stride,
        "proposals": PROPOSALS[name],
        "pooling_counts": [counts[0] - 1, *counts[1:]],
        "hidden_size": frame["HIDDEN_SIZE"],
        "conv_hidden_size": widths[0],
        "query_hidden_size": fusion["TXT_HIDDEN_SIZE"],
        "query_layers": fusion["LSTM"]["NUM_LAYERS"],
        "conv_kernel_size": kernels[0],
        "num_conv_layers": len(kernels),
        "min_iou": loss["MIN_IOU"],
        "max_iou": loss["MAX_IOU"],
    }


def _refuse_unless(supported: bool, what: str, value: Any, wanted: str) -> None:
    if not supported:
        raise ModelError(f"{what}={value!r} of the official configuration is not supported. It must be {wanted}.")


def convert_official_checkpoint(
    state_dict: Mapping[str, torch.Tensor],
    official_config: Mapping[str, Any],
    variant: str = "official",
    **overrides,
) -> TAN2DForVideoGrounding:
    """Our model with the official weights; its word table stays empty, for the published code feeds word vectors.

    Args:
        official_config: see :func:`config_from_official`; or one of ours.

    Raises:
        ModelError: for weights that are missing, left over or of another shape.
    """
    config = resolve_config(official_config, config_from_official, variant, **overrides)
    model = TAN2DForVideoGrounding(config)
    load_official_weights(model, state_dict, rename_official, keep=("text_encoder.",))
    return model.eval()


def golden_batch(
    inputs: Mapping[str, torch.Tensor], config: TAN2DConfig
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Official batch -> ours, with the one sentence of each video, and the stored IoU map as targets."""
    batch = {
        "video_features": inputs["visual_input"],
        "inputs_embeds": inputs["textual_input"].unsqueeze(1),
        "attention_mask": inputs["textual_mask"].squeeze(-1).bool().unsqueeze(1),
    }
    if "map_gt" not in inputs:
        return batch, {}
    return batch, {"iou2d": ProposalGrid(config.num_clips, config.pooling_counts).from_map(inputs["map_gt"])}


def golden_outputs(
    model: TAN2DForVideoGrounding,
    output: TAN2DOutput,
    targets: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Our tensors under the official names, as maps (B, channels, N, N) that are zero outside the valid cells."""
    cells = output.video_state.cell_embeds
    return {
        "prediction": model.grid.to_map(output.logits),
        "map_h": model.grid.to_map(cells.transpose(1, 2)),
        "map_mask": model.grid.to_map(cells.new_ones(1, 1, model.grid.num_cells)),
    }
