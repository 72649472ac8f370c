"""scripts/benchmark.py: what it prints for a toy case, and that every method's cases can be listed."""

import importlib
import sys

import pytest
import torch

from hf_vtg.benchmarks.facts import PUBLISHED as BENCHMARKS
from hf_vtg.models.registry import METHODS as KNOWN
from scripts import benchmark
from scripts.lab.speed.case import Case


def cases(sizes):
    """A toy module of cases, which a child process imports too."""
    torch.manual_seed(0)
    x = torch.randn(50, 50)
    plain = {"fused": lambda: lambda: x @ x, "loop": lambda: lambda: torch.stack([row @ x for row in x]) + 1}
    return [Case(f"{size} product", "eval", plain) for size in sizes] + [
        Case("parts", "sentences", {"ten": lambda: lambda: x[:10], "all": lambda: lambda: x @ x}, share=10)
    ]


def test_forms_run_in_turn_and_are_compared():
    order = []

    def counted(name, value):
        return lambda: lambda: order.append(name) or torch.tensor([value, -torch.inf])

    own, reference = benchmark.measure(Case("toy", "eval", {"own": counted("a", 1.0), "plain": counted("b", 3.5)}), 2)
    assert order == ["a", "b"] * 3
    assert own.difference == 2.5 and reference.difference == 0 and reference.ratio == 1
    with pytest.raises(ValueError, match=r"\(1,\) and \(2,\)"):
        benchmark.largest_difference(torch.zeros(1), torch.zeros(2))


def test_a_nan_is_not_hidden_by_the_comparison():
    assert torch.tensor(benchmark.largest_difference(torch.tensor([torch.nan]), torch.tensor([torch.nan]))).isnan()


@pytest.mark.slow
def test_peak_memory_is_that_of_the_fresh_process(monkeypatch):
    """A child must not report what its parent once held."""
    held = torch.ones(400_000_000, dtype=torch.uint8)
    before = benchmark.peak_memory() / 1e9
    peak = benchmark.child_peak(__name__, "tacos", "tacos product eval", "loop", threads=1)
    assert 0.05 < peak < before - 0.2 and len(held)


def test_table_of_a_toy_module(monkeypatch):
    monkeypatch.setattr(benchmark, "child_peak", lambda module, size, case, form, threads: 0.25)
    lines = list(benchmark.table(__name__, ["tacos"], None, repeats=1, threads=1))
    fused, loop, ten, whole = (line.split() for line in lines)
    assert fused[1:5] == ["tacos", "product", "eval", "fused"] and float(fused[-1]) == pytest.approx(1, abs=0.01)
    assert float(loop[-1]) == 0 and loop[-3:-1] == ["1.00", "x"]
    assert ten[-4:-1] == ["one", "of", "10:"] and ten[-1].endswith("%") and whole[-1] == "x"
    assert fused[-4] == loop[-4] == "0.25"
    assert [line.split()[0] for line in benchmark.table(__name__, ["tacos"], ["train"], 1, 1)] == []


@pytest.mark.parametrize("method", benchmark.METHODS)
def test_cases_of_a_method_are_listed_without_being_built(method):
    assert method in KNOWN
    module = importlib.import_module(f"{benchmark.CASES}.{method}")
    made = module.cases(list(BENCHMARKS))
    keys = [(case.name, case.what) for case in made]
    assert made and len(set(keys)) == len(keys)
    for case in made:
        assert isinstance(case, Case) and len(case.forms) > 1 and all(map(callable, case.forms.values()))
    assert sum(len(module.cases([size])) for size in BENCHMARKS) == len(made)


def test_command_line(monkeypatch, capsys):
    monkeypatch.setattr(benchmark, "table", lambda module, sizes, what, repeats, threads: [f"{module} {sizes} {what}"])
    monkeypatch.setattr(torch, "set_num_threads", lambda count: None)
    monkeypatch.setattr(sys, "argv", ["benchmark.py", "--methods", "mmn", "--sizes", "tacos", "--threads", "1"])
    assert benchmark.main() == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].endswith("1 threads, torch " + torch.__version__ + ", median of 5")
    assert printed[2:] == [f"{benchmark.CASES}.mmn ['tacos'] None"]
