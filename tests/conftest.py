"""Shared test set-up: where ../shared is, and the rule that nothing that needs it is skipped where it exists."""

import os
from pathlib import Path

import pytest

# Read when huggingface_hub is imported, so before anything else: no test asks a hub.
os.environ["HF_HUB_OFFLINE"] = "1"

ROOT = Path(__file__).resolve().parent.parent


def find_shared() -> Path | None:
    """The folder of real data and golden tensors, or None."""
    for candidate in (os.environ.get("HF_VTG_SHARED"), ROOT.parent / "shared"):
        if candidate and (Path(candidate) / "data").is_dir():
            return Path(candidate)
    return None


SHARED = find_shared()


def pytest_collection_modifyitems(items):
    if SHARED is None:
        skip = pytest.mark.skip(reason="needs ../shared (set HF_VTG_SHARED)")
        for item in items:
            if "needs_shared" in item.keywords:
                item.add_marker(skip)


def pytest_terminal_summary(terminalreporter):
    skipped = len(terminalreporter.stats.get("skipped", []))
    where = SHARED if SHARED is not None else "absent"
    terminalreporter.write_line(f"hf_vtg: {skipped} tests skipped, shared data: {where}")


@pytest.hookimpl(tryfirst=True)
def pytest_sessionfinish(session, exitstatus):
    """In CI a skip of a test that needs ../shared is a failure while ../shared exists."""
    if SHARED is None or not os.environ.get("CI"):
        return
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    hidden = [r.nodeid for r in reporter.stats.get("skipped", []) if "needs_shared" in r.keywords]
    if hidden:
        reporter.write_line(f"error: skipped although {SHARED} exists: {', '.join(hidden)}")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory):
    """Tests neither read nor fill the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_VTG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def shared() -> Path:
    """Root of the shared folder; use together with ``@pytest.mark.needs_shared``."""
    if SHARED is None:
        pytest.skip("needs ../shared (set HF_VTG_SHARED)")
    return SHARED
