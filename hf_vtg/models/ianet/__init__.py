"""IA-Net: Progressively Guide to Attend (EMNLP 2021)."""
