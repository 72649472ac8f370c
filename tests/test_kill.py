"""A training run that is killed at any moment goes on from its last complete checkpoint, to the same end."""

import multiprocessing
import random
import time

import pytest
from safetensors.torch import load_file

from hf_vtg.training.run import last_checkpoint, run_training

from .test_training import own_data, run_arguments  # noqa: F401  (a fixture)

EPOCHS = 30
KILLS = 10


def train(folder, out):
    """One process of a run; resumes what it finds."""
    arguments = run_arguments(folder, output_dir=str(out), resume=True, recipe_overrides={"epochs": EPOCHS})
    run_training(arguments, {"disable_tqdm": True, "use_cpu": True, "per_device_train_batch_size": 2})


@pytest.fixture
def start():
    # A server that has imported everything: each process starts at once, with threads of its own.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.test_kill", "hf_vtg.training.trainer"])

    def begin(*args):
        process = context.Process(target=train, args=args)
        process.start()
        return process

    return begin


@pytest.mark.slow
def test_killed_runs_end_like_an_undisturbed_one(own_data, start):  # noqa: F811
    whole, cut = own_data / "whole", own_data / "cut"
    undisturbed = start(own_data, whole)
    begun = time.monotonic()
    undisturbed.join()
    length = time.monotonic() - begun
    assert undisturbed.exitcode == 0
    moments = random.Random(0)
    kills = reached = 0
    while kills < KILLS:
        process = start(own_data, cut)
        process.join(timeout=moments.uniform(0.2, 0.5) * length)
        if not process.is_alive():
            # It came to its end before the blow: begin anew, the kills so far have been survived.
            assert process.exitcode == 0
            reached += 1
            compare(whole, cut)
            cut = own_data / f"cut{reached}"
            continue
        process.kill()
        process.join()
        kills += 1
    last = start(own_data, cut)
    last.join()
    assert last.exitcode == 0
    compare(whole, cut)


def compare(whole, cut):
    expected, actual = (load_file(folder / "model.safetensors") for folder in (whole, cut))
    assert all((expected[name] == actual[name]).all() for name in expected)
    assert (whole / "predictions.jsonl").read_text() == (cut / "predictions.jsonl").read_text()


def test_an_incomplete_checkpoint_is_passed_over(tmp_path):
    for step, state in ((2, "{}"), (4, '{"epoch": 2'), (10, None)):
        folder = tmp_path / f"checkpoint-{step}"
        folder.mkdir()
        if state is not None:
            (folder / "trainer_state.json").write_text(state)
    assert last_checkpoint(tmp_path) == str(tmp_path / "checkpoint-2")
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint-2"]
    assert last_checkpoint(tmp_path / "nowhere") is None
