"""CLEAR beyond the abstract tester: the hand checks of its specification, a plain formulation, pruning, flags."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch.nn import functional as F

from hf_vtg import CLEARConfig, CLEARForVideoGrounding, VideoGroundingProcessor
from hf_vtg.errors import ModelError
from hf_vtg.features.resampling import resample_mean_bins
from hf_vtg.layers import map_convolution
from hf_vtg.layers.losses import iou_loss
from hf_vtg.layers.proposals import ProposalGrid
from hf_vtg.models.clear.conversion_clear import convert_official_checkpoint, golden_batch, golden_outputs
from hf_vtg.models.clear.decoding_clear import CLEARFusion
from hf_vtg.models.clear.fine_clear import FinePairs, window_size
from hf_vtg.models.clear.losses_clear import coarse_loss
from hf_vtg.models.clear.windows_clear import CLEARMapConv
from hf_vtg.models.registry import get_recipe
from hf_vtg.moments import temporal_iou, temporal_nms
from hf_vtg.testing.parity.manifest import GoldenFolder
from hf_vtg.text.tokenization import WordVectors
from scripts.lab.references import clear as plain


def tiny(seed=0, **fields):
    from .testers import model_tester

    return model_tester("clear").model(seed, **fields)


# Published sizes


def parameters(module):
    return sum(p.numel() for p in module.parameters())


@pytest.mark.parametrize(
    "benchmark, coarse, sentence, fine",
    [
        ("activitynet_captions", 111_928_736, 22_553_088, 91_588_609),
        ("tacos", 92_460_016, 22_520_192, 60_925_953),
    ],
)
@pytest.mark.parametrize("variant", ["default", "official"])
def test_parameter_counts_of_the_published_models(benchmark, coarse, sentence, fine, variant):
    with torch.device("meta"):
        model = CLEARForVideoGrounding(CLEARConfig.for_benchmark(benchmark, variant))
    assert parameters(model.coarse) == coarse and parameters(model.fine) == fine
    assert parameters(model.coarse.query) + parameters(model.coarse.query_embedding) == sentence


@pytest.mark.parametrize(
    "size, counts, full, interior, ticks",
    [
        (64, [15, 8, 8], 1104, 1043, 64),
        (128, [15, 8, 8, 8], 2548, 2471, 80),
        (16, [15], 136, 107, 32),
        (32, [15, 8], 428, 383, 48),
        (4, [3], 10, 5, 8),
    ],
)
def test_cells_and_ticks(size, counts, full, interior, ticks):  # K2
    config = CLEARConfig(num_pre_clips=256, num_clips=size, pooling_counts=counts)
    fusion = CLEARFusion(config)
    assert len(fusion.cells) == full and fusion.num_ticks == ticks
    assert int((~fusion.boundary | fusion.corner).sum()) == interior
    whole = [0, size - 1]
    assert fusion.ticks[ticks // 2 - 1].tolist() == whole == fusion.ticks[ticks // 2].tolist()
    if size == 64:
        prefixes, suffixes = fusion.ticks[:32, 1].tolist(), fusion.ticks[32:, 0].tolist()
        assert prefixes == [*range(16), *range(17, 32, 2), *range(35, 64, 4)]
        assert suffixes == [*range(0, 32, 4), *range(32, 47, 2), *range(48, 64)]


def test_candidates_of_the_windows():  # K1
    counts = {256: (3761, 3354), 128: (1778, 1626), 64: (803, 762)}
    for clips, expected in counts.items():
        names = ("activitynet_captions", "tacos")
        assert (
            tuple(
                CLEARConfig.for_benchmark(
                    n, num_pre_clips=clips, num_clips=64, pooling_counts=(15, 8, 8)
                ).num_candidates
                for n in names
            )
            == expected
        )


def test_recipes_are_those_of_the_published_scripts():
    expected = {"activitynet_captions": (5e-4, (3, 5), 6), "tacos": (1.3e-3, (7, 11, 14), 16)}
    for benchmark, (rate, milestones, epochs) in expected.items():
        for variant in ("", "/official"):
            recipe = get_recipe(f"clear/{benchmark}{variant}")
            assert (recipe.learning_rate, recipe.milestones, recipe.epochs) == (rate, milestones, epochs)
            assert recipe.optimizer == "adam" and recipe.weight_decay == 0 and recipe.max_grad_norm == 0
            assert recipe.accumulation_steps(1) == 1 and recipe.per_device_batch_size == 32 and recipe.gamma == 0.1


def test_processor_reads_as_the_published_code_does():
    config = CLEARConfig.for_benchmark("tacos")
    processor = VideoGroundingProcessor.from_model_config(config, WordVectors.from_vocabulary(["the", "pan", "pan."]))
    ids = processor(text="The PAN pan. lid")["input_ids"][0, 0].tolist()
    assert ids == [2, 3, 4, 1]
    rows = np.arange(1.0, 4096 * 3 + 1).reshape(3, 4096).astype(np.float32)
    features = processor(video_features=[rows])["video_features"]
    assert features.shape == (1, 256, 4096)
    assert torch.allclose(features.norm(dim=-1)[0, :80], torch.ones(80))


# Hand checks of specs/clear.md, section 11

T3 = [0.5, 1, 2 / 3, 0.5, 0.5, 0.25, 0, 0]


def hand_config(**fields):
    sizes = {"feature_dim": 24, "num_pre_clips": 16, "num_clips": 4, "pooling_counts": [3], "tcn_channels": [16, 16]}
    sizes |= {"tcn_kernel": 3, "window_kernels": [1, 2, 3, 4], "window_strides": [1, 1, 1, 2], "coarse_dim": 8}
    sizes |= {"coarse_query_hidden": 16, "fine_hidden": 16, "fine_query_hidden": 16}
    return CLEARConfig(**{**sizes, "predictor_kernel": 3, "predictor_layers": 2, **fields})


def targets_of(moment, **fields):
    model = CLEARForVideoGrounding(hand_config(**fields))
    labels = torch.tensor([[moment]], dtype=torch.float64) / 8
    return {name: value[0, 0] for name, value in model.build_targets(labels, torch.ones(1, 1).bool()).items()}


def test_the_tiny_configuration_of_the_specification():
    assert hand_config().num_candidates == 52
    assert CLEARFusion(hand_config()).ticks.tolist() == [
        *([0, 0], [0, 1], [0, 2], [0, 3]),
        *([0, 3], [1, 3], [2, 3], [3, 3]),
    ]


@pytest.mark.parametrize(
    "convention, moment, expected, argmax",
    [
        ("exclusive", (2, 6), [0, 0, 1 / 3, 2 / 3, 2 / 3, 1, 0.5, 0], None),  # T1
        ("inclusive", (2, 6), [0, 1 / 3, 2 / 3, 0.5, 0.5, 2 / 3, 1 / 3, 0], (2, 1)),  # T2
        ("inclusive", (0, 4), T3, (1, 0)),
        ("inclusive", (6, 8), [0, 0, 0, 0.25, 0.25, 1 / 3, 0.5, 1], (3, 3)),  # T4
        ("exclusive", (6, 8), [0, 0, 0, 0.25, 0.25, 1 / 3, 0.5, 0], None),
    ],
)
def test_coarse_targets(convention, moment, expected, argmax):
    coarse = targets_of(moment, tick_convention=convention)["coarse"]
    if convention == "exclusive" and moment == (6, 8):
        expected = [0] * 8  # T5: the last tick is 6 s, where the moment begins
    assert coarse.tolist() == pytest.approx(expected, abs=1e-6)
    if argmax:
        assert (int(coarse[:4].argmax()), int(coarse[4:].argmax())) == argmax


def test_map_targets():  # M1, M2
    targets = targets_of((2, 6))
    iou = [0, 1 / 3, 2 / 3, 0.5, 0.5, 1, 2 / 3, 0.5, 1 / 3, 0]
    assert targets["iou2d"].tolist() == pytest.approx(iou, abs=1e-6)
    assert targets["fine"].tolist() == pytest.approx([0, 0, 1 / 3, 0, 0, 1, 1 / 3, 0, 0, 0], abs=1e-6)


def test_scaled_targets():  # S1-5
    model = CLEARForVideoGrounding(hand_config())
    # A moment inside the whole video: its IoU with the cell of the whole video is its length.
    for length, expected in ((0.3, 0), (0.5, 0), (0.6, 0.2), (0.75, 0.5), (1, 1)):
        targets = model.build_targets(torch.tensor([[[0, length]]], dtype=torch.float64), torch.ones(1, 1).bool())
        assert float(targets["fine"][0, 0, 3]) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    "logits, targets, expected",
    [
        ([0, 0, 0], [0, 0.5, 1], 0.693147),
        ([2, -1, 0.5], [1, 0, 0.2], 0.438089),
        ([3, -3], [0, 1], 3.048587),
    ],
)
def test_fine_loss(logits, targets, expected):  # F1-3
    loss = iou_loss(*(torch.tensor([row], dtype=torch.float64) for row in (logits, targets)))
    assert float(loss) == pytest.approx(expected, abs=1e-6)


def outputs_for(model, logits=None, coarse=None, broadcast=None):
    from hf_vtg.models.clear.modeling_clear import CLEAROutput, CLEARTextState

    count = len(coarse) if coarse is not None else 1
    mask = torch.ones(count, 1, dtype=torch.bool)
    return CLEAROutput(
        fine_logits=torch.zeros(count, 1, model.grid.num_cells) if logits is None else logits,
        coarse_scores=torch.zeros(count, 1, model.fusion.num_ticks) if coarse is None else coarse,
        coarse_scores_broadcast=broadcast,
        text_state=CLEARTextState(sentence_mask=mask),
    )


def test_fine_loss_counts_the_interior_alone():  # F4
    model = CLEARForVideoGrounding(hand_config())
    logits = torch.full((1, 1, 10), -torch.inf)
    logits[..., model.fine.scored] = torch.tensor([0, 0.1, 0.2, 0.3, 0.4])
    labels = torch.tensor([[[0.25, 0.75]]], dtype=torch.float64)
    targets = model.build_targets(labels, torch.ones(1, 1).bool())
    assert targets["fine"][0, 0, model.fine.scored].tolist() == [0, 0, 1, 0, 0]
    losses = model.compute_losses(outputs_for(model, logits), targets)
    assert float(losses["loss_fine"]) == pytest.approx(0.760611, abs=1e-6)


def scores_of(queries, videos):
    """Per pair, as ``ground`` has it: (B, T)."""
    return (torch.tensor(videos).double() @ torch.tensor(queries).double().unsqueeze(-1)).squeeze(-1)


def test_coarse_loss():  # C1-3
    score = scores_of([[1, 0]], [[[256, 5], [128, 0], [0, 9]]])
    assert float(coarse_loss(score, torch.tensor([[1, 0.5, 0]]), 256, "sum")) == 0
    score = scores_of([[1, 2]], [[[10, 20], [0, 1], [-3, 4]]])
    iou = torch.tensor([[0.2, 0, 0.1]], dtype=torch.float64)
    assert float(coarse_loss(score, iou, 256, "sum")) == pytest.approx(429.8)
    assert float((score - 256 * iou).square().mean()) == pytest.approx(143.266667)
    assert float(coarse_loss(score, iou, 256, "mean")) == pytest.approx(0.00218607575)
    videos = [[[1, 1], [2, 2]], [[3, 3], [4, 4]]]
    score, iou = scores_of([[1, 0], [0, 2]], videos), torch.tensor([[0, 0.01], [0.02, 0.03]], dtype=torch.float64)
    assert float(coarse_loss(score, iou, 256, "sum")) == pytest.approx(2.1904)
    assert float((score - 256 * iou).square().mean()) == pytest.approx(0.5476)
    assert float(coarse_loss(score, iou, 256, "mean")) == pytest.approx(8.3557129e-6)


def test_release_regresses_every_query_to_the_videos_own_target():  # C4
    model = CLEARForVideoGrounding(hand_config(pairs_only=False, coarse_reduction="sum"))
    videos = torch.tensor([[[1, 1], [2, 2]], [[3, 3], [4, 4]]]).double()
    broadcast = torch.tensor([[1, 0], [0, 2]]).double() @ videos.transpose(1, 2)
    iou = torch.tensor([[[0, 0.01]], [[0.02, 0.03]]], dtype=torch.float64)
    own = torch.zeros(2, 1, 2)
    targets = {"coarse": iou, "fine": torch.zeros(2, 1, 10)}
    losses = model.compute_losses(outputs_for(model, torch.zeros(2, 1, 10), own, broadcast), targets)
    assert float(losses["loss_coarse"]) == pytest.approx(26.3008)


def test_suppression():  # N1, N2
    moments = np.array([(0, 10), (1, 10), (5, 10), (8, 12), (0, 4)])
    kept = temporal_nms(moments, np.array([0.5, 0.9, 0.8, 0.3, 0.2]), 0.5)
    assert moments[kept[kept >= 0]].tolist() == [[1, 10], [8, 12], [0, 4]]
    assert temporal_nms(np.array([(0, 4), (0, 8)]), np.array([0.9, 0.8]), 0.5).tolist() == [0, 1]


@pytest.mark.parametrize("rows, bounds", [(5, [0, 1, 2, 4, 4]), (3, [0, 1, 2, 2, 2]), (10, [0, 2, 5, 8, 9])])
def test_averaging_bounds(rows, bounds):  # A1-3
    features = np.eye(rows, dtype=np.float32)
    expected = [features[a:b].mean(0) if b > a else features[a] for a, b in zip(bounds, bounds[1:], strict=False)]
    assert np.allclose(resample_mean_bins(features, 4, legacy=True), expected)


def test_product_of_query_and_cell():  # G1
    model = CLEARForVideoGrounding(hand_config(fine_hidden=2))
    pairs = FinePairs(torch.tensor([[[3.0, -1.0]] * 10]), torch.tensor([0]), torch.tensor([[1.0, 2.0]]))
    fused = model.fine.fuse(pairs)
    assert fused[0, 0].tolist() == pytest.approx([0.832050, -0.554700], abs=1e-6)
    assert fused.shape == (1, 12, 2) and fused[0, 11].tolist() == [0, 0]


def test_slope_of_the_randomised_rectifier():  # R1
    activation = CLEARForVideoGrounding(hand_config()).eval().coarse.activation
    assert float(activation(torch.tensor(-1.0))) == pytest.approx(-0.2291667, abs=1e-7)


FINE = {(0, 0): 0.1, (1, 1): 0.2, (1, 2): 0.9, (2, 2): 0.3, (3, 3): 0.05}
D1 = {(0, 0): 0.1, (0, 2): 0.3, (1, 1): 0.2, (1, 2): 0.9, (1, 3): 0.4, (2, 2): 0.3, (3, 3): 0.05}
FUSED = {
    "D1": ([0, 0.3, 0.65, 0.5, 0.5, 0.7, 0.3, 0], 1, (1, 2, 0.4, 0), D1),
    "D2": ([0, 0.3, 0.65, 0.69, 0.69, 0.7, 0.3, 0], 1, (1, 3, 0.014493, 1), {**D1, (0, 3): 0.38}),
    "D3": (
        [0.2, 0.3, 0.65, 0.68, 0.68, 0.7, 0.3, 0],
        0,
        (1, 3, 0.029412, 0.1),
        {**D1, (0, 0): 0.01, (0, 2): 0.03, (0, 3): 0.036},
    ),
    "D4": (
        [0.9, 0.3, 0.2, 0.1, 0.1, 0.2, 0.3, 0.8],
        1,
        (3, 0, None, 1),
        {(0, 0): 0.8, (1, 1): 0.2, (1, 2): 0.9, (2, 2): 0.3, (3, 3): 0.6},
    ),
    "D5": ([0, 0.3, 0.65, 0.5, 0.5, 0.7, 0.3, 0], 0, (1, 2, 0.4, 0), {(1, 1): 0.2, (1, 2): 0.9, (2, 2): 0.3}),
}


def fuse(config, coarse, fine):
    """Region and (i, j) -> score of the candidates, by the package."""
    fusion = CLEARFusion(config)
    cells = [tuple(cell) for cell in fusion.cells.tolist()]
    coarse = torch.tensor([coarse], dtype=torch.float64)
    probabilities = torch.tensor([[fine.get(cell, 0.0) for cell in cells]], dtype=torch.float64)
    region = fusion.region(coarse)
    scores = fusion.scores(probabilities, coarse, region if config.prune else None)[0]
    found = {cell: float(x) for cell, x in zip(cells, scores, strict=True) if x > -torch.inf}
    return region, found


@pytest.mark.parametrize("row", FUSED)
def test_fused_decoding(row):
    coarse, margin, (start, end, gain, factor), expected = FUSED[row]
    region, found = fuse(hand_config(prune_margin=margin), coarse, FINE)
    assert (int(region.start), int(region.end), float(region.factor)) == (start, end, factor)
    assert gain is None or float(region.gain) == pytest.approx(gain, abs=1e-6)
    assert found == pytest.approx(expected)


def test_fused_answers_in_seconds():  # D5 after suppression
    _, found = fuse(hand_config(prune_margin=0), FUSED["D5"][0], FINE)
    grid = ProposalGrid(4, [3])
    cells = [tuple(cell) for cell in grid.cells.tolist()]
    output = {"moments": grid.moments(torch.float32)[None, None]}
    output["scores"] = torch.tensor([[[found.get(cell, -torch.inf) for cell in cells]]])
    processor = VideoGroundingProcessor.from_model_config(hand_config(), WordVectors.from_vocabulary(["word"]))
    ranked = processor.post_process_video_grounding(output, [8.0])[0][0]
    expected = [(2, 6, 0.9), (4, 6, 0.3), (2, 4, 0.2)]
    assert [(m["start"], m["end"], pytest.approx(m["score"])) for m in ranked] == expected


def test_fused_decoding_of_random_scores():
    """Against the words of the specification, in every branch of the rule."""
    generator = np.random.default_rng(0)
    factors = set()
    for _ in range(120):
        fields = {"num_clips": 8, "pooling_counts": [3, 2], "prune_margin": int(generator.integers(0, 3))}
        fields["boundary_fill"] = bool(generator.integers(2))
        config = hand_config(**fields)
        fusion = CLEARFusion(config)
        spread = 10.0 ** generator.integers(-3, 0)
        coarse = (0.6 + spread * generator.standard_normal(fusion.num_ticks)).tolist()
        scored = fusion.cells[~fusion.boundary | fusion.corner].tolist()
        fine = {tuple(cell): float(generator.random()) for cell in scored}
        start, end, gain, factor, expected = plain.fused(config, coarse, fine)
        region, found = fuse(config, coarse, fine)
        assert (int(region.start), int(region.end)) == (start, end)
        assert float(region.gain) == pytest.approx(gain, rel=1e-9, abs=1e-12)
        assert float(region.factor) == (1 if factor is None else factor)
        assert found == pytest.approx(expected)
        factors.add(factor)
    assert factors == {None, 0.0, 0.1}


def test_where_nothing_scores_the_whole_video_is_the_answer():
    _, found = fuse(hand_config(), [0.1] * 8, {})
    assert found == {(0, 3): 0.0}
    # All that scores lies outside the region: the region decides nothing.
    _, found = fuse(hand_config(prune_margin=0), [0.2, 0.45, 0.2, 0.3, 0.46, 0.2, 0.2, 0.2], {(2, 2): 0.7})
    assert found == {(2, 2): 0.7}


# The fast form against the plain one

GEOMETRIES = [
    {},
    {"fine_mask": "full"},
    {"num_clips": 16, "pooling_counts": [7, 4], "predictor_kernel": 5},
    {"num_clips": 16, "pooling_counts": [15], "predictor_layers": 4, "query_layers": 1},
]


def example(sentences=(2, 1), words=5, seed=0, **fields):
    """A float64 model, its batch, and the words of each sentence without padding."""
    model = tiny(seed, **fields).double()
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, words + 1, (len(sentences), max(sentences)), generator=generator)
    lengths[0, 0] = words
    lengths = lengths * (torch.arange(max(sentences)) < torch.tensor(sentences)[:, None])
    batch = {
        "video_features": torch.randn(len(sentences), 16, 10, generator=generator, dtype=torch.float64),
        "inputs_embeds": torch.randn(*lengths.shape, words, 12, generator=generator, dtype=torch.float64),
        "attention_mask": torch.arange(words) < lengths.unsqueeze(-1),
    }
    return model, batch, lengths


@pytest.mark.parametrize("fields", GEOMETRIES, ids=str)
@torch.no_grad()
def test_equal_to_the_plain_formulation(fields):
    model, batch, lengths = example(prune=False, **fields)
    output = model(**batch)
    for v, s in lengths.nonzero().tolist():
        words = batch["inputs_embeds"][v, s, : lengths[v, s]]
        coarse = plain.coarse_scores(model, batch["video_features"][v], words)
        assert torch.allclose(output.coarse_scores[v, s], coarse, rtol=1e-9, atol=1e-9)
        logits = model.grid.from_map(plain.fine_logits(model, batch["video_features"][v], words))
        scored = model.fine.scored
        # The weight maps are rounded to float32, as published.
        assert torch.allclose(output.fine_logits[v, s][scored], logits[scored], rtol=1e-6, atol=1e-8)
        assert torch.isneginf(output.fine_logits[v, s][~scored]).all()
        fine = dict(zip(map(tuple, model.grid.cells.tolist()), logits.sigmoid().tolist(), strict=True))
        fine = {cell: x for (cell, x), own in zip(fine.items(), scored.tolist(), strict=True) if own}
        expected = plain.fused(model.config, (coarse / model.config.coarse_scale).tolist(), fine)[-1]
        found = dict(zip(map(tuple, model.grid.cells.tolist()), output.scores[v, s].tolist(), strict=True))
        assert {c: x for c, x in found.items() if x > -np.inf} == pytest.approx(expected, rel=1e-6, abs=1e-8)


# Pruning saves work


@pytest.mark.parametrize("fields", GEOMETRIES, ids=str)
@pytest.mark.parametrize("moment", [(0, 0), (2, 3), (5, 7), (0.7, 1)])
@torch.no_grad()
def test_pruned_cells_are_not_computed_and_the_others_are_equal(fields, moment, monkeypatch):
    model, batch, lengths = example(prune_margin=0, **fields)
    size = model.config.num_clips
    first, last = (int(x * size) if 0 < x < 1 else x for x in moment)
    plain.confident(model, first, size - 1 if moment == (0.7, 1) else last)
    every = model.ground_every_candidate(
        model.encode_video(batch["video_features"]),
        model.encode_text(inputs_embeds=batch["inputs_embeds"], attention_mask=batch["attention_mask"]),
    )
    windows = []
    run = CLEARMapConv.forward_windows
    monkeypatch.setattr(
        CLEARMapConv, "forward_windows", lambda self, x, s: windows.append(x.shape[-1]) or run(self, x, s)
    )
    pruned = model(**batch)
    assert torch.allclose(pruned.scores, every.scores, rtol=1e-9, atol=1e-12)
    computed = torch.isfinite(pruned.fine_logits)
    assert torch.allclose(pruned.fine_logits[computed], every.fine_logits[computed], rtol=1e-9, atol=1e-12)
    kept = torch.isfinite(pruned.scores) & (every.fine_logits > -torch.inf)
    assert computed[kept].all()
    assert windows and (~computed & torch.isfinite(every.fine_logits)).any()


@torch.no_grad()
def test_a_window_that_underflows_gives_way_to_the_whole_map(monkeypatch):
    fields = {"prune_margin": 0, "boundary_fill": False, "num_clips": 16, "pooling_counts": [15]}
    model, batch, lengths = example(**fields)
    plain.confident(model, 9, 10)
    inside = (model.grid.cells >= 9).all(1) & (model.grid.cells <= 10).all(1)
    for name in ("logits", "window_logits"):
        run = getattr(model.fine, name)
        monkeypatch.setattr(model.fine, name, lambda *a, r=run: r(*a).masked_fill(inside, -1e4))
    pruned = model(**batch).scores
    model.config.prune = False
    assert torch.equal(pruned, model(**batch).scores)
    assert torch.isfinite(pruned[0, 0]).sum() > 50


@torch.no_grad()
def test_sentences_of_a_batch_have_windows_of_their_own(monkeypatch):
    """Three sizes of windows and unpruned sentences together, in chunks of one row, against one by one."""
    model, batch, lengths = example(sentences=(3, 2), num_clips=16, pooling_counts=[15], prune_margin=1)
    moments = iter([(0, 15), (2, 4), (9, 10), (5, 10), (12, 15)] * 3)

    def region(coarse, rule=None):
        seen = [
            temporal_iou(torch.tensor([a, b + 1.0]) / 16, model.fusion.tick_moments(torch.float32))
            for a, b in (next(moments) for _ in coarse)
        ]
        return CLEARFusion.region(model.fusion, torch.stack(seen), rule)

    model.fusion.region = region
    monkeypatch.setattr(map_convolution, "VALUES_AT_ONCE", 1)
    together = model(**batch).scores
    alone = []
    for v, s in lengths.nonzero().tolist():
        one = {"video_features": batch["video_features"][[v]]}
        one |= {name: batch[name][[v], s : s + 1] for name in ("inputs_embeds", "attention_mask")}
        alone.append(model(**one).scores[0, 0])
    assert torch.allclose(together[lengths > 0], torch.stack(alone), rtol=1e-9, atol=1e-12)


def test_pruning_convolves_less_at_the_published_sizes():
    """Moments of 30 % of the video and a margin of an eighth on both sides."""
    for benchmark, least in (("activitynet_captions", 1.9), ("tacos", 2.2)):
        config = CLEARConfig.for_benchmark(benchmark)
        with torch.device("meta"):
            fine = CLEARForVideoGrounding(config).fine
        size = window_size(torch.tensor(int(0.3 * config.num_clips) + 2 * config.margin), config.num_clips)
        assert fine.area() >= least * fine.area(int(size))


def test_training_computes_every_cell():
    model, batch, _ = example(sentences=(1, 1))
    plain.confident(model.train(), 3, 4)
    labels = torch.tensor([[[0.2, 0.5]], [[0.0, 1.0]]], dtype=torch.float64)
    output = model(**batch, labels=labels)
    assert torch.isfinite(output.fine_logits[..., model.fine.scored]).all()
    with torch.no_grad():
        evaluated = model.eval()(**batch, labels=labels)
    assert torch.isfinite(evaluated.fine_logits[..., model.fine.scored]).all() and torch.isfinite(evaluated.loss)
    assert torch.isneginf(model(**batch).fine_logits[..., model.fine.scored]).any()


# Invariances and flags


@torch.no_grad()
def test_padding_and_what_it_holds_change_nothing():
    model, batch, lengths = example()
    garbage = torch.where(batch["attention_mask"].unsqueeze(-1), batch["inputs_embeds"], 1e3)
    garbage = F.pad(garbage, (0, 0, 0, 3, 0, 2), value=-7.0)
    padded = {"video_features": batch["video_features"], "inputs_embeds": garbage}
    padded["attention_mask"] = F.pad(batch["attention_mask"], (0, 3, 0, 2))
    first, second = model(**batch), model(**padded)
    for name in ("scores", "coarse_scores", "fine_logits"):
        own, other = getattr(first, name), getattr(second, name)[:, : lengths.shape[1]]
        assert torch.allclose(own[lengths > 0], other[lengths > 0], rtol=1e-9, atol=1e-9), name
    assert torch.isneginf(second.scores[:, lengths.shape[1] :]).all()


@torch.no_grad()
def test_one_word_and_extreme_moments():
    model, batch, _ = example(sentences=(1, 1), words=1)
    extreme = torch.tensor([[[0.0, 1.0]], [[1.0, 1.0]]], dtype=torch.float64)
    for labels in (extreme, extreme * 0, extreme.flip(0)):
        output = model(**batch, labels=labels)
        assert torch.isfinite(output.loss) and torch.isfinite(output.scores.amax(-1)).all()
    targets = model.build_targets(extreme, torch.ones(2, 1).bool())
    assert float(targets["coarse"][0, 0].max()) == 1 and not targets["coarse"][1].any()


def test_losses_are_means_over_sentences():
    """(1, S) equals S rows of one sentence."""
    model, batch, _ = example(sentences=(3,))
    labels = torch.rand(1, 3, 2, dtype=torch.float64).sort(-1).values
    rows = {"video_features": batch["video_features"].expand(3, -1, -1)}
    rows |= {name: batch[name].transpose(0, 1) for name in ("inputs_embeds", "attention_mask")}
    together, apart = model(**batch, labels=labels), model(**rows, labels=labels.transpose(0, 1))
    assert torch.allclose(together.loss, apart.loss)


def test_bidirectional_queries():
    model, batch, lengths = example(query_bidirectional=True, query_layers=1)
    assert parameters(model.fine.query) < parameters(example(query_layers=1)[0].fine.query)
    first = model.encode_text(inputs_embeds=batch["inputs_embeds"], attention_mask=batch["attention_mask"])
    changed = batch["inputs_embeds"].clone()
    changed[~batch["attention_mask"]] = 50.0
    second = model.encode_text(inputs_embeds=changed, attention_mask=batch["attention_mask"])
    assert torch.allclose(first.fine_query, second.fine_query)
    # Both directions have read the whole sentence: another first word changes both halves, another last word too.
    for position in (0, 4):
        other = batch["inputs_embeds"][:1, :1].clone()
        other[0, 0, position] += 1
        mask = torch.ones(1, 1, 5, dtype=torch.bool)
        own, third = (
            model.encode_text(inputs_embeds=words, attention_mask=mask, output_intermediates=True).fine_last[0, 0]
            for words in (batch["inputs_embeds"][:1, :1], other)
        )
        changed = (own - third).abs() > 1e-9
        assert changed[:5].any() and changed[5:].any()


@torch.no_grad()
def test_flags_of_the_decoding():
    model, batch, lengths = example(prune_margin=0)
    plain.confident(model, 3, 4)
    real = lengths > 0
    boundary, corner = model.fusion.boundary, model.fusion.corner

    def scores(**fields):
        for name, value in fields.items():
            setattr(model.config, name, value)
        return model(**batch).scores[real]

    both = scores()
    assert torch.isneginf(both).any(0).sum() > boundary.sum()
    unpruned = scores(prune=False)
    interior = ~boundary
    assert torch.isfinite(unpruned[:, interior]).all()
    without_fill = scores(boundary_fill=False)
    assert torch.isneginf(without_fill[:, boundary & ~corner]).all()
    released = scores(prune=True, boundary_fill=True, decode="release")
    assert torch.equal(released, without_fill)


def test_damping_keeps_every_candidate():
    model, batch, _ = example(prune_mu=-1e9, prune_alpha=1e9)
    with torch.no_grad():
        damped = model(**batch)
        model.config.prune = False
        plain_scores = model(**batch).scores
    assert torch.equal(torch.isfinite(damped.scores), torch.isfinite(plain_scores))
    assert torch.isfinite(damped.fine_logits[:, 0][:, model.fine.scored]).all()


def test_wrong_sizes_are_refused():
    wrong = {
        "whole video": {"pooling_counts": [2]},
        "num_pre_clips=18": {"num_pre_clips": 18},
        "window_strides": {"window_strides": [1]},
        "odd kernel": {"tcn_kernel": 4},
        "prune_mu": {"prune_mu": 0.5},
    }
    for message, fields in wrong.items():
        with pytest.raises(StrictDataclassClassValidationError, match=message):
            hand_config(**fields)
    model = tiny()
    with pytest.raises(ModelError, match="num_pre_clips"):
        model.encode_video(torch.randn(1, 15, 10))
    with pytest.raises(ModelError, match="num_pre_clips"):
        model.encode_video(torch.randn(1, 16, 10), torch.arange(16)[None] < 15)


def test_windows_longer_than_the_video_are_not_used():
    fields = {"window_kernels": [1, 2, 40], "window_strides": [1, 1, 1]}
    model, batch, _ = example(**fields)
    assert model.config.num_candidates == 16 + 15 == model.coarse.range_projection.in_features
    assert torch.isfinite(model(**batch).scores.amax(-1)[:, 0]).all()


def test_first_weights_are_those_of_the_published_constructor():
    torch.manual_seed(0)
    fields = {"tcn_channels": [64, 64], "feature_dim": 50}
    block = CLEARForVideoGrounding(hand_config(**fields)).coarse.tcn[0]
    bound = 1 / (50 * 3) ** 0.5
    with torch.no_grad():
        assert 0.9 * bound < float(block.conv1.weight.abs().max()) <= bound * (1 + 1e-6)
        assert 0.008 < float(block.residual.weight.std()) < 0.012


@pytest.mark.parametrize("part", [0, 1])
def test_a_missing_part_of_a_normed_weight_is_initialised(tmp_path, part):
    from safetensors.torch import load_file, save_file

    model = tiny()
    model.save_pretrained(tmp_path)
    name = f"coarse.tcn.0.conv1.parametrizations.weight.original{part}"
    state = load_file(tmp_path / "model.safetensors")
    kept = {n: t for n, t in state.items() if n != name}
    save_file(kept, tmp_path / "model.safetensors", metadata={"format": "pt"})
    conv = CLEARForVideoGrounding.from_pretrained(tmp_path).coarse.tcn[0].conv1
    with torch.no_grad():
        assert torch.allclose(conv.weight.flatten(1).norm(dim=1), conv.parametrizations.weight.original0.flatten())
        fresh = model.coarse.tcn[0].conv1.weight
        assert 0.5 < float(conv.weight.norm() / fresh.norm()) < 2


# Conversion


@pytest.fixture
def official(shared):
    folder = GoldenFolder(shared / "golden/clear/dev")
    return folder.weights, folder.config, folder


@pytest.mark.needs_shared
def test_every_form_of_a_checkpoint_converts_alike(official):
    weights, config, _ = official
    expected = convert_official_checkpoint(weights, config).state_dict()
    without_aliases = {
        name: t
        for name, t in weights.items()
        if ".net.0." not in name and ".net.3." not in name or ".tcn." not in name
    }
    assert len(without_aliases) < len(weights)
    nested = {
        b: {n.removeprefix(f"{b}."): t for n, t in weights.items() if n.startswith(f"{b}.")}
        for b in ("coarse", "fine")
    }
    forms = (
        without_aliases,
        {f"module.{name}": tensor for name, tensor in weights.items()},
        nested,
        {b: {f"module.{n}": t for n, t in part.items()} for b, part in nested.items()},
    )
    for form in forms:
        converted = convert_official_checkpoint(form, config).state_dict()
        assert all(torch.equal(converted[name], tensor) for name, tensor in expected.items())


@pytest.mark.needs_shared
def test_conversion_refuses_what_does_not_fit(official):
    weights, config, _ = official
    with pytest.raises(ModelError, match="missing: fine.clip_projection.bias"):
        convert_official_checkpoint({k: v for k, v in weights.items() if k != "fine.fp.conv.bias"}, config)
    with pytest.raises(ModelError, match="unexpected: fine.extra"):
        convert_official_checkpoint({**weights, "fine.extra": torch.zeros(1)}, config)
    with pytest.raises(ModelError, match="lacks num_clips"):
        convert_official_checkpoint(weights, {k: v for k, v in config.items() if k != "num_clips"})


@pytest.mark.needs_shared
@torch.no_grad()
def test_hidden_maps_of_the_dense_form_are_the_published_ones(official):
    """What the strips leave out of the parity check: every position of the padded map."""
    weights, config, folder = official
    for run in folder.entries("forward"):
        overrides = run.get("overrides") or {}
        model = convert_official_checkpoint(weights, config, map_convolution="dense", **overrides)
        inputs, stored = folder.tensors(run["inputs"]), folder.tensors(run["outputs"])
        batch, targets = golden_batch(inputs, model.config)
        feed = {name: value for name, value in batch.items() if name not in ("labels", "durations")}
        output = model(**feed, targets=targets, output_intermediates=True)
        ours = golden_outputs(model, output, targets, inputs)
        for k in range(model.config.predictor_layers):
            assert torch.allclose(ours[f"fine.predictor_hidden_{k}"], stored[f"fine.predictor_hidden_{k}"], atol=1e-5)
