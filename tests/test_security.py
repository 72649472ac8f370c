"""What comes from outside runs nothing: no pickles, no code of the Hub, no paths out of a folder, no archives."""

import ast
import json
import os
import pickle
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoModel, pipeline

from hf_vtg import AutoModelForVideoGrounding, FeatureStore, HFVTGError, VideoEncoder, WordVectors, load_benchmark
from hf_vtg.errors import FeatureError, ModelError
from hf_vtg.models.checkpoints import read_checkpoint
from hf_vtg.models.registry import METHODS
from hf_vtg.pipeline import load_pipeline
from hf_vtg.video.cache import FeatureCache

from .conftest import ROOT
from .testers import TESTERS
from .vision_models import save_vision_model


class Malicious:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


@pytest.fixture
def trap(tmp_path):
    """A path that is there only after code of a file has run; the trap itself is known to work."""
    path = tmp_path / "trap"
    pickle.loads(pickle.dumps(Malicious(path)))
    assert path.is_dir()
    path.rmdir()
    yield path
    assert not path.exists()


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    tester = TESTERS["mmn"]()
    model = tester.model()
    model.save_pretrained(folder)
    tester.processor(model.config).save_pretrained(folder)
    return folder


@pytest.mark.parametrize("name", ["official.pth", "official.bin", "official.pt"])
def test_official_checkpoints_are_not_unpickled(trap, tmp_path, name):
    torch.save({"model": {"weight": Malicious(trap)}}, tmp_path / name)
    with pytest.raises(ModelError, match="could run any code"):
        read_checkpoint(tmp_path / name)
    (tmp_path / name).write_bytes(pickle.dumps(Malicious(trap), protocol=2))
    with pytest.raises(ModelError, match=name):
        read_checkpoint(tmp_path / name)


def test_what_is_no_checkpoint_is_named(tmp_path):
    for content in (b"", b"no tensors", b"PK\x03\x04 half a zip"):
        for file in ("a.pth", "a.safetensors"):
            (tmp_path / file).write_bytes(content)
            with pytest.raises(ModelError, match=file):
                read_checkpoint(tmp_path / file)
    with pytest.raises(ModelError, match="no such"):
        read_checkpoint(tmp_path / "b.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ModelError, match="list without weights"):
        read_checkpoint(tmp_path / "list.pth")


@pytest.mark.parametrize("method", METHODS)
def test_a_model_folder_is_not_unpickled(method, trap, tmp_path):
    tester = TESTERS[method]()
    model = tester.model()
    folder = tmp_path / "model"
    model.save_pretrained(folder)
    tester.processor(model.config).save_pretrained(folder)
    (folder / "model.safetensors").unlink()
    torch.save({name: Malicious(trap) for name in model.state_dict()}, folder / "pytorch_model.bin")
    for load in (
        AutoModelForVideoGrounding.from_pretrained,
        METHODS[method].model_class.from_pretrained,
        load_pipeline,
    ):
        with pytest.raises(ModelError, match=str(folder)):
            load(folder)


def test_a_vision_model_is_not_unpickled(trap, tmp_path):
    folder = save_vision_model("vit", tmp_path / "vit")
    (folder / "model.safetensors").unlink()
    torch.save({"embeddings.cls_token": Malicious(trap)}, folder / "pytorch_model.bin")
    with pytest.raises(HFVTGError, match=str(folder)):
        VideoEncoder(folder)


def test_arrays_of_objects_are_not_unpickled(trap, tmp_path):
    objects = np.array([Malicious(trap)], dtype=object)
    np.savez(tmp_path / "features.npz", v=objects)
    np.savez(tmp_path / "words.npz", words=objects, vectors=objects)
    (tmp_path / "folder").mkdir()
    np.save(tmp_path / "folder" / "v.npy", objects)
    for path in (tmp_path / "features.npz", tmp_path / "folder"):
        with pytest.raises(FeatureError):
            FeatureStore(path)["v"]
    with pytest.raises(HFVTGError, match="words.npz"):
        WordVectors.load(tmp_path / "words.npz")


CODE = "import os\nos.mkdir({trap!r})\nfrom transformers import PreTrainedConfig as C, PreTrainedModel as M\n"


@pytest.mark.parametrize("model_type", ["mmn", "never_heard_of"])
def test_no_code_of_a_repository_runs(model_type, trap, model_folder, tmp_path):
    """A method of ours is loaded without the repository's code; an unknown one is refused. Nobody is asked."""
    folder = tmp_path / "repository"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": model_type, "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(CODE.format(trap=str(trap)))
    loads = (
        AutoModelForVideoGrounding.from_pretrained,
        load_pipeline,
        lambda f: pipeline("video-grounding", model=str(f), trust_remote_code=False),
    )
    for load in loads:
        if model_type == "mmn":
            load(folder)
        else:
            with pytest.raises(ValueError, match="trust_remote_code"):
                load(folder)


def test_no_code_of_a_vision_model_runs(trap, tmp_path):
    folder = save_vision_model("vit", tmp_path / "vit")
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "never_heard_of", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "code.py").write_text(CODE.format(trap=str(trap)))
    with pytest.raises(ModelError, match="trust_remote_code"):
        VideoEncoder(folder)


