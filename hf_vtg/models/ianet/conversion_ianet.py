"""Official IA-Net checkpoints, configurations and batches (liudaizong/IA-Net) into ours, and our outputs back."""

import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from ...configuration import WordVectorConfig
from ...errors import ModelError
from ...processing import VideoGroundingProcessor
from ...text.tokenization import WordVectors
from ..conversion import load_official_weights, resolve_config
from .anchors_ianet import anchor_windows
from .configuration_ianet import IANetConfig
from .decoding_ianet import IOU_THRESHOLDS, MARGIN, official_decode, official_nms, official_recall
from .modeling_ianet import IANetForVideoGrounding, IANetOutput

RENAMES = (
    (r"video_encoder\.tran\.", "video_encoder.projection."),
    (r"video_encoder\.attn_layers\.(\d+)\.in_proj_", r"video_encoder.attention.\1.in_proj."),
    (r"video_encoder\.attn_layers\.(\d+)\.out_proj\.", r"video_encoder.attention.\1.out_proj."),
    (r"video_encoder\.rnn\.gru\.", "video_encoder.encoder.rnn."),
    (r"sentence_encoder\.rnn\.gru\.", "query_encoder.rnn."),
    (r"v2s\.ws1\.", "fusion.video."),
    (r"v2s\.ws2\.", "fusion.query."),
    (r"v2s\.wst\.", "fusion.score."),
    (r"rnn\.gru\.", "localizer.rnn."),
    (r"fc_score\.", "score_head."),
    (r"fc_reg\.", "offset_head."),
)
ATTENTION = re.compile(r"(co|se)(\d+)\.(dense_coattn\.linears|linears_re|linears)\.([01])\.(?:0\.)?(weight|bias)")
MODALITIES = ("video", "query")

# Names of the data sets in official configurations and golden folders.
BENCHMARKS = {"activitynet": "activitynet_captions", "tacos": "tacos", "charades": "charades_sta"}

# Configuration fields whose other value changes the published numbers: (published, other).
GOLDEN_FLAGS = {"count_illegal_anchors": (True, False)}

WORD_TABLE = "text_encoder.model.vectors"


def rename_official(name: str) -> str | None:
    """Our name of an official parameter."""
    found = ATTENTION.fullmatch(name)
    if found:
        kind, number, part, modality, leaf = found.groups()
        block, modality = f"blocks.{int(number) - 1}", MODALITIES[int(modality)]
        if part == "dense_coattn.linears":
            own = f"inter.{modality}_projection" if kind == "co" else f"intra_{modality}.projection"
        else:
            layer = "gate" if part == "linears_re" else "update"
            own = f"inter.{modality}_calibration" if kind == "co" else f"intra_{modality}.calibration"
            own = f"{own}.{layer}"
        return f"{block}.{own}.{leaf}"
    for pattern, replacement in RENAMES:
        if re.match(pattern, name):
            return re.sub(pattern, replacement, name, count=1)
    return name


def benchmark_of(dataset: str) -> str:
    """Our benchmark of an official data set's name.

    Raises:
        ModelError: for another data set.
    """
    found = BENCHMARKS.get(dataset.lower())
    if found is None:
        raise ModelError(f"The official IA-Net has no data set {dataset!r}. It has ActivityNet, TACOS and Charades.")
    return found


def config_from_official(official: Mapping[str, Any], variant: str = "official", **overrides) -> IANetConfig:
    """Our configuration from official command-line arguments.

    Args:
        official: the arguments of the official ``main.py`` by name, at the top or under ``official_args``.
            ``feature_dim``, ``num_anchors`` and ``alpha``, which the data set fixes there, may stand beside them or
            under ``model``.
        overrides: fields of :class:`IANetConfig` that win.

    Raises:
        ModelError: for a configuration that lacks a key, or a number of anchors that the data set does not have.
    """
    given = {**official, **official.get("official_args", {}), **official.get("model", {})}
    try:
        benchmark = benchmark_of(given["dataset"])
        fields = {
            "num_clips": given["max_num_frames"],
            "max_words": given["max_num_words"],
            "frame_size": given["frame_dim"],
            "hidden_size": given["d_model"],
            "num_local_attention_heads": given["num_heads"],
            "num_local_attention_layers": given["num_attn_layers"] if "num_attn_layers" in given else 2,
            "dropout": given["dropout"],
            "text_config": WordVectorConfig(hidden_size=given["word_dim"]),
        }
    except KeyError as error:
        raise ModelError(f"The official IA-Net configuration lacks the key {error}. Give all arguments.") from error
    # The published ActivityNet features enter as they are.
    fields["project_features"] = benchmark != "activitynet_captions"
    if not fields["project_features"]:
        fields["feature_dim"] = fields["frame_size"]
    if "feature_dim" in given:
        fields["feature_dim"] = given["feature_dim"]
    if "alpha" in given:
        fields["boundary_weight"] = given["alpha"]
    config = IANetConfig.for_benchmark(benchmark, variant, **{**fields, **overrides})
    if given.get("num_anchors", config.num_anchors) != config.num_anchors:
        raise ModelError(
            f"The official configuration has {given['num_anchors']} anchors, but {given['dataset']} has "
            f"{config.num_anchors}: give anchor_widths."
        )
    return config


