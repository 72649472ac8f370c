"""The package as a whole: its floors, light imports, what a wheel holds, one place for metadata and names."""

import ast
import configparser
import json
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from .conftest import ROOT

PACKAGE = ROOT / "hf_vtg"
HEAVY = ("datasets", "evaluate", "av", "h5py", "gradio", "matplotlib")

# From the ground up, one room a floor: a room imports lower ones alone. What each is for stands in CONTRIBUTING.md.
FLOORS = (
    "errors",
    "files",
    "moments",
    "metrics",
    "moving_shapes",
    "benchmarks",
    "features",
    "text",
    "video",
    "visualization",
    "recipe",
    "configuration",
    "hub",
    "layers",
    "steps",
    "modeling",
    "processing",
    "models",
    "auto",
    "grounding",
    "pipeline",
    "training",
    "testing",
    "demo",
    "app",
    "cli",
)
FILES = sorted(PACKAGE.rglob("*.py"))
MAX_LINES, MAX_ROOT_MODULES = 400, 14


def module_of(path):
    """Dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" else parts


MODULES = {module_of(path): path for path in FILES}


def imported(path, at_import_time=False):
    """Modules of hf_vtg that a file imports: anywhere in it, or as it is imported."""
    own = module_of(path)
    package = own if path.name == "__init__.py" else own[:-1]
    tree = ast.parse(path.read_text())
    for node in tree.body if at_import_time else ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            full = (*base, *(node.module.split(".") if node.module else ()))
            found = [(*full, alias.name) for alias in node.names]
        elif isinstance(node, ast.Import):
            found = [tuple(alias.name.split(".")) for alias in node.names]
        else:
            continue
        for name in found:
            name = name if name in MODULES else name[:-1]
            if name[:1] == ("hf_vtg",) and name != own and name in MODULES:
                yield name


@pytest.mark.parametrize("room", FLOORS)
def test_imports_run_downwards(room):
    below = set(FLOORS[: FLOORS.index(room)]) | {room}
    files = [path for name, path in MODULES.items() if name[1:2] == (room,)]
    above = {(str(path.relative_to(ROOT)), name[1]) for path in files for name in imported(path) if name[1:]}
    assert files and {found for found in above if found[1] not in below} == set()


def test_every_room_has_a_floor_and_the_root_is_small():
    rooms = {name[1] for name in MODULES if len(name) > 1}
    assert rooms == set(FLOORS)
    modules = sorted(PACKAGE.glob("*.py"))
    assert len(modules) <= MAX_ROOT_MODULES, sorted(path.name for path in modules)


def test_no_circle():
    """Also within a room: of modules that import each other as they are imported, none could be read first."""
    edges = {name: set(imported(path, at_import_time=True)) for name, path in MODULES.items()}
    free = {name for name in edges if not edges[name]}
    while True:
        ready = {name for name in edges if edges[name] <= free}
        if ready == free:
            break
        free = ready
    # The top of the package hands out what lies below it.
    assert {name for name in edges if name not in free} <= {("hf_vtg",)} | {
        name for name in edges if ("hf_vtg",) in edges[name]
    }


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text().splitlines()) <= MAX_LINES


def test_a_name_means_one_thing():
    """No two files of the package share a name, but for what Python itself calls alike."""
    names = Counter(path.name for path in FILES if not path.name.startswith("__"))
    assert [name for name, count in names.items() if count > 1] == []


def test_rooms_stand_in_contributing():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert [room for room in FLOORS if f"`{room}" not in text] == []


def run(code, *flags):
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)


def test_what_says_what_there_is_imports_neither_torch_nor_transformers():
    """Recipes, sizes, papers and every ``__init__`` below the top, which registers the methods with transformers."""
    light = ("__init__.py", "registry.py", "small_sizes.py", "facts.py", "recipe.py")
    names = [
        ".".join(module_of(path))
        for path in FILES
        if path != PACKAGE / "__init__.py"
        and (path.name in light or path.name.startswith(("recipes_", "sizes_", "paper_")))
    ]
    code = (
        "import importlib, sys, types; top = types.ModuleType('hf_vtg'); top.__path__ = ['hf_vtg']; "
        f"sys.modules['hf_vtg'] = top; [importlib.import_module(name) for name in {names}]; "
        "print([m for m in ('torch', 'transformers', 'pytest') if m in sys.modules])"
    )
    assert len(names) > 30 and run(code).stdout.strip() == "[]"


@pytest.mark.slow
def test_import_is_light():
    """Some releases of transformers load av themselves; we add nothing."""
    listing = "import sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    bare, own = (
        set(json.loads(run(f"{code}; {listing}").stdout)) & {*HEAVY, "pytest"}
        for code in ("from transformers import AutoModel, AutoProcessor, pipeline", "import hf_vtg, hf_vtg.testing")
    )
    assert own <= bare and "datasets" not in own


@pytest.mark.long
def test_import_costs_little_more_than_transformers():
    """CPU seconds, the best of three interleaved runs: at most 1.2 times the bare imports."""
    bare = "from transformers import AutoModel, AutoProcessor, pipeline"
    code = "{}; import time; print(time.process_time())"
    times = [(float(run(code.format(bare)).stdout), float(run(code.format("import hf_vtg")).stdout)) for _ in range(3)]
    reference, own = (min(column) for column in zip(*times, strict=True))
    assert own <= 1.2 * reference


def test_a_wheel_holds_the_package_and_nothing_of_the_lab(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation", "--wheel-dir"]
    copy = tmp_path / "checkout"
    files = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, files.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            (copy / name).write_bytes((ROOT / name).read_bytes())
    subprocess.run([*command, str(tmp_path), str(copy)], check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    held = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    expected = {str(path.relative_to(copy)) for path in (copy / "hf_vtg").rglob("*") if path.is_file()}
    assert held == expected and not any(part in name for name in held for part in ("lab/", "scripts/", "tests/"))


def test_metadata_is_in_pyproject_alone():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert not {"metadata", "options"} & set(setup.sections())


@pytest.mark.slow
def test_console_script_runs():
    listed = json.loads(run("import sys; from hf_vtg.cli import main; sys.exit(main(['recipes', '--json']))").stdout)
    assert listed["mmn/charades_sta"]["milestones"] == [8, 13]


def test_install_hints_stand_in_one_place():
    """The name on the package index is not ours: a checkout is named."""
    hints = [path.name for path in FILES if "pip install" in path.read_text()]
    assert hints == ["errors.py"] and not any("hf-vtg[" in Path(path).read_text() for path in FILES)
