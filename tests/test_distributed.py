"""Several processes on this machine: negatives from all of them, and an evaluation that counts every row once."""

import json
import math
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp

from hf_vtg.models.mmn.gathering_mmn import gather_padded
from hf_vtg.models.mmn.losses_mmn import ContrastiveSettings, contrastive_losses

from .test_mmn import example

ROOT = Path(__file__).resolve().parent.parent
SETTINGS = ContrastiveSettings(0.1, 0.2, 0.3, 0.4, 0.5, "zero", False, True)
# Videos of rank 0 and rank 1: unequal numbers of videos and of sentences.
SHARES = ((0, 1), (1, 3))


def losses_of(moments, sentences, rest, settings=SETTINGS):
    video_loss, sentence_loss = contrastive_losses(moments, sentences, *rest, settings)
    return video_loss + 0.5 * sentence_loss


def share(rank):
    """The part of the joined example that a rank holds."""
    moments, sentences, video, iou, positives, sentence_iou = example()
    first, last = SHARES[rank]
    mine = (video >= first) & (video < last)
    rest = (video[mine] - first, iou[mine], positives[mine], sentence_iou[mine][:, mine])
    return moments[first:last].requires_grad_(), sentences[mine].requires_grad_(), rest


def worker(rank, port, queue):
    dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
    assert dist.get_world_size() == 2
    moments, sentences, rest = share(rank)
    loss = losses_of(moments, sentences, rest)
    loss.backward()
    gathered = gather_padded(torch.arange(rank + 1))
    # Plain lists: tensors would need the sender to stay alive.
    queue.put((rank, loss.item(), moments.grad.tolist(), sentences.grad.tolist(), gathered.tolist()))
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def ranks():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    queue = mp.get_context("spawn").SimpleQueue()
    mp.spawn(worker, args=(port, queue), nprocs=2)
    return sorted(queue.get() for _ in range(2))


@pytest.mark.slow
def test_ragged_rows_are_gathered_in_rank_order(ranks):
    assert [rank[4] for rank in ranks] == [[0, 0, 1]] * 2


@pytest.mark.slow
def test_gathered_negatives_give_the_gradient_of_the_joined_batch(ranks):
    moments, sentences, *rest = example()
    moments.requires_grad_(), sentences.requires_grad_()
    loss = losses_of(moments, sentences, rest)
    loss.backward()
    # DistributedDataParallel averages over the processes.
    assert sum(rank[1] for rank in ranks) / 2 == pytest.approx(loss.item(), rel=1e-9)
    for place, joined in ((2, moments.grad), (3, sentences.grad)):
        together = torch.cat([torch.tensor(rank[place], dtype=torch.float64) for rank in ranks]) / 2
        assert torch.allclose(together, joined, rtol=1e-9, atol=1e-12)


def test_local_negatives_give_another_gradient(ranks):
    """Without the gathering the test above would not pass by chance."""
    moments, sentences, rest = share(0)
    local = ContrastiveSettings(**{**SETTINGS.__dict__, "gather_negatives": False})
    losses_of(moments, sentences, rest, local).backward()
    assert not torch.allclose(moments.grad, torch.tensor(ranks[0][2], dtype=torch.float64) / 2, rtol=1e-2)


def evaluated(folder, processes):
    """Metrics and predictions of tests/evaluate_rows.py on a number of processes."""
    out = folder / f"{processes}.json"
    launcher = [sys.executable, "-m"]
    if processes > 1:
        # `accelerate launch --cpu --num_processes 2` would run one process.
        launcher += ["torch.distributed.run", "--standalone", "--nproc_per_node", str(processes), "-m"]
    command = [*launcher, "tests.evaluate_rows", str(processes), str(out)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(out.read_text())


@pytest.mark.slow
def test_evaluation_on_two_processes_is_that_of_one(tmp_path):
    one, two = (evaluated(tmp_path, processes) for processes in (1, 2))
    assert one["metrics"]["test_num_queries"] == two["metrics"]["test_num_queries"] == 15
    loss = one["metrics"].pop("test_loss"), two["metrics"].pop("test_loss")
    assert one["metrics"] == two["metrics"]
    # MMN's loss is defined on the batch, whose videos differ.
    assert all(math.isfinite(value) for value in loss)
    assert [p["query_id"] for p in one["predictions"]] == [p["query_id"] for p in two["predictions"]]
    for own, other in zip(one["predictions"], two["predictions"], strict=True):
        for bound in ("start", "end", "score"):
            values = [[m[bound] for m in p["moments"]] for p in (own, other)]
            assert values[0] == pytest.approx(values[1], abs=1e-5)
