"""What the publication of HiSA states."""

from ...recipe import Paper

PAPER = Paper(
    name="HiSA",
    title="HiSA",
    venue="IEEE TIP 31, 2022",
    url="https://doi.org/10.1109/TIP.2022.3191841",
    code="https://github.com/zhexu1997/HiSA",
    features="I3D, C3D",
    parity="outputs, losses, gradients, decoding, 24 training steps with three settings",
    note="The paper could not be read, and the repository states no figure: none is repeated here.",
    results=(),
)
