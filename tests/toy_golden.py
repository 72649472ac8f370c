"""A golden folder of a tiny MMN, written by plain calls of the model: for tests of the parity check itself."""

import json
from pathlib import Path

import torch
from safetensors.torch import save_file

from hf_vtg.models.mmn import conversion_mmn as conversion
from hf_vtg.models.mmn.modeling_mmn import MMNForVideoGrounding

OFFICIAL_NAMES = (
    ("clip_pooling.projection.", "featpool.conv."),
    ("moment_contrastive.", "proposal_conv.conv1x1_contrastive."),
    ("moment_iou.", "proposal_conv.conv1x1_iou."),
    ("text_encoder.model.", "text_encoder.bert."),
    ("sentence_norm.", "text_encoder.layernorm."),
    ("sentence_iou.", "text_encoder.fc_out1."),
    ("sentence_contrastive.", "text_encoder.fc_out2."),
)
LOSSES = ("loss_vid", "loss_sent", "loss_iou")


def official_name(name: str) -> str:
    """The published name of one of our parameters."""
    if name.startswith("map_conv.layers."):
        _, _, layer, kind, leaf = name.split(".")
        return f"proposal_conv.{ {'conv': 'convs', 'norm': 'bn'}[kind] }.{layer}.{leaf}"
    return next((name.replace(own, official) for own, official in OFFICIAL_NAMES if name.startswith(own)), name)


