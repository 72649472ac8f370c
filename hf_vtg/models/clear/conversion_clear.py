"""Official CLEAR checkpoints, configurations and batches (Huyp777/CSUN) into ours, our outputs into their layout."""

import re
from collections.abc import Mapping
from typing import Any

import torch

from ...configuration import WordVectorConfig
from ...errors import ModelError
from ...layers.losses import scaled_iou
from ...layers.proposals import ProposalGrid
from ...moments import clip_moments, temporal_iou, temporal_nms
from ..conversion import load_official_weights, resolve_config
from .configuration_clear import CLEARConfig
from .decoding_clear import CLEARFusion, PruneRule
from .modeling_clear import CLEARForVideoGrounding, CLEAROutput

# ``net.0`` and ``net.3`` are the two convolutions of a temporal block under a second name.
RENAMES = (
    (r"coarse\.video\.tcn\.network\.(\d+)\.(conv1|net\.0)\.", r"coarse.tcn.\1.conv1."),
    (r"coarse\.video\.tcn\.network\.(\d+)\.(conv2|net\.3)\.", r"coarse.tcn.\1.conv2."),
    (r"coarse\.video\.tcn\.network\.(\d+)\.downsample\.", r"coarse.tcn.\1.residual."),
    (r"coarse\.video\.conv1d\.(\d+)\.", r"coarse.windows.\1."),
    (r"coarse\.video\.trans\.1\.", "coarse.range_projection."),
    (r"coarse\.video\.net\.1\.", "coarse.range_hidden."),
    (r"coarse\.video\.net\.3\.", "coarse.range_embedding."),
    (r"coarse\.sentence\.lstm\.", "coarse.query.lstm.rnn."),
    (r"coarse\.sentence\.fc\.", "coarse.query.fc."),
    (r"coarse\.sentence\.net\.1\.", "coarse.query_embedding."),
    (r"fine\.fp\.conv\.", "fine.clip_projection."),
    (r"fine\.query_encode\.lstm\.", "fine.query.lstm.rnn."),
    (r"fine\.query_encode\.fc\.", "fine.query.fc."),
    (r"fine\.query_encode\.conv\.", "fine.map_projection."),
    (r"fine\.predictor\.convs\.(\d+)\.", r"fine.map_conv.layers.\1.conv."),
    (r"fine\.predictor\.pred\.", "fine.predictor."),
)
WEIGHT_NORM = {"weight_g": "parametrizations.weight.original0", "weight_v": "parametrizations.weight.original1"}
BRANCHES = ("coarse", "fine")

# Configuration fields whose other value changes the published numbers: (published, other).
GOLDEN_FLAGS = {"fine_mask": ("interior", "full")}

# Fields under which the ablations of losses.json were made, where the manifest names none.
GOLDEN_LOSS_OVERRIDES = {
    "coarse_pair_sum_exclusive_x256": {"pairs_only": True, "coarse_reduction": "sum", "tick_convention": "exclusive"},
    "coarse_pair_sum_inclusive_x256": {"pairs_only": True, "coarse_reduction": "sum", "tick_convention": "inclusive"},
    "coarse_pair_mean_exclusive": {"pairs_only": True, "coarse_reduction": "mean", "tick_convention": "exclusive"},
}

# Sizes that an official configuration must tell; the published scripts have them as literals.
SIZES = (
    "num_pre_clips",
    "num_clips",
    "pooling_counts",
    "tcn_channels",
    "tcn_kernel",
    "window_kernels",
    "window_strides",
    "coarse_dim",
    "coarse_query_hidden",
    "fine_hidden",
    "fine_query_hidden",
    "query_layers",
    "predictor_kernel",
    "predictor_layers",
)
OPTIONAL_FIELDS = (
    "tcn_dropout",
    "coarse_scale",
    "min_iou",
    "max_iou",
    "query_bidirectional",
    "prune_mu",
    "prune_alpha",
)


def rename_official(name: str) -> str | None:
    """Our name of an official parameter; itself if it is none."""
    for pattern, replacement in RENAMES:
        if re.match(pattern, name):
            name = re.sub(pattern, replacement, name, count=1)
            break
    head, _, tail = name.rpartition(".")
    return f"{head}.{WEIGHT_NORM[tail]}" if tail in WEIGHT_NORM else name


