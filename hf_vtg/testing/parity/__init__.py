"""Parity with the published code: golden folders against this package."""
