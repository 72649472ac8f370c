"""HSCNet beyond the abstract tester: the hand checks of its specification, a plain formulation, paragraphs, flags."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from torch.nn import functional as F

from hf_vtg import HSCNetConfig, HSCNetForVideoGrounding
from hf_vtg.errors import ModelError
from hf_vtg.layers.positions import sinusoidal_positions
from hf_vtg.metrics import grounding_metrics
from hf_vtg.models.hscnet.conversion_hscnet import config_from_official, convert_official_checkpoint, rename_official
from hf_vtg.models.hscnet.layers_hscnet import MultiModalLayer, segments_from_logits
from hf_vtg.models.hscnet.losses_hscnet import (
    alignment_terms,
    attention_inside,
    clip_sets,
    excess_terms,
    hulls,
    localisation_terms,
    predicted_moments,
)
from hf_vtg.models.hscnet.text_hscnet import HSCNetTextState, pack_words
from hf_vtg.moments import generalized_iou, temporal_iou
from hf_vtg.testing.parity.check import check_folder
from hf_vtg.testing.parity.comparing import COMPARED
from scripts.lab.ablation import ROWS
from scripts.lab.mutations import check_mutated, plan_mutations
from scripts.lab.references import hscnet as plain

from .testers import model_tester

TESTER = model_tester("hscnet")
G1, G2, G3 = ((0.2, 0.6), (0.4, 0.8)), ((0.0, 0.2), (0.6, 1.0)), ((0.1, 0.9), (0.3, 0.5))
G4, G5 = ((0.25, 0.75), (0.25, 0.75)), ((0.0, 0.5), (0.5, 1.0))


def close(expected):
    return pytest.approx(expected, abs=1e-5)


# Hand checks of the specification, by their numbers there


@pytest.mark.parametrize(
    "logits, expected",
    [((0, 0), (0.25, 0.75)), ((1, -1), (0.596588, 0.865529)), ((-2, 0.5), (-0.192027, 0.430433))],
)
def test_b_boxes(logits, expected):
    assert segments_from_logits(torch.tensor(logits).float(), "cw").tolist() == close(expected)
    sigmoid = [1 / (1 + math.exp(-x)) for x in logits]
    assert segments_from_logits(torch.tensor(logits).float(), "se").tolist() == close(sigmoid)


@pytest.mark.parametrize(
    "pair, expected",
    [
        (G1, (1 / 3, 1 / 3, 0.4, 1.066667)),
        (G2, (0, -0.4, 1.4, 2.8)),
        (G3, (0.25, 0.25, 0.6, 1.35)),
        (G4, (1, 1, 0, 0)),
        (G5, (0, 0, 1, 2)),
    ],
)
def test_g_localisation(pair, expected):
    found, wanted = torch.tensor(pair)
    parts = temporal_iou(found, wanted), generalized_iou(found, wanted), localisation_terms(found, wanted, 1, 0)
    assert [float(x) for x in (*parts, localisation_terms(found, wanted))] == close(expected)
    assert localisation_terms(found, wanted, 2, 3).item() == close(2 * expected[2] + 3 * (1 - expected[1]))


def test_g6_mean_over_sentences():
    found, wanted = torch.tensor([G1, G2]).unbind(1)
    assert localisation_terms(found, wanted).mean().item() == close(1.933333)


def sets(*rows, clips=3):
    return torch.tensor([[k in row for k in range(clips)] for row in rows])


@pytest.mark.parametrize(
    "similarity, targets, expected",
    [
        (torch.zeros(2, 3), sets({0}, {0, 1}), (1.098612, 0.405465)),
        (torch.tensor([[2.0, 0, -2], [-1, 1, 3]]), sets({0}, {1, 2}), (0.142932, 0.016004)),
        (torch.tensor([[1.0, 0, -1], [0.6, 0.8, 0]]) / 0.2, sets({0}, {0, 1}), (0.00676044, 0.01330095)),
        (torch.tensor([[2.0, 0, -2]]), sets({0, 2}), (0.124782,)),
        (torch.eye(3), sets({0}, {0}, {1, 2}), (0.551445, 1.551445, 0.238183)),
    ],
    ids=["A1", "A2", "A4", "A5", "A7"],
)
def test_a_alignment(similarity, targets, expected):
    terms = alignment_terms(similarity, targets, torch.ones_like(targets))
    assert terms.tolist() == close(expected)


def test_a6_masked_clips_are_not_in_the_softmax():
    similarity, clips = torch.tensor([[2.0, 0, 77]]), torch.tensor([[True, True, False]])
    assert alignment_terms(similarity, sets({1}), clips).item() == close(2.126928)


def test_a_losses_of_a_batch():
    """A2, A3, A5, A7 through ``compute_losses``: means over real sentences, and over all words of the batch."""
    model = TESTER.model()
    batch = TESTER.batch(model.config)
    output = model(**batch, output_intermediates=True)
    targets = {
        "moments": torch.zeros(3, 3, 2),
        "paragraph": torch.zeros(3, 1, 2),
        "sentence_clips": torch.zeros(3, 3, 16, dtype=torch.bool),
        "paragraph_clips": torch.zeros(3, 1, 16, dtype=torch.bool),
    }
    for row, clips in ((0, {0}), (1, {1, 2})):
        targets["sentence_clips"][:, row, list(clips)] = True
    targets["sentence_clips"][:, 2, 5] = True
    targets["paragraph_clips"][:, 0, [0, 2]] = True
    output.sentence_similarity = torch.full((3, 3, 16), -1e4)
    output.sentence_similarity[..., :3] = torch.tensor([2.0, 0, -2])
    output.sentence_similarity[:, 1, :3] = torch.tensor([-1.0, 1, 3])
    output.sentence_similarity[:, 2, 5] = 0
    output.sentence_similarity[:, 2, :3] = -1e4
    output.paragraph_similarity = torch.full((3, 1, 16), -1e4)
    output.paragraph_similarity[..., :3] = torch.tensor([2.0, 0, -2])
    losses = model.compute_losses(output, targets)
    # Sentences 2 + 1 + 3: three of the first kind, two of the second, one that is certain.
    assert losses["align_sentence"].item() == close((3 * 0.142932 + 2 * 0.016004) / 6)
    assert losses["align_paragraph"].item() == close(0.124782)
    # A similarity that is the same everywhere: -log(share of the clips), weighted by the words of each sentence.
    output.word_similarity = torch.zeros_like(output.word_similarity)
    counts = output.text_state.word_counts
    weights = counts[:, 0].sum(), counts[:, 1].sum(), counts[:, 2].sum()
    terms = (math.log(16), math.log(8), math.log(16))
    expected = sum(w * t for w, t in zip(weights, terms, strict=True)) / counts.sum()
    assert model.compute_losses(output, targets)["align_word"].item() == close(float(expected))


@pytest.mark.parametrize(
    "moment, clips",
    [((0.1, 0.4), {1, 2}), ((0, 1), set(range(8))), ((0.3, 0.31), {2}), ((0.99, 1), {7}), ((0.05, 0.06), {0})],
    ids=["K1", "K2", "K3", "K4", "K5"],
)
def test_k_clip_sets(moment, clips):
    moments = torch.tensor([[moment]], dtype=torch.float64)
    full = clip_sets(moments, torch.ones(1, 8, dtype=torch.bool))
    assert torch.equal(full, sets(clips, clips=8).unsqueeze(0))
    padded = clip_sets(moments, torch.arange(13).unsqueeze(0) < 8)
    assert torch.equal(padded, F.pad(full, (0, 5)))


WORDS_12 = torch.tensor([[0.2, 0.3], [0.35, 0.5]])
WORDS_U2 = torch.tensor([[0.1, 0.3], [0.4, 0.6]])
WORDS_U3 = torch.tensor([[0.7, 0.8], [0.9, 1.0]])
TRUTH = torch.tensor([0.2, 0.5])


@pytest.mark.parametrize(
    "words, expected", [(WORDS_12, 0), (WORDS_U2, 0.6), (WORDS_U3, 2.25), (torch.tensor([[0.3, 0.4]]), 0.866667)]
)
def test_u_union(words, expected):
    padded, mask = F.pad(words, (0, 0, 0, 3), value=0.5), torch.arange(len(words) + 3) < len(words)
    assert localisation_terms(hulls(padded, mask), TRUTH).item() == close(expected)


def test_u5_mean_over_sentences():
    words = torch.tensor([[[0.1, 0.3], [0.4, 0.6]], [[0.3, 0.4], [9.0, 9.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    assert localisation_terms(hulls(words, mask), TRUTH).mean().item() == close(0.733333)


@pytest.mark.parametrize(
    "words, expected",
    [
        (WORDS_12, (0, 0)),
        (WORDS_U2, (0.1, 0.1)),
        (torch.tensor([[0.7, 0.8], [0, 0.1]]), (0.3, 0.2)),
        (torch.tensor([[0.0, 1.0]]), (0.7,)),
    ],
    ids=["W1", "W2", "W3", "W4"],
)
def test_w_subset(words, expected):
    assert excess_terms(words, TRUTH).tolist() == close(expected)


def test_w5_mean_over_words_not_sentences():
    words = torch.cat([WORDS_U2, torch.tensor([[0.0, 1.0]])])
    assert excess_terms(words, TRUTH).mean().item() == close(0.3)


def test_p_paragraph_target():
    model = TESTER.model()
    labels = torch.tensor([[[0.2, 0.5], [0.1, 0.3], [0.6, 0.7], [0, 0]], [[0.4, 0.8], *[[0, 0]] * 3]])
    mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    target = model.build_targets(labels.double(), mask)["paragraph"]
    assert target.flatten().tolist() == close([0.1, 0.7, 0.4, 0.8])
    found = torch.tensor([[[0.15, 0.65]], [[0.2, 0.6]]])
    assert localisation_terms(found, target).flatten().tolist() == close([0.266667, 1.066667])


def test_q1_cosine_over_sigma():
    layer = MultiModalLayer(HSCNetConfig(hidden_size=2, num_attention_heads=1, sigma_init=0.5))
    phi, rho = F.normalize(torch.tensor([1.0, 1.0]), dim=0), F.normalize(torch.tensor([2.0, 0.0]), dim=0)
    assert (phi / layer.sigma @ rho).item() == close(1.414214)
    with torch.no_grad():
        layer.log_sigma.fill_(-9)
    assert layer.sigma.item() == close(0.01)


def test_q2_q3_aggregation():
    model = TESTER.model(hidden_size=2, num_attention_heads=1)
    with torch.no_grad():
        model.aggregation["S"].weight.copy_(torch.eye(4)[:2])
        model.aggregation["S"].bias.zero_()
    given = "S", torch.tensor([[[1.0, 0], [0, 2]]]), torch.tensor([[[3.0, 4]]]), torch.ones(1, 2, dtype=torch.bool)
    similarity, attention, query = model._aggregate(*given)
    assert similarity.flatten().tolist() == close([3, 4])
    assert attention.flatten().tolist() == close([0.268941, 0.731059])
    with torch.no_grad():
        model.aggregation["S"].weight.copy_(torch.eye(4)[2:])
    assert torch.cat([query, model._aggregate(*given)[2]], -1).flatten().tolist() == close(
        [0.6, 0.8, 0.268941, 0.731059]
    )


def test_e_evaluation():
    found, wanted = zip(*(G1, G3, G2, G4), strict=True)
    metrics = grounding_metrics([[m] for m in found], wanted, ranks=(1,), iou_thresholds=(0.1, 0.3, 0.5, 0.7))
    assert list(metrics.values())[:5] == close([75, 50, 25, 25, 39.583333])
    tie = grounding_metrics([[(0, 0.5)]], [(0, 1)], ranks=(1,), iou_thresholds=(0.5,))
    assert tie["R@1,IoU=0.5"] == 0 and tie["mIoU"] == 50
    micro = grounding_metrics([[(0, 1)], [(0, 0.1)], [(0, 0.1)], [(0, 0.1)]], [(0, 1)] + [(0.5, 1)] * 3)
    assert micro["mIoU"] == 25


def test_t1_total():
    model = TESTER.model()
    values = {"align_sentence": 0.079468, "align_word": 0.752039, "align_paragraph": 0.124782}
    values |= {"paragraph": 0.266667, "sentence": 1.933333, "union": 0.6, "subset": 0.1, "grounding": 1.35}
    assert values.keys() == model.loss_weights.keys()
    assert sum(model.loss_weights[name] * value for name, value in values.items()) == close(5.206289)


# Sizes and numbers


@pytest.mark.parametrize(
    "benchmark, parameters", [("activitynet_captions", 13_760_523), ("tacos", 22_970_897), ("charades_sta", None)]
)
def test_parameter_counts(benchmark, parameters):
    with torch.device("meta"):
        model = HSCNetForVideoGrounding(HSCNetConfig.for_benchmark(benchmark))
    count = sum(p.numel() for p in model.parameters())
    assert count == (parameters or 13_760_523 + 256 * (1024 - 500))
    assert sum(p.numel() for p in model.sentence_level.layers[0].parameters()) == 1_381_633
    assert sum(p.numel() for p in model.clip_encoder[0].parameters()) == 789_760
    assert sum(p.numel() for p in model.decoder.word_lstm.parameters()) == 788_480


def test_initial_weights():
    model = TESTER.model()
    linear = model.sentence_level.layers[0].phi_proj
    assert linear.weight.abs().max() <= math.sqrt(6 / 24) and linear.weight.std() > 0.2
    assert not linear.bias.any() and model.decoder.word_lstm.rnn.bias_ih_l0.any()
    assert model.word_level.layers[0].sigma.item() == close(0.2)


def test_positions():
    table = sinusoidal_positions(600, 12, torch.zeros(1))
    assert torch.allclose(table, plain.positions(600, 12), atol=1e-4)
    assert sinusoidal_positions(3, 4, torch.zeros(1).bfloat16()).dtype == torch.bfloat16


def test_predicted_moments_have_a_length_and_lie_in_the_video():
    found = predicted_moments(torch.tensor([[-0.2, 0.4], [1.2, 1.4], [-0.5, -0.1], [0.6, 0.2], [0.3, 0.3]]))
    expected = torch.tensor([[0, 0.4], [1 - 1e-6, 1], [0, 1e-6], [0.6, 0.6], [0.3, 0.3]])
    assert torch.allclose(found, expected, atol=2e-6) and (found[:, 0] < found[:, 1]).all()


def test_score_is_the_attention_inside():
    attention = torch.tensor([[[0.1, 0.2, 0.3, 0.4, 0.0]]])
    mask = torch.tensor([[True] * 4 + [False]])
    for moment, mass in (((0.25, 0.75), 0.5), ((0, 1), 1), ((0.125, 0.3), 0.05 + 0.2 * 0.2)):
        assert attention_inside(attention, torch.tensor([[moment]]), mask).item() == close(mass)


# The plain formulation


def partial_batch(model, **extra):
    """The tester's batch, its videos cut to different lengths."""
    batch = {**TESTER.batch(model.config), **extra}
    for row, length in enumerate((16, 11, 7)):
        batch["video_mask"][row, length:] = False
    return batch


