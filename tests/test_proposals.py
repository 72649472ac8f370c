"""The sparse map: geometry, span maximum and masked convolutions against plain formulations."""

import numpy as np
import pytest
import torch

from hf_vtg.errors import ModelError
from hf_vtg.layers.proposals import MaskedMapConv, ProposalGrid, cell_moments, dilated_weights, proposal_cells

GEOMETRIES = [(16, [15], 136), (64, [15, 8, 8], 1104), (128, [15, 8, 8, 8], 2548), (16, [7, 4], None)]


def chained_cells(num_clips, pooling_counts):
    """The published construction, diagonal by diagonal, into a mask."""
    mask = np.zeros((num_clips, num_clips), dtype=bool)
    np.fill_diagonal(mask, True)
    offset = 0
    for scale, count in enumerate(pooling_counts):
        for _ in range(count):
            offset += 2**scale
            for i in range(0, num_clips - offset, 2**scale):
                mask[i, i + offset] = True
    return mask


@pytest.mark.parametrize("num_clips, counts, expected", GEOMETRIES)
def test_valid_cells(num_clips, counts, expected):
    cells = proposal_cells(num_clips, counts)
    assert np.array_equal(cells, np.argwhere(chained_cells(num_clips, counts)))
    assert expected is None or len(cells) == expected
    assert np.array_equal(cell_moments(cells, num_clips)[0], [0, 1 / num_clips])


def test_a_grid_that_outgrows_the_clips_is_refused():
    with pytest.raises(ModelError, match="pooling_counts"):
        proposal_cells(16, [15, 8])


@pytest.mark.parametrize("num_clips, counts, _", GEOMETRIES)
def test_span_maximum(num_clips, counts, _):
    grid = ProposalGrid(num_clips, counts)
    clips = torch.randn(2, 3, num_clips)
    cells = proposal_cells(num_clips, counts)
    expected = torch.stack([clips[..., i : j + 1].amax(-1) for i, j in cells], dim=-1)
    assert torch.equal(grid.span_max(clips), expected)
    assert torch.equal(grid.from_map(grid.to_map(expected)), expected)
    outside = grid.to_map(expected)[..., ~torch.from_numpy(chained_cells(num_clips, counts))]
    assert outside.abs().max() == 0


def test_span_maximum_sends_the_gradient_to_the_largest_clip():
    grid = ProposalGrid(8, [7])
    clips = torch.randn(1, 1, 8, requires_grad=True)
    grid.span_max(clips).sum().backward()
    best = clips.argmax()
    cells = proposal_cells(8, [7])
    assert clips.grad[0, 0, best] == ((cells[:, 0] <= best.item()) & (best.item() <= cells[:, 1])).sum()
    assert clips.grad.sum() == len(cells)


@pytest.mark.parametrize("kernel, layers", [(5, 3), (9, 2), (3, 4)])
def test_dilated_weights_count_the_valid_inputs(kernel, layers):
    mask = chained_cells(16, [7, 4])
    valid = torch.from_numpy(mask)[None, None].double()
    ones = torch.ones(1, 1, kernel, kernel).double()
    padding = (kernel - 1) * layers // 2
    for k, weight in enumerate(dilated_weights(mask, kernel, layers)):
        count = torch.nn.functional.conv2d(valid, ones, padding=0 if k else padding).round()
        expected = torch.where(count > 0, 1 / count.clamp(min=1), 0.0)
        assert torch.allclose(torch.from_numpy(weight).double(), expected[0, 0], atol=1e-7)
        valid = (count > 0).double()


def test_masked_convolution_ignores_cells_outside_the_mask():
    torch.manual_seed(0)
    grid = ProposalGrid(8, [3, 2])
    stack = MaskedMapConv(grid, 4, 6, kernel_size=3, num_layers=2).eval()
    cells = torch.randn(2, 4, grid.num_cells)
    out = stack(grid, cells)
    assert out.shape == (2, 6, grid.num_cells)
    # By hand: convolve, normalise, rectify and divide by the number of valid neighbours.
    x = grid.to_map(cells)
    for layer, weight in zip(stack.layers, stack.masked_weights(), strict=True):
        x = layer.norm(layer.conv(x)).relu() * weight
    assert torch.equal(out, grid.from_map(x))
    assert not torch.allclose(out, grid.from_map(x + 1e-3))
