"""The parity check: its rules on tiny fixtures, and the published codes' golden folders."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from hf_vtg.models.mmn import conversion_mmn
from hf_vtg.testing.parity.check import check_folder
from hf_vtg.testing.parity.comparing import COMPARED, EXCEPTED, FAILED, Report, build_mask, elementwise, number
from hf_vtg.testing.parity.curve import field_bounds
from hf_vtg.testing.parity.decoding import report_longer_lists
from hf_vtg.testing.parity.gradients import statistics_rows
from hf_vtg.testing.parity.manifest import GoldenFolder, ParityError, find_entry, leaves, match, substitute
from hf_vtg.testing.parity.method import load_method, one_sample, override_targets
from hf_vtg.testing.parity.session import set_mode, without_dropout
from scripts.check_parity import main
from scripts.lab.mutations import Mutation, check_mutated, plan_mutations

from .toy_golden import write_toy

# Folder -> what is compared at the least.
FOLDERS = {
    "clear/dev": 400,
    "hisa/curve": 2700,
    "hisa/dev": 370,
    "ianet/curve": 2000,
    "ianet/dev": 570,
    "ianet/eval": 250,
    "ianet/preprocess": 55,
    "mmn/curve": 400,
    "mmn/dev": 400,
    "mmn/dev/multiscale": 400,
    "tan2d/conv": 90,
    "tan2d/pool": 45,
}
KINDS = ("weight", "mask", "flag")
MUTATED = (
    *(("clear/dev", kind) for kind in KINDS),
    *(("hisa/dev", kind) for kind in KINDS),
    ("hisa/curve", "flag"),
    *(("ianet/dev", kind) for kind in KINDS),
    ("ianet/curve", "weight"),
    ("ianet/eval", "input"),
    ("ianet/preprocess", "input"),
    *(("mmn/dev/multiscale", kind) for kind in KINDS),
    ("mmn/curve", "weight"),
    *((f"tan2d/{proposals}", kind) for proposals in ("conv", "pool") for kind in KINDS),
)


@pytest.fixture(scope="module")
def toy_source(tmp_path_factory):
    folder = tmp_path_factory.mktemp("toy")
    write_toy(folder)
    return folder


@pytest.fixture
def toy(toy_source, tmp_path):
    """A private copy of the toy folder."""
    for file in toy_source.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    return tmp_path


def edit_json(path, change):
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def edit_tensors(path, change):
    tensors = {name: tensor.clone() for name, tensor in load_file(path).items()}
    change(tensors)
    save_file(tensors, path)


def failed_names(report):
    return [row.name for row in report.failures()]


# Matching


@pytest.mark.parametrize(
    ("pattern", "text", "groups"),
    [
        ("a.b", "a.b", ()),
        ("a.b", "axb", None),
        ("queries.*", "queries.0.1", ("0.1",)),
        ("*.net.0.*", "x.3.net.0.weight.g", ("x.3", "weight.g")),
        ("action*", "action", ("",)),
        ("loss", "loss_vid", None),
    ],
)
def test_star_matches_dots_and_nothing_else_is_special(pattern, text, groups):
    assert match(pattern, text) == groups


def test_first_matching_entry_decides_and_paths_cover_what_is_below():
    entries = [{"name": "a.1"}, {"pattern": "a.*", "atol": 1}, {"pattern": "*", "atol": 2}]
    assert find_entry(entries, "a.1") == (entries[0], ())
    assert find_entry(entries, "a.2") == (entries[1], ("2",))
    assert find_entry(entries[:2], "b") is None
    assert find_entry(["train.total"], "train.total_late") is None
    assert find_entry(["train.total"], "train.total.0") is not None
    assert find_entry([{"path": "decode.*.n_kept"}], "decode.0.1.n_kept")[1] == ("0.1",)
    assert find_entry([{"tensors": ["*.x", "*.y"]}], "k.y")[1] == ("k",)


def test_substitution_and_leaves():
    assert substitute("outputs:w.{0}.{1}", ("3", "b")) == "outputs:w.3.b"
    assert dict(leaves({"a": [{"b": 1}, 2], "c": {}, "d": None})) == {"a.0.b": 1, "a.1": 2, "d": None}


def test_folder_reads_half_precision_aliases_and_later_weights(tmp_path):
    save_file({"a": torch.ones(2).half(), "b": torch.zeros(1)}, tmp_path / "one.safetensors")
    save_file({"b": torch.ones(1)}, tmp_path / "two.safetensors")
    manifest = {
        "schema": 1,
        "method": "mmn",
        "kind": "decoding",
        "weights": ["one.safetensors", "two.safetensors"],
        "aliases": {"net.*.x.*": "conv{0}.{1}"},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (tmp_path / "stray.txt").write_text("?")
    (tmp_path / "README.md").write_text("how it was made")
    folder = GoldenFolder(tmp_path)
    assert folder.weights["a"].dtype == torch.float32 and folder.weights["b"].item() == 1
    assert folder.canonical("net.2.x.weight") == "conv2.weight" and folder.canonical("other") == "other"
    assert folder.stray_files() == ["stray.txt"]


def test_unusable_folders_are_named(tmp_path, capsys):
    with pytest.raises(ParityError, match="no manifest.json"):
        GoldenFolder(tmp_path)
    (tmp_path / "manifest.json").write_text(json.dumps({"schema": 2, "kind": "forward", "method": "mmn"}))
    with pytest.raises(ParityError, match="schema 2"):
        GoldenFolder(tmp_path)
    with pytest.raises(ParityError, match="'nosuch' of the manifest is not implemented"):
        load_method("nosuch")
    assert main([str(tmp_path)]) == 2
    assert "schema 2" in capsys.readouterr().err


# Tolerances and masks


def compare(ours, stored, **bounds):
    return elementwise("group", "name", torch.as_tensor(ours), torch.as_tensor(stored), **bounds)


def test_bound_is_elementwise_and_relative_to_the_stored_value():
    assert compare([1.0, 100.09], [1.0, 100.0], atol=0.0, rtol=1e-3).verdict == COMPARED
    row = compare([1.002, 100.09], [1.0, 100.0], atol=0.0, rtol=1e-3)
    assert row.verdict == FAILED and row.diff == pytest.approx(0.002, rel=1e-3) and "1 of 2" in row.note
    assert compare([0.0], [1e-9]).verdict == FAILED


def test_nan_and_shape_never_pass():
    nan, inf = float("nan"), float("inf")
    assert compare([nan], [1.0], atol=1e9).verdict == FAILED
    assert compare([nan], [nan], atol=1e9).verdict == FAILED
    assert compare([inf], [1.0], atol=1.0).verdict == FAILED
    assert compare([1.0], [inf], rtol=1.0).verdict == FAILED
    assert compare([inf, -inf], [inf, -inf]).verdict == COMPARED
    assert compare([[1.0]], [1.0], atol=1.0).verdict == FAILED


def test_integers_are_exact_whatever_the_bound():
    assert compare([1, 2], [1, 3], atol=5.0).verdict == FAILED
    assert compare([1, 2], [1, 2]).verdict == COMPARED
    assert compare([True], torch.tensor([1], dtype=torch.uint8)).verdict == COMPARED
    assert compare([1.0], [1], atol=5.0).verdict == FAILED


def test_masks_lie_on_their_dimensions():
    stored = {
        "outputs:m.0": torch.tensor([[1, 0], [0, 1]]),
        "inputs:n.0": torch.tensor([1, 3, 0]),
        "inputs:f": torch.tensor([0.0, 1.0, 1.0]),
    }

    def mask(shape, *rules):
        return build_mask(list(rules), torch.Size(shape), ("0",), stored.__getitem__)

    cells = mask((3, 2, 2), {"tensor": "outputs:m.{0}", "dims": [-2, -1]})
    assert cells.tolist() == [[[True, False], [False, True]]] * 3
    swapped = mask((2, 3, 2), {"tensor": "outputs:m.0", "dims": [2, 0]})
    assert swapped[:, 1].tolist() == [[True, False], [False, True]]
    lengths = {"lengths": "inputs:n.{0}", "dims": [0, 1]}
    assert mask((3, 4), lengths).sum(1).tolist() == [1, 3, 0]
    both = mask((3, 4), lengths, {"tensor": "inputs:f", "dims": [0]})
    assert both.sum(1).tolist() == [0, 3, 0]
    assert build_mask(None, torch.Size((2,)), (), stored.__getitem__) is None
    with pytest.raises(ParityError, match="does not lie on"):
        mask((3, 5), {"tensor": "inputs:f", "dims": [1]})


def test_masked_entries_do_not_count_and_an_empty_mask_is_no_success():
    keep = torch.tensor([True, False])
    assert compare([1.0, 9.0], [1.0, 2.0], mask=keep).verdict == COMPARED
    assert compare([9.0, 2.0], [1.0, 2.0], mask=keep).verdict == FAILED
    assert compare([9.0, 9.0], [1.0, 2.0], mask=torch.tensor([False, False])).verdict == EXCEPTED


def test_json_values():
    nan = float("nan")
    assert number("g", "n", 1.0, 1.001, {"rtol": 1e-2}).verdict == COMPARED
    assert number("g", "n", 1.0, 1.001, {"rtol": 1e-4}).verdict == FAILED
    assert number("g", "n", 5, 6, {"exact": True, "atol": 3}).verdict == FAILED
    assert number("g", "n", None, None, {"rtol": 1.0}).verdict == COMPARED
    assert number("g", "n", None, 1.0, {"rtol": 1.0}).verdict == FAILED
    assert number("g", "n", 1.0, None, {"rtol": 1.0}).verdict == FAILED
    assert number("g", "n", True, False, {"rtol": 9.0}).verdict == FAILED
    assert number("g", "n", nan, nan, {"expect": "nan"}).verdict == COMPARED
    assert number("g", "n", 1.0, nan, {"expect": "nan"}).verdict == FAILED
    assert number("g", "n", 1.0, nan, {"expect": "nan", "optional": True}).verdict == EXCEPTED


def test_gradient_statistics_follow_the_rule_of_the_readme():
    grad = torch.tensor([3.0, 4.0, 0.0, 0.0])
    stored = {"norm": 5.0, "sum": 7.0, "absmax": 4.0, "sample_idx": [0, 2], "sample": [3.0, 0.0], "shape": [4]}

    def verdicts(**changes):
        rows = statistics_rows("g", "w", grad, {**stored, **changes}, relative=1e-3, floor=0.0)
        return {row.name: row.verdict for row in rows}

    assert set(verdicts().values()) == {COMPARED} and len(verdicts()) == 4
    # Bounds: 5e-3 on norm and largest entry, 1e-2 on the sum, 1e-2 * max(2.5, |sample|) on samples.
    assert verdicts(norm=5.006)["w.norm"] == FAILED
    assert verdicts(sum=7.009)["w.sum"] == COMPARED and verdicts(sum=7.011)["w.sum"] == FAILED
    assert verdicts(absmax=4.006)["w.absmax"] == FAILED
    assert verdicts(sample=[3.02, 0.02])["w.sample"] == COMPARED
    assert verdicts(sample=[3.0, 0.026])["w.sample"] == FAILED


# Inputs and modes


def test_one_sample_is_trimmed_to_its_lengths_by_role():
    inputs = {"v": torch.arange(24.0).reshape(2, 3, 4), "n": torch.tensor([3, 2]), "w": torch.ones(2, 5, 1)}
    inputs |= {"m": torch.tensor([[1, 1, 1, 0, 0], [1, 0, 0, 0, 0]]), "t": torch.tensor([7, 8])}
    entries = [
        {"name": "v", "role": "video_features"},
        {"name": "n", "role": "video_mask"},
        {"name": "w", "role": "inputs_embeds"},
        {"name": "m", "role": "attention_mask"},
        {"name": "t", "role": "target"},
    ]
    sample = one_sample(object(), inputs, entries, 1)
    assert {name: tuple(t.shape) for name, t in sample.items()} == {
        "v": (1, 2, 4),
        "n": (1,),
        "w": (1, 1, 1),
        "m": (1, 1),
        "t": (1,),
    }
    assert torch.equal(sample["v"][0], inputs["v"][1, :2])


def test_targets_are_overridden_on_a_copy():
    inputs = {"end": torch.tensor([5, 6]), "start": torch.tensor([1, 2])}
    changed = override_targets(inputs, "end[0] = start[0]; start[1] = 0")
    assert changed["end"].tolist() == [1, 6] and changed["start"].tolist() == [1, 0]
    assert inputs["end"].tolist() == [5, 6]
    assert override_targets(inputs, {"end": 3})["end"].tolist() == [3, 3]
    with pytest.raises(ParityError, match="not understood"):
        override_targets(inputs, "nosuch[0] = 1")


def test_modes_and_dropout():
    config = conversion_mmn.MMNConfig(
        hidden_size=8,
        conv_hidden_size=8,
        joint_size=4,
        feature_dim=4,
        num_conv_layers=2,
        text_config={"model_type": "distilbert", "dim": 8, "n_layers": 1, "n_heads": 2, "hidden_dim": 8},
    )
    model = conversion_mmn.MMNForVideoGrounding(config)
    assert any(m.p > 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
    without_dropout(model)
    assert all(m.p == 0 for m in model.modules() if isinstance(m, torch.nn.Dropout))
    assert model.config.text_config.attention_dropout == 0
    norm = model.map_conv.layers[0].norm
    set_mode(model, "bn_eval")
    assert model.training and not norm.training
    set_mode(model, "train")
    assert norm.training
    set_mode(model, "eval")
    assert not model.training and not norm.training
    with pytest.raises(ParityError, match="'sleep'"):
        set_mode(model, "sleep")


def test_curve_fields_are_bound_by_the_lists_of_the_manifest():
    settings = {
        "loss_fields": ["loss", "special"],
        "norm_fields": ["grad_norm"],
        "exact_fields": ["stage"],
        "close_fields": {"lr": {"rtol": 1e-6}},
        "distance_field": "far",
    }
    bounds = {"loss": {"rtol": 1e-4}, "special": {"atol": 1.0}, "grad_norm": {"rtol": 1e-3}}
    bounds["distance"] = {"a": {"rtol": 1e-2}}
    assert field_bounds(settings, bounds, "loss")["rtol"] == 1e-4
    assert field_bounds(settings, bounds, "special")["atol"] == 1.0
    assert field_bounds(settings, bounds, "lr.base") == {"rtol": 1e-6}
    assert field_bounds(settings, bounds, "far.a")["rtol"] == 1e-2
    assert field_bounds(settings, {**bounds, "distance": {"rtol": 1e-8}}, "far.b")["rtol"] == 1e-8
    assert field_bounds(settings, bounds, "stage") == {"exact": True}
    assert field_bounds(settings, bounds, "unheard_of") is None


# A whole folder, written by plain calls of a tiny model


def test_toy_folder_agrees_and_everything_in_it_is_accounted_for(toy):
    report = check_folder(toy)
    assert failed_names(report) == []
    names = {row.name for row in report.rows}
    assert set(load_file(toy / "outputs.safetensors")) <= names
    expected = {f"losses.json:{path}" for path, _ in leaves(json.loads((toy / "losses.json").read_text()))}
    assert expected <= names
    assert set(load_file(toy / "grads.safetensors")) <= names
    assert report.inputs == 2 + 3 * 2


def test_what_matches_nothing_is_an_error(toy):
    edit_tensors(toy / "outputs.safetensors", lambda t: t.update(unknown=torch.zeros(1)))
    edit_tensors(toy / "inputs.safetensors", lambda t: t.update(riddle=torch.zeros(1)))
    edit_tensors(toy / "grads.safetensors", lambda t: t.update(ghost=torch.zeros(1)))
    edit_json(toy / "losses.json", lambda c: c.update(mystery=1.0))
    (toy / "left_over.json").write_text("{}")
    found = failed_names(check_folder(toy))
    assert {"unknown", "riddle", "ghost", "losses.json:mystery", "left_over.json"} == set(found)
    assert main([str(toy)]) == 1


def test_what_we_do_not_produce_is_an_error_unless_optional(toy):
    entries = [{"name": "a", "step": "ground", "atol": 1.0}, {"name": "b", "optional": True, "why": "fused"}]
    edit_tensors(toy / "outputs.safetensors", lambda t: t.update(a=torch.zeros(1), b=torch.zeros(1)))
    edit_json(toy / "manifest.json", lambda m: m["forward"][0]["tensors"].extend(entries))
    edit_json(toy / "losses.json", lambda c: c.update(eval={**c["eval"], "loss_new": 1.0}))
    report = check_folder(toy)
    assert set(failed_names(report)) == {"a", "losses.json:eval.loss_new"}
    assert [row.note for row in report.rows if row.name == "b"] == ["optional, not computed: fused"]


@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("outputs", "pooled_feats"),
        ("outputs", "map2d_iou"),
        ("outputs", "topk_index.0"),
        ("alone", "scores2d.0.1"),
        ("inputs", "iou2d.1"),
        ("grads", "proposal_conv.convs.0.weight"),
        ("grads", "text_encoder.bert.embeddings.word_embeddings.weight"),
        ("grads", "text_encoder.fc_out1.weight::0:2"),
    ],
)
def test_a_changed_tensor_is_noticed(toy, file, name):
    def change(tensors):
        tensor = tensors[name]
        valid = tensor.abs() if tensor.is_floating_point() else torch.ones_like(tensor)
        tensor.view(-1)[int(valid.flatten().argmax())] += 1 if not tensor.is_floating_point() else 0.01

    edit_tensors(toy / f"{file}.safetensors", change)
    assert any(found.split(" ")[0] == name for found in failed_names(check_folder(toy)))


def test_a_masked_cell_is_not_compared(toy):
    def change(tensors):
        tensors["map2d_iou"][:, :, 2, 0] = 9.0
        tensors["bert_last_hidden.0"][0, 3:] = float("nan")

    edit_tensors(toy / "outputs.safetensors", change)
    assert failed_names(check_folder(toy)) == []


def test_losses_are_computed_under_the_overrides_that_the_method_names(toy, monkeypatch):
    named = {"loss_sent": {"intra_video_mask": "exclude"}}
    monkeypatch.setattr(conversion_mmn, "GOLDEN_LOSS_OVERRIDES", named, raising=False)
    assert failed_names(check_folder(toy)) == ["losses.json:eval.loss_sent"]


def test_a_list_with_a_row_more_than_the_stored_one_is_wrong():
    stored = {"d.0.kept.0.0": 1.0, "d.0.kept.0.1": 2.0, "d.0.n": 1}
    report = Report("title")
    report_longer_lists(report, "f", stored, {**stored, "d.0.other.0.0": 1.0, "d.0.extra": 3})
    assert not report.failures()
    report_longer_lists(report, "f", stored, {**stored, "d.0.kept.1.0": 3.0})
    assert failed_names(report) == ["f:d.0.kept.1.0"]


@pytest.mark.parametrize(
    "path", ["eval.total", "eval.loss_iou", "alone.1.loss_iou", "exclude.loss_sent", "fp64.loss_vid"]
)
def test_a_changed_loss_is_noticed(toy, path):
    def change(content):
        *parents, leaf = path.split(".")
        for key in parents:
            content = content[int(key) if isinstance(content, list) else key]
        content[leaf] *= 1 + 2e-5 if "fp64" not in path else 1 + 1e-9

    edit_json(toy / "losses.json", change)
    assert failed_names(check_folder(toy)) == [f"losses.json:{path}"]


def test_a_gradient_that_is_not_stored_is_noticed(toy):
    edit_tensors(toy / "grads.safetensors", lambda t: t.pop("featpool.conv.bias"))
    assert failed_names(check_folder(toy)) == ["featpool.conv.bias"]


def test_a_loaded_model_with_other_weights_is_noticed(toy, monkeypatch):
    convert = conversion_mmn.convert_official_checkpoint

    def careless(*args, **kwargs):
        model = convert(*args, **kwargs)
        with torch.no_grad():
            model.sentence_iou.bias += 1e-3
        return model

    monkeypatch.setattr(conversion_mmn, "convert_official_checkpoint", careless)
    names = failed_names(check_folder(toy))
    assert "text_encoder.fc_out1.bias" in names and "sent_iou.0" in names


def test_overrides_must_be_fields_of_the_configuration(toy):
    edit_json(toy / "manifest.json", lambda m: m["losses"][2].update(overrides={"no_such_flag": 1}))
    with pytest.raises(ParityError, match="no_such_flag"):
        check_folder(toy)


def test_every_mutation_of_the_toy_is_caught(toy, capsys):
    assert main(["--mutate", str(toy)]) == 1
    shown = capsys.readouterr().out
    assert shown.count("caught    ") == 3 and "UNNOTICED" not in shown


def test_blindness_is_said_aloud(toy, monkeypatch, capsys):
    monkeypatch.setattr(Mutation, "drop", lambda self, batch: batch)
    assert main(["--mutate", str(toy)]) == 2
    shown = capsys.readouterr().out
    assert "UNNOTICED  mask: attention_mask" in shown and "BLIND" in shown


def test_mutations_prove_nothing_where_the_comparison_fails_anyway(toy, capsys):
    edit_json(toy / "losses.json", lambda c: c.update(mystery=1.0))
    assert main(["--mutate", str(toy)]) == 3


def test_what_is_gone_from_a_folder_fails(toy):
    outputs = load_file(toy / "outputs.safetensors")
    entries = json.loads((toy / "manifest.json").read_text())["forward"][0]["tensors"]
    named = next(e["name"] for e in entries if e.get("name") not in (None, "mask2d"))
    save_file({name: tensor for name, tensor in outputs.items() if name != named}, toy / "outputs.safetensors")
    assert [row.name for row in check_folder(toy).failures()] == [named]
    save_file(outputs, toy / "outputs.safetensors")
    (toy / "losses.json").write_text("{}")
    failures = check_folder(toy).failures()
    assert failures and {row.group for row in failures} == {"losses"}


def test_last_line_is_the_summary(toy, capsys):
    assert main([str(toy)]) == 0
    last = capsys.readouterr().out.strip().splitlines()[-1]
    report = check_folder(toy)
    assert last == report.summary()
    assert last == f"{len(report.rows) - report.count(EXCEPTED)} compared, {report.count(EXCEPTED)} excepted, 0 failed"


def test_summary_counts_failures():
    report = Report("title")
    report.failed("g", "n", "why")
    report.excepted("g", "m", "why")
    assert report.summary() == "1 compared, 1 excepted, 1 failed"


# The published code


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize("name", FOLDERS)
def test_published_code(shared, name):
    report = check_folder(shared / "golden" / name)
    assert not report.failures(), [(row.group, row.name, row.diff, row.bound, row.note) for row in report.failures()]
    assert report.count(COMPARED) >= FOLDERS[name]


@pytest.mark.slow
@pytest.mark.needs_shared
@pytest.mark.parametrize(("name", "kind"), MUTATED)
def test_mutations_of_the_published_folders_are_caught(shared, name, kind):
    folder = shared / "golden" / name
    assert check_mutated(folder, plan_mutations(folder)[kind]).failures()


def test_a_damaged_manifest_is_one_message(tmp_path, capsys):
    (tmp_path / "manifest.json").write_text('{"schema": 1,')
    assert main([str(tmp_path)]) == 2
    assert "manifest.json is not JSON" in capsys.readouterr().err