@pytest.mark.parametrize("depths", [(1, 1, 1), (2, 1, 2)])
def test_equals_the_plain_formulation(depths):
    model = TESTER.model(encoder_depths=depths)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith("log_sigma"):
                parameter.uniform_(-2, 0)
    batch = partial_batch(model)
    output = model(**batch)
    output.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    found, losses = plain.losses(model, batch)
    for row, expected in enumerate(found):
        count = len(expected["final"])
        words, clips = expected["A_W"].shape
        assert torch.allclose(output.segments.final[row, :count], expected["final"], atol=1e-5)
        assert torch.allclose(output.segments.sentence[row, :count], expected["sentence"], atol=1e-5)
        assert torch.allclose(output.segments.paragraph[row], expected["paragraph"], atol=1e-5)
        slots = output.text_state.slot_mask[row]
        assert torch.allclose(output.segments.word[row][slots], expected["word"], atol=1e-5)
        assert torch.allclose(output.word_similarity[row, :words, :clips], expected["A_W"], atol=1e-4)
        assert torch.allclose(output.paragraph_similarity[row, :, :clips], expected["A_P"], atol=1e-4)
    assert output.losses.keys() == losses.keys()
    for name, value in losses.items():
        assert output.losses[name].item() == pytest.approx(value.item(), rel=1e-5), name
    model.zero_grad()
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        size = max(float(parameter.grad.norm()), 1e-3)
        assert float((gradients[name] - parameter.grad).norm()) < 1e-3 * size, name


