"""No option, path or text makes the command line print a traceback."""

import pytest

from .cli_fuzz import failures, good_values, is_answer, run

COUNT = 40


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    folder = tmp_path_factory.mktemp("fuzz")
    return folder, good_values(folder)


def test_random_commands_are_answered(good, monkeypatch):
    folder, values = good
    monkeypatch.chdir(folder)
    assert list(failures(COUNT, 1, folder, values)) == []


def test_the_check_sees_what_is_no_answer(monkeypatch):
    assert is_answer(*run(["recipes"])) and is_answer(*run(["recipes", "mmn/charade"]))

    def fail(options):
        raise KeyError("name")

    monkeypatch.setattr("hf_vtg.cli.recipes.run", fail)
    assert not is_answer(*run(["recipes"]))
