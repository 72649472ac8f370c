"""Layers and geometry that at least two methods use."""
