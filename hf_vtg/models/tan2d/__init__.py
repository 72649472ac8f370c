"""2D-TAN: 2D Temporal Adjacent Networks (AAAI 2020)."""
