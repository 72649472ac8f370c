"""MMN beyond the abstract tester: published sizes, losses by hand, flags."""

import math

import pytest
import torch
from huggingface_hub.errors import StrictDataclassClassValidationError

from hf_vtg import MMNConfig, MMNForVideoGrounding
from hf_vtg.errors import ModelError
from hf_vtg.models.mmn.conversion_mmn import config_from_official, convert_official_checkpoint, rename_official
from hf_vtg.models.mmn.losses_mmn import ContrastiveSettings, contrastive_losses
from hf_vtg.moments import temporal_iou

SETTINGS = ContrastiveSettings(0.1, 0.1, 0.4, 0.5, 0.5, "zero", False, False)


@pytest.mark.parametrize(
    "benchmark, parameters",
    [("charades_sta", 121_559_552), ("activitynet_captions", 152_218_112), ("tacos", 121_559_552)],
)
def test_parameter_counts_of_the_published_models(benchmark, parameters):
    with torch.device("meta"):
        model = MMNForVideoGrounding(MMNConfig.for_benchmark(benchmark))
    assert sum(p.numel() for p in model.parameters()) == parameters


def example(num_videos=3, cells=10, width=6, counts=(2, 1, 3), seed=0):
    generator = torch.Generator().manual_seed(seed)
    unit = torch.nn.functional.normalize
    moments = unit(torch.randn(num_videos, cells, width, generator=generator, dtype=torch.float64), dim=-1)
    sentences = unit(torch.randn(sum(counts), width, generator=generator, dtype=torch.float64), dim=-1)
    video = torch.repeat_interleave(torch.arange(num_videos), torch.tensor(counts))
    grid = torch.rand(cells, 2, generator=generator, dtype=torch.float64).sort(-1).values
    labels = torch.rand(sum(counts), 2, generator=generator, dtype=torch.float64).sort(-1).values
    iou = temporal_iou(labels.unsqueeze(1), grid)
    return moments, sentences, video, iou, iou.topk(2).indices, temporal_iou(labels.unsqueeze(1), labels)


def by_hand(moments, sentences, video, iou, positives, sentence_iou, settings):
    """The sums of the published loss, written out pair by pair."""
    video_terms, sentence_terms = [], []
    for s, own in enumerate(video):
        for q in positives[s]:
            positive = float(moments[own, q] @ sentences[s]) - settings.margin
            total = 0.0
            for t, other in enumerate(video):
                if other == own and t != s and sentence_iou[s, t] >= settings.sentence_removal_iou:
                    continue
                similarity = float(moments[own, q] @ sentences[t]) - settings.margin * (t == s)
                total += math.exp(similarity / settings.video_temperature)
            video_terms.append(math.log(total) - positive / settings.video_temperature)
            total = math.exp(positive / settings.sentence_temperature) + 1e-6
            for u in range(len(moments)):
                for c in range(moments.shape[1]):
                    similarity = float(moments[u, c] @ sentences[s])
                    if u == own and iou[s, c] >= settings.negative_iou:
                        if settings.intra_video_mask == "exclude":
                            continue
                        similarity = 0.0
                    elif u == own and settings.exclude_positive_from_negatives and c in positives[s].tolist():
                        continue
                    total += math.exp(similarity / settings.sentence_temperature)
            sentence_terms.append(math.log(total) - positive / settings.sentence_temperature)
    return sum(video_terms) / len(video_terms), sum(sentence_terms) / len(sentence_terms)


@pytest.mark.parametrize("mask", ["zero", "exclude"])
@pytest.mark.parametrize("exclude", [False, True])
def test_contrastive_losses_by_hand(mask, exclude):
    settings = ContrastiveSettings(0.1, 0.2, 0.3, 0.4, 0.5, mask, exclude, False)
    given = example()
    expected = by_hand(*given, settings)
    actual = contrastive_losses(*given, settings)
    assert [float(x) for x in actual] == pytest.approx(expected, rel=1e-9)


def test_flags_change_the_losses():
    given = example()
    plain = contrastive_losses(*given, SETTINGS)[1]
    for changes in ({"intra_video_mask": "exclude"}, {"exclude_positive_from_negatives": True}):
        settings = ContrastiveSettings(**{**SETTINGS.__dict__, **changes})
        assert not torch.isclose(contrastive_losses(*given, settings)[1], plain, rtol=1e-6)