def config_from_official(official: Mapping[str, Any], variant: str = "official", **overrides) -> CLEARConfig:
    """Our configuration from the sizes of an official model, under the names of the specification.

    Args:
        overrides: fields of :class:`CLEARConfig` that win.

    Raises:
        ModelError: for a configuration that lacks a size.
    """
    lacking = [name for name in ("video_dim", "query_dim", *SIZES) if name not in official]
    if lacking:
        raise ModelError(f"The official CLEAR configuration lacks {', '.join(lacking)}. Give the sizes of the model.")
    known = [*SIZES, *(name for name in OPTIONAL_FIELDS if name in official)]
    fields = {"feature_dim": official["video_dim"], **{name: official[name] for name in known}}
    text = WordVectorConfig(hidden_size=official["query_dim"])
    return CLEARConfig(**{"text_config": text, "variant": variant, **fields, **overrides})


def convert_official_checkpoint(
    state_dict: Mapping[str, Any], official_config: Mapping[str, Any], variant: str = "official", **overrides
) -> CLEARForVideoGrounding:
    """Our model with the official weights; its word table stays empty, for the published code feeds word vectors.

    Args:
        state_dict: names that begin with ``coarse.`` and ``fine.``, or a mapping with a state dict under each of both;
            with or without ``module.``.
        official_config: see :func:`config_from_official`; or one of ours.

    Raises:
        ModelError: for missing, unexpected or misshapen entries.
    """
    model = CLEARForVideoGrounding(resolve_config(official_config, config_from_official, variant, **overrides))
    load_official_weights(model, _joined(state_dict), rename_official, keep=("text_encoder.",))
    return model.eval()


def _joined(state_dict: Mapping[str, Any]) -> dict[str, torch.Tensor]:
    """One flat state dict of both branches, without ``module.``."""
    nested = all(isinstance(state_dict.get(branch), Mapping) for branch in BRANCHES)
    if nested:
        state_dict = {f"{branch}.{name}": t for branch in BRANCHES for name, t in state_dict[branch].items()}
    return {re.sub(r"^(module\.)?(coarse\.|fine\.)(module\.)?", r"\2", name): t for name, t in state_dict.items()}


