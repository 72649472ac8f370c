"""What scripts/benchmark.py measures: one module a method, each with ``cases(sizes) -> list[Case]``."""