def test_contrastive_losses_do_not_overflow_at_low_temperature():
    moments, sentences, *rest = example()
    settings = ContrastiveSettings(**{**SETTINGS.__dict__, "sentence_temperature": 1e-3, "video_temperature": 1e-3})
    losses = contrastive_losses(moments.float(), sentences.float(), *rest, settings)
    assert all(torch.isfinite(x) for x in losses)


def tiny(**overrides):
    from .testers import model_tester

    return model_tester("mmn").model(**overrides)


def tiny_batch():
    from .testers import model_tester

    return model_tester("mmn").batch(tiny().config)


def test_a_cosine_below_minus_one_gives_no_nan():
    model = tiny()
    state = model.encode_video(torch.randn(1, 16, 10))
    text = model.encode_text(torch.tensor([[[2, 3]]]), torch.ones(1, 1, 2), torch.ones(1, 1, dtype=torch.bool))
    text.sent_contrastive = -state.map2d_contrastive[:, :1] * (1 + 1e-7)
    assert torch.isfinite(model.ground(state, text).scores).all()


def test_moments_and_sentences_meet_in_a_dot_product():
    model = tiny()
    state = model.encode_video(torch.randn(2, 16, 10))
    text = model.encode_text(torch.tensor([[[2, 3]], [[4, 5]]]), torch.ones(2, 1, 2))
    output = model.ground(state, text)
    for key, (moments, sentences) in enumerate(
        zip(model.get_moment_embeds(state), model.get_sentence_embeds(text), strict=True)
    ):
        cosine = (sentences @ moments.transpose(1, 2)) * (1, 10)[key]
        assert torch.allclose(cosine, (output.contrastive_scores, output.iou_logits)[key], atol=1e-5)


def test_features_of_another_length_are_refused():
    model = tiny()
    for shape in ((1, 15, 10), (1, 17, 10)):
        with pytest.raises(ModelError, match="num_pre_clips"):
            model.encode_video(torch.randn(shape))
    with pytest.raises(ModelError, match="num_pre_clips"):
        model.encode_video(torch.randn(1, 16, 10), torch.arange(16)[None] < 15)


def test_wrong_sizes_are_refused():
    with pytest.raises(StrictDataclassClassValidationError, match="num_pre_clips=40"):
        MMNConfig(num_pre_clips=40)
    with pytest.raises(StrictDataclassClassValidationError, match="min_iou"):
        MMNConfig(min_iou=1.0)
    with pytest.raises(ModelError, match="num_layers"):
        tiny(conv_kernel_size=2, num_conv_layers=1)


def official_state(model):
    """The model's weights under official names: the inverse of the renaming."""
    names = {
        "clip_pooling.projection.": "featpool.conv.",
        "moment_contrastive.": "proposal_conv.conv1x1_contrastive.",
        "moment_iou.": "proposal_conv.conv1x1_iou.",
        "text_encoder.model.": "text_encoder.bert.",
        "sentence_norm.": "text_encoder.layernorm.",
        "sentence_iou.": "text_encoder.fc_out1.",
        "sentence_contrastive.": "text_encoder.fc_out2.",
    }
    state = {}
    for name, tensor in model.state_dict().items():
        for own, official in names.items():
            if name.startswith(own):
                name = official + name.removeprefix(own)
        if name.startswith("map_conv.layers."):
            index, kind, rest = name.removeprefix("map_conv.layers.").split(".")
            name = f"proposal_conv.{ {'conv': 'convs', 'norm': 'bn'}[kind] }.{index}.{rest}"
        state[name] = tensor
    return state


@pytest.fixture
def official():
    from transformers import DistilBertConfig

    bert = {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 16, "vocab_size": 30, "max_position_embeddings": 16}
    model = tiny(text_config=DistilBertConfig(**bert))
    c = model.config
    loss = {"MIN_IOU": 0.5, "MAX_IOU": 1.0, "NUM_POSTIVE_VIDEO_PROPOSAL": 1, "NEGATIVE_VIDEO_IOU": 0.5}
    loss |= {"SENT_REMOVAL_IOU": 0.5, "TAU_VIDEO": 0.1, "TAU_SENT": 0.1, "MARGIN": 0.4, "CONTRASTIVE_WEIGHT": 0.05}
    mmn = {
        "NUM_CLIPS": c.num_clips,
        "JOINT_SPACE_SIZE": c.joint_size,
        "FEATPOOL": {"INPUT_SIZE": c.feature_dim, "HIDDEN_SIZE": c.hidden_size, "KERNEL_SIZE": c.pool_kernel_size},
        "FEAT2D": {"NAME": "pool", "POOLING_COUNTS": list(c.pooling_counts)},
        "PREDICTOR": {
            "HIDDEN_SIZE": c.conv_hidden_size,
            "KERNEL_SIZE": c.conv_kernel_size,
            "NUM_STACK_LAYERS": c.num_conv_layers,
        },
        "LOSS": loss,
    }
    tree = {"MODEL": {"MMN": mmn}, "INPUT": {"NUM_PRE_CLIPS": 16}, "TEST": {"CONTRASTIVE_SCORE_POW": 0.5}}
    return model, official_state(model), {"cfg": tree, "bert": bert}


