"""The contract: what the base classes refuse and provide."""

import itertools
import json

import pytest
import torch
from transformers import AutoConfig, BertConfig, BertModel, T5Config

from hf_vtg import AutoModelForVideoGrounding, VideoGroundingPreTrainedModel, WordVectorConfig
from hf_vtg.benchmarks.facts import PUBLISHED as BENCHMARKS
from hf_vtg.configuration import VideoGroundingConfig
from hf_vtg.errors import ModelError
from hf_vtg.layers.padding import restore_sentences, select_sentences
from hf_vtg.layers.recurrent import PackedRecurrent
from hf_vtg.models.mmn.modeling_mmn import masked_mean
from hf_vtg.models.registry import METHODS

from .testers import model_tester

MMNConfig, MMNForVideoGrounding = METHODS["mmn"].config_class, METHODS["mmn"].model_class


OWN = ("encode_video", "encode_sentences", "ground", "build_targets", "compute_losses", "text_state_class")
STEPS_OF_MMN = {name: getattr(MMNForVideoGrounding, name) for name in OWN}


@pytest.mark.parametrize("step", OWN)
def test_a_subclass_without_a_step_is_refused(step):
    steps = {name: value for name, value in STEPS_OF_MMN.items() if name != step}
    with pytest.raises(ModelError, match=step):
        type("Half", (VideoGroundingPreTrainedModel,), {**steps, "config_class": MMNConfig})


def test_a_subclass_without_configuration_is_refused():
    steps = STEPS_OF_MMN
    with pytest.raises(ModelError, match="config_class"):
        type("Bare", (VideoGroundingPreTrainedModel,), steps)
    nameless = type("NamelessConfig", (VideoGroundingConfig,), {})
    with pytest.raises(ModelError, match="model_type"):
        type("Nameless", (VideoGroundingPreTrainedModel,), {**steps, "config_class": nameless})


def test_every_method_is_in_the_auto_class():
    for config_class, model_class in ((m.config_class, m.model_class) for m in METHODS.values()):
        assert AutoModelForVideoGrounding._model_mapping[config_class] is model_class