def convert_official_checkpoint(
    state_dict: Mapping[str, torch.Tensor],
    official_config: Mapping[str, Any],
    variant: str = "official",
    **overrides,
) -> IANetForVideoGrounding:
    """Our model with the official weights. Its word table is empty: fill it with ``set_word_vectors``.

    Args:
        state_dict: an official checkpoint, with or without ``module.``.
        official_config: see :func:`config_from_official`; or one of ours.

    Raises:
        ModelError: for missing, unexpected or misshapen entries.
    """
    model = IANetForVideoGrounding(resolve_config(official_config, config_from_official, variant, **overrides))
    load_official_weights(model, state_dict, rename_official, keep=(WORD_TABLE,))
    return model.eval()


def golden_batch(
    inputs: Mapping[str, torch.Tensor], config: IANetConfig
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Official batch -> ours: one sentence a video; whole clips become fractions of as many source rows."""
    mask = inputs["frame_mask"].bool()
    lengths = mask.sum(1) if config.mask_padding else torch.full((len(mask),), mask.shape[1])
    batch = {
        "video_features": inputs["frames"],
        "video_mask": mask,
        "source_length": lengths,
        "inputs_embeds": inputs["words"].unsqueeze(1),
        "attention_mask": inputs["word_mask"].unsqueeze(1),
        "labels": (inputs["gt"].double() / lengths.unsqueeze(1)).unsqueeze(1),
    }
    targets = {
        "boundary": inputs["gt"].unsqueeze(1),
        "scores": inputs["label"].unsqueeze(1),
        "positives": inputs["adj_mat"].unsqueeze(1) > 0,
        "legal": inputs["label_mask"].bool(),
    }
    return batch, targets


def golden_outputs(
    model: IANetForVideoGrounding,
    output: IANetOutput,
    targets: Mapping[str, torch.Tensor],
    inputs: Mapping[str, torch.Tensor],
) -> dict[str, torch.Tensor]:
    """Our tensors under the official names, of a forward with ``output_intermediates=True``."""
    config, video, text = model.config, output.video_state, output.text_state
    clips, boxes, scores = video.clips.shape[1], output.boxes[:, 0], output.anchor_scores[:, 0]
    best, loss_boxes = scores.argmax(1), model.loss_boxes(output)[:, 0]
    tensors = {
        "video_encoder.tran": None if video.projected is None else video.projected,
        "video_encoder": video.clips,
        "sentence_encoder": text.words[:, 0],
        "v2s": output.fused_query[:, 0],
        "rnn": output.localized[:, 0],
        "fc_score": output.anchor_logits[:, 0].unflatten(1, (clips, -1)),
        "fc_reg": output.offsets[:, 0].flatten(1).unflatten(1, (clips, -1)),
        "predict_flatten": scores,
        "reg": output.offsets[:, 0],
        "proposals": anchor_windows(clips, config.anchor_widths, config.anchor_scale, boxes.dtype),
        "refine_box_all": boxes,
        "refine_box_argmax": loss_boxes[torch.arange(len(boxes)), best],
        "refine_box_positives": loss_boxes[targets["positives"][:, 0]],
        "argmax_index": best,
        "label": targets["scores"][:, 0],
        "label_mask": targets["legal"].to(torch.uint8),
    }
    if "iou" in targets:
        tensors["adj_mat"] = (targets["iou"] * targets["positives"])[:, 0]
    for k, added in enumerate(video.local_attention):
        tensors[f"video_encoder.attn_layers.{k}.out"] = added
    kinds = ("co", "se") if config.use_intra else ("co",)
    for k, step in enumerate(output.attentions):
        kind = kinds[k % len(kinds)]
        # The official co-attention returns the words' side first, the self-attention the clips'.
        first, second = ("query", "video") if kind == "co" else ("video", "query")
        name = f"{kind}{k // len(kinds) + 1}"
        tensors |= {f"{name}.{modality}": step[modality] for modality in MODALITIES}
        tensors |= {f"{name}.attn1": step[f"{first}_map"], f"{name}.attn2": step[f"{second}_map"]}
        tensors |= {f"{name}.weighted1": step[f"attended_{first}"], f"{name}.weighted2": step[f"attended_{second}"]}
    return tensors


def golden_sample(inputs: Mapping[str, torch.Tensor], index: int) -> dict[str, torch.Tensor]:
    """Official inputs of one sample alone, with its padding: the published code fixes T and N when it is built."""
    return {name: tensor[index : index + 1] for name, tensor in inputs.items()}


def golden_losses(model: IANetForVideoGrounding, output: IANetOutput) -> dict[str, torch.Tensor]:
    """The boundary loss by the name of the branch that the published code takes."""
    branch = "positives" if model.training else "argmax_box"
    return {f"reg_loss_{branch}": output.losses["reg_loss"]} if output.losses else {}


def golden_step(
    model: IANetForVideoGrounding, output: IANetOutput, inputs: Mapping[str, Any], step: int
) -> dict[str, Any]:
    """Number of positive anchors of a training step; nothing changes in stages."""
    return {"stage": "full", "n_positives": int(inputs["targets"]["positives"].sum())}


def golden_decoded(
    model: IANetForVideoGrounding | None, entry: Mapping[str, Any], tensors: Mapping[str, torch.Tensor], folder: Any
) -> dict[str, Any]:
    """The published decoding, of scores and boxes in the official layout, or of the cases of a JSON file."""
    if entry.get("file", "").endswith(".json"):
        cases = enumerate(folder.json(entry["file"]))
        return {name: value for index, case in cases for name, value in _decoded_case(str(index), case).items()}
    scores, boxes = tensors["predict_flatten"], tensors["refine_box_all"]
    inputs = folder.tensors(folder.run()["inputs"])
    decoding = official_decode(scores, boxes, inputs["frame_mask"].sum(1))
    recall = official_recall(decoding.windows, decoding.picks, inputs["gt"])
    decoded = {"decoded_windows_int": decoding.windows}
    for threshold, picks in zip(IOU_THRESHOLDS, decoding.picks.unbind(1), strict=True):
        decoded[f"nms_top5_overlap_{threshold - MARGIN:.2f}"] = picks
    names = "_".join(str(m) for m in IOU_THRESHOLDS)
    return decoded | {f"recall_matrix_top1_top5_x_iou_{names}": recall.float()}


def _decoded_case(prefix: str, case: Mapping[str, Any]) -> dict[str, Any]:
    """JSON path -> value of one case: picks for each overlap, and recall."""
    windows, scores = torch.tensor([case["windows"]]), torch.tensor([case["scores"]], dtype=torch.float32)
    overlaps = tuple(float(key) for key in case["picks5"])
    picks = official_nms(windows, scores, overlaps)[0].tolist()
    decoded = {
        f"{prefix}.picks5.{key}.{place}": pick
        for key, row in zip(case["picks5"], picks, strict=True)
        for place, pick in enumerate(p for p in row if p >= 0)
    }
    published = official_nms(windows, scores, tuple(m - MARGIN for m in IOU_THRESHOLDS))
    recall = official_recall(windows, published, torch.tensor([case["gt"]]))[0].tolist()
    return decoded | {f"{prefix}.recall.{n}.{m}": value for n, row in enumerate(recall) for m, value in enumerate(row)}


def golden_processed(
    config: IANetConfig | None, official: Mapping[str, Any] | None, inputs: Mapping[str, torch.Tensor], folder: Any
) -> dict[str, torch.Tensor]:
    """What our processor and ``build_targets`` make of annotation rows, under ``BENCHMARK.ROW.NAME``."""
    run = folder.run()
    annotations, table = folder.json(run["annotations"]), inputs["word_vectors"]
    vectors = WordVectors(annotations["vocab"], table.numpy())
    made: dict[str, torch.Tensor] = {}
    for dataset, rows in annotations["rows"].items():
        settings = run["settings"][dataset]
        model = IANetForVideoGrounding(
            IANetConfig.for_benchmark(
                benchmark_of(dataset),
                run["variant"],
                feature_dim=inputs[f"{dataset}.0.raw_features"].shape[1],
                num_clips=settings["T"],
                max_words=settings["max_words"],
                project_features=True,
                frame_size=4,
                hidden_size=4,
                text_config=WordVectorConfig(vocab_size=len(vectors) + 2, hidden_size=vectors.dim),
            )
        )
        tokenizer = vectors.build_tokenizer("whitespace", lowercase=False)
        processor = VideoGroundingProcessor.from_model_config(model.config, tokenizer)
        for index, (_, duration, moment, words) in enumerate(rows):
            prefix = f"{dataset}.{index}"
            features = inputs[f"{prefix}.raw_features"].numpy()
            batch = processor([features], [[" ".join(words)]], [duration], np.array([[moment]]))
            made |= {f"{prefix}.{name}": tensor for name, tensor in _processed_row(model, batch, vectors).items()}
        made[f"{dataset}.proposals"] = anchor_windows(
            settings["T"], model.config.anchor_widths, model.config.anchor_scale, torch.float64
        ).unflatten(0, (settings["T"], -1))
    return made


def _processed_row(model: IANetForVideoGrounding, batch: Mapping[str, torch.Tensor], vectors: WordVectors):
    targets = model.build_targets(batch["labels"], batch["sentence_mask"], batch["video_mask"], batch["source_length"])
    return {
        "video": batch["video_features"][0],
        "video_mask": batch["video_mask"][0].to(torch.uint8),
        "words": torch.from_numpy(vectors.table())[batch["input_ids"][0, 0]],
        "word_mask": batch["attention_mask"][0, 0].to(torch.uint8),
        "label": targets["boundary"][0, 0],
        "scores": targets["scores"][0, 0],
        "scores_mask": targets["legal"][0].to(torch.uint8),
        "adj_mat": (targets["iou"] * targets["positives"])[0, 0],
    }
