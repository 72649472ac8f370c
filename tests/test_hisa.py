"""HiSA beyond the abstract tester: the plain form, invariance, edges, flags, targets, conversion."""

import json

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError
from safetensors.torch import load_file

from hf_vtg import HiSAConfig, HiSAForVideoGrounding
from hf_vtg.errors import ModelError
from hf_vtg.models.hisa import conversion_hisa, decoding_hisa
from hf_vtg.models.hisa.attention_hisa import HiSAWordAttention, masked_softmax
from hf_vtg.models.hisa.conversion_hisa import config_from_official, convert_official_checkpoint, rename_official
from hf_vtg.models.hisa.decoding_hisa import best_pairs, official_decode
from hf_vtg.models.hisa.disentangling_hisa import ClipRow
from hf_vtg.models.hisa.losses_hisa import contrast, inside_nll, pool_span
from hf_vtg.models.registry import get_recipe
from hf_vtg.processing import VideoGroundingProcessor
from hf_vtg.training.optimizers import build_optimizer
from scripts.lab.references import hisa as reference

from .testers import model_tester

LENGTHS = torch.tensor([9, 1, 17, 2, 6])
WORDS = torch.tensor([3, 1, 7, 2, 4])
START, END = torch.tensor([2, 0, 5, 1, 4]), torch.tensor([6, 0, 16, 1, 4])


def tiny(seed=0, **overrides):
    return model_tester("hisa").model(seed, **overrides).double()