def official_config() -> dict:
    mmn = {
        "NUM_CLIPS": 4,
        "JOINT_SPACE_SIZE": 6,
        "FEATPOOL": {"INPUT_SIZE": 5, "HIDDEN_SIZE": 8, "KERNEL_SIZE": 2},
        "FEAT2D": {"NAME": "pool", "POOLING_COUNTS": [3]},
        "PREDICTOR": {"HIDDEN_SIZE": 7, "KERNEL_SIZE": 3, "NUM_STACK_LAYERS": 2},
        "LOSS": {
            "MIN_IOU": 0.3,
            "MAX_IOU": 0.7,
            "NUM_POSTIVE_VIDEO_PROPOSAL": 1,
            "NEGATIVE_VIDEO_IOU": 0.5,
            "SENT_REMOVAL_IOU": 0.5,
            "CONTRASTIVE_WEIGHT": 0.1,
            "TAU_VIDEO": 0.1,
            "TAU_SENT": 0.1,
            "MARGIN": 0.2,
        },
    }
    test = {"CONTRASTIVE_SCORE_POW": 0.5, "NMS_THRESH": 0.5}
    bert = {"dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 12, "vocab_size": 30, "max_position_embeddings": 16}
    return {"cfg": {"MODEL": {"MMN": mmn}, "INPUT": {"NUM_PRE_CLIPS": 8}, "TEST": test}, "bert": bert}


def official_inputs() -> dict[str, torch.Tensor]:
    """Two videos of two and one sentences."""
    inputs = {"feats": torch.randn(2, 8, 5), "durations": torch.tensor([20.0, 30.0])}
    moments = [[[0.5, 9.0], [11.0, 19.0]], [[3.0, 28.0]]]
    for v, lengths in enumerate(([3, 5], [4])):
        ids = torch.randint(1, 30, (len(lengths), max(lengths)))
        inputs[f"queries.{v}"] = ids * (torch.arange(max(lengths)) < torch.tensor(lengths)[:, None])
        inputs[f"wordlens.{v}"] = torch.tensor(lengths)
        inputs[f"moments.{v}"] = torch.tensor(moments[v])
        fractions = inputs[f"moments.{v}"].double() / inputs["durations"][v].double()
        start, end = torch.arange(4) / 4, (torch.arange(4) + 1) / 4
        overlap = torch.minimum(end, fractions[:, 1, None, None]) - torch.maximum(
            start[:, None], fractions[:, 0, None, None]
        )
        hull = torch.maximum(end, fractions[:, 1, None, None]) - torch.minimum(
            start[:, None], fractions[:, 0, None, None]
        )
        inputs[f"iou2d.{v}"] = (overlap.clamp(min=0) / hull).triu().float()
    inputs["raw_frames.0"] = torch.randn(13, 5)
    return inputs


def _feed(model, inputs):
    batch, targets = conversion.golden_batch(inputs, model.config)
    feed = {name: batch[name] for name in ("video_features", "input_ids", "attention_mask")}
    return batch, {**feed, "targets": targets}


def write_toy(path: Path, seed: int = 0) -> dict:
    """Write a golden folder of kind ``forward``; returns its manifest."""
    torch.manual_seed(seed)
    config = official_config()
    model = MMNForVideoGrounding(conversion.config_from_official(config))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    inputs = official_inputs()
    raw = inputs["raw_frames.0"]
    unit = raw / raw.norm(dim=1, keepdim=True)
    bounds = [min(round(i / 8 * 13), 12) for i in range(9)]
    spans = zip(bounds, bounds[1:], strict=False)
    inputs["feats"][0] = torch.stack([unit[a:b].mean(0) if a < b else unit[a] for a, b in spans])
    path.mkdir(parents=True, exist_ok=True)
    state = {official_name(name): tensor.clone() for name, tensor in model.state_dict().items()}
    save_file(state, path / "state.safetensors")
    save_file(inputs, path / "inputs.safetensors")
    (path / "config.json").write_text(json.dumps(config))
    losses = _write_outputs(path, model, inputs)
    _write_gradients(path, model, inputs)
    (path / "losses.json").write_text(json.dumps(losses))
    manifest = toy_manifest()
    (path / "manifest.json").write_text(json.dumps(manifest))
    return manifest


def _write_outputs(path: Path, model, inputs) -> dict:
    batch, feed = _feed(model, inputs)
    model.eval()
    with torch.no_grad():
        output = model(**feed, output_intermediates=True)
        outputs = conversion.golden_outputs(model, output, feed["targets"], inputs)
        outputs = {name: t.clone() for name, t in outputs.items() if not name.startswith(("iou2d", "bn_out"))}
        alone = conversion.golden_sample(inputs, 1)
        single = model(**_feed(model, alone)[1], output_intermediates=True)
        losses = {"eval": {name: float(output.losses[name]) for name in LOSSES}}
        losses["eval"]["total"] = float(output.loss)
        losses["alone"] = [{"loss_iou": 0.0}, {"loss_iou": float(single.losses["loss_iou"])}]
        del losses["alone"][0]["loss_iou"]
        model.config.intra_video_mask = "exclude"
        losses["exclude"] = {"loss_sent": float(model(**feed).losses["loss_sent"])}
        model.config.intra_video_mask = "zero"
        model.double()
        upcast = {name: t.double() if t.is_floating_point() else t for name, t in inputs.items()}
        losses["fp64"] = {"loss_vid": float(model(**_feed(model, upcast)[1]).losses["loss_vid"])}
        model.float()
    losses["weight"] = 0.1
    save_file({k: v.contiguous() for k, v in outputs.items()}, path / "outputs.safetensors")
    scores = conversion.golden_outputs(model, single, _feed(model, alone)[1]["targets"], alone)["scores2d.0"]
    save_file({"scores2d.0.1": scores.contiguous()}, path / "alone.safetensors")
    return losses


def _write_gradients(path: Path, model, inputs) -> None:
    model.eval()
    model(**_feed(model, inputs)[1]).loss.backward()
    gradients = {official_name(n): p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}
    summary = {}
    for name, grad in gradients.items():
        flat = grad.double().flatten()
        index = list(range(0, len(flat), max(1, len(flat) // 4)))
        sample = {"sample_idx": index, "sample": flat[index].tolist()}
        summary[name] = {"norm": float(flat.norm()), "sum": float(flat.sum()), **sample}
    embeddings = "text_encoder.bert.embeddings.word_embeddings.weight"
    gradients[embeddings] = gradients[embeddings][::3].clone()
    fc = gradients.pop("text_encoder.fc_out1.weight")
    gradients["text_encoder.fc_out1.weight::0:2"] = fc[0:2].clone()
    (path / "summary.json").write_text(json.dumps(summary))
    save_file(gradients, path / "grads.safetensors")


def toy_manifest() -> dict:
    close = {"atol": 1e-5, "rtol": 1e-5}
    cells = [{"tensor": "outputs:mask2d", "dims": [-2, -1]}]
    by_video = ["sent_contrastive.*", "sent_iou.*", "contrastive_scores.*", "iou_scores.*", "scores2d.*"]
    tensors = [
        {"name": "mask2d", "step": "constant", "atol": 0.0},
        {"pattern": "masked_weight.*", "step": "constant", "optional": True, "why": "geometry", **close},
        {"name": "pooled_feats", "step": "encode_video", **close},
        {"pattern": "map2d*", "step": "encode_video", "mask": cells, **close},
        {
            "pattern": "bert_last_hidden.*",
            "step": "encode_text",
            "mask": [{"lengths": "inputs:wordlens.{0}", "dims": [0, 1]}],
            **close,
        },
        *({"pattern": pattern, "step": "ground", **close} for pattern in by_video),
        {"pattern": "topk_index.*", "step": "build_targets", "atol": 0.0},
    ]
    input_tensors = [
        {"name": "feats", "role": "video_features"},
        {"name": "durations", "role": "durations"},
        {"pattern": "queries.*", "role": "input_ids"},
        {"pattern": "wordlens.*", "role": "attention_mask"},
        {"pattern": "moments.*", "role": "labels"},
        {"pattern": "iou2d.*", "role": "target", "atol": 2e-6, "mask": cells},
        {"pattern": "raw_frames.*", "role": "processor_input", "gives": "inputs:feats", "atol": 1e-6},
    ]
    run = {
        "name": "batch",
        "mode": "eval",
        "variant": "official",
        "inputs": "inputs.safetensors",
        "input_tensors": input_tensors,
        "outputs": "outputs.safetensors",
        "tensors": tensors,
    }
    alone = {key: run[key] for key in ("mode", "variant", "inputs")}
    alone |= {"name": "alone", "per_sample": True, "outputs": "alone.safetensors"}
    alone["tensors"] = [{"pattern": "scores2d.0*", "step": "ground", **close}]
    loss = {"file": "losses.json", "mode": "eval", "variant": "official", "rtol": 1e-5, "atol": 1e-6}
    double = {"dtype": "float64", "variant": "as the entry of the same name", "rtol": 1e-12, "atol": 0.0}
    gradient = {"of": "eval.total", "mode": "eval", "variant": "official", "relative_l2_all": 1e-5}
    gradient["per_tensor"] = {"relative_l2": 1e-5, "floor_of_all": 1e-7}
    gradient |= {"near_zero": ["*.k_lin.bias"], "near_zero_atol": 1e-6, "absent": []}
    full = {**gradient, "file": "grads.safetensors", "format": "full"}
    full |= {"row_stride": {"*word_embeddings.weight": 3}, "sampled": ["text_encoder.fc_out1.weight"]}
    return {
        "schema": 1,
        "method": "mmn",
        "kind": "forward",
        "weights": ["state.safetensors"],
        "config": "config.json",
        "modes": {"eval": "model.eval()"},
        "forward": [run, alone],
        "losses": [
            {**loss, "path": "eval"},
            {**loss, "path": "alone.*.loss_iou", "forward": "alone"},
            {**loss, "path": "exclude.loss_sent", "overrides": {"intra_video_mask": "exclude"}},
            {**loss, "path": "fp64.*", **double},
        ],
        "not_losses": ["weight"],
        "gradients": [full, {**gradient, "file": "summary.json", "format": "summary"}],
        "decoding": [],
        "other_files": {},
    }
