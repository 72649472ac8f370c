"""Recurrent query encoders that do not see padding."""

import torch
from torch import nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from ..errors import ModelError


class PackedRecurrent(nn.Module):
    """An LSTM or GRU over right-padded rows whose answer does not depend on the padding.

    Under autocast it stays in the precision of its weights: CUDA's recurrent kernels would take float16 even where
    bfloat16 is asked for, which overflows.

    Args:
        kind: ``"lstm"`` or ``"gru"``.
        input_size, hidden_size, num_layers, bidirectional, bias: as in torch.
    """

    def __init__(
        self,
        kind: str,
        input_size: int,
        hidden_size: int,
        num_layers: int = 1,
        bidirectional: bool = False,
        bias: bool = True,
    ):
        super().__init__()
        recurrent = {"lstm": nn.LSTM, "gru": nn.GRU}[kind]
        self.rnn = recurrent(
            input_size, hidden_size, num_layers, bias=bias, batch_first=True, bidirectional=bidirectional
        )

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(R, L, E) states and (R, L) mask -> (R, L, H) states, zeros at padding.

        Raises:
            ModelError: for a row that is padding alone, or padded on the left or in between.
        """
        with torch.autocast(states.device.type, enabled=False):
            return self._run(states.to(self.rnn.weight_ih_l0.dtype), mask)

    def _run(self, states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        lengths = mask.sum(1)
        if bool((lengths == states.shape[1]).all()):
            return self.rnn(states)[0]
        if not bool((lengths > 0).all()):
            row = int((lengths == 0).nonzero()[0])
            raise ModelError(f"Row {row} of {len(mask)} has no real element: its mask is all padding. Leave it out.")
        padding_first = mask.long().cumprod(1).sum(1) != lengths
        if bool(padding_first.any()):
            row = int(padding_first.nonzero()[0])
            raise ModelError(f"Row {row} of {len(mask)} has padding before real elements. Pad on the right.")
        packed = pack_padded_sequence(states, lengths.cpu(), batch_first=True, enforce_sorted=False)
        return pad_packed_sequence(self.rnn(packed)[0], batch_first=True, total_length=states.shape[1])[0]


def last_states(states: torch.Tensor, mask: torch.Tensor, bidirectional: bool = False) -> torch.Tensor:
    """(R, L, H) states of right-padded rows and (R, L) mask -> (R, H) the state of each row's last real element.

    The backward direction, the second half of H, ends at the first element, so its last state is taken there.
    """
    last = states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    if not bidirectional:
        return last
    half = states.shape[-1] // 2
    return torch.cat([last[:, :half], states[:, 0, half:]], dim=1)
