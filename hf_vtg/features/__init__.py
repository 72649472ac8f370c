"""Clip features: what they are (spec), where they lie (store, formats), how they reach a model (resampling)."""