# Paragraphs


def paragraphs(model, lengths, seed=0):
    """A batch of one video a paragraph; ``lengths``: for each the words of its sentences."""
    generator = torch.Generator().manual_seed(seed)
    shape = len(lengths), max(map(len, lengths)), max(max(row) for row in lengths)
    mask = torch.zeros(shape, dtype=torch.bool)
    for row, counts in enumerate(lengths):
        for sentence, count in enumerate(counts):
            mask[row, sentence, :count] = True
    clips = model.config.num_clips
    return {
        "video_features": torch.randn(len(lengths), clips, model.config.feature_dim, generator=generator),
        "video_mask": torch.ones(len(lengths), clips, dtype=torch.bool),
        "input_ids": torch.randint(2, 15, shape, generator=generator) * mask,
        "attention_mask": mask.long(),
        "labels": torch.rand(*shape[:2], 2, generator=generator, dtype=torch.float64).sort(-1).values,
    }


RAGGED = [[4, 1, 6], [1], [3, 2, 5, 1, 1], [7, 7], list(range(1, 10)) * 3]


def test_ragged_paragraphs_in_a_batch_equal_one_by_one():
    model = TESTER.model()
    batch = paragraphs(model, RAGGED)
    together = model(**batch)
    for row, counts in enumerate(RAGGED):
        sentences, longest = len(counts), max(counts)
        alone = {name: tensor[row : row + 1] for name, tensor in batch.items()}
        alone |= {name: alone[name][:, :sentences, :longest] for name in ("input_ids", "attention_mask")}
        alone["labels"] = alone["labels"][:, :sentences]
        single = model(**alone)
        for name in ("moments", "scores", "paragraph_moments"):
            ours, theirs = getattr(together, name)[row], getattr(single, name)[0]
            if name != "paragraph_moments":
                ours = ours[:sentences]
            assert torch.allclose(ours, theirs, atol=1e-5), name
        slots = single.text_state.slot_mask[0]
        assert torch.allclose(together.word_moments[row, :sentences, :longest][slots], single.word_moments[0][slots])


