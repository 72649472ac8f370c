"""HSCNet: Hierarchical Semantic Correspondence Network for video paragraph grounding (CVPR 2023)."""
