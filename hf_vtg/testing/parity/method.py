"""A method's side of the parity check: the hooks of its ``conversion_<method>`` module, and their defaults.

Required: ``rename_official(name)``, ``convert_official_checkpoint(state_dict, official, variant=, **overrides)``,
``golden_batch(inputs, config)``, ``golden_outputs(model, output, targets, inputs)``.

Optional, for what only some methods' folders hold:
    golden_candidates(model, tensors): candidates and scores from tensors in the official layout, for NMS lists.
    golden_decoded(model, entry, tensors, folder): name or JSON path -> value, for other decodings.
    golden_processed(config, official, inputs, folder): name of a ``processor_input`` that ``gives`` something, or of
        an output of step ``processor`` -> what our processor makes of it.
    golden_processor_settings(official): settings of the official test configuration (NMS threshold).
    golden_sample(inputs, index): official inputs of one sample alone.
    golden_loss_weights(model, official): name of a weighted total -> loss weights; default ``total``: the model's own.
    golden_losses(model, output): further names of losses.json -> value.
    golden_step(model, output, inputs, step): method-specific fields of a training curve's step (from 1).
    golden_group(name): the published optimiser's group of an official parameter; default ``all``.
    GOLDEN_LOSS_OVERRIDES: last part of a path in losses.json -> configuration fields under which that loss was made,
        where the manifest's entry names none.
    GOLDEN_FLAGS: configuration field -> the two values between which ``--mutate`` flips it.
"""

import re
from collections.abc import Mapping
from types import ModuleType
from typing import Any

import torch

from ...models.registry import METHODS
from .manifest import ParityError, match_entry


def load_method(name: str) -> ModuleType:
    """The conversion module of a method.

    Raises:
        ParityError: for a method that is not known, or has none.
    """
    conversion = METHODS[name].conversion if name in METHODS else None
    if conversion is None:
        raise ParityError(f"Method {name!r} of the manifest is not implemented here: it has no conversion_{name}.py.")
    return conversion


def hook(method: ModuleType, name: str):
    """An optional hook, or None."""
    return getattr(method, name, None)


def one_sample(
    method: ModuleType, inputs: Mapping[str, torch.Tensor], entries: list[Mapping[str, Any]], index: int
) -> dict[str, torch.Tensor]:
    """Official inputs of sample ``index`` alone, without its padding, by the roles in the manifest."""
    if hook(method, "golden_sample"):
        return method.golden_sample(inputs, index)
    roles = {name: next((e["role"] for e in entries if match_entry(e, name) is not None), None) for name in inputs}
    lengths = {}
    for name, role in roles.items():
        if role in ("video_mask", "attention_mask"):
            value = inputs[name][index]
            lengths[role] = int(value) if value.ndim == 0 else int((value != 0).sum())
    trimmed = {
        "video_features": "video_mask",
        "video_mask": "video_mask",
        "input_ids": "attention_mask",
        "inputs_embeds": "attention_mask",
        "attention_mask": "attention_mask",
    }
    sample = {}
    for name, tensor in inputs.items():
        row = tensor[index : index + 1]
        limit = lengths.get(trimmed.get(roles[name]))
        sample[name] = row[:, :limit] if limit is not None and row.ndim > 1 else row
    return sample


ASSIGNMENT = re.compile(r"\s*([\w.]+)(?:\[(\d+)\])?\s*=\s*(?:([A-Za-z_][\w.]*)(?:\[(\d+)\])?|([-+.\deE]+))\s*")


def override_targets(inputs: dict[str, torch.Tensor], rule: str | Mapping[str, Any] | None) -> dict[str, torch.Tensor]:
    """Official inputs with ``overrides_targets`` applied: ``"A[0] = B[0]; C = 1"``, or a dict name -> value."""
    if not rule:
        return inputs
    inputs = {name: tensor.clone() for name, tensor in inputs.items()}
    if isinstance(rule, Mapping):
        rule = "; ".join(f"{name} = {value}" for name, value in rule.items())
    for statement in rule.split(";"):
        found = ASSIGNMENT.fullmatch(statement)
        if not found or found[1] not in inputs or (found[3] and found[3] not in inputs):
            raise ParityError(
                f"overrides_targets {statement!r} is not understood; known: 'NAME[i] = NAME[j] or number'."
            )
        source = float(found[5]) if found[5] else inputs[found[3]]
        if found[4]:
            source = source[int(found[4])]
        inputs[found[1]][int(found[2]) if found[2] else ...] = source
    return inputs