def test_padding_changes_nothing():
    model = TESTER.model()
    batch = paragraphs(model, RAGGED[:4])
    plain_output = model(**batch)
    padded = {
        "video_features": F.pad(batch["video_features"], (0, 0, 0, 5), value=float("nan")),
        "video_mask": F.pad(batch["video_mask"], (0, 5)),
        "input_ids": F.pad(batch["input_ids"], (0, 6, 0, 3), value=9),
        "attention_mask": F.pad(batch["attention_mask"], (0, 6, 0, 3)),
        "labels": F.pad(batch["labels"], (0, 0, 0, 3), value=0.7),
    }
    output = model(**padded)
    real = batch["attention_mask"].any(-1)
    assert torch.allclose(output.moments[:, : real.shape[1]][real], plain_output.moments[real], atol=1e-6)
    for name, value in plain_output.losses.items():
        assert output.losses[name].item() == pytest.approx(value.item(), rel=1e-5), name


def test_order_and_neighbours_matter():
    model = TESTER.model()
    batch = paragraphs(model, [[4, 4, 4]])
    first = model(**batch).moments[0, 0]
    swapped = {**batch, "input_ids": batch["input_ids"][:, [0, 2, 1]]}
    assert not torch.allclose(model(**swapped).moments[0, 0], first, atol=1e-6)
    alone = {**batch, **{name: batch[name][:, :1] for name in ("input_ids", "attention_mask", "labels")}}
    assert not torch.allclose(model(**alone).moments[0, 0], first, atol=1e-6)