OUTSIDE = ["../secret", "/../secret", "a/../../secret", "..", "../secret.npy"]


@pytest.mark.parametrize("video_id", OUTSIDE)
def test_ids_do_not_lead_out_of_a_folder_of_features(video_id, tmp_path):
    np.save(tmp_path / "secret.npy", np.ones((3, 4), np.float32))
    (tmp_path / "features").mkdir()
    np.save(tmp_path / "features" / "v.npy", np.ones((3, 4), np.float32))
    store = FeatureStore(tmp_path / "features")
    assert "v" in store and video_id not in store
    with pytest.raises(FeatureError):
        store[video_id]


def test_templates_do_not_lead_out_of_a_folder_of_features(tmp_path):
    np.save(tmp_path / "secret.npy", np.ones((3, 4), np.float32))
    (tmp_path / "features").mkdir()
    with pytest.raises(FeatureError, match="holds no video that fits"):
        FeatureStore(tmp_path / "features", key_template="../{video_id}.npy")["secret"]


def test_names_do_not_lead_out_of_the_cache(tmp_path):
    video = tmp_path / "..%2f..%2fescape.mp4"
    video.write_bytes(b"content")
    cache = FeatureCache(tmp_path / "cache")
    for settings in ({"backbone": "../../escape"}, {"backbone": "/etc/passwd"}):
        path = cache.path(video, settings)
        assert path.resolve().is_relative_to(cache.root.resolve())
        assert path.stem.isalnum() and "escape" not in str(path.relative_to(cache.root))


@pytest.mark.parametrize("name", ["org/../../escape", "../escape", "a/b/c", "org/na me", "org/..", "file:///etc"])
def test_ids_of_models_do_not_lead_out_of_the_cache(name, tmp_path):
    for load in (AutoModelForVideoGrounding.from_pretrained, VideoEncoder):
        with pytest.raises(ValueError):
            load(name)


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_archives_are_not_unpacked(kind, tmp_path):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "train.jsonl").write_text("{}")
    archive = shutil.make_archive(str(tmp_path / "archive"), kind, tmp_path / "in")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(HFVTGError):
        load_benchmark("jsonl", data_dir=archive)
    with pytest.raises(HFVTGError):
        FeatureStore(archive)["v"]
    with pytest.raises(ModelError):
        AutoModelForVideoGrounding.from_pretrained(archive)
    assert sorted(tmp_path.rglob("*")) == before


FORBIDDEN = {"pickle.load", "pickle.loads", "eval", "exec", "yaml.load", "shutil.unpack_archive", "joblib.load"}


def called(node: ast.Call) -> str:
    parts, function = [], node.func
    while isinstance(function, ast.Attribute):
        parts, function = [function.attr, *parts], function.value
    return ".".join([function.id, *parts]) if isinstance(function, ast.Name) else ""


def unsafe_calls(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.arguments):
            names = [argument.arg for argument in (*node.posonlyargs, *node.args, *node.kwonlyargs)]
            values = [*node.defaults, *node.kw_defaults]
            given = dict(zip(names[len(names) - len(values) :], values, strict=True))
            if getattr(given.get("trust_remote_code"), "value", None) is True:
                found.append("trust_remote_code=True by default")
        if not isinstance(node, ast.Call):
            continue
        name = called(node)
        options = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
        unsafe = name in FORBIDDEN or name.endswith((".extractall", ".extract"))
        unsafe |= name == "torch.load" and options.get("weights_only") is not True
        unsafe |= name == "np.load" and options.get("allow_pickle") is not False
        unsafe |= options.get("trust_remote_code") is True or options.get("shell") is True
        unsafe |= options.get("weights_only") is False
        found += [f"line {node.lineno}: {name}"] if unsafe else []
    return found


def test_the_walk_finds_what_is_unsafe():
    unsafe = (
        "torch.load(f)\nnp.load(f)\nx.load(f, trust_remote_code=True)\neval(s)\ntar.extractall()\nrun(c, shell=True)\n"
        "AutoModel.from_pretrained(f, weights_only=False)\ndef load(f, trust_remote_code=True, *, device=None): ..."
    )
    assert len(unsafe_calls(unsafe)) == 8
    assert unsafe_calls("torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\nmodel.eval()") == []


@pytest.mark.parametrize("folder", ["hf_vtg", "scripts"])
def test_no_source_file_calls_what_is_unsafe(folder):
    found = {str(path): unsafe_calls(path.read_text()) for path in sorted((ROOT / folder).rglob("*.py"))}
    assert found and not {path: calls for path, calls in found.items() if calls}


def test_auto_model_needs_no_safetensors_of_strangers(model_folder):
    """What we save is safetensors and text alone."""
    suffixes = {path.suffix for path in model_folder.iterdir()}
    assert suffixes == {".json", ".safetensors"}
    assert type(AutoModel.from_pretrained(model_folder)) is METHODS["mmn"].model_class
