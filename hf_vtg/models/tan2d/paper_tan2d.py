"""What the publication of 2D-TAN states."""

from ...recipe import Paper

README = "README of the official code"


def _row(benchmark: str, features: str, label: str, first: dict[str, float], five: dict[str, float]) -> dict:
    """R@1 and R@5 by IoU, of one kind of proposals."""
    metrics = {f"R@{n},IoU={m}": value for n, row in ((1, first), (5, five)) for m, value in row.items()}
    return {"benchmark": benchmark, "features": features, "label": label, "source": README, "metrics": metrics}


CHARADES = ("charades_sta", "VGG16, 4096-d")
ACTIVITYNET = ("activitynet_captions", "C3D, 500-d")
TACOS = ("tacos", "C3D, 4096-d")

PAPER = Paper(
    name="2D-TAN",
    title="Learning 2D Temporal Adjacent Networks for Moment Localization with Natural Language",
    venue="AAAI 2020",
    url="https://arxiv.org/abs/1912.03590",
    code="https://github.com/microsoft/VideoX/tree/master/2D-TAN",
    features="VGG16, C3D",
    parity="outputs, losses, gradients of both kinds of proposals",
    note="On Charades-STA the README corrects the paper, which states R@1,IoU=0.5/0.7 39.81 / 23.25 and "
    "R@5,IoU=0.5/0.7 79.33 / 51.15.",
    results=(
        _row(*CHARADES, "pool", {"0.5": 40.94, "0.7": 22.85}, {"0.5": 83.84, "0.7": 50.35}),
        _row(*CHARADES, "conv", {"0.5": 42.80, "0.7": 23.25}, {"0.5": 80.54, "0.7": 54.14}),
        _row(
            *ACTIVITYNET,
            "pool",
            {"0.3": 59.45, "0.5": 44.51, "0.7": 26.54},
            {"0.3": 85.53, "0.5": 77.13, "0.7": 61.96},
        ),
        _row(
            *ACTIVITYNET,
            "conv",
            {"0.3": 58.75, "0.5": 44.05, "0.7": 27.38},
            {"0.3": 85.65, "0.5": 76.65, "0.7": 62.26},
        ),
        _row(*TACOS, "pool", {"0.1": 47.59, "0.3": 37.29, "0.5": 25.32}, {"0.1": 70.31, "0.3": 57.81, "0.5": 45.04}),
        _row(*TACOS, "conv", {"0.1": 46.39, "0.3": 35.17, "0.5": 25.17}, {"0.1": 74.46, "0.3": 56.99, "0.5": 44.24}),
    ),
)
