"""The lower bounds of pyproject.toml are true: the package works with exactly these (torch: as it is here)."""

import re
import subprocess
import sys
import tomllib

import pytest

from .conftest import ROOT

FILES = [
    "test_models.py",
    "test_processing.py",
    "test_pipeline.py",
    "test_convert_checkpoint.py",
    "test_feature_store.py",
]


@pytest.mark.long
def test_the_lowest_versions_work(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [*project["dependencies"], *extras["video"], *extras["hdf5"]]
    lowest = [re.sub(r">=([\w.]+).*", r"==\1", need) for need in wanted if not need.startswith("torch>=")]
    assert all("==" in need for need in lowest)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path / "venv")], check=True)
    torch = subprocess.run(
        [sys.executable, "-c", "import torch; print(torch.__version__.partition('+')[0])"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.strip()
    install = [str(python), "-m", "pip", "install", "--quiet", "--only-binary", ":all:"]
    tools = ["pytest>=8", "pyyaml"]
    for what in ([f"torch=={torch}"], [*lowest, *tools]):
        done = subprocess.run([*install, *what], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
    tests = [str(ROOT / "tests" / name) for name in FILES]
    command = [str(python), "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not slow and not long", *tests]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0 and " passed" in done.stdout, done.stdout[-6000:] + done.stderr[-2000:]
