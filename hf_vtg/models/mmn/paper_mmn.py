"""What the publication of MMN states."""

from ...recipe import Paper

PAPER = Paper(
    name="MMN",
    title="Mutual Matching Network",
    venue="AAAI 2022",
    url="https://arxiv.org/abs/2109.04872",
    code="https://github.com/MCG-NJU/MMN",
    features="VGG16, C3D",
    text="DistilBERT, any HF text model, word vectors",
    parity="outputs, losses, gradients, decoding, 24 training steps",
    note="Figures of the paper that only its citations confirm: their source is named. "
    "Its R@5 on TACoS was found nowhere.",
    results=(
        {
            "benchmark": "charades_sta",
            "features": "VGG16, 4096-d",
            "source": "issue 5 of MCG-NJU/MMN, which quotes the paper",
            "metrics": {"R@1,IoU=0.5": 47.31, "R@1,IoU=0.7": 27.28, "R@5,IoU=0.5": 83.74, "R@5,IoU=0.7": 58.41},
        },
        {
            "benchmark": "activitynet_captions",
            "features": "C3D, 500-d",
            "source": "table R1 of UniSDNet's author response; R@1 also in table 1 of the HSCNet paper",
            "metrics": {
                "R@1,IoU=0.3": 65.05,
                "R@1,IoU=0.5": 48.59,
                "R@1,IoU=0.7": 29.26,
                "R@5,IoU=0.3": 87.25,
                "R@5,IoU=0.5": 79.5,
                "R@5,IoU=0.7": 64.76,
            },
        },
        {
            "benchmark": "tacos",
            "features": "C3D, 4096-d",
            "source": "table 1 of the HSCNet paper",
            "metrics": {"R@1,IoU=0.1": 51.39, "R@1,IoU=0.3": 39.24, "R@1,IoU=0.5": 26.17},
        },
    ),
)
