"""The sparse map: geometry, span maximum and masked convolutions against plain formulations."""

import copy

import numpy as np
import pytest
import torch

from hf_vtg.errors import ModelError
from hf_vtg.layers.map_convolution import MAP_OPTIONS, Cut, MaskedMapConv, Pasted
from hf_vtg.layers.map_geometry import Strip, cover, map_geometry, valid_inputs
from hf_vtg.layers.proposals import ProposalGrid, proposal_cells

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
    moments = ProposalGrid(num_clips, counts).bfloat16().moments(torch.float64)
    assert np.array_equal(moments.numpy(), (cells + [0, 1]) / num_clips)


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
def test_valid_inputs_are_counted_as_the_mask_dilates(kernel, layers):
    mask = chained_cells(16, [7, 4])
    valid = torch.from_numpy(mask)[None, None].double()
    ones = torch.ones(1, 1, kernel, kernel).double()
    padding = (kernel - 1) * layers // 2
    for k, counted in enumerate(valid_inputs(mask, kernel, layers)):
        count = torch.nn.functional.conv2d(valid, ones, padding=0 if k else padding).round()
        assert torch.equal(torch.from_numpy(counted).double(), count[0, 0])
        valid = (count > 0).double()


def test_strips_cover_every_needed_position():
    mask = chained_cells(16, [7, 4])
    for count in (1, 2, 3, 20):
        strips = cover(mask, count)
        covered = np.zeros_like(mask)
        for top, bottom, left, right in strips:
            covered[top:bottom, left:right] = True
        assert len(strips) <= count and covered[mask].all()
    areas = [sum((s.bottom - s.top) * (s.right - s.left) for s in cover(mask, count)) for count in (1, 2, 4)]
    assert areas[0] > areas[1] > areas[2] >= mask.sum()
    shifted = np.zeros((9, 9), dtype=bool)
    shifted[3:5, 2:7] = True
    assert cover(shifted, 1) == ((3, 5, 2, 7),)


def stacks(num_clips, counts, kernel, layers, dtype=torch.float64):
    torch.manual_seed(0)
    grid = ProposalGrid(num_clips, counts)
    strips = MaskedMapConv(grid, 4, 6, kernel, layers).to(dtype)
    for layer in strips.layers:
        torch.nn.init.normal_(layer.norm.weight, 1, 0.2)
        torch.nn.init.normal_(layer.norm.bias)
        torch.nn.init.normal_(layer.conv.bias)
    cells = torch.randn(3, 4, grid.num_cells, dtype=dtype)
    # Running statistics near those of the cells: with others every output in evaluation may be zero.
    for layer in strips.layers:
        layer.norm.momentum = 0.8
    strips.train()(grid, cells + 0.1)
    dense = copy.deepcopy(strips)
    dense.implementation = "dense"
    return grid, strips, dense, cells


MAPS = [(16, [7, 4], 5, 3), (16, [15], 5, 2), (8, [3], 3, 4), (32, [7, 4, 2], 9, 2), (4, [], 3, 2)]


@pytest.mark.parametrize("geometry", MAPS, ids=str)
def test_strips_equal_the_dense_map_in_eval(geometry):
    grid, strips, dense, cells = stacks(*geometry)
    expected = dense.eval()(grid, cells)
    assert torch.allclose(strips.eval()(grid, cells), expected, rtol=1e-12, atol=1e-14)
    assert (expected > 0).any()


@pytest.mark.parametrize("geometry", MAPS, ids=str)
def test_strips_equal_the_dense_map_in_training(geometry):
    grid, strips, dense, cells = stacks(*geometry)
    outputs = []
    for stack in (strips.train(), dense.train()):
        own = cells.clone().requires_grad_()
        out = stack(grid, own)
        (out * torch.arange(out.numel(), dtype=out.dtype).reshape(out.shape).cos()).sum().backward()
        outputs.append({"out": out.detach(), "cells": own.grad})
        outputs[-1] |= {name: p.grad for name, p in stack.named_parameters()} | dict(stack.named_buffers())
    for name, value in outputs[0].items():
        # The true gradient of a bias in front of batch normalisation is zero.
        atol = 1e-10 if name.endswith("conv.bias") else 1e-12
        assert torch.allclose(value.double(), outputs[1][name].double(), rtol=1e-9, atol=atol), name


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_strips_have_right_first_and_second_gradients(layout):
    """Overlapping windows, positions that no strip covers, and both layouts of memory."""
    windows, strips = (Strip(0, 4, 0, 3), Strip(2, 5, 1, 5)), (Strip(1, 3, 0, 2), Strip(3, 4, 1, 5))
    x = torch.randn(2, 3, 5, 5, dtype=torch.float64).contiguous(memory_format=layout).requires_grad_()

    def cut(x):
        return tuple(part.sin() for part in Cut.apply(x, windows))

    def pasted(*parts):
        out = Pasted.apply(5, strips, *parts)
        assert out.is_contiguous(memory_format=layout)
        return out.sin()

    parts = [part.detach().requires_grad_() for part in Cut.apply(x, strips)]
    for function, inputs in ((cut, (x,)), (pasted, parts)):
        assert torch.autograd.gradcheck(function, inputs)
        assert torch.autograd.gradgradcheck(function, inputs)
    covered = Pasted.apply(5, strips, *parts) != 0
    assert covered.sum() == 2 * 3 * (4 + 4)
    assert torch.equal(Pasted.apply(5, strips, *parts)[covered], x[covered])


