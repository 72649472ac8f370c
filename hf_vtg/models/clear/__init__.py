"""CLEAR: Coarse-to-Fine Semantic Alignment for Cross-Modal Moment Localization (IEEE TIP 2021)."""
