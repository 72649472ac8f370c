"""MMN: Mutual Matching Network (AAAI 2022)."""
