"""A method in a package of its own, made of the page docs/adding_a_method.md, installed and used from the outside."""

import json
import os
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from transformers import AutoConfig, BertConfig, BertModel

import hf_vtg
from hf_vtg.errors import ModelError
from hf_vtg.models import registry
from hf_vtg.models.registry import METHODS, Methods
from hf_vtg.recipe import Recipe
from hf_vtg.testing import VideoGroundingModelTester

from .conftest import ROOT
from .docs_process import code_blocks

PYPROJECT = """
[build-system]
requires = ["setuptools"]
build-backend = "setuptools.build_meta"

[project]
name = "vtg-dot"
version = "1.0"

[project.entry-points."hf_vtg.methods"]
dot = "vtg_dot.dot"

[tool.setuptools]
packages = ["vtg_dot", "vtg_dot.dot"]
"""
RECIPES = """
from hf_vtg.recipe import Recipe

fields = {"epochs": 2, "learning_rate": 0.02, "per_device_batch_size": 4}
RECIPES = (Recipe("dot", "charades_sta", **fields), Recipe("dot", "charades_sta", "official", **fields))
"""
SIZES = """
from hf_vtg.recipe import Sizes

SIZES = Sizes(tiny={"num_clips": 8, "feature_dim": 10, "hidden_size": 12})
"""
TEST = """
from hf_vtg.recipe import Recipe
from hf_vtg.testing import VideoGroundingModelTester


class TestDot(VideoGroundingModelTester):
    method = "dot"
"""


pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("other_package")]


@pytest.fixture(scope="module")
def outside(tmp_path_factory):
    """Runs a command where the package is installed; its folder is ``.where``."""
    folder = tmp_path_factory.mktemp("outside")
    package = folder / "source" / "vtg_dot" / "dot"
    package.mkdir(parents=True)
    blocks = [
        code for language, code in code_blocks((ROOT / "docs/adding_a_method.md").read_text()) if language == "python"
    ]
    (package / "__init__.py").touch()
    (package.parent / "__init__.py").touch()
    (package / "configuration_dot.py").write_text(blocks[0])
    (package / "modeling_dot.py").write_text(f"from .configuration_dot import DotConfig\n{blocks[1]}")
    (package / "recipes_dot.py").write_text(RECIPES)
    (package / "sizes_dot.py").write_text(SIZES)
    (folder / "source" / "pyproject.toml").write_text(PYPROJECT)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index"]
    done = subprocess.run(
        [*pip, "--target", str(folder / "site"), str(folder / "source")], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr

    def run(*command, status=0):
        path = os.pathsep.join([str(folder / "site"), str(ROOT)])
        done = subprocess.run(
            [sys.executable, *command],
            capture_output=True,
            text=True,
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path},
        )
        assert done.returncode == status, done.stdout + done.stderr
        return done

    run.where = folder
    return run


