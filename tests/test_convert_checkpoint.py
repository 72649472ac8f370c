"""Official checkpoints become folders that load; what does not fit is refused with a list."""

import dataclasses
import json
import os
import subprocess
import sys
from importlib import import_module

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoProcessor, pipeline

from hf_vtg import AutoModelForVideoGrounding, FeatureSpec, WordVectorConfig, WordVectors
from hf_vtg.benchmarks.facts import BENCHMARKS, PublishedFeatures
from hf_vtg.cli import main
from hf_vtg.errors import ModelError
from hf_vtg.models.checkpoints import Conversion, convert_checkpoint
from hf_vtg.models.registry import METHODS
from hf_vtg.testing.tester import WORDS

from .conftest import ROOT
from .loopback_hub import LoopbackHub

PUBLISHED = [name for name, method in METHODS.items() if method.paper.code]
pytestmark = pytest.mark.needs_shared


class Official:
    """The checkpoint and configuration of a golden folder, in files."""

    def __init__(self, shared, method, folder):
        folders = sorted((shared / "golden" / method).iterdir(), key=lambda path: (path.name != "dev", path.name))
        golden = next(path for path in folders if (path / "state_dict.safetensors").exists())
        self.method, self.folder = method, folder
        self.weights = load_file(golden / "state_dict.safetensors")
        self.config = golden / "config.json"
        module = import_module(f"hf_vtg.models.{method}.conversion_{method}")
        config = module.config_from_official(json.loads(self.config.read_text()))
        self.text = {}
        if isinstance(config.text_config, WordVectorConfig):
            self.text["word_vectors"] = str(folder / "words.npz")
            WordVectors.from_vocabulary(WORDS, config.text_config.hidden_size).save(folder / "words.npz")
        else:
            self.text["text_model"] = str(folder / "tokenizer")
            WordVectors.from_vocabulary(WORDS, 2).build_tokenizer().save_pretrained(folder / "tokenizer")

    def job(self, weights=None, name="official.pth", **fields):
        weights = self.weights if weights is None else weights
        path = self.folder / name
        save_file(weights, path) if name.endswith(".safetensors") else torch.save(weights, path)
        where = {"config": self.config} if "benchmark" not in fields else {}
        return Conversion(self.method, path, self.folder / "out", **{**where, **self.text, **fields})


@pytest.fixture(params=PUBLISHED)
def official(request, shared, tmp_path):
    return Official(shared, request.param, tmp_path)


def test_every_published_method_is_converted():
    assert {name for name, method in METHODS.items() if method.paper.code} == {*METHODS} - {"hscnet"}
    assert all(hasattr(METHODS[name].conversion, "convert_official_checkpoint") for name in PUBLISHED)


@pytest.mark.parametrize("name", ["official.pth", "official.safetensors"])
def test_a_checkpoint_becomes_a_folder_that_grounds(official, name):
    weights = official.weights
    if name == "official.pth":
        # Shuffled, from several processes, beside an optimiser: none of it matters.
        weights = {
            "model": {f"module.{k}": weights[k] for k in reversed(weights)},
            "epoch": 3,
            "optimizer": {"lr": 1.0},
        }
    job = official.job(weights, name)
    converted, _ = convert_checkpoint(job)
    model = AutoModelForVideoGrounding.from_pretrained(job.output)
    expected = converted.state_dict()
    assert model.state_dict().keys() == expected.keys() and model.config.variant == "official"
    assert all(torch.equal(tensor, expected[key]) for key, tensor in model.state_dict().items())
    rename = import_module(f"hf_vtg.models.{official.method}.conversion_{official.method}").rename_official
    compared = {rename(key): tensor for key, tensor in official.weights.items() if rename(key) is not None}
    assert compared
    assert all(torch.equal(expected[key], tensor.reshape(expected[key].shape)) for key, tensor in compared.items())
    processor = AutoProcessor.from_pretrained(job.output)
    assert processor.feature_extractor.spec.dim == model.config.feature_dim
    if job.word_vectors is not None:
        assert torch.equal(model.text_encoder.model.vectors, torch.tensor(WordVectors.load(job.word_vectors).table()))
    card = (job.output / "README.md").read_text()
    assert "import hf_vtg" in card and "Converted from the authors' checkpoint" in card
    features = torch.randn(40, model.config.feature_dim, generator=torch.Generator().manual_seed(0))
    pipe = pipeline("video-grounding", model=str(job.output), device="cpu")
    assert pipe(features, ["a person opens the door"], duration=30.0)[0]


def first_matrix(weights):
    return next(k for k, t in weights.items() if t.dim() == 2 and t.shape[0] != t.shape[1] and 1 not in t.shape)


@pytest.mark.parametrize("spoilt", ["one missing", "one extra", "one transposed", "two missing"])
def test_what_does_not_fit_is_listed(official, spoilt):
    weights = dict(official.weights)
    name = first_matrix(weights)
    names = [name]
    if spoilt == "one extra":
        weights["neck.unheard_of.weight"] = torch.zeros(2)
        names, word = ["neck.unheard_of.weight"], "unexpected"
    elif spoilt == "one transposed":
        weights[name], word = weights[name].T.contiguous(), "of another shape"
    else:
        rename = import_module(f"hf_vtg.models.{official.method}.conversion_{official.method}").rename_official
        others = [k for k in weights if k != name and rename(k) is not None and weights[k].dim() == 2]
        gone = [name, *others[:1]][: 1 if spoilt == "one missing" else 2]
        for key in gone:
            del weights[key]
        names, word = [rename(key) for key in gone], "missing"
    job = official.job(weights)
    with pytest.raises(ModelError, match=word) as found:
        convert_checkpoint(job)
    assert all(key in str(found.value) for key in names)
    assert not job.output.exists()


