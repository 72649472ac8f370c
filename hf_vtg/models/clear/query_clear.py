"""The query encoder that both branches of CLEAR have a copy of."""

import torch
from torch import nn

from ...layers.recurrent import PackedRecurrent, last_states


class CLEARQueryEncoder(nn.Module):
    """LSTM, its state after the last word, and a linear layer.

    Args:
        input_size, hidden_size, output_size: E, H and C; both directions of a bidirectional LSTM share H.
    """

    def __init__(self, input_size: int, hidden_size: int, output_size: int, num_layers: int, bidirectional: bool):
        super().__init__()
        self.bidirectional = bidirectional
        width = hidden_size // 2 if bidirectional else hidden_size
        self.lstm = PackedRecurrent("lstm", input_size, width, num_layers, bidirectional)
        self.fc = nn.Linear(2 * width if bidirectional else width, output_size)

    def forward(self, states: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(R, L, E) word states and (R, L) mask -> (R, H) last state and (R, C) its projection."""
        hidden = self.lstm(states, mask)
        last = last_states(hidden, mask, self.bidirectional)
        return last, self.fc(last)