def golden_batch(
    inputs: Mapping[str, torch.Tensor], config: CLEARConfig
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Official batch -> ours: one query a video, lengths become a mask, seconds become fractions.

    Returns:
        The batch of the contract with ``labels`` and ``durations``, and targets as the published data pipeline rounds
        them: in float32 seconds for the map, in seconds with 1e-7 beside the hull for the ranges.
    """
    embeds = inputs["query_features"].unsqueeze(1)
    durations, moments = inputs["durations"].double(), inputs["moments"].double()[:, None]
    grid, fusion = ProposalGrid(config.num_clips, config.pooling_counts), CLEARFusion(config)
    cells, ticks = (
        fractions.double() * durations[:, None, None]
        for fractions in (grid.moments(torch.float64), fusion.tick_moments(torch.float64))
    )
    iou = temporal_iou(moments.float(), cells.float()).unsqueeze(1)
    overlap = torch.minimum(moments, ticks)[..., 1] - torch.maximum(moments, ticks)[..., 0]
    hull = torch.maximum(moments, ticks)[..., 1] - torch.minimum(moments, ticks)[..., 0]
    targets = {
        "iou2d": iou,
        "fine": scaled_iou(iou, config.min_iou, config.max_iou),
        "coarse": (overlap.clamp(min=0) / (hull + 1e-7)).float().unsqueeze(1),
    }
    dtype = inputs["video_features"].dtype
    batch = {
        "video_features": inputs["video_features"],
        "inputs_embeds": embeds,
        "attention_mask": torch.arange(embeds.shape[2]) < inputs["query_lengths"][:, None, None],
        "labels": moments / durations[:, None, None],
        "durations": durations,
    }
    return batch, {name: target.to(dtype) for name, target in targets.items()}


def golden_outputs(
    model: CLEARForVideoGrounding,
    output: CLEAROutput,
    targets: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Our tensors under the official names and in the official layout: dense maps, one query a video.

    Args:
        output: of a forward with ``output_intermediates=True``.
        targets: from ``build_targets``.
        inputs: the official batch, for the moments: its target maps have cells that the sparse map lacks.
    """
    grid, fine, video, text = model.grid, model.fine, output.video_state, output.text_state
    full, interior = _masks(model)
    probabilities = torch.where(fine.scored, output.fine_logits.sigmoid(), 0)
    fused = output.fused_map.transpose(1, 2)
    inner = fine.lookup[fine.map_conv.padding :, fine.map_conv.padding :][: grid.num_clips, : grid.num_clips]
    tensors = {
        "mask_full": full,
        "mask_interior": interior,
        "candidates_full": full.nonzero(),
        "candidates_interior": interior.nonzero(),
        "ticks": model.fusion.ticks,
        "coarse.window_candidates": video.window_candidates,
        "coarse.range_projection": video.range_projection,
        "coarse.video_embedding": video.range_embeds,
        "coarse.query_lstm_last": text.coarse_last[:, 0],
        "coarse.query_fc": text.coarse_projected[:, 0],
        "coarse.query_embedding": text.coarse_query[:, 0],
        "coarse.scores": output.coarse_scores[:, 0],
        "fine.clips": video.clips,
        "fine.map2d": grid.to_map(video.map2d),
        "fine.map2d_conv": grid.to_map(video.cell_embeds.transpose(1, 2)),
        "fine.query_lstm_last": text.fine_last[:, 0],
        "fine.query": text.fine_query[:, 0],
        "fine.fused_map": fused[:, :, inner],
        "fine.logits": grid.to_map(torch.where(fine.scored, output.fine_logits, 0))[:, 0],
        "fine.scores": grid.to_map(probabilities)[:, 0],
        f"target.coarse_{model.config.tick_convention}": targets["coarse"][:, 0],
    }
    tensors |= {f"coarse.tcn_block_{k}": block for k, block in enumerate(video.tcn_blocks)}
    tensors |= {f"fine.predictor_weight_{k}": w for k, w in enumerate(fine.map_conv.masked_weights(torch.float32))}
    tensors |= {f"fine.predictor_hidden_{k}": hidden for k, hidden in enumerate(output.hidden_maps or ())}
    if output.coarse_scores_broadcast is not None:
        tensors["coarse.scores_broadcast"] = output.coarse_scores_broadcast
    iou = _whole_map(model, inputs, targets["iou2d"])
    scaled = scaled_iou(iou, model.config.min_iou, model.config.max_iou)
    return tensors | {
        "target.iou2d": iou,
        "target.fine": torch.where(full, grid.to_map(targets["fine"])[:, 0], scaled),
    }


def _masks(model: CLEARForVideoGrounding) -> tuple[torch.Tensor, torch.Tensor]:
    grid, fusion = model.grid, model.fusion
    interior = ~fusion.boundary | fusion.corner
    return tuple(grid.to_map(mask.to(torch.uint8)).bool() for mask in (torch.ones_like(interior), interior))


def _whole_map(model: CLEARForVideoGrounding, inputs: Mapping[str, torch.Tensor], iou: torch.Tensor) -> torch.Tensor:
    """(B, N, N) IoU of every cell on and above the diagonal; ``iou`` (B, 1, P) is that of the map's own cells."""
    size = model.config.num_clips
    cell = torch.arange(size, dtype=torch.float64)
    bounds = torch.stack([cell[:, None].expand(size, size), (cell + 1).expand(size, size)], dim=-1) / size
    moments = inputs["moments"].double() / inputs["durations"].double()[:, None]
    whole = temporal_iou(moments[:, None, None], bounds).triu().to(iou.dtype)
    own = model.grid.to_map(torch.ones_like(model.grid.cell_index)).bool()
    return torch.where(own, model.grid.to_map(iou)[:, 0], whole)


def golden_loss_weights(model: CLEARForVideoGrounding, official: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Both losses have weight 1, whatever the total is called."""
    return {name: dict(model.loss_weights) for name in ("total", "total_release", "total_default")}


def golden_losses(model: CLEARForVideoGrounding, output: CLEAROutput) -> dict[str, torch.Tensor]:
    """The losses under the names of losses.json, which tell the configuration."""
    config = model.config
    fine = {"interior": "fine", "full": "fine_full_mask"}[config.fine_mask]
    published = {"sum": "_x256", "mean": "_default" if config.tick_convention == "inclusive" else ""}
    coarse = f"coarse_pair_{config.coarse_reduction}_{config.tick_convention}{published[config.coarse_reduction]}"
    coarse = coarse if config.pairs_only else f"coarse_release_broadcast_{config.coarse_reduction}"
    return {fine: output.losses["loss_fine"], coarse: output.losses["loss_coarse"]}


def golden_processed(
    config: CLEARConfig, official: Mapping[str, Any], inputs: Mapping[str, torch.Tensor], folder: Any
) -> dict[str, torch.Tensor]:
    """The moments cut to the video, as the processor cuts them."""
    return {"moments_unclipped": clip_moments(inputs["moments_unclipped"], inputs["durations"])}


def golden_decoded(
    model: CLEARForVideoGrounding, entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], folder: Any
) -> dict[str, Any]:
    """JSON path -> value of the decoding that ``entry`` asks for: of stored scores, or of synthetic ones."""
    kind, _, rest = entry["path"].partition(".*.")
    name = rest.removesuffix(".*")
    stored = folder.json(entry["file"])
    settings = stored.get("defaults", {})
    cases = stored[kind]
    if kind == "model":
        source = folder.tensors("outputs_fullmask.safetensors") if "outputs_fullmask" in entry["from"] else tensors
        fine = model.grid.from_map(source["fine.scores"].double())
        coarse = tensors["coarse.scores"].double() / model.config.coarse_scale
        margins = [None] * len(cases)
    else:
        fine = torch.stack([_cells(model, case["fine_cells"]) for case in cases])
        coarse = torch.tensor([case["c"] for case in cases], dtype=torch.float64)
        margins = [case["margin"] for case in cases]
    values: dict[str, Any] = {}
    for index, case in enumerate(cases):
        one = _decoded(model, fine[[index]], coarse[[index]], case["duration"], margins[index], entry, settings)
        part = one if name == "fused" else one["segments"]
        values |= _leaves(part, f"{kind}.{index}.{name}")
    return values


def _cells(model: CLEARForVideoGrounding, rows: list[list[float]]) -> torch.Tensor:
    full = torch.zeros(model.config.num_clips, model.config.num_clips, dtype=torch.float64)
    for i, j, score in rows:
        full[int(i), int(j)] = score
    return model.grid.from_map(full)


def _decoded(model, fine, coarse, duration: float, margin: int | None, entry, settings) -> dict[str, Any]:
    """The fused decoding of one query, and its NMS: exact on cells, or on float32 seconds as published."""
    config, cells = model.config, model.grid.cells
    stored = {name: settings[name] for name in PruneRule._fields if name in settings}
    rule = PruneRule.from_config(config)._replace(**stored)
    rule = rule if margin is None else rule._replace(margin=margin)
    region = model.fusion.region(coarse, rule) if config.decode == "fused" else None
    scores = model.fusion.scores(fine, coarse, region if config.prune else None)[0]
    bounds = cells + cells.new_tensor([0, 1])
    step = duration / config.num_clips
    moments = bounds.float() * step if entry.get("space") == "seconds" else bounds.double()
    kept = temporal_nms(moments, scores, settings.get("nms_threshold", 0.5))
    kept = kept[kept >= 0]
    seconds = (moments if entry.get("space") == "seconds" else bounds.double() * step)[kept]
    segments = [[*moment, score] for moment, score in zip(seconds.tolist(), scores[kept].tolist(), strict=True)]
    decoded: dict[str, Any] = {"segments": segments}
    if region is not None:
        found = scores > 0
        pairs = zip(cells[found].tolist(), scores[found].tolist(), strict=True)
        decoded |= {"s_cell": int(region.start), "e_cell": int(region.end)}
        decoded |= {"gain": float(region.gain), "factor": float(region.factor)}
        decoded["nonzero_cells"] = [[*cell, score] for cell, score in pairs]
    return decoded


def _leaves(tree: Any, prefix: str) -> dict[str, Any]:
    if not isinstance(tree, (dict, list)):
        return {prefix: tree}
    items = tree.items() if isinstance(tree, dict) else enumerate(tree)
    return {path: leaf for key, value in items for path, leaf in _leaves(value, f"{prefix}.{key}").items()}
