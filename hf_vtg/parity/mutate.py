"""Deliberate errors: a check that does not notice them is blind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

KINDS = ("weight", "mask", "flag")


@dataclass
class Mutation:
    """One deliberate error on our side of the comparison.

    Args:
        kind: "weight" (one entry of one parameter of the loaded model is changed), "mask" (padding passes for real),
            or "flag" (one field of the configuration takes its other value).
        weight: (parameter name, flat index).
        mask: name of the batch's mask.
        flag: configuration field; values: the two it flips between.
    """

    kind: str
    weight: tuple[str, int] | None = None
    mask: str | None = None
    flag: str | None = None
    values: tuple[Any, Any] = (None, None)

    def __str__(self) -> str:
        if self.kind == "weight":
            return f"weight: entry {self.weight[1]} of {self.weight[0]} changed by a standard deviation"
        if self.kind == "mask":
            return f"mask: {self.mask} dropped"
        return f"flag: {self.flag} flipped between {self.values[0]!r} and {self.values[1]!r}"

    @torch.no_grad()
    def perturb(self, model: torch.nn.Module) -> None:
        """Change the one weight in place."""
        name, index = self.weight
        parameter = model.get_parameter(name)
        step = parameter.std(correction=0) if parameter.numel() > 1 else parameter.abs()
        parameter.view(-1)[index] += step if step > 0 else 1.0

    def drop(self, batch: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """The batch with its mask all true; padded sentences stay padded."""
        batch = dict(batch)
        kept = batch[self.mask].bool()
        real = kept.any(-1, keepdim=True).expand_as(kept) if self.mask == "attention_mask" else torch.ones_like(kept)
        batch[self.mask] = real.to(batch[self.mask].dtype)
        return batch

    def flip(self, overrides: Mapping[str, Any]) -> dict[str, Any]:
        """Overrides with the flag at the value it does not have there; ``values[0]`` is the official one."""
        first, second = self.values
        return {**overrides, self.flag: first if overrides.get(self.flag, first) == second else second}


def plan(model: torch.nn.Module, batch: Mapping[str, torch.Tensor], flags: Mapping[str, Any]) -> dict[str, Any]:
    """The mutation of each kind, or why there is none.

    Args:
        model: after a backward pass. The parameter is the one with the median gradient norm of all that have a
            gradient, its entry the one of the largest gradient: one that matters, not the one that matters most.
        batch: of that pass; the mask is the first that hides anything.
        flags: the method's ``GOLDEN_FLAGS``.
    """
    planned: dict[str, Any] = dict.fromkeys(KINDS, "")
    norms = {n: float(p.grad.norm()) for n, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    if norms:
        name = sorted(norms, key=norms.get)[len(norms) // 2]
        planned["weight"] = Mutation("weight", weight=(name, int(model.get_parameter(name).grad.abs().argmax())))
    else:
        planned["weight"] = "no parameter has a gradient"
    masks = [m for m in ("attention_mask", "video_mask") if m in batch and _hides(batch[m], m)]
    planned["mask"] = Mutation("mask", mask=masks[0]) if masks else "no mask of the batch hides anything"
    flag = next(iter(flags), None)
    planned["flag"] = Mutation("flag", flag=flag, values=tuple(flags[flag])) if flag else "the method names no flag"
    return planned


def _hides(mask: torch.Tensor, name: str) -> bool:
    kept = mask.bool()
    real = kept.any(-1, keepdim=True) if name == "attention_mask" else torch.ones_like(kept)
    return bool((real & ~kept).any())