def test_one_video_is_asked_in_several_rows():
    model = TESTER.model()
    batch = paragraphs(model, [[4, 2], [3, 3]])
    state = model.encode_video(batch["video_features"])
    rows = torch.tensor([0, 1, 1, 0])
    text = {name: batch[name][rows] for name in ("input_ids", "attention_mask")}
    output = model(**text, video_state=model.select_videos(state, rows))
    assert torch.allclose(output.moments, model(**batch).moments[rows], atol=1e-6)


def test_extreme_paragraphs_have_finite_losses_and_gradients():
    """27 sentences, one-word sentences, unsorted, empty, and whole-video moments."""
    model = TESTER.model().train()
    batch = paragraphs(model, [[1] * 27, [9, 1]])
    batch["labels"][0, :4] = torch.tensor([[0.9, 1.0], [0.0, 1.0], [0.5, 0.5], [0.0, 0.0]])
    batch["labels"][0, 4] = 1.0
    output = model(**batch)
    output.loss.backward()
    assert all(torch.isfinite(value) for value in output.losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())


def test_without_gaps_between_sentences():
    mask = torch.tensor([[[1, 1, 0], [1, 0, 0]], [[1, 1, 1], [0, 0, 0]]])
    states = torch.arange(12.0).reshape(2, 2, 3, 1)
    words, layout = pack_words(states, mask, mask.bool().any(-1))
    assert words.squeeze(-1).tolist() == [[0, 1, 3], [6, 7, 8]]
    assert layout["sentence_ids"].tolist() == [[0, 0, 1], [0, 0, 0]]
    assert layout["slot_index"][layout["slot_mask"]].tolist() == [0, 1, 2, 0, 1, 2]
    assert HSCNetTextState(**layout).sentence_means(words).squeeze(-1).tolist() == [[0.5, 3], [7, 0]]


