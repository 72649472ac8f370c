"""Zero-shot grounding with the dual encoders of transformers: CLIP, SigLIP and their like."""