def test_it_is_on_the_command_line_and_in_the_pipeline(outside):
    names = json.loads(outside("-m", "hf_vtg.cli", "recipes", "--json").stdout)
    assert "dot/charades_sta" in str(names) and "mmn/charades_sta" in str(names)
    where = outside.where
    rows = [
        {"video_id": f"v{k}", "duration": 20.0, "sentences": ["a person eats"], "moments": [[0.0, 10.0]]}
        for k in range(4)
    ]
    for split in ("train", "test"):
        (where / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    features = {f"v{k}": np.ones((20, 6), np.float32) for k in range(4)}
    np.savez(where / "features.npz", **features)
    (where / "glove.txt").write_text("".join(f"{word} 0.1 0.2 -0.3 0.4\n" for word in ("a", "person", "eats", "sits")))
    command = ["train", "--recipe", "dot/charades_sta", "--benchmark", "jsonl", "--data_dir", str(where)]
    command += ["--features", "features.npz", "--word_vectors", "glove.txt", "--output_dir", "model"]
    outside("-m", "hf_vtg.cli", *command, "--set", "feature_dim=6", "--report_to", "none")
    answer = (
        "import numpy as np, hf_vtg; from transformers import pipeline; "
        "ground = pipeline('video-grounding', model='model'); print(type(ground.model).__name__, "
        "ground(np.ones((20, 6), np.float32), 'a person sits', duration=20.0)[0]['end'] > 0)"
    )
    assert outside("-c", answer).stdout.split() == ["DotForVideoGrounding", "True"]


def test_without_a_conversion_module_convert_says_so(outside):
    command = [
        "convert",
        "--method",
        "dot",
        "--checkpoint",
        "weights.pt",
        "--output",
        "out",
        "--benchmark",
        "charades_sta",
    ]
    (outside.where / "weights.pt").write_bytes(b"")
    said = outside("-m", "hf_vtg.cli", *command, status=2)
    assert len(said.stderr.strip().splitlines()) == 1 and "conversion_dot.py" in said.stderr


def test_the_abstract_tester_tests_it(outside):
    (outside.where / "test_dot.py").write_text(TEST)
    said = outside("-m", "pytest", "-q", "-p", "no:cacheprovider", "test_dot.py").stdout
    passed = int(said.strip().splitlines()[-1].split(" passed")[0].split()[-1])
    assert passed == len([name for name in dir(VideoGroundingModelTester) if name.startswith("test_")]) >= 18
    assert "skipped" not in said


def test_a_package_that_cannot_be_loaded_costs_only_its_own_method(outside):
    broken = outside.where / "site" / "vtg_bad-1.0.dist-info"
    broken.mkdir()
    (broken / "METADATA").write_text("Metadata-Version: 2.1\nName: vtg-bad\nVersion: 1.0\n")
    (broken / "entry_points.txt").write_text("[hf_vtg.methods]\nbad = no_such_package\n")
    try:
        code = "from hf_vtg.models.registry import usable_methods; print(sorted(m.name for m in usable_methods()))"
        done = outside("-c", f"import hf_vtg; {code}")
    finally:
        for path in broken.iterdir():
            path.unlink()
        broken.rmdir()
    assert "'dot', 'hisa'" in done.stdout and "bad" not in done.stdout
    assert "no_such_package" in done.stderr


def test_a_registered_method_may_not_replace_ours():
    own = METHODS["mmn"]
    with pytest.raises(ModelError, match="'mmn' is a method of hf_vtg itself"):
        Methods().add(own)


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Makes a package of files and says that an entry point names it."""
    points = []
    monkeypatch.setattr(registry, "entry_points", lambda group: points)
    monkeypatch.syspath_prepend(str(tmp_path))

    def install(name, package, **files):
        (tmp_path / package).mkdir()
        for file, text in files.items():
            (tmp_path / package / f"{file}.py").write_text(text)
        points.append(SimpleNamespace(name=name, value=package))
        registry._installed.cache_clear()

    yield install
    monkeypatch.undo()
    registry._installed.cache_clear()


def test_a_taken_name_is_left_out_aloud(installed, caplog):
    installed("mmn", "other_mmn", configuration_mmn="")
    installed("twice", "pkg_a", recipes_twice="RECIPES = ()")
    installed("twice", "pkg_b", recipes_twice="RECIPES = ()")
    assert METHODS["mmn"].is_built_in and METHODS["twice"].package == "pkg_a"
    assert "'mmn' of other_mmn is left out: hf_vtg.models.mmn has one" in caplog.text
    assert "'twice' of pkg_b is left out: pkg_a has one" in caplog.text


@pytest.mark.parametrize(
    "files, part, message",
    [
        ({}, "config_class", "needs a file configuration_odd.py in odd_0"),
        ({"modeling_odd": "import no_such_library"}, "model_class", "configuration_odd.py"),
        (
            {"recipes_odd": "import no_such_library"},
            "recipes",
            "recipes_odd.py of odd_2 .*No module named 'no_such_library'",
        ),
        ({"recipes_odd": "RECIPES = 3"}, "recipes", "are 3: RECIPES of recipes_odd.py"),
        (
            {"recipes_odd": "from hf_vtg.recipe import Recipe\nRECIPES = [Recipe(method='even')]"},
            "recipes",
            "a list of Recipe.method='odd'",
        ),
        ({"configuration_odd": "x = 1"}, "config_class", "holds 0 classes whose model_type is 'odd'"),
    ],
    ids=range(6),
)
def test_what_is_wrong_with_a_package_is_named(installed, request, files, part, message):
    installed("odd", f"odd_{request.node.callspec.id}", **files)
    with pytest.raises(ModelError, match=message):
        getattr(METHODS["odd"], part)


def test_a_recipe_of_another_method_is_not_registered():
    with pytest.raises(ModelError, match="a list of Recipe.method='mmn'"):
        hf_vtg.register_method(METHODS["mmn"].config_class, METHODS["mmn"].model_class, [Recipe(method="hisa")])


def test_what_does_not_belong_together_is_not_registered():
    mmn, hisa = METHODS["mmn"], METHODS["hisa"]
    for given, message in (
        ((mmn.model_class, mmn.config_class), "is no VideoGroundingConfig"),
        ((mmn.config_class, None), "is no VideoGroundingPreTrainedModel"),
        ((hisa.config_class, mmn.model_class), "MMNForVideoGrounding takes a MMNConfig, not a HiSAConfig"),
        ((BertConfig, BertModel), "is no VideoGroundingConfig"),
    ):
        with pytest.raises(ModelError, match=message):
            hf_vtg.register_method(*given)
    with pytest.raises(ModelError, match="sizes={} is no Sizes"):
        hf_vtg.register_method(mmn.config_class, mmn.model_class, sizes={})
    own = type("OwnConfig", (hf_vtg.VideoGroundingConfig,), {"model_type": "bert"})
    steps = {name: getattr(hisa.model_class, name) for name in vars(hisa.model_class) if not name.startswith("__")}
    model = type("Own", (hf_vtg.VideoGroundingPreTrainedModel,), {**steps, "config_class": own})
    with pytest.raises(ModelError, match="'bert' is a model of transformers"):
        hf_vtg.register_method(own, model)
    assert AutoConfig.for_model("bert").__class__ is BertConfig


def test_a_refused_name_leaves_ours_registered():
    own = type("OwnMMNConfig", (hf_vtg.MMNConfig,), {})
    model = type("OwnMMN", (METHODS["mmn"].model_class,), {"config_class": own})
    with pytest.raises(ModelError, match="'mmn' is a method of hf_vtg itself"):
        hf_vtg.register_method(own, model)
    assert type(AutoConfig.for_model("mmn")) is METHODS["mmn"].config_class