def test_pretrained_text_weights_enter_on_request(tmp_path):
    text = BertConfig(vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    BertModel(text).save_pretrained(tmp_path)
    config = model_tester("mmn").config()
    model = MMNForVideoGrounding.from_text_pretrained(str(tmp_path), config)
    expected = BertModel.from_pretrained(tmp_path).state_dict()
    actual = model.text_encoder.model.state_dict()
    assert all(torch.equal(actual[name], expected[name]) for name in actual)
    assert isinstance(config.text_config, WordVectorConfig)


def test_tied_weights_of_a_text_model_are_still_tied_after_loading(tmp_path):
    """T5 shares its embeddings; a checkpoint holds them once."""
    tester = model_tester("mmn")
    text = T5Config(vocab_size=40, d_model=16, d_ff=16, num_layers=1, num_heads=2, d_kv=8)
    model = tester.model(text_config=text)
    model.save_pretrained(tmp_path)
    loaded = AutoModelForVideoGrounding.from_pretrained(tmp_path)
    batch = tester.batch(model.config)
    assert loaded.random_weights() == [] and torch.equal(loaded(**batch).scores, model(**batch).scores)
    encoder = loaded.text_encoder.model
    assert encoder.shared.weight is encoder.encoder.embed_tokens.weight


def test_the_word_table_is_frozen_and_guarded():
    model = model_tester("mmn").model()
    assert "text_encoder.model.vectors" not in dict(model.named_parameters())
    with pytest.raises(ModelError, match="vocab_size"):
        model.set_word_vectors(torch.zeros(3, 12))
    with pytest.raises(ModelError, match="NaN"):
        model.set_word_vectors(torch.full_like(model.text_encoder.model.vectors, torch.nan))
    with pytest.raises(ModelError, match="word table"):
        other = BertConfig(
            vocab_size=40, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16
        )
        model_tester("mmn").model(text_config=other).set_word_vectors(torch.zeros(3, 12))


def test_a_misspelt_field_is_reported(caplog):
    model_tester("mmn").config(num_clip=4)
    assert "num_clips" in caplog.text


def test_a_recurrent_encoder_names_a_row_without_a_real_element():
    encoder = PackedRecurrent("gru", 2, 3)
    with pytest.raises(ModelError, match="Row 1 of 2"):
        encoder(torch.zeros(2, 4, 2), torch.tensor([[1, 1, 0, 0], [0, 0, 0, 0]]))
    for row in ([0, 1, 1, 1], [1, 0, 1, 0]):
        with pytest.raises(ModelError, match="Row 1 of 2 has padding before real elements"):
            encoder(torch.zeros(2, 4, 2), torch.tensor([[1, 1, 0, 0], row]))


@pytest.mark.parametrize("lengths", [(4, 4), (4, 2)])
def test_a_recurrent_encoder_keeps_its_precision_under_autocast(lengths):
    """CUDA's kernels would compute in float16, whatever autocast asks for."""
    encoder = PackedRecurrent("lstm", 2, 3, bidirectional=True)
    states, mask = torch.randn(2, 4, 2), torch.arange(4) < torch.tensor(lengths)[:, None]
    expected = encoder(states, mask)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(encoder(states, mask), expected)
        assert encoder(states.bfloat16(), mask).dtype == torch.float32


def test_sentences_are_selected_and_restored():
    mask = torch.tensor([[True, False], [True, True]])
    ids = torch.arange(12).reshape(2, 2, 3)
    rows, tokens, _ = select_sentences(mask, ids, ids >= 0)
    assert rows.tolist() == [[0, 1, 2], [6, 7, 8], [9, 10, 11]]
    restored = restore_sentences(rows, mask)
    assert restored[0, 1].tolist() == [0, 0, 0] and torch.equal(restored[mask], rows)
    mean = masked_mean(torch.tensor([[[1.0], [3.0], [100.0]]]), torch.tensor([[1, 1, 0]]))
    assert mean.item() == 2


@pytest.mark.parametrize("method", METHODS)
def test_a_variant_decides_its_fields_without_a_benchmark_too(method):
    config_class = METHODS[method].config_class
    for variant, fields in config_class.variant_overrides.items():
        config = config_class(variant=variant)
        assert {name: getattr(config, name) for name in fields} == fields


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("benchmark", [None, *BENCHMARKS])
def test_a_saved_configuration_is_read_as_another_variant(tmp_path, method, benchmark):
    config_class = METHODS[method].config_class
    for stored, wanted in itertools.permutations(config_class.variants, 2):
        if benchmark is None:
            saved, expected = config_class(variant=stored), config_class(variant=wanted)
        else:
            saved, expected = (config_class.for_benchmark(benchmark, variant) for variant in (stored, wanted))
        saved.save_pretrained(tmp_path)
        for variant, same in ({}, saved), ({"variant": wanted}, expected):
            read = AutoConfig.from_pretrained(tmp_path, **variant).to_dict()
            assert json.dumps(read | {"_name_or_path": ""}, default=list) == json.dumps(same.to_dict(), default=list)


def test_another_variant_leaves_what_was_set_by_hand(tmp_path):
    CLEARConfig = METHODS["clear"].config_class
    CLEARConfig(decode="release", fine_hidden=64).save_pretrained(tmp_path)
    config = CLEARConfig.from_pretrained(tmp_path, variant="official", tick_convention="inclusive")
    assert (config.decode, config.fine_hidden, config.tick_convention) == ("release", 64, "inclusive")
    assert (config.variant, config.coarse_reduction) == ("official", "sum")
    assert CLEARConfig.from_pretrained(tmp_path, variant="default").decode == "release"


@pytest.mark.parametrize("label", [[5.0, 9.0], [0.6, 0.4], [float("nan"), 0.5], [0.1, float("inf")]])
def test_labels_that_are_no_fractions_are_named(label):
    tester = model_tester("mmn")
    model = tester.model()
    batch = tester.batch(model.config)
    batch["labels"][1, 0] = torch.tensor(label)
    with pytest.raises(ModelError, match="sentence 0 of video 1.*fractions"):
        model(**batch)
    batch["labels"][1, 0] = torch.tensor([0.9, 1.01])
    batch["labels"][~batch["sentence_mask"]] = float("nan")
    assert model(**batch).loss.isfinite()


@pytest.mark.parametrize("method", METHODS)
def test_a_subclass_grounds_as_it_says_whether_losses_follow_or_not(method):
    tester, calls = model_tester(method), []
    parent = METHODS[method].model_class

    def ground(self, *args, **kwargs):
        calls.append(len(calls))
        return parent.ground(self, *args, **kwargs)

    model = tester.model()
    model.__class__ = type("Counting", (parent,), {"ground": ground, "config_class": parent.config_class})
    batch = tester.batch(model.config)
    model(**batch)
    model(**{name: value for name, value in batch.items() if name != "labels"})
    assert len(calls) == 2


@pytest.mark.parametrize("method", METHODS)
def test_a_state_of_other_videos_than_the_text_is_refused(method):
    tester = model_tester(method)
    model = tester.model()
    batch = tester.batch(model.config)
    state = model(**batch).video_state
    text = {name: batch[name][:1] for name in ("input_ids", "attention_mask")}
    with pytest.raises(ModelError, match="video_state is of 3 videos, but the text of 1"):
        model(**text, video_state=state)
