"""IA-Net beyond the abstract tester: sizes, the plain formulation, invariance, degenerate input, flags, decoding."""

import numpy as np
import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from hf_vtg import IANetConfig, IANetForVideoGrounding, WordVectorConfig
from hf_vtg.errors import ModelError
from hf_vtg.models.ianet.anchors_ianet import anchor_windows, clip_labels, source_index
from hf_vtg.models.ianet.conversion_ianet import config_from_official, convert_official_checkpoint
from hf_vtg.models.ianet.decoding_ianet import official_nms, official_recall, official_windows
from hf_vtg.models.ianet.layers_ianet import AdditiveFusion, Calibration, LocalSelfAttention
from hf_vtg.models.registry import all_recipes
from scripts.lab.references import ianet as plain

from .testers import TESTERS, model_tester

TINY = TESTERS["ianet"].tiny_fields


def tiny(**overrides):
    """A model whose attention is not uniform: the first weights leave it so."""
    model = model_tester("ianet").model(**overrides)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(2 if parameter.dim() > 1 else 1)
    return model


def example(lengths=(16, 11, 5), words=(6, 3, 1), clips=16, seed=0, dtype=torch.float32):
    """A batch of one sentence a video."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(len(lengths), clips, 10, generator=generator, dtype=dtype)
    embeds = torch.randn(len(lengths), 1, max(words), 12, generator=generator, dtype=dtype)
    mask = torch.arange(clips) < torch.tensor(lengths)[:, None]
    tokens = (torch.arange(max(words)) < torch.tensor(words)[:, None]).unsqueeze(1)
    labels = torch.rand(len(lengths), 1, 2, generator=generator, dtype=torch.float64).sort(-1).values
    return {
        "video_features": features * mask.unsqueeze(-1),
        "video_mask": mask,
        "inputs_embeds": embeds * tokens.unsqueeze(-1),
        "attention_mask": tokens,
        "labels": labels,
    }


@pytest.mark.parametrize(
    "benchmark, parameters",
    [("activitynet_captions", 22_271_541), ("tacos", 24_315_424), ("charades_sta", 22_779_424)],
)
def test_parameter_counts_of_the_published_models(benchmark, parameters):
    with torch.device("meta"):
        official = IANetForVideoGrounding(IANetConfig.for_benchmark(benchmark, "official"))
        default = IANetForVideoGrounding(IANetConfig.for_benchmark(benchmark))
    assert sum(p.numel() for p in official.parameters()) == parameters
    # Three none tokens for clips and for words in each of three blocks.
    assert sum(p.numel() for p in default.parameters()) == parameters + 3 * 2 * 3 * 512


def test_variants_decide_what_is_not_given():
    official = IANetConfig.for_benchmark("activitynet_captions", "official")
    assert (official.num_none_tokens, official.mask_padding, official.positive_rule) == (0, False, "relative")
    assert official.processor_settings()["pad_words"] and official.processor_settings()["num_clips"] == 200
    default = IANetConfig()
    assert (default.num_none_tokens, default.mask_padding, default.positive_rule) == (3, True, "absolute")
    assert not default.processor_settings()["pad_words"]
    paper = IANetConfig.for_benchmark("tacos", "paper")
    assert (paper.fusion, paper.positional_encoding, paper.num_local_attention_layers) == ("cosine", "sinusoidal", 0)
    assert (paper.boundary_reduction, paper.normalize_iou_targets, paper.num_anchors) == ("sum", False, 5)
    assert IANetConfig(variant="official", mask_padding=True).mask_padding
    assert IANetConfig(variant="official").num_none_tokens == 0
    with pytest.raises(ModelError, match="paper"):
        IANetConfig.for_benchmark("tacos", "papers")


def test_wrong_sizes_are_refused():
    for fields, name in (
        ({"hidden_size": 30}, "hidden_size=30"),
        ({"frame_size": 10, "num_local_attention_heads": 4}, "frame_size=10"),
        ({"anchor_widths": ()}, "anchor_widths"),
        ({"num_blocks": 0}, "num_blocks=0"),
        ({"project_features": False, "feature_dim": 7}, "feature_dim=7"),
    ):
        with pytest.raises(StrictDataclassClassValidationError, match=name):
            IANetConfig(**fields)


# The fast form against the plain one


@pytest.mark.parametrize("variant", ["default", "official"])
@pytest.mark.parametrize("scale", [1.0, 0.25])
def test_equal_to_the_plain_formulation(variant, scale):
    model = tiny(variant=variant, anchor_scale=scale, attention_chunk=200).double().train()
    model.dropout.p = model.video_encoder.dropout.p = 0.0
    batch = example(dtype=torch.float64)
    output = model(**batch)
    lengths = batch["video_mask"].sum(1)
    targets = model.build_targets(batch["labels"], torch.ones(3, 1).bool(), batch["video_mask"], lengths)
    output.loss.backward()
    ours = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    logits, offsets = plain.predict(
        model,
        batch["video_features"],
        batch["video_mask"],
        batch["inputs_embeds"][:, 0],
        batch["attention_mask"][:, 0],
    )
    real = output.legal_mask
    assert torch.allclose(output.anchor_logits[:, 0][real], logits[real], rtol=0, atol=1e-12)
    assert torch.allclose(output.offsets[:, 0][real], offsets[real], rtol=0, atol=1e-12)
    expected = plain.loss(model, logits, offsets, targets)
    assert torch.allclose(output.loss, expected, rtol=1e-12)
    expected.backward()
    for name, parameter in model.named_parameters():
        assert torch.allclose(ours[name], parameter.grad, rtol=1e-8, atol=1e-14), name


def test_local_attention_touches_its_window_alone():
    layer = LocalSelfAttention(8, 2, 3).double()
    clips, mask = torch.randn(2, 20, 8, dtype=torch.float64), torch.arange(20) < torch.tensor([[20], [13]])
    clips.requires_grad_()
    output = layer(clips, mask)
    assert torch.allclose(output[0], plain.local_attention(layer, clips[:1], None)[0], atol=1e-12)
    assert torch.allclose(output[1, :13], plain.local_attention(layer, clips[1:, :13], None)[0], atol=1e-12)
    (reached,) = torch.autograd.grad(output[0, 9].sum(), clips)
    assert reached.abs().sum(-1)[0].nonzero().flatten().tolist() == list(range(6, 13))


@pytest.mark.parametrize("chunk", [1, 100, 10**6])
def test_additive_fusion_does_not_depend_on_its_pieces(chunk):
    fusion = AdditiveFusion(IANetConfig(hidden_size=8, attention_chunk=chunk)).double()
    video, query = torch.randn(3, 7, 8).double().requires_grad_(), torch.randn(3, 5, 8).double()
    mask = torch.arange(5) < torch.tensor([[5], [2], [1]])
    output = fusion(video, query, mask)
    expected = plain.additive(fusion, video, query, mask)
    assert torch.allclose(output, expected, atol=1e-12)
    grads = (torch.autograd.grad(x.square().sum(), video)[0] for x in (output, expected))
    assert torch.allclose(*grads, atol=1e-12)


def test_calibration_takes_the_mixed_precisions_of_autocast():
    layer, x = Calibration(4), torch.randn(2, 3, 4)
    parts = layer.own(x) + layer.attended(x)
    whole = layer(x, *parts.chunk(2, dim=-1))
    mixed = layer(x, *parts.bfloat16().chunk(2, dim=-1))
    assert mixed.dtype == torch.float32
    torch.testing.assert_close(mixed, whole, atol=0.05, rtol=0)
    torch.testing.assert_close(layer.calibrate(x, x), whole)


@pytest.mark.parametrize("variant, words", [("default", [10]), ("official", [3, 6])])
def test_padded_words_are_not_computed(variant, words):
    model, sizes = tiny(variant=variant, num_blocks=1), []
    for layer in (model.blocks[0].intra_query.calibration.gate, model.blocks[0].intra_query.projection):
        layer.register_forward_hook(lambda layer, inputs, output: sizes.append(list(inputs[0].shape[:-1])))
    model(**example())
    assert sizes == [words] * 2


def test_checkpointing_changes_nothing():
    batch, losses, grads = example(), [], []
    for checkpointed in (False, True):
        model = tiny().train()
        model.dropout.p = model.video_encoder.dropout.p = 0.0
        if checkpointed:
            model.gradient_checkpointing_enable()
        output = model(**batch)
        output.loss.backward()
        losses.append(output.loss.detach())
        grads.append(torch.cat([p.grad.flatten() for p in model.parameters()]))
    assert torch.equal(*losses) and torch.allclose(*grads, atol=1e-7)


def test_attention_rows_add_up_over_the_none_tokens_too():
    batch = example()
    output = tiny()(**batch, output_intermediates=True)
    inter, intra = output.attentions[:2]
    assert inter.video_map.shape == (3, 16, 6 + 3) and inter.query_map.shape == (3, 6, 16 + 3)
    assert inter.video.shape[1] == 16 and inter.query.shape[1] == 6
    for step in output.attentions:
        for attention in (step.video_map, step.query_map):
            assert torch.allclose(attention.sum(-1), torch.ones(()), atol=1e-5)
    assert (inter.video_map[2, :, 1:6] == 0).all() and (inter.video_map[..., 6:] > 0).all()
    assert (intra.video_map[2, :, 5:] == 0).all()
    assert tiny()(**batch).attentions is None


# Invariance


def test_predictions_depend_on_their_own_video_and_query_alone():
    model = tiny()
    batch = example()
    with torch.no_grad():
        together = model(**batch)
        for k, (clips, words) in enumerate(((16, 6), (11, 3), (5, 1))):
            alone = model(
                video_features=batch["video_features"][k : k + 1, :clips],
                inputs_embeds=batch["inputs_embeds"][k : k + 1, :, :words],
                labels=batch["labels"][k : k + 1],
            )
            count = clips * model.config.num_anchors
            own = together.scores[k, 0, :count]
            assert torch.allclose(own, alone.scores[0, 0], rtol=1e-4)
            assert torch.allclose(together.anchor_logits[k, 0, :count], alone.anchor_logits[0, 0], atol=1e-5)
            assert torch.allclose(together.moments[k, 0, :count], alone.moments[0, 0], atol=1e-5)
            assert torch.isneginf(together.scores[k, 0, count:]).all()


def test_the_published_code_sees_its_padding():
    batch = example()
    padded = {**batch, "inputs_embeds": torch.nn.functional.pad(batch["inputs_embeds"], (0, 0, 0, 4))}
    padded["attention_mask"] = torch.nn.functional.pad(batch["attention_mask"], (0, 4))
    with torch.no_grad():
        for variant, same in (("official", False), ("default", True)):
            model = tiny(variant=variant)
            difference = model(**batch).anchor_logits - model(**padded).anchor_logits
            assert bool(difference.abs().max() < 1e-6) is same


def test_a_paragraph_is_its_sentences():
    """(1, S) equals S rows of one sentence, in outputs and losses, though S sentences share one encoded video."""
    model = tiny()
    rows = example(lengths=(16, 16, 16), words=(6, 3, 1))
    rows["video_features"] = rows["video_features"][:1].expand(3, -1, -1)
    paragraph = {name: rows[name].transpose(0, 1) for name in ("inputs_embeds", "attention_mask", "labels")}
    paragraph |= {name: rows[name][:1] for name in ("video_features", "video_mask")}
    with torch.no_grad():
        single, several = model(**rows), model(**paragraph)
    assert torch.allclose(single.scores[:, 0], several.scores[0], atol=1e-6)
    for name, value in single.losses.items():
        assert torch.allclose(value, several.losses[name], rtol=1e-5), name


def test_a_longer_video_than_that_of_the_training_is_taken():
    batch = example(lengths=(40, 33), words=(4, 2), clips=40)
    assert tiny()(**batch).scores.shape == (2, 1, 40 * 3)


# Degenerate input


@pytest.mark.parametrize("variant", ["default", "official", "paper"])
@pytest.mark.parametrize("scale", [1.0, 9.0])
def test_one_clip_one_word_and_moments_inside_a_clip(variant, scale):
    """With the large scale no anchor is legal in any video, hence none is positive."""
    model = tiny(variant=variant, anchor_scale=scale).train()
    batch = example(lengths=(1, 2, 1), words=(1, 1, 1), clips=2)
    batch["labels"] = torch.tensor([[[0.2, 0.21]], [[0.9, 0.9]], [[0.0, 0.0]]]).double()
    output = model(**batch)
    output.loss.backward()
    assert torch.isfinite(output.loss) and torch.isfinite(output.scores.amax(-1)).all()
    assert all(torch.isfinite(p.grad).all() for p in model.parameters())
    assert (output.moments[..., 0] <= output.moments[..., 1]).all()
    assert output.moments.min() >= 0 and output.moments.max() <= 1


def test_a_batch_without_any_positive_anchor_learns_scores_alone():
    model = tiny(positive_iou=1.0).train()
    batch = example(lengths=(16, 16, 16))
    batch["labels"] = torch.tensor([[[0.01, 0.02]]] * 3).double()
    targets = model.build_targets(batch["labels"], torch.ones(3, 1).bool(), batch["video_mask"])
    assert not targets["positives"].any()
    output = model(**batch)
    output.loss.backward()
    assert output.losses["reg_loss"] == 0 and output.losses["cls_loss"] > 0
    assert (model.offset_head.weight.grad == 0).all() and (model.score_head.weight.grad != 0).any()


def test_targets_need_the_number_of_clips():
    with pytest.raises(ModelError, match="video_mask"):
        tiny().build_targets(torch.zeros(1, 1, 2), torch.ones(1, 1).bool())
    batch = example()
    first = tiny()(**batch)
    text = {name: batch[name] for name in ("inputs_embeds", "attention_mask", "labels")}
    assert torch.allclose(tiny()(**text, video_state=first.video_state).loss, first.loss)


# Targets and losses


def test_targets_against_loops():
    generator = np.random.default_rng(0)
    for variant in ("default", "official"):
        for benchmark in IANetConfig.presets:
            fields = {**TINY, "num_clips": 24}
            kept = IANetConfig.for_benchmark(benchmark, variant)
            fields |= {name: getattr(kept, name) for name in ("anchor_widths", "anchor_scale", "positive_rule")}
            model = tiny(**fields, variant=variant)
            rows = generator.integers(1, 90, 40)
            durations = generator.uniform(2, 200, 40)
            moments = np.sort(generator.uniform(0, 1, (40, 2)), axis=1) * durations[:, None]
            # Moments that end in source row T - 1, at the end, and within a clip.
            rows[:4] = (60, 60, 24, 25)
            moments[:4, 1] = durations[:4] * (23.5 / rows[:4])
            moments[:4, 0] = moments[:4, 1] * 0.5
            moments[4:8, 1], moments[8:12] = durations[4:8], moments[8:12, :1]
            labels = torch.from_numpy(moments / durations[:, None]).unsqueeze(1)
            masks = torch.ones(40, 1).bool(), torch.ones(40, 24).bool()
            made = model.build_targets(labels, *masks, torch.from_numpy(rows))
            for k in range(40):
                expected = plain.targets(moments[k], durations[k], int(rows[k]), 24, model.config)
                if any(expected["iou"]):
                    assert made["boundary"][k, 0].tolist() == expected["boundary"]
                    assert made["positives"][k, 0].tolist() == expected["positives"]
                    for name in ("iou", "scores"):
                        assert made[name][k, 0].tolist() == pytest.approx(expected[name], abs=1e-6)


def test_source_rows_are_numpys_linspace():
    for clips in (1, 2, 24, 200):
        rows = torch.arange(1, 500)
        index = source_index(rows, torch.full_like(rows, clips), clips)
        expected = np.stack([np.linspace(0, n - 1, clips).astype(int) for n in rows.tolist()])
        expected[:, -1] = rows - 1
        assert (index.numpy() == expected).all()


def test_a_moment_that_begins_with_a_source_row_begins_in_its_clip():
    for rows in (7, 49, 64, 90):
        fractions = torch.arange(rows, dtype=torch.float64) / rows
        labels, lengths = fractions.unsqueeze(-1).expand(1, -1, 2), torch.tensor([rows])
        assert clip_labels(labels, lengths, lengths, rows)[0, :, 0].tolist() == list(range(rows))


def test_a_refined_start_behind_its_end_changes_places_with_it():
    model = tiny()
    with torch.no_grad():
        model.offset_head.bias.copy_(torch.tensor([20.0, -20.0] * model.config.num_anchors))
        output = model(**example())
    assert (output.boxes[..., 0] > output.boxes[..., 1] + 1).any()
    assert (output.moments[..., 0] <= output.moments[..., 1]).all()


def test_the_label_slip_stretches_a_moment_to_the_end():
    """463 rows resampled to 200, as measured on the published loader."""
    rows, lengths = torch.tensor([463]), torch.tensor([200])
    for end, plainly, slipped in ((198, 85, 85), (199, 86, 199), (200, 86, 86)):
        labels = torch.tensor([[[100.5, end + 0.5]]]) / 463
        assert clip_labels(labels, rows, lengths, 200)[0, 0, 1] == plainly
        assert clip_labels(labels, rows, lengths, 200, True)[0, 0, 1] == slipped


def test_anchor_widths_as_measured():
    windows = anchor_windows(64, (16, 24, 32, 40), 0.25, torch.float64).unflatten(0, (64, 4))
    assert (windows[10, :, 1] - windows[10, :, 0] + 1).tolist() == [4.75, 6.75, 8.75, 10.75]
    assert windows[10].mean(-1).tolist() == [10.0] * 4


@pytest.mark.parametrize(
    ("name", "values", "loss"),
    [
        ("count_illegal_anchors", (True, False), "cls_loss"),
        ("normalize_iou_targets", (True, False), "cls_loss"),
        ("boundary_reduction", ("mean", "sum"), "reg_loss"),
        ("positive_rule", ("absolute", "relative"), "reg_loss"),
        ("round_anchors_in_loss", (True, False), "reg_loss"),
        ("eval_boundary_loss", ("positives", "best_anchor"), "reg_loss"),
        ("positional_encoding", ("none", "sinusoidal"), "cls_loss"),
        ("mask_padding", (True, False), "cls_loss"),
    ],
)
def test_flags_change_what_they_name(name, values, loss):
    losses = [tiny(**{name: value, "anchor_scale": 0.7})(**example()).losses[loss] for value in values]
    assert not torch.isclose(*losses, rtol=1e-4)
    if name == "boundary_reduction":
        assert torch.isclose(2 * losses[0], losses[1])


@pytest.mark.parametrize(
    "fields",
    [
        {"fusion": "cosine"},
        {"localizer": "mlp"},
        {"use_intra": False},
        {"use_calibration_inter": False, "use_calibration_intra": False},
        {"num_none_tokens": 0},
        {"num_local_attention_layers": 0, "project_features": False, "frame_size": 10},
        {"num_blocks": 1},
    ],
)
def test_every_part_can_be_left_out_or_exchanged(fields):
    model = tiny(**fields).train()
    output = model(**example())
    output.loss.backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in model.parameters())


def test_illegal_anchors_score_zero_or_are_pruned():
    for pruned in (True, False):
        output = tiny(prune_illegal_anchors=pruned)(**example())
        illegal = output.scores.transpose(0, 1)[0][~output.legal_mask]
        assert (illegal == (-torch.inf if pruned else 0)).all() and len(illegal)
        assert (output.anchor_scores[:, 0][~output.legal_mask] == 0).all()


# The published decoding


def test_nms_and_windows_against_loops():
    generator = torch.Generator().manual_seed(0)
    boxes = torch.randint(-4, 30, (6, 60, 2), generator=generator).float() + 0.3
    boxes[0, :30, 1] = boxes[0, :30, 0]
    scores = torch.randint(0, 8, (6, 60), generator=generator) / 7
    windows = official_windows(boxes, torch.full((6,), 24))
    assert windows[..., 0].min() == 0 and windows[..., 1].max() == 23
    overlaps = (0.05, 0.25, 0.45, 0.65)
    picks = official_nms(windows, scores, overlaps, top_k=5)
    for row in range(6):
        for m, overlap in enumerate(overlaps):
            expected = plain.nms(windows[row].tolist(), scores[row].tolist(), overlap)[:5]
            assert [p for p in picks[row, m].tolist() if p >= 0] == expected


def test_recall_counts_the_threshold_itself():
    windows = torch.tensor([[[0, 9], [0, 4], [20, 29]]])
    picks = torch.tensor([[[2, 1, -1], [2, 1, 0], [2, 1, 0], [2, 1, 0]]])
    recall = official_recall(windows, picks, torch.tensor([[0, 9]]), top_n=(1, 2, 3))
    assert recall[0].tolist() == [[0, 0, 0, 0], [1, 1, 1, 0], [1, 1, 1, 1]]


# Conversion and recipes


def official_arguments(**changes):
    arguments = {"dataset": "Charades", "max_num_words": 8, "max_num_frames": 16, "d_model": 8, "num_heads": 2}
    arguments |= {"num_attn_layers": 2, "dropout": 0.2, "word_dim": 12, "frame_dim": 8, "feature_dim": 10}
    return arguments | changes


def official_name(name):
    """The published name of one of our parameters."""
    parts = name.split(".")
    if parts[0] == "blocks":
        inter = parts[2] == "inter"
        layer = f"{'co' if inter else 'se'}{int(parts[1]) + 1}"
        number = int("query" in name)
        if "projection" in name:
            return f"{layer}.dense_coattn.linears.{number}.weight"
        kind = "linears_re" if "gate" in name else "linears"
        return f"{layer}.{kind}.{number}.0.{parts[-1]}"
    for own, official in (
        ("video_encoder.projection.", "video_encoder.tran."),
        ("video_encoder.encoder.rnn.", "video_encoder.rnn.gru."),
        ("video_encoder.attention.", "video_encoder.attn_layers."),
        ("query_encoder.rnn.", "sentence_encoder.rnn.gru."),
        ("fusion.video.", "v2s.ws1."),
        ("fusion.query.", "v2s.ws2."),
        ("fusion.score.", "v2s.wst."),
        ("localizer.rnn.", "rnn.gru."),
        ("score_head.", "fc_score."),
        ("offset_head.", "fc_reg."),
    ):
        if name.startswith(own):
            return official + name.removeprefix(own).replace("in_proj.", "in_proj_")
    raise AssertionError(name)


@pytest.mark.parametrize("prefix", ["", "module."])
def test_official_checkpoints_convert(prefix):
    anchors = {"anchor_widths": (16, 24, 32, 40), "anchor_scale": 0.25, "num_blocks": 3, "num_attention_heads": 4}
    text = WordVectorConfig(hidden_size=12)
    torch.manual_seed(0)
    model = IANetForVideoGrounding(IANetConfig(**{**TINY, **anchors}, variant="official", text_config=text))
    state = {prefix + official_name(name): p.detach() for name, p in model.named_parameters()}
    converted = convert_official_checkpoint(state, official_arguments())
    assert all(torch.equal(p, converted.get_parameter(name)) for name, p in model.named_parameters())
    with pytest.raises(ModelError, match="missing: fusion.video.bias"):
        convert_official_checkpoint({k: v for k, v in state.items() if "ws1.bias" not in k}, official_arguments())
    with pytest.raises(ModelError, match="unexpected: extra"):
        convert_official_checkpoint({**state, "extra": torch.zeros(1)}, official_arguments())


def test_an_official_configuration_is_read_whole_or_refused():
    config = config_from_official(official_arguments(dataset="ActivityNet", frame_dim=10))
    assert config.boundary_weight == 0.001 and config.positive_rule == "relative" and not config.project_features
    curve = {"official_args": official_arguments(), "model": {"alpha": 0.5, "num_anchors": 4}}
    assert config_from_official(curve).boundary_weight == 0.5
    with pytest.raises(ModelError, match="Didemo"):
        config_from_official(official_arguments(dataset="Didemo"))
    with pytest.raises(ModelError, match="d_model"):
        config_from_official({k: v for k, v in official_arguments().items() if k != "d_model"})
    with pytest.raises(ModelError, match="7 anchors"):
        config_from_official(official_arguments(num_anchors=7))


def test_recipes_are_the_papers():
    assert (
        all_recipes()["ianet/tacos/paper"].learning_rate == 3e-4 and all_recipes()["ianet/tacos"].learning_rate == 4e-4
    )
    official = all_recipes()["ianet/activitynet_captions/official"]
    assert (official.optimizer, official.epochs, official.per_device_batch_size) == ("adamw_raw_epsilon", 20, 128)
    # The last learning rates of specs/ianet.md: 5,860, 9,540 and 15,440 steps.
    for benchmark, steps, last in (
        ("activitynet_captions", 5860, 1.81e-4),
        ("tacos", 9540, 7.1e-5),
        ("charades_sta", 15440, 5.6e-5),
    ):
        recipe = all_recipes()[f"ianet/{benchmark}"]
        assert recipe.learning_rate * recipe.lr_multiplier(steps, 1) == pytest.approx(last, rel=0.01)
        assert recipe.optimizer == "adamw" and recipe.max_grad_norm == 0
