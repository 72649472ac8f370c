"""The object under check: converted, saved, loaded again, and run through its public steps."""

import copy
import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from ...auto import AutoModelForVideoGrounding
from ...modeling import VideoGroundingPreTrainedModel
from ...steps import VideoGroundingOutput
from .comparing import Report, elementwise
from .manifest import GoldenFolder, ParityError
from .method import hook, load_method, one_sample, override_targets

MODES = ("eval", "train", "bn_eval")


@dataclass(frozen=True)
class Setting:
    """Everything that decides the numbers of one forward pass.

    Args:
        run: name of the manifest's forward run whose inputs are fed.
        overrides, targets_rule: ``overrides`` and ``overrides_targets`` of the entry, as JSON.
        weighting: name of the weighted total; see ``golden_loss_weights``.
        sample: this sample alone.
    """

    run: str
    mode: str
    variant: str
    overrides: str = "{}"
    targets_rule: str = "null"
    double: bool = False
    sample: int | None = None
    weighting: str = "total"

    @classmethod
    def of(cls, run: Mapping[str, Any], entry: Mapping[str, Any], **fields) -> "Setting":
        """Setting of an entry: its own mode, variant and overrides come before the run's."""
        overrides = {**(run.get("overrides") or {}), **(entry.get("overrides") or {})}
        found = {
            "run": run["name"],
            "mode": entry.get("mode", run["mode"]),
            "variant": entry.get("variant", run["variant"]),
            "overrides": json.dumps(overrides, sort_keys=True),
            "targets_rule": json.dumps(entry.get("overrides_targets")),
        }
        return cls(**{**found, **fields})


@dataclass
class Result:
    """One forward pass: the model after it, what went in and what came out."""

    model: VideoGroundingPreTrainedModel
    inputs: dict[str, torch.Tensor]
    batch: dict[str, torch.Tensor]
    targets: dict[str, torch.Tensor]
    output: VideoGroundingOutput
    own: dict[str, torch.Tensor] = field(default_factory=dict)


