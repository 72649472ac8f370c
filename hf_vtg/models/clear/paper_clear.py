"""What the publication of CLEAR states."""

from ...recipe import Paper

PAPER = Paper(
    name="CLEAR",
    title="Coarse-to-Fine Semantic Alignment for Cross-Modal Moment Localization",
    venue="IEEE TIP 30, 2021",
    code="https://github.com/Huyp777/CSUN",
    features="C3D",
    parity="outputs, losses, gradients, decoding",
    note="The paper could not be read: none of its figures is repeated here. Floor of the same fine branch alone, "
    'from the README of 2D-TAN ("pool", the same features): ActivityNet Captions '
    "R@1,IoU=0.3/0.5/0.7 59.45 / 44.51 / 26.54; "
    "TACoS R@1,IoU=0.1/0.3/0.5 47.59 / 37.29 / 25.32.",
    results=(),
)