def test_what_cannot_be_read_is_refused():
    model = TESTER.model()
    batch = paragraphs(model, [[2, 2, 2]])
    with pytest.raises(ModelError, match="in order"):
        model(**batch, sentence_mask=torch.tensor([[True, False, True]]))
    output = model(**batch)
    targets = model.build_targets(batch["labels"], torch.ones(1, 3, dtype=torch.bool), torch.ones(1, 9).bool())
    with pytest.raises(ModelError, match="9 clips"):
        model.compute_losses(output, targets)


def test_a_row_without_sentences_is_no_nan():
    model = TESTER.model()
    batch = paragraphs(model, [[2, 3], [2, 1]])
    batch["attention_mask"][1] = 0
    output = model(**batch)
    assert torch.isfinite(output.loss) and torch.isneginf(output.scores[1]).all()
    assert torch.isfinite(output.moments).all()


def test_a_sentence_without_words_is_no_nan():
    model = TESTER.model().train()
    batch = paragraphs(model, [[2, 3], [2, 1]])
    real = batch["attention_mask"].any(-1)
    batch["attention_mask"][1, 1] = 0
    output = model(**batch, sentence_mask=real)
    output.loss.backward()
    assert all(torch.isfinite(value) for value in output.losses.values())
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert torch.isfinite(output.scores).all() and torch.isfinite(output.moments).all()


# Flags


@pytest.mark.parametrize(
    "flags, gone",
    [
        ({"levels": ["S"]}, {"align_word", "align_paragraph", "paragraph", "sentence", "union", "subset"}),
        ({"levels": ["S", "P"]}, {"align_word", "sentence", "union", "subset"}),
        ({"levels": ["W", "S"]}, {"align_paragraph", "paragraph"}),
        ({"align_levels": []}, {"align_word", "align_sentence", "align_paragraph"}),
        ({"align_levels": ["P"]}, {"align_word", "align_sentence"}),
        ({"decoder_levels": ["S"]}, {"paragraph", "sentence", "union", "subset"}),
        ({"decoder_levels": ["S", "P"]}, {"sentence", "union", "subset"}),
        ({"decoder_levels": ["W", "S"]}, {"paragraph"}),
        ({"decoder_levels": ["W", "S"], "align_levels": ["W", "S"]}, {"paragraph", "align_paragraph"}),
        ({"box_format": "se"}, set()),
        ({"decoder_bidirectional": True}, set()),
    ],
)
def test_flags(flags, gone):
    full = set(TESTER.model().loss_weights)
    model = TESTER.model(**flags).train()
    batch = partial_batch(model)
    output = model(**batch)
    assert set(output.losses) == set(model.loss_weights) == full - gone
    output.loss.backward()
    unused = [name for name, p in model.named_parameters() if p.grad is None]
    assert unused == [] and torch.isfinite(output.loss)
    assert (output.paragraph_moments is None) == ("paragraph" in gone)
    model.eval()
    together = model(**batch)
    alone = model(**{name: tensor[1:2] for name, tensor in batch.items()})
    assert torch.allclose(together.moments[1, :1], alone.moments[0, :1], atol=1e-5)
    assert (together.moments[..., 0] <= together.moments[..., 1]).all()


@pytest.mark.parametrize("row", ROWS)
def test_rows_of_the_ablation_are_configurations(row):
    changed = TESTER.model(**ROWS[row])
    assert (changed.loss_weights != TESTER.model().loss_weights) == (row not in ("all", "sentences alone"))


