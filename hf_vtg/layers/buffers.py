"""Buffers that the configuration decides: not saved, and filled again after ``from_pretrained``."""

import torch
from torch import nn


class ComputedBuffers(nn.Module):
    """A module whose non-persistent buffers follow from its configuration.

    A subclass defines ``computed_buffers() -> dict[str, Tensor]`` of integers or bools, which no change of dtype
    rounds, and calls ``register_computed_buffers`` at the end of its ``__init__``. ``from_pretrained`` leaves such
    buffers uninitialised; ``VideoGroundingPreTrainedModel._init_weights`` fills them again.
    """

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def register_computed_buffers(self) -> None:
        for name, value in self.computed_buffers().items():
            self.register_buffer(name, value, persistent=False)
