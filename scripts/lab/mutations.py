"""Deliberate errors: a check that does not notice them is blind."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from hf_vtg.testing.parity.check import check_folder, check_numbers, new_report
from hf_vtg.testing.parity.comparing import Report
from hf_vtg.testing.parity.curve import curve_probe
from hf_vtg.testing.parity.loss_values import loss_setting, weighting_of
from hf_vtg.testing.parity.manifest import GoldenFolder, find_entry, leaves
from hf_vtg.testing.parity.method import hook
from hf_vtg.testing.parity.session import Session, Setting

KINDS = ("weight", "mask", "flag")


@dataclass
class Mutation:
    """One deliberate error on our side of the comparison.

    Args:
        kind: "weight" (one entry of one parameter of the loaded model is changed), "mask" (padding passes for real),
            "flag" (one field of the configuration takes its other value), or, in folders without weights, "input"
            (one tensor or list of numbers is read in reverse order).
        weight: (parameter name, flat index).
        input: (file, tensor name or JSON path).
        mask: name of the batch's mask.
        flag: configuration field; values: the two it flips between.
    """

    kind: str
    weight: tuple[str, int] | None = None
    mask: str | None = None
    input: tuple[str, str] | None = None
    flag: str | None = None
    values: tuple[Any, Any] = (None, None)

    def __str__(self) -> str:
        if self.kind == "weight":
            return f"weight: entry {self.weight[1]} of {self.weight[0]} changed by a standard deviation"
        if self.kind == "input":
            return f"input: {self.input[1]} of {self.input[0]} reversed"
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


class MutatedFolder:
    """A golden folder as our side reads it, with its input mutated; what we compare with is read from the folder."""

    def __init__(self, folder: GoldenFolder, mutation: Mutation):
        self.folder = folder
        self.file, self.name = mutation.input

    def __getattr__(self, name: str) -> Any:
        return getattr(self.folder, name)

    def tensors(self, name: str) -> dict[str, torch.Tensor]:
        found = self.folder.tensors(name)
        return found | {self.name: found[self.name].flip(0)} if name == self.file else found

    def json(self, name: str) -> Any:
        content = self.folder.json(name)
        if name == self.file:
            content = copy.deepcopy(content)
            part = content
            for key in self.name.split("."):
                part = part[int(key)] if isinstance(part, list) else part[key]
            part.reverse()
        return content


def plan_input(folder: GoldenFolder) -> Mutation | str:
    """The input to reverse in a folder without weights: its longest, or why there is none."""
    lengths: dict[tuple[str, str], int] = {}
    for run in folder.entries("forward"):
        inputs = [e for e in folder.input_entries(run) if e.get("role") == "processor_input"]
        for name, tensor in folder.tensors(run["inputs"]).items():
            if find_entry(inputs, name) is not None and not torch.equal(tensor, tensor.flip(0)):
                lengths[run["inputs"], name] = len(tensor)
    for entry in folder.entries("decoding"):
        if entry.get("role") == "input":
            for path, _ in leaves(folder.json(entry["file"])):
                above, _, index = path.rpartition(".")
                if index.isdigit() and find_entry([entry], path) is not None:
                    lengths[entry["file"], above] = int(index) + 1
    return Mutation("input", input=max(lengths, key=lengths.get)) if lengths else "the folder has no input to reverse"


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


class MutatedSession(Session):
    """A session that makes the error of ``mutation``."""

    is_brief = True

    def __init__(self, folder: GoldenFolder, mutation: Mutation):
        super().__init__(folder)
        self.mutation = mutation
        self.read = MutatedFolder(folder, mutation) if mutation.input else folder

    def changed_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        return self.mutation.flip(overrides) if self.mutation.flag else overrides

    def changed_model(self, model):
        if self.mutation.weight:
            self.mutation.perturb(model)
        return model

    def changed_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        return self.mutation.drop(batch) if self.mutation.mask else batch


def check_mutated(path: str | Path, mutation: Mutation) -> Report:
    """As :func:`check_folder`, with an error on our side. The plain comparison of the weights is left out: it would
    notice a changed weight whatever the rest does."""
    session = MutatedSession(GoldenFolder(path), mutation)
    return check_numbers(session, new_report(session))


def plan_mutations(path: str | Path) -> dict[str, Mutation | str]:
    """For each kind of mutation, the one to try on this folder, or why none applies."""
    folder = GoldenFolder(path)
    if not folder.weights:
        return dict.fromkeys(KINDS, "the folder has no weights") | {"input": plan_input(folder)}
    session = Session(folder)
    if folder.manifest["kind"] == "curve":
        result = curve_probe(session)
    else:
        result = session.run(_probe_setting(session))
    loss = result.output.loss
    if loss is None:
        loss = result.output.scores[result.output.scores.isfinite()].sum()
    loss.backward()
    flags = hook(session.method, "GOLDEN_FLAGS") or {}
    return plan(result.model, result.batch, flags)


def _probe_setting(session: Session) -> Setting:
    folder = session.folder
    for entry in folder.entries("gradients"):
        setting = loss_setting(folder, {**entry, "path": entry["of"]})
        return weighting_of(session, setting, entry["of"]) or setting
    run = folder.run()
    return Setting.of(run, run)


def mutate(folder: Path) -> int:
    """Try each mutation on a folder; returns the exit code."""
    clean = check_folder(folder)
    print(f"{clean.title}\n  without mutation: {clean.summary()}")
    if clean.failures():
        print("  THE COMPARISON FAILS WITHOUT A MUTATION: mutations prove nothing.")
        return 3
    unnoticed, tried = 0, 0
    for kind, mutation in plan_mutations(folder).items():
        if isinstance(mutation, str):
            print(f"  not tried  {kind}: {mutation}")
            continue
        tried += 1
        report = check_mutated(folder, mutation)
        failures = report.failures()
        unnoticed += not failures
        shown = "caught    " if failures else "UNNOTICED "
        worst = f"; first: {failures[0].group}, {failures[0].name}" if failures else ""
        print(f"  {shown} {mutation} -> {report.summary()}{worst}")
    if unnoticed or not tried:
        print(f"  THE CHECK IS BLIND: {unnoticed} of {tried} mutations went unnoticed.")
        return 2
    print(f"{tried} of {tried} mutations caught")
    return 1