def test_sizes_of_a_published_experiment(official, monkeypatch):
    """``--benchmark`` takes the sizes of the preset, here those of the golden folder, and the features that fit."""
    config_class = METHODS[official.method].config_class
    module = import_module(f"hf_vtg.models.{official.method}.conversion_{official.method}")
    fields = module.config_from_official(json.loads(official.config.read_text())).to_diff_dict()
    known = set(config_class.__dataclass_fields__) - {"benchmark", "variant"}
    if official.method != "mmn":
        known -= {"text_config"}
    fields = {key: value for key, value in fields.items() if key in known}
    monkeypatch.setitem(config_class.presets, "charades_sta", fields)
    model, processor = convert_checkpoint(official.job(benchmark="charades_sta"))
    assert model.config.benchmark == "charades_sta" and processor.trained_seconds == 194.33
    own = official.folder / "own.json"
    own.write_text(model.config.to_json_string())
    again, _ = convert_checkpoint(official.job(config=own))
    assert all(
        torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True)
    )


def test_features_are_those_of_the_benchmark_that_have_the_width(shared, tmp_path, monkeypatch, caplog):
    official = Official(shared, "hisa", tmp_path)
    config = import_module("hf_vtg.models.hisa.conversion_hisa").config_from_official(
        json.loads(official.config.read_text())
    )
    own = tmp_path / "own.json"
    own.write_text(json.dumps({**json.loads(config.to_json_string()), "benchmark": "charades_sta"}))
    presets = {
        "wider": PublishedFeatures({"backbone": "i3d", "dim": config.feature_dim + 1}),
        "fits": PublishedFeatures({"backbone": "i3d", "dim": config.feature_dim}),
    }
    elsewhere = {"elsewhere": PublishedFeatures({"backbone": "c3d", "dim": config.feature_dim})}
    for name, features in (("charades_sta", presets), ("tacos", elsewhere)):
        monkeypatch.setitem(BENCHMARKS, name, dataclasses.replace(BENCHMARKS[name], features=features))
    assert convert_checkpoint(official.job(config=own))[1].feature_extractor.spec == FeatureSpec(
        backbone="i3d", dim=config.feature_dim
    )
    assert caplog.text == ""
    presets["fits too"] = PublishedFeatures({"backbone": "vgg16", "dim": config.feature_dim})
    assert not convert_checkpoint(official.job(config=own))[1].feature_extractor.spec.is_specified
    assert "Give --features one of charades_vgg" in caplog.text


@pytest.mark.slow
def test_a_conversion_is_published(shared, tmp_path):
    """As a command of its own over HTTP; where the upload fails, the folder is complete."""
    job = Official(shared, "hisa", tmp_path).job()
    command = [sys.executable, "-m", "hf_vtg.cli", "convert", "--method", "hisa", "--config", str(job.config)]
    command += ["--checkpoint", str(job.checkpoint), "--word_vectors", job.word_vectors]
    with LoopbackHub() as hub:
        environment = {**os.environ, **hub.environment(tmp_path / "home")}
        for repo, status in (("org/hisa-charades", 0), ("org/hisa-500", 2)):
            output = tmp_path / repo.split("/")[1]
            run = [*command, "--output", str(output), "--push_to_hub", repo]
            done = subprocess.run(run, capture_output=True, text=True, cwd=ROOT, env=environment)
            assert done.returncode == status and "Traceback" not in done.stderr, done.stderr
            assert type(AutoModelForVideoGrounding.from_pretrained(output)) is METHODS["hisa"].model_class
        assert f"could not be uploaded to {repo}" in done.stderr
        files = hub.files("org/hisa-charades")
    local = {path.name: path.read_bytes() for path in (tmp_path / "hisa-charades").iterdir()}
    # What huggingface_hub adds of its own.
    assert (
        files == {**local, ".gitattributes": files[".gitattributes"]}
        and b'model="org/hisa-charades"' in files["README.md"]
    )


def test_settings_that_are_wrong(shared, tmp_path):
    official = Official(shared, "hisa", tmp_path)
    wrong = [
        ({"word_vectors": None}, "--word_vectors"),
        ({"config": None}, "either --benchmark"),
        ({"config": tmp_path / "no.yaml"}, "no.yaml"),
        ({"method": "hscnet"}, "no code"),
        ({"method": "hissa"}, "Known: "),
        ({"benchmark": "charades"}, "charades_sta"),
        ({"features": "charades_i3"}, "charades_i3d"),
    ]
    job = official.job()
    for fields, message in wrong:
        both = {} if "benchmark" not in fields else {"config": None}
        with pytest.raises(ValueError, match=message):
            convert_checkpoint(Conversion(**{**vars(job), **both, **fields}))
    assert not job.output.exists()


def test_script_prints_one_line_and_returns_two(shared, tmp_path, capsys):
    official = Official(shared, "ianet", tmp_path)
    job = official.job()
    arguments = ["--method", "ianet", "--config", str(job.config), "--word_vectors", job.word_vectors]
    arguments += ["--output", str(job.output)]
    assert main(["convert", *arguments, "--checkpoint", str(job.checkpoint)]) == 0
    assert "IANetForVideoGrounding" in capsys.readouterr().out
    assert main(["convert", *arguments, "--checkpoint", "no.pth"]) == 2
    assert capsys.readouterr().err.count("\n") == 1