def samples(seed=1):
    """Features and word vectors of one sentence a video, zero at padding."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(5, 17, 10, generator=generator, dtype=torch.float64)
    words = torch.randn(5, 7, 12, generator=generator, dtype=torch.float64)
    return features * real(LENGTHS, 17)[..., None], words * real(WORDS, 7)[..., None]


def real(lengths, size):
    return torch.arange(size) < lengths[:, None]


def batch_of(features, words, rows=slice(None)):
    return {
        "video_features": features[rows],
        "video_mask": real(LENGTHS[rows], features.shape[1]),
        "inputs_embeds": words[rows].unsqueeze(1),
        "attention_mask": real(WORDS[rows], words.shape[1]).unsqueeze(1),
        "targets": {"start_index": START[rows].unsqueeze(1), "end_index": END[rows].unsqueeze(1)},
    }


def test_initial_gain_widens_first_weights_and_no_loaded_ones(tmp_path):
    plain, wide = tiny(), tiny(initial_gain=5.0)
    widened = {"query_head.weight", "video_head.weight"} | {
        f"localization_lstm.rnn.weight_ih_l0{end}" for end in ("", "_reverse")
    }
    for (name, before), after in zip(plain.named_parameters(), wide.parameters(), strict=True):
        widest = after.abs().max() / before.abs().max()
        assert (widest > 4) == (name in widened), (name, widest)
    wide.save_pretrained(tmp_path)
    loaded = HiSAForVideoGrounding.from_pretrained(tmp_path)
    assert all(torch.equal(a, b) for a, b in zip(wide.parameters(), loaded.parameters(), strict=True))


@pytest.mark.parametrize(
    "benchmark, parameters",
    [("charades_sta", 40_340_484), ("activitynet_captions", 14_239_424), ("tacos", 40_344_580)],
)
def test_parameter_counts_of_the_published_models(benchmark, parameters):
    """Those of the published code without the modules that its forward never uses (3,154,946)."""
    with torch.device("meta"):
        model = HiSAForVideoGrounding(HiSAConfig.for_benchmark(benchmark, "official"))
    assert sum(p.numel() for p in model.parameters()) == parameters


# The plain form


@pytest.mark.parametrize("pad_invariant", [True, False])
@pytest.mark.parametrize("fusion", ["cross_cos", "cross_sub"])
@pytest.mark.parametrize("dropout", [0.0, 1e-12])
def test_equals_the_plain_form(pad_invariant, fusion, dropout):
    """Scores, losses and gradients; a dropout that drops nothing takes the way of one that does."""
    published = {"contrast_pooling": "time_mean", "contrast_detach_weights": False}
    model = tiny(pad_invariant=pad_invariant, fusion=fusion, encoder_dropout=0.0, **published)
    model.train().disentangler.dropout.p = dropout
    assert model.disentangler.drops == (dropout > 0)
    features, words = samples()
    output = model(**batch_of(features, words))
    output.loss.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    made = reference.forward(model, features, LENGTHS, words, WORDS)
    losses = reference.losses(model, made, features, LENGTHS, START, END)
    sum(model.loss_weights[name] * value for name, value in losses.items()).backward()

    mask = real(LENGTHS, 17)
    for name in ("logits_start", "logits_end", "logits_inter", "prob_start", "prob_end", "prob_inter"):
        assert torch.allclose(output[name][:, 0][mask], made[name][mask], atol=1e-10), name
    assert losses.keys() == output.losses.keys()
    for name, value in losses.items():
        assert torch.allclose(output.losses[name], value, rtol=1e-9, atol=1e-10), name
    for name, parameter in model.named_parameters():
        assert torch.allclose(gradients[name], parameter.grad, rtol=1e-6, atol=1e-8), name


@pytest.mark.parametrize("kernel", [1, 3, 7])
def test_background_of_shifted_clips_at_any_kernel(kernel):
    model = tiny(conv_kernel_size=kernel)
    features, _ = samples()
    state = model.encode_video(features, real(LENGTHS, 17), output_intermediates=True)
    names = ("background", "action", "action_neighbor", "recon", "recon_neighbor")
    for name, plain in zip(names, reference.disentangle(model, features, LENGTHS), strict=True):
        assert torch.allclose(state[name], plain, atol=1e-12), name


def test_prediction_runs_two_convolutions_and_no_decoder(monkeypatch):
    model, calls = tiny(), []
    convolve = ClipRow.convolve
    monkeypatch.setattr(ClipRow, "convolve", lambda *a: calls.append(a[2].shape) or convolve(*a))
    batch = batch_of(*samples())
    del batch["targets"]
    state = model(**batch).video_state
    assert calls == [(10, 10, 6), (10, 20, 5)] and state.recon is None
    assert model.train()(**batch).video_state.recon is not None


@pytest.mark.parametrize("variant, clips", [("default", [int(LENGTHS.sum())]), ("official", [5, 17])])
def test_padded_clips_are_not_computed(variant, clips):
    model, sizes = tiny(variant=variant), []
    for layer in (model.video_head, model.attention.clip_projection, model.query_head, model.start_head):
        layer.register_forward_hook(lambda layer, inputs, output: sizes.append(list(inputs[0].shape[:-1])))
    model(**batch_of(*samples()))
    assert sizes == [clips] * 4


def test_attention_over_no_more_than_the_real_clips(monkeypatch):
    model, looked = tiny(attention_elements=5 * 7 * 12), []
    logits = HiSAWordAttention._logits
    monkeypatch.setattr(HiSAWordAttention, "_logits", lambda *a: looked.append(a[2].shape[0]) or logits(*a))
    weights = model(**batch_of(*samples()), output_intermediates=True).word_attention
    assert looked == [int((LENGTHS > clip).sum()) for clip in range(17)]
    assert torch.equal(weights.sum(-1) > 0, real(LENGTHS, 17))


@pytest.mark.parametrize("elements", [1, 500])
def test_attention_in_parts_changes_nothing(elements):
    batch = batch_of(*samples())
    whole, parts = tiny(), tiny(attention_elements=elements)
    outputs = [model(**batch, output_intermediates=True) for model in (whole, parts)]
    for output in outputs:
        output.loss.backward()
    assert torch.allclose(outputs[0].word_attention, outputs[1].word_attention, atol=1e-14)
    for own, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.allclose(own.grad, other.grad, rtol=1e-9, atol=1e-12)


def test_sentences_of_a_video_equal_rows_of_one_sentence():
    model = tiny()
    features, words = samples()
    together = {
        "video_features": features[[0, 2]],
        "video_mask": real(LENGTHS[[0, 2]], 17),
        "inputs_embeds": torch.stack([words[:3], torch.stack([words[3], words[4], torch.zeros_like(words[0])])]),
        "attention_mask": torch.stack([real(WORDS[:3], 7), real(torch.cat([WORDS[3:], WORDS.new_zeros(1)]), 7)]),
        "targets": {
            "start_index": torch.tensor([[0, 2, 8], [5, 16, 0]]),
            "end_index": torch.tensor([[3, 2, 8], [16, 16, 0]]),
        },
    }
    video = torch.tensor([0, 0, 0, 2, 2])
    alone = {
        "video_features": features[video],
        "video_mask": real(LENGTHS[video], 17),
        "inputs_embeds": words.unsqueeze(1),
        "attention_mask": real(WORDS, 7).unsqueeze(1),
        "targets": {name: x[[0, 0, 0, 1, 1], [0, 1, 2, 0, 1]].unsqueeze(1) for name, x in together["targets"].items()},
    }
    both, rows = model(**together), model(**alone)
    for name, value in rows.losses.items():
        assert torch.allclose(both.losses[name], value, rtol=1e-12), name
    assert torch.allclose(both.scores[0], rows.scores[:3, 0]) and torch.allclose(
        both.scores[1, :2], rows.scores[3:, 0]
    )


# Invariance


def test_batch_mates_padding_and_batch_size_change_nothing():
    model = model_tester("hisa").model(hidden_size=24, feature_dim=10)
    features, words = (x.float() for x in samples())
    together = model(**batch_of(features, words))
    dirty = torch.where(real(LENGTHS, 17)[..., None], features, 7.0)
    padded = batch_of(torch.nn.functional.pad(dirty, (0, 0, 0, 9), value=3.0), words)
    others = [model(**padded), *(model(**batch_of(features, words, slice(b, b + 1))) for b in range(5))]
    for k, other in enumerate(others):
        rows = slice(None) if k == 0 else slice(k - 1, k)
        assert torch.allclose(together.scores[rows], other.scores, rtol=1e-4, atol=0)
        assert torch.allclose(together.moments[rows], other.moments, atol=1e-5)
        mask = real(LENGTHS[rows], 17)
        for name in ("logits_start", "logits_end", "logits_inter"):
            assert torch.allclose(together[name][rows, 0][mask], other[name][:, 0, :17][mask], atol=1e-5), name


def test_the_published_form_depends_on_batch_mates():
    model = tiny(variant="official")
    features, words = samples()
    together = model(**batch_of(features, words))
    alone = model(**batch_of(features[:, :9], words, slice(0, 1)))
    assert (together.prob_start[0, 0, :9] - alone.prob_start[0, 0]).abs().max() > 1e-5


@pytest.mark.needs_shared
def test_default_variant_gives_the_unpadded_results_from_the_padded_batch(shared):
    folder = shared / "golden/hisa/dev"
    config = json.loads((folder / "config.json").read_text())
    model = convert_official_checkpoint(load_file(folder / "state_dict.safetensors"), config, variant="default")
    inputs = load_file(folder / "inputs.safetensors")
    batch, _ = conversion_hisa.golden_batch(inputs, model.config)
    output = model(**batch, output_intermediates=True)
    alone = load_file(folder / "outputs_unpadded.safetensors")
    for sample, length in enumerate(inputs["videoFeat_lengths"].long().tolist()):
        for name in ("background", "action", "recon"):
            expected = alone[f"{name}.{sample}"][0]
            assert torch.allclose(output.video_state[name][sample, :length], expected, atol=2e-6), name
        for name in ("logits_start", "logits_end", "logits_inter", "prob_start", "prob_end", "prob_inter"):
            expected = alone[f"{name}.{sample}"].flatten()
            assert torch.allclose(output[name][sample, 0, :length], expected, atol=2e-5), name


# Edges


@pytest.mark.parametrize("variant", ["default", "official"])
@pytest.mark.parametrize("row", [1, 3, 4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_one_clip_one_word_and_moments_inside_a_clip(variant, row, dtype):
    """Rows 1, 3 and 4: a video of one clip with a query of one word; moments that start and end in one clip."""
    model = model_tester("hisa").model(variant=variant).to(dtype).train()
    features, words = (x.to(dtype) for x in samples())
    rows = slice(row, row + 1)
    batch = batch_of(features[:, : int(LENGTHS[row])], words[:, : int(WORDS[row])], rows)
    for given in (batch, batch_of(features, words)):
        model.zero_grad()
        output = model(**given)
        output.loss.backward()
        assert all(torch.isfinite(value) for value in output.losses.values())
        assert all(torch.isfinite(p.grad).all() for p in model.parameters())
        assert torch.isfinite(output.scores[..., 0]).all()


def test_all_padding_is_refused_by_name():
    model = tiny()
    batch = batch_of(*samples())
    batch["video_mask"][2] = False
    with pytest.raises(ModelError, match="Video 2 of the batch has no real clip"):
        model(**batch)


# Flags


def test_published_contrast_has_no_gradient_and_the_default_has():
    queries = torch.randn(4, 6, 8, dtype=torch.float64, requires_grad=True)
    videos = torch.randn(4, 6, 8, dtype=torch.float64)
    start, end = torch.tensor([0, 1, 2, 3]), torch.tensor([2, 1, 6, 5])
    sizes = {}
    for pooling in ("official_scalar", "time_mean"):
        loss = contrast(*(pool_span(x, start, end, pooling) for x in (queries, videos)), 1.0)
        (gradient,) = torch.autograd.grad(loss, queries)
        sizes[pooling] = float(gradient.abs().max())
    assert sizes["official_scalar"] < 1e-12 and sizes["time_mean"] > 1e-3


@pytest.mark.parametrize("spread", [0.1, 0.3, 1.0])
def test_contrast_wants_queries_apart_only_where_its_weights_carry_no_gradient(spread):
    """Queries that match their own videos exactly, moved apart together: the published formula pulls them together."""
    directions = torch.randn(6, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    slopes = []
    for detach in (False, True):
        scale = torch.tensor(spread, dtype=torch.float64, requires_grad=True)
        contrast(1 + scale * directions, 1 + spread * directions, 1.0, detach).backward()
        slopes.append(scale.grad)
    assert slopes[0] > 0 > slopes[1]


def test_contrast_by_hand_and_at_low_temperature():
    queries, videos = torch.randn(2, 5, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(3))
    for temperature in (1.0, 0.2):
        expected = reference.contrast(list(queries), list(videos), temperature)
        assert torch.allclose(contrast(queries, videos, temperature), expected, rtol=1e-12)
    assert torch.isfinite(contrast(queries.float(), videos.float(), 0.03))
    assert contrast(queries[:1], videos[:1], 1.0) == 0


def test_inside_loss_divides_by_span_or_clips():
    probability = torch.full((2, 6), 0.5)
    start, end = torch.tensor([1, 2]), torch.tensor([4, 2])
    unit = -torch.tensor(0.5).log()
    assert torch.allclose(inside_nll(probability, start, end, "span"), unit * torch.tensor([4 / 3, 1.0]))
    assert torch.allclose(inside_nll(probability, start, end, "clips"), unit.expand(2))
    one, other = (
        tiny(inside_divisor=divisor)(**batch_of(*samples())).losses["inter"] for divisor in ("span", "clips")
    )
    assert one > other


def test_published_softmax_differs_where_real_logits_are_far_below_zero():
    mask = torch.tensor([True, True, False])
    plain = masked_softmax(torch.tensor([1.0, 2.0, 9.0]), mask, exact=False)
    assert torch.allclose(plain, masked_softmax(torch.tensor([1.0, 2.0, 9.0]), mask, exact=True), atol=1e-7)
    low = torch.tensor([-40.0, -39.0, 9.0])
    assert masked_softmax(low, mask, exact=True).sum() > 0.99 > masked_softmax(low, mask, exact=False).sum()


def test_the_variant_decides_what_is_not_given():
    official = HiSAConfig(variant="official")
    assert (official.contrast_pooling, official.pad_invariant) == ("official_scalar", False)
    assert not official.contrast_detach_weights
    default = HiSAConfig()
    assert (default.contrast_pooling, default.pad_invariant) == ("time_mean", True)
    assert default.contrast_detach_weights
    mixed = HiSAConfig(variant="official", pad_invariant=True)
    assert (mixed.contrast_pooling, mixed.pad_invariant) == ("official_scalar", True)
    for wrong in ({"conv_kernel_size": 4}, {"num_candidates": 0}):
        with pytest.raises(StrictDataclassClassValidationError, match=next(iter(wrong))):
            HiSAConfig(**wrong)


def test_how_features_and_text_reach_the_model():
    words = model_tester("hisa").word_vectors()
    charades = HiSAConfig.for_benchmark("charades_sta", feature_dim=2)
    extractor = VideoGroundingProcessor.from_model_config(charades, words).feature_extractor
    assert extractor.resample(torch.arange(14.0).reshape(7, 2).numpy())[:, 0].tolist() == [0, 6, 12]
    assert VideoGroundingProcessor.from_model_config(charades, words).max_words == 30
    tokens = {}
    for variant in ("default", "official"):
        config = HiSAConfig.for_benchmark("tacos", variant)
        processor = VideoGroundingProcessor.from_model_config(config, words)
        assert processor.feature_extractor.resampling == "none"
        tokens[variant] = processor.tokenizer.tokenize("The person sits.")
    assert tokens == {"default": ["the", "person", "sits"], "official": ["the", "person", "[UNK]"]}


# Targets and candidates


@pytest.mark.parametrize("rule, stride", [("floor", 3), ("ceil", 1)])
def test_targets_by_the_official_rules(rule, stride):
    """``charades_sta.py``: floor(feature / 3); ``anet_cap.py``: int(T t0 / d), min(ceil(T t1 / d), T - 1)."""
    model = tiny(target_rule=rule, clip_stride=stride)
    rows = torch.tensor([10, 7])
    clips = -(-rows // stride)
    seconds, duration = torch.tensor([[0.0, 31.0], [12.4, 24.9]], dtype=torch.float64), 31.0
    targets = model.build_targets(
        (seconds / duration).expand(2, 2, 2), torch.ones(2, 2, dtype=torch.bool), real(clips, 10), rows
    )
    for video in range(2):
        count, last = int(rows[video]), int(clips[video]) - 1
        for sentence, (start, end) in enumerate(seconds.tolist()):
            if rule == "floor":
                expected = int(start * count / duration // 3), int(min(end * count / duration, count - 1) // 3)
            else:
                expected = int(count * start / duration), min(-int(-count * end // duration), last)
            found = int(targets["start_index"][video, sentence]), int(targets["end_index"][video, sentence])
            assert found == expected


@pytest.mark.parametrize("rows, stride", [(64, 1), (71, 1), (20, 1), (190, 3), (64, 3)])
def test_targets_of_resampled_features_are_clips(rows, stride):
    """Whatever number of rows became 32 clips, the middle half of the video is clips 8 to 24."""
    mask = torch.ones(1, 1, dtype=torch.bool)
    targets = tiny(clip_stride=stride).build_targets(
        torch.tensor([[[0.25, 0.75]]]), mask, torch.ones(1, 32, dtype=torch.bool), torch.tensor([rows])
    )
    assert (targets["start_index"].item(), targets["end_index"].item()) == (8, 24)


def test_features_that_were_not_strided_are_not_strided_again():
    model = tiny(clip_stride=3)
    labels, mask = torch.tensor([[[0.5, 1.0]]], dtype=torch.float64), torch.ones(1, 1, dtype=torch.bool)
    for clips, rows, expected in ((10, None, (5, 9)), (10, 30, (5, 9)), (10, 28, (4, 9))):
        length = None if rows is None else torch.tensor([rows])
        targets = model.build_targets(labels, mask, torch.ones(1, clips, dtype=torch.bool), length)
        assert (int(targets["start_index"]), int(targets["end_index"])) == expected


@pytest.mark.parametrize("count", [3, 60])
@pytest.mark.parametrize("elements", [10, 2**24])
def test_candidates_are_the_best_ordered_pairs(count, elements, monkeypatch):
    monkeypatch.setattr(decoding_hisa, "PAIR_ELEMENTS", elements)
    generator = torch.Generator().manual_seed(0)
    start, end = torch.rand(2, 3, 9, generator=generator)
    lengths = torch.tensor([9, 1, 4])
    pairs, scores = best_pairs(start, end, lengths, count)
    assert pairs.shape == (3, count, 2) and scores.shape == (3, count)
    for row, length in enumerate(lengths.tolist()):
        every = {(i, j): float(start[row, i] * end[row, j]) for i in range(length) for j in range(i, length)}
        best = sorted(sorted(every, key=every.get, reverse=True)[:count])
        kept = scores[row].isfinite()
        assert [tuple(pair) for pair in pairs[row][kept].tolist()] == best
        assert scores[row][kept].tolist() == pytest.approx([every[pair] for pair in best])
        assert not pairs[row][~kept].any() and int(kept.sum()) == min(count, len(every))


def test_official_decode_is_the_first_candidate():
    model = tiny()
    output = model(**batch_of(*samples()))
    start, end, best = official_decode(output.prob_start[:, 0], output.prob_end[:, 0])
    top = output.scores[:, 0].argmax(1)
    for row in range(5):
        assert (int(start[row]), int(end[row])) == reference.best_pair(
            output.prob_start[row, 0], output.prob_end[row, 0]
        )
        moment = torch.tensor([start[row], end[row] + 1], dtype=torch.float64) / LENGTHS[row]
        assert torch.allclose(output.moments[row, 0, top[row]], moment)
    assert torch.allclose(best, output.scores[:, 0].amax(1))


# Conversion and recipe


def official_tree(**heads):
    lstm = {"INPUT_SIZE": 12, "HIDDEN_SIZE": 6, "BIAS": True}
    return {
        "DATASETS": {"TRAIN": "tacos_train"},
        "DYNAMIC_FILTER": {"LSTM": lstm, "LSTM_VIDEO": {**lstm, "INPUT_SIZE": 20}},
        "HISA_CLASSIFICATION": {"FUSION": "CROSS_COS", "INPUT_SIZE_RNN": 6, "HIDDEN_SIZE": 7, **heads},
        "LOCALIZATION": {"BIAS": False},
    }


def official_state(model):
    names = {
        "disentangler.background_encoder": "video_dis.background_encoder.linear.conv1d",
        "disentangler.action_encoder": "video_dis.action_encoder.linear.conv1d",
        "disentangler.video_decoder": "video_dis.video_decoder.linear.conv1d",
        "video_lstm.rnn": "model_video_GRU.tail_df.lstm",
        "video_head": "model_video_GRU.head_df.mlp.0",
        "query_lstm.rnn": "model_df.tail_df.lstm",
        "query_head": "model_df.head_df.mlp.0",
        "attention.word_projection": "model_df.pooling_layer.projection_S",
        "attention.clip_projection": "model_df.pooling_layer.projection_V",
        "attention.score": "model_df.pooling_layer.projection_w",
        "localization_lstm.rnn": "rnn_localization",
        "start_head": "starting",
        "end_head": "ending",
        "inside_head": "intering",
    }
    own = {name: p.detach() for name, p in model.named_parameters()}
    return {
        official + name.removeprefix(prefix): tensor
        for name, tensor in own.items()
        for prefix, official in names.items()
        if name.startswith(f"{prefix}.")
    }


def test_conversion_refuses_what_does_not_fit():
    model = model_tester("hisa").model()
    state, tree = official_state(model), official_tree()
    wrapped = {f"module.{name}": tensor for name, tensor in state.items()}
    wrapped |= {"module.multimodal_fc1.bias": torch.zeros(1), "module.trm_fused.norm.alpha": torch.zeros(3)}
    for given in (state, wrapped):
        converted = convert_official_checkpoint(given, tree)
        own, other = dict(model.named_parameters()), dict(converted.named_parameters())
        assert own.keys() == other.keys() and all(torch.equal(own[name], other[name]) for name in own)
    assert rename_official("multimodal_fc2.weight") is None and rename_official("trm_fused2.x") == "trm_fused2.x"
    with pytest.raises(ModelError, match="missing: start_head.2.bias"):
        convert_official_checkpoint({k: v for k, v in state.items() if k != "starting.2.bias"}, tree)
    with pytest.raises(ModelError, match="unexpected: extra.weight"):
        convert_official_checkpoint({**state, "extra.weight": torch.zeros(1)}, tree)
    with pytest.raises(ModelError, match="FUSION='CAT'"):
        config_from_official(official_tree(FUSION="CAT"))
    with pytest.raises(ModelError, match="INPUT_SIZE_RNN=5"):
        config_from_official(official_tree(INPUT_SIZE_RNN=5))
    with pytest.raises(ModelError, match="lacks the key 'LOCALIZATION'"):
        config_from_official({name: part for name, part in tree.items() if name != "LOCALIZATION"})
    config = config_from_official({"official_cfg": tree})
    assert (config.target_rule, config.clip_stride, config.variant) == ("ceil", 1, "official")


def test_biases_learn_twice_as_fast_and_do_not_decay():
    model = model_tester("hisa").model()
    recipe = get_recipe("hisa/tacos/official")
    arguments = model_tester("hisa").arguments(
        "unused", learning_rate=recipe.learning_rate, weight_decay=recipe.weight_decay
    )
    optimizer = build_optimizer(model, recipe, arguments)
    assert type(optimizer) is torch.optim.Adam and recipe.per_device_batch_size == 16
    names = {id(p): name for name, p in model.named_parameters()}
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            is_bias = "bias" in names[id(parameter)]
            assert (group["lr"], group["weight_decay"]) == ((2e-3, 0.0) if is_bias else (1e-3, 1e-5))
