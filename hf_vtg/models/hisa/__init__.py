"""HiSA: disentangled video clips, cross-guided contrast (IEEE TIP 2022)."""
