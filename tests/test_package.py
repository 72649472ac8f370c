"""The package as a whole: light import, imports that run downwards, one place for metadata."""

import ast
import configparser
import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("datasets", "evaluate", "av", "h5py", "gradio", "matplotlib")

# A module may import modules of its own level or lower.
LEVELS = [
    {"errors", "cache", "folders", "hub", "resources"},
    {"configuration", "metrics", "moments"},
    {"tokenization", "sentences", "paragraphs", "vector_files", "video"},
    {"layers", "feature_extraction", "processing", "modeling"},
    {"models"},
    {"auto"},
    {"grounding", "pipeline", "training", "benchmarks", "visualization"},
    {"converting", "parity", "cli", "app", "demo"},
]
LEVEL = {name: level for level, names in enumerate(LEVELS) for name in names}


def imported(path):
    """Top-level parts of hf_vtg that a file imports, anywhere in it."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            full = [*base, *(node.module.split(".") if node.module else [])]
            names = [full] if len(full) > 1 else [[*full, alias.name] for alias in node.names]
        elif isinstance(node, ast.Import):
            names = [alias.name.split(".") for alias in node.names]
        else:
            continue
        for name in names:
            if name[0] == "hf_vtg" and len(name) > 1:
                yield name[1]


FILES = [
    p for p in sorted((ROOT / "hf_vtg").rglob("*.py")) if p.relative_to(ROOT / "hf_vtg").parts != ("__init__.py",)
]


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_run_downwards(path):
    own = path.relative_to(ROOT / "hf_vtg").with_suffix("").parts[0]
    above = {name for name in imported(path) if LEVEL[name] > LEVEL[own]}
    assert above == set()


def run(code, *flags):
    return subprocess.run([sys.executable, *flags, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)


def test_import_is_light():
    """Some releases of transformers load av themselves; we add nothing."""
    listing = "import sys, json; print(json.dumps(sorted({m.split('.')[0] for m in sys.modules})))"
    bare, own = (
        set(json.loads(run(f"{code}; {listing}").stdout)) & set(HEAVY)
        for code in ("from transformers import AutoModel, AutoProcessor, pipeline", "import hf_vtg")
    )
    assert own <= bare and "datasets" not in own


def test_import_costs_little_more_than_transformers():
    """CPU seconds, the best of three interleaved runs: at most 1.2 times the bare imports."""
    bare = "from transformers import AutoModel, AutoProcessor, pipeline"
    code = "{}; import time; print(time.process_time())"
    times = [(float(run(code.format(bare)).stdout), float(run(code.format("import hf_vtg")).stdout)) for _ in range(3)]
    reference, own = (min(column) for column in zip(*times, strict=True))
    assert own <= 1.2 * reference


def test_metadata_is_in_pyproject_alone():
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg")
    assert not {"metadata", "options"} & set(setup.sections())


def test_console_script_runs():
    listed = json.loads(run("import sys; from hf_vtg.cli import main; sys.exit(main(['recipes', '--json']))").stdout)
    assert listed["mmn/charades_sta"]["milestones"] == [8, 13]