class Session:
    """Models and batches of one golden folder; nothing here knows a method.

    ``read`` is the folder as our side reads it, and :meth:`changed_overrides`, :meth:`changed_model` and
    :meth:`changed_batch` give back what they get: a subclass that errs on purpose tells whether the check would
    notice.
    """

    # Only the first training curve, in float64.
    is_brief = False

    def __init__(self, folder: GoldenFolder):
        self.folder = self.read = folder
        self._models: dict[tuple, VideoGroundingPreTrainedModel] = {}
        self._results: dict[Setting, Result] = {}
        self._processed: dict[str, dict[str, torch.Tensor]] = {}

    @cached_property
    def method(self):
        return load_method(self.folder.method)

    def load(
        self, variant: str, overrides: Mapping[str, Any] | None = None, double: bool = False
    ) -> VideoGroundingPreTrainedModel:
        """The folder's weights, converted, saved and loaded through the auto class; every dropout 0.

        Raises:
            ParityError: for an override that is no field of the configuration.
        """
        overrides = dict(overrides or {})
        key = (variant, json.dumps(overrides, sort_keys=True), double)
        if key not in self._models:
            overrides = self.changed_overrides(overrides)
            self._models[key] = self._load(variant, overrides, torch.float64 if double else torch.float32)
        return self._models[key]

    def _load(self, variant, overrides, dtype) -> VideoGroundingPreTrainedModel:
        converted = self.method.convert_official_checkpoint(
            self.folder.weights, self.folder.config, variant=variant, **overrides
        )
        known = type(converted.config).__dataclass_fields__
        unknown = [name for name in overrides if name not in known]
        if unknown:
            raise ParityError(
                f"{self.folder.path}/manifest.json overrides {', '.join(unknown)}, "
                f"but {type(converted.config).__name__} has no such field."
            )
        with tempfile.TemporaryDirectory(prefix="hf_vtg_parity_") as path:
            converted.save_pretrained(path)
            model = AutoModelForVideoGrounding.from_pretrained(path, dtype=dtype)
        without_dropout(model)
        return self.changed_model(model).eval()

    def changed_overrides(self, overrides: dict[str, Any]) -> dict[str, Any]:
        return overrides

    def changed_model(self, model: VideoGroundingPreTrainedModel) -> VideoGroundingPreTrainedModel:
        return model

    def changed_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        return batch

    def own_name(self, official: str) -> str | None:
        """Our name of an official parameter or buffer."""
        return self.method.rename_official(self.folder.canonical(official.removeprefix("module.")))

    def inputs(self, setting: Setting) -> dict[str, torch.Tensor]:
        """Official inputs of a setting; float64 if it asks for that."""
        run = self.folder.run(setting.run)
        inputs = override_targets(self.folder.tensors(run["inputs"]), json.loads(setting.targets_rule))
        if setting.sample is not None:
            inputs = one_sample(self.method, inputs, self.folder.input_entries(run), setting.sample)
        return upcast(inputs) if setting.double else inputs

    def forward(self, setting: Setting) -> Result:
        """A forward pass on the stored batch and targets, in the setting's mode, without gradient; cached."""
        if setting not in self._results:
            with torch.no_grad(), default_dtype(setting.double):
                self._results[setting] = self.run(setting)
        return self._results[setting]

    def run(self, setting: Setting) -> Result:
        """As :meth:`forward`, with gradient and not cached. The model is a copy."""
        model = copy.deepcopy(self.load(setting.variant, json.loads(setting.overrides), setting.double))
        set_mode(model, setting.mode)
        model.loss_weights = self.loss_weights(model)[setting.weighting]
        inputs = self.inputs(setting)
        batch, targets = self.batch(inputs, model)
        feed = {name: value for name, value in batch.items() if name not in ("labels", "durations")}
        feed |= {"targets": targets} if targets else {"labels": batch["labels"]} if "labels" in batch else {}
        output = model(**feed, output_intermediates=True)
        return Result(model, inputs, batch, targets, output)

    def batch(self, inputs: Mapping[str, torch.Tensor], model) -> tuple[dict[str, Any], dict[str, Any]]:
        """The batch of the contract and the ready-made targets."""
        batch, targets = self.method.golden_batch(inputs, model.config)
        return self.changed_batch(batch), targets

    def own_tensors(self, setting: Setting) -> dict[str, torch.Tensor]:
        """Our tensors under the official names; targets come from ``build_targets`` where labels are stored."""
        result = self.forward(setting)
        if not result.own:
            with torch.no_grad(), default_dtype(setting.double):
                targets = {**result.targets, **self.built_targets(result)}
                result.own = self.method.golden_outputs(result.model, result.output, targets, result.inputs)
        return result.own

    def built_targets(self, result: Result) -> dict[str, torch.Tensor]:
        """``model.build_targets`` on the stored labels; empty without labels."""
        batch = result.batch
        if "labels" not in batch:
            return {}
        tokens = batch["attention_mask"] if "attention_mask" in batch else batch["input_ids"] >= 0
        sentences = batch.get("sentence_mask", tokens.bool().any(-1))
        video = batch.get("video_mask")
        length = batch.get("source_length", None if video is None else video.sum(1))
        return result.model.build_targets(batch["labels"], sentences, video, length)

    def processed(self, run: Mapping[str, Any]) -> dict[str, torch.Tensor]:
        """What our processor makes of the run's ``processor_input`` tensors, by the method's hook; cached."""
        own_hook = hook(self.method, "golden_processed")
        if own_hook and run["name"] not in self._processed:
            config = self.load(run["variant"], run.get("overrides")).config if self.folder.weights else None
            inputs = self.read.tensors(run["inputs"])
            self._processed[run["name"]] = own_hook(config, self.folder.config, inputs, self.read)
        return self._processed.get(run["name"], {})

    def loss_weights(self, model) -> dict[str, dict[str, float]]:
        """Name of a weighted total -> weights."""
        named = hook(self.method, "golden_loss_weights")
        return named(model, self.folder.config) if named else {"total": dict(model.loss_weights)}

    def check_weights(self, report: Report, variant: str, overrides: Mapping[str, Any] | None) -> None:
        """Every official tensor is in the loaded model, unchanged."""
        own = self.load(variant, overrides).state_dict()
        for name, stored in self.folder.weights.items():
            target = self.own_name(name)
            if target is None:
                report.excepted("weights", name, "left out by the converter")
            elif target not in own:
                report.failed("weights", name, f"not in the loaded model as {target}")
            else:
                ours = own[target]
                same = stored.reshape(ours.shape) if stored.numel() == ours.numel() else stored
                report.add(elementwise("weights", name, ours.to(same.dtype), same))


def without_dropout(model: nn.Module) -> None:
    """Sets every dropout probability to 0, in modules and in the configurations they read."""
    configs = [model.config, getattr(model.config, "text_config", None)]
    for owner in (*model.modules(), *(getattr(m, "config", None) for m in model.modules()), *configs):
        for name, value in list(vars(owner).items()) if owner is not None else ():
            is_rate = "dropout" in name or (name == "p" and isinstance(owner, nn.modules.dropout._DropoutNd))
            if is_rate and isinstance(value, float):
                setattr(owner, name, 0.0)


def set_mode(model: nn.Module, mode: str) -> None:
    """``eval``, ``train`` or ``bn_eval`` (train with batch normalisation on its running statistics)."""
    if mode not in MODES:
        raise ParityError(f"Mode {mode!r} of the manifest is not known; known are {', '.join(MODES)}.")
    model.train(mode != "eval")
    if mode == "bn_eval":
        for module in model.modules():
            if isinstance(module, _BatchNorm):
                module.eval()


def upcast(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Floating-point tensors as float64."""
    return {name: t.double() if t.is_floating_point() else t for name, t in tensors.items()}


@contextmanager
def default_dtype(double: bool) -> Iterator[None]:
    """New tensors are float64, if ``double``."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64 if double else torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)
