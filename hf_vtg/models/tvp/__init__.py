"""TVP (Text-Visual Prompting, CVPR 2023) of transformers behind our interface."""