def test_without_words_the_query_independent_part_goes_further():
    model = TESTER.model(levels=["S", "P"])
    state = model.encode_video(torch.randn(1, 16, 10))
    expected = model.sentence_level.video_encoder(state.clips, state.video_mask)
    assert torch.equal(model.sentence_level.layers[0].project(expected).fused, state.fused)


@pytest.mark.parametrize(
    "fields, message",
    [
        ({"levels": ["W", "P"]}, "lacks 'S'"),
        ({"decoder_levels": []}, "lacks 'S'"),
        ({"align_levels": ["word"]}, "names"),
        ({"hidden_size": 250}, "multiple of"),
        ({"encoder_depths": [1, 1]}, "encoder_depths"),
        ({"max_sentences": 0}, "max_sentences"),
    ],
)
def test_wrong_fields_are_named(fields, message):
    with pytest.raises(StrictDataclassClassValidationError, match=message):
        HSCNetConfig(**fields)


def test_punctuation_is_an_option():
    own = HSCNetConfig.for_benchmark("tacos")
    assert own.processor_settings()["word_pattern"] == "whitespace"
    assert HSCNetConfig(strip_punctuation=True, num_clips=9).processor_settings()["word_pattern"] is None


def test_maps_are_float32_in_half_precision():
    model = TESTER.model().bfloat16()
    output = model(**TESTER.batch(model.config))
    for tensor in (output.word_similarity, output.segments.final, output.scores, output.loss):
        assert tensor.dtype == torch.float32
    model = TESTER.model()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = model(**TESTER.batch(model.config))
    assert mixed.word_similarity.dtype == torch.float32
    assert torch.allclose(mixed.loss, model(**TESTER.batch(model.config)).loss, rtol=0.05)


def test_the_official_variant_is_the_default():
    """Without published code there is nothing else that it could be; the cards measure only one of them."""
    variants = ("default", "official")
    for benchmark in HSCNetConfig.presets:
        own, official = (HSCNetConfig.for_benchmark(benchmark, variant).to_dict() for variant in variants)
        assert own == official | {"variant": "default"}
    models = [TESTER.model(variant=variant).train() for variant in variants]
    for model in models:
        torch.manual_seed(1)
        model(**TESTER.batch(model.config)).loss.backward()
    for (name, own), (other, same) in zip(*(model.named_parameters() for model in models), strict=True):
        assert name == other
        assert torch.equal(own, same)
        assert torch.equal(own.grad, same.grad)


def test_conversion_refuses_what_does_not_fit():
    official = {"video_dim": 10, "word_dim": 12, "hidden_size": 12, "heads": 2, "intermediate_size": 20}
    official |= {"num_clips": 16, "depths": [1, 1, 1], "temperature": 0.2, "sigma_floor": 0.01}
    official |= {"num_feature_layers": 1, "box_format": "cw", "decoder_bidirectional": False}
    model = HSCNetForVideoGrounding(config_from_official(official))
    names = {
        rename_official(name) for name in ("text_encoder.0.self_attention.q_proj.weight", "video_projection.bias")
    }
    assert names <= set(model.state_dict())
    with pytest.raises(ModelError, match="lacks depths"):
        config_from_official({name: value for name, value in official.items() if name != "depths"})
    with pytest.raises(ModelError, match="missing: .*video_projection.bias"):
        convert_official_checkpoint({}, official)


@pytest.mark.slow
@pytest.mark.needs_shared
def test_golden_folder_and_its_mutations(shared):
    folder = shared / "golden" / "hscnet" / "dev"
    report = check_folder(folder)
    assert not report.failures(), [(row.group, row.name, row.diff, row.bound, row.note) for row in report.failures()]
    assert report.count(COMPARED) > 600
    for mutation in plan_mutations(folder).values():
        assert check_mutated(folder, mutation).failures()


def test_initial_gain_widens_the_projection_of_clips_and_no_loaded_weights(tmp_path):
    plain_model, wide = TESTER.model(), TESTER.model(initial_gain=20.0)
    for (name, before), after in zip(plain_model.named_parameters(), wide.parameters(), strict=True):
        factor = 20 if name == "video_projection.weight" else 1
        torch.testing.assert_close(after, factor * before, msg=name)
    wide.save_pretrained(tmp_path)
    loaded = HSCNetForVideoGrounding.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(wide.parameters(), loaded.parameters(), strict=True))
