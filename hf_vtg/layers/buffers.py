"""Buffers that the configuration decides: not saved, and filled again after ``from_pretrained``."""

import torch
from torch import nn


class ComputedBuffers(nn.Module):
    """A module whose non-persistent buffers follow from its configuration.

    A subclass defines ``computed_buffers() -> dict[str, Tensor]``, floats in float64, and calls
    ``register_computed_buffers`` at the end of its ``__init__``. ``from_pretrained`` leaves such buffers
    uninitialised; ``VideoGroundingPreTrainedModel._init_weights`` fills them again, rounded to the model's dtype.
    """

    def computed_buffers(self) -> dict[str, torch.Tensor]:
        raise NotImplementedError

    def register_computed_buffers(self) -> None:
        for name, value in self.computed_buffers().items():
            if value.is_floating_point():
                value = value.to(torch.get_default_dtype())
            self.register_buffer(name, value, persistent=False)