@pytest.mark.parametrize("implementation", ["strips", "dense"])
@pytest.mark.parametrize("option", MAP_OPTIONS)
def test_options_of_the_map_give_the_same_values(option, implementation):
    """In evaluation and training, gradients and statistics included; bfloat16 to its precision."""
    half = option == "bfloat16"
    grid, plain, _, cells = stacks(16, [7, 4], 5, 3, torch.float32 if half else torch.float64)
    plain.implementation = implementation
    other = MaskedMapConv(grid, 4, 6, 5, 3, implementation, options=(option,)).to(cells.dtype)
    other.load_state_dict(plain.state_dict())
    for layer in other.layers:
        layer.norm.momentum = 0.8
    for train in (False, True):
        results = []
        for stack in (plain.train(train), other.train(train)):
            stack.zero_grad()
            out = stack(grid, cells)
            out.square().sum().backward()
            weights = [layer.conv.weight.grad for layer in stack.layers]
            results.append([out.detach(), *weights, *[layer.norm.running_var for layer in stack.layers]])
        for reference, own in zip(*results, strict=True):
            assert own.dtype == reference.dtype
            if half:
                assert torch.cosine_similarity(own.flatten(), reference.flatten(), dim=0) > 0.99
            else:
                assert (own - reference).abs().max() < 1e-10 * reference.abs().max()
        assert half == (not torch.allclose(*[result[0] for result in results], rtol=1e-5))
    assert other.layers[0].is_folded is False and other.eval().layers[0].is_folded is (option == "fold_norm")


def test_a_folded_normalisation_is_not_computed_again():
    grid, plain, _, cells = stacks(8, [3], 3, 2)
    folded = MaskedMapConv(grid, 4, 6, 3, 2, options=("fold_norm", "channels_last")).double()
    folded.load_state_dict(plain.state_dict())
    for layer in folded.eval().layers:
        layer.norm.forward = None
    assert torch.allclose(folded(grid, cells), plain.eval()(grid, cells), rtol=1e-12, atol=1e-14)
    with pytest.raises(ModelError, match="channels_first.*channels_last"):
        MaskedMapConv(grid, 4, 6, 3, 2, options=("channels_first",))


def test_only_real_positions_are_convolved():
    """At the published sizes the strips hold about half of the padded map, as counted in specs/mmn.md section 8."""
    for num_clips, counts, kernel, layers, least, most in (
        (16, (15,), 5, 8, 0.488, 0.60),
        (64, (15, 8, 8), 9, 4, 0.505, 0.75),
        (128, (15, 8, 8, 8), 5, 8, 0.462, 0.68),
    ):
        geometry = map_geometry(ProposalGrid(num_clips, counts).valid, kernel, layers)
        full = sum(c.size for c in geometry.counts)
        area = [sum((s.bottom - s.top) * (s.right - s.left) for part in p for s in part) / full for p in geometry[1:]]
        assert least <= area[1] < area[0] <= most


def test_masked_convolution_ignores_cells_outside_the_mask():
    torch.manual_seed(0)
    grid = ProposalGrid(8, [3, 2])
    stack = MaskedMapConv(grid, 4, 6, kernel_size=3, num_layers=2, implementation="dense").eval()
    cells = torch.randn(2, 4, grid.num_cells)
    out = stack(grid, cells)
    assert out.shape == (2, 6, grid.num_cells)
    # By hand: convolve, normalise, rectify and divide by the number of valid neighbours.
    x = grid.to_map(cells)
    for layer, weight in zip(stack.layers, stack.masked_weights(cells.dtype), strict=True):
        x = layer.norm(layer.conv(x)).relu() * weight
    assert torch.equal(out, grid.from_map(x))
    assert not torch.allclose(out, grid.from_map(x + 1e-3))
