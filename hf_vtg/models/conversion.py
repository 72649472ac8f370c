"""Official state dicts into ours: renaming with nothing missing and nothing left over."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from ..configuration import VideoGroundingConfig
from ..errors import ModelError


def resolve_config(
    official: Mapping[str, Any] | VideoGroundingConfig, read: Callable[..., VideoGroundingConfig], *args, **overrides
) -> VideoGroundingConfig:
    """A configuration of ours as it is; an official one as ``read(official, *args, **overrides)`` makes it."""
    return official if isinstance(official, VideoGroundingConfig) else read(official, *args, **overrides)


def strip_prefix(state_dict: Mapping[str, torch.Tensor], prefix: str = "module.") -> dict[str, torch.Tensor]:
    """State dict without the prefix that DistributedDataParallel adds."""
    return {name.removeprefix(prefix): tensor for name, tensor in state_dict.items()}


def load_official_weights(
    model: nn.Module,
    state_dict: Mapping[str, torch.Tensor],
    rename: Callable[[str], str | None],
    keep: tuple[str, ...] = (),
) -> None:
    """Copy official weights into ``model`` as float32.

    Args:
        rename: official name -> our name, or None for an entry that is left out on purpose.
        keep: prefixes of our names that no official checkpoint holds, such as the word table of a method that is fed
            word vectors; they stay as they are.

    Raises:
        ModelError: listing missing and unexpected names and tensors of another shape. Dimensions of size 1 do not
            count: a 1x1 convolution may become a linear layer.
    """
    own = model.state_dict()
    renamed, unexpected, misshapen = {}, [], []
    for name, tensor in strip_prefix(state_dict).items():
        target = rename(name)
        if target is None:
            continue
        if target not in own:
            unexpected.append(name)
        elif _squeezed(tensor) != _squeezed(own[target]):
            misshapen.append(f"{name} {tuple(tensor.shape)} for {target} {tuple(own[target].shape)}")
        else:
            renamed[target] = tensor.to(own[target].dtype).reshape(own[target].shape)
    missing = [name for name in own if name not in renamed and not name.startswith(keep)]
    problems = {"missing": missing, "unexpected": unexpected, "of another shape": misshapen}
    if any(problems.values()):
        raise ModelError(
            "The official checkpoint does not fit this configuration; "
            + "; ".join(f"{kind}: {', '.join(names)}" for kind, names in problems.items() if names)
            + ". Check that configuration and checkpoint belong together."
        )
    model.load_state_dict({**own, **renamed})


def _squeezed(tensor: torch.Tensor) -> list[int]:
    return [size for size in tensor.shape if size != 1]


def pad_stack(tensors: list[torch.Tensor], value: float = 0) -> torch.Tensor:
    """Tensors of different shapes -> one right-padded tensor (B, ...)."""
    shape = [max(sizes) for sizes in zip(*(t.shape for t in tensors), strict=True)]
    stacked = tensors[0].new_full((len(tensors), *shape), value)
    for row, tensor in zip(stacked, tensors, strict=True):
        row[tuple(slice(size) for size in tensor.shape)] = tensor
    return stacked
