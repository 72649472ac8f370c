"""2D-TAN: proposals from learned convolutions against a plain loop, its settings, and what is refused."""

import pytest
import torch
from huggingface_hub.errors import StrictDataclassError

from hf_vtg.layers import map_convolution
from hf_vtg.layers.proposals import proposal_cells
from hf_vtg.models.registry import METHODS, get_recipe
from hf_vtg.models.tan2d.modeling_tan2d import TAN2DProposalConv

from .testers import model_tester

Config = METHODS["tan2d"].config_class


def plain_cells(module, clips):
    """(C, N) clips -> {(first, last): vector}, scale by scale as the specification tells it."""
    cells, previous, width, stride = {}, clips.T, 1, 1
    for scale in module.scales:
        for layer in scale:
            kernel, step = layer.weight.shape[-1], layer.stride[0]
            rows = []
            for start in range(0, len(previous) - kernel + 1, step):
                window = previous[start : start + kernel]
                rows.append(torch.einsum("ock,kc->o", layer.weight, window) + layer.bias)
            width += (kernel - 1) * stride
            stride *= step
            previous = torch.stack(rows)
            for number, row in enumerate(rows):
                cells[number * stride, number * stride + width - 1] = row
    return cells


@pytest.mark.parametrize("num_clips, counts", [(8, (3, 2)), (8, (7,)), (16, (5, 2, 1)), (5, (0,)), (9, (2, 3))])
def test_learned_proposals_are_those_of_a_plain_loop(num_clips, counts):
    torch.manual_seed(0)
    module = TAN2DProposalConv(6, num_clips, counts, "random").double()
    clips = torch.randn(2, 6, num_clips, dtype=torch.float64)
    made = module(clips)
    for video, cells in zip(clips, made, strict=True):
        plain = plain_cells(module, video)
        order = [tuple(cell) for cell in proposal_cells(num_clips, counts).tolist()]
        assert set(order) == set(plain)
        torch.testing.assert_close(cells.T, torch.stack([plain[cell] for cell in order]))


def test_the_nms_threshold_follows_the_proposals():
    """The official experiment files: pool / conv."""
    for benchmark, pool, conv in (
        ("charades_sta", 0.45, 0.5),
        ("activitynet_captions", 0.5, 0.5),
        ("tacos", 0.4, 0.5),
    ):
        for proposals, threshold in (("pool", pool), ("conv", conv)):
            config = Config.for_benchmark(benchmark, proposals=proposals)
            assert config.processor_settings()["nms_threshold"] == threshold


def test_sentences_in_parts_are_sentences_at_once(monkeypatch):
    tester = model_tester("tan2d")
    model = tester.model()
    batch = tester.batch(model.config)
    with torch.no_grad():
        whole = model(**batch).scores
        monkeypatch.setattr(map_convolution, "VALUES_AT_ONCE", 1)
        parts = model(**batch).scores
    torch.testing.assert_close(parts, whole)


def test_the_published_plateau_waits_for_minus_the_loss():
    for benchmark in Config.presets:
        assert get_recipe(f"tan2d/{benchmark}").plateau == "loss"
        official = get_recipe(f"tan2d/{benchmark}/official")
        assert (official.schedule, official.plateau, official.gamma, official.patience) == (
            "plateau",
            "-loss",
            0.8,
            20,
        )
        assert (official.learning_rate, official.max_grad_norm, official.epochs) == (1e-4, 10, 100)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"num_clips": 24}, "num_clips=24 does not divide num_pre_clips=256"),
        ({"pooling_counts": (16,)}, "moments of 17 clips"),
        ({"pooling_counts": ()}, "at least one scale"),
        ({"hidden_size": 0}, "hidden_size=0"),
        ({"conv_kernel_size": 4, "num_conv_layers": 3}, "half a cell"),
        ({"min_iou": 0.7, "max_iou": 0.5}, "min_iou=0.7 and max_iou=0.5"),
        ({"proposals": "dense"}, "proposals"),
    ],
)
def test_configurations_that_make_no_sense_are_refused(fields, message):
    with pytest.raises(StrictDataclassError, match=message):
        Config(**fields)


def test_proposals_that_start_as_averages_are_means_over_their_span():
    clips = torch.randn(1, 6, 8, dtype=torch.float64)
    made = TAN2DProposalConv(6, 8, (7,), "average").double()(clips)
    first, last = proposal_cells(8, (7,)).T
    pair = [cell for cell, width in enumerate(last - first + 1) if width == 2]
    torch.testing.assert_close(made[..., pair], (clips[..., :-1] + clips[..., 1:]) / 2)
    assert Config(variant="official").proposal_start == "random" and Config().proposal_start == "average"