def test_conversion_refuses_what_does_not_fit(official):
    model, state, config = official
    wrapped = {f"module.{name}": tensor for name, tensor in reversed(state.items())}
    wrapped["module.text_encoder.bert.embeddings.position_ids"] = torch.arange(16)
    converted = convert_official_checkpoint(wrapped, config)
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), converted.state_dict().values(), strict=True)
    )
    missing = {k: v for k, v in state.items() if k != "featpool.conv.bias"}
    with pytest.raises(ModelError, match="missing: clip_pooling.projection.bias"):
        convert_official_checkpoint(missing, config)
    with pytest.raises(ModelError, match="unexpected: extra.weight"):
        convert_official_checkpoint({**state, "extra.weight": torch.zeros(1)}, config)
    turned = {**state, "text_encoder.fc_out1.weight": state["text_encoder.fc_out1.weight"].T}
    with pytest.raises(ModelError, match="another shape: text_encoder.fc_out1.weight"):
        convert_official_checkpoint(turned, config)
    with pytest.raises(ModelError, match="FEAT2D"):
        bad = {
            "cfg": {**config["cfg"], "MODEL": {"MMN": {**config["cfg"]["MODEL"]["MMN"], "FEAT2D": {"NAME": "conv"}}}}
        }
        convert_official_checkpoint(state, bad)
    assert rename_official("text_encoder.bert.embeddings.position_ids") is None


def test_the_form_of_the_convolution_is_the_configurations():
    batch = tiny_batch()
    seen = {}
    for form in ("strips", "dense"):
        model = tiny(map_convolution=form)
        assert model.map_conv.implementation == form
        seen[form] = model(**batch, output_intermediates=True)
    assert torch.allclose(seen["strips"].scores, seen["dense"].scores, atol=1e-5)
    assert seen["strips"].video_state.bn_out is None and len(seen["dense"].video_state.bn_out) == 2


def test_options_of_the_map_are_the_configurations(tmp_path):
    plain = tiny()
    model = tiny(map_options=["fold_norm", "channels_last"])
    assert model.map_conv.options == ("fold_norm", "channels_last") and plain.map_conv.options == ()
    model.save_pretrained(tmp_path)
    loaded = MMNForVideoGrounding.from_pretrained(tmp_path)
    assert loaded.map_conv.options == model.map_conv.options
    assert torch.allclose(loaded(**tiny_batch()).scores, plain(**tiny_batch()).scores, atol=1e-5)
    with pytest.raises(ModelError, match="fastest.*known are"):
        tiny(map_options=["fastest"])


def test_targets_are_not_rounded_to_the_models_half_precision():
    batch = tiny_batch()
    arguments = batch["labels"], batch["sentence_mask"]
    exact, half = tiny().build_targets(*arguments), tiny().bfloat16().build_targets(*arguments)
    assert torch.equal(exact["iou2d"], half["iou2d"]) and torch.equal(exact["sentence_iou"], half["sentence_iou"])


def test_an_official_configuration_is_read_whole_or_refused():
    from .toy_golden import official_config

    def without(*path):
        config = official_config()
        branch = config
        for key in path[:-1]:
            branch = branch[key]
        del branch[path[-1]]
        return config

    assert config_from_official(official_config()["cfg"]).text_config.dropout == 0.1
    for path in (("cfg", "TEST"), ("cfg", "MODEL", "MMN", "LOSS", "MARGIN"), ("cfg", "INPUT", "NUM_PRE_CLIPS")):
        with pytest.raises(ModelError, match=path[-1]):
            config_from_official(without(*path))
    loss = official_config()["cfg"]["MODEL"]["MMN"]["LOSS"]
    with pytest.raises(ModelError, match="conv_strides"):
        config_from_official({"model": {"num_clips": 16, "conv_strides": 2}, "loss": loss})
