"""What the publication of IA-Net states."""

from ...recipe import Paper

PAPER = Paper(
    name="IA-Net",
    title="Progressively Guide to Attend",
    venue="EMNLP 2021",
    url="https://arxiv.org/abs/2109.06400",
    code="https://github.com/liudaizong/IA-Net",
    features="I3D, C3D",
    parity="outputs, losses, gradients, data pipeline, NMS and recall, 24 training steps with two optimisers",
    note="The paper's own comparison has IA-Net first or second; 2D-TAN is ahead on TACoS at "
    "R@1,IoU=0.1 and R@5,IoU=0.3.",
    results=(
        {
            "benchmark": "charades_sta",
            "features": "I3D, 1024-d",
            "source": "the paper, table 2",
            "metrics": {"R@1,IoU=0.5": 61.29, "R@1,IoU=0.7": 37.91, "R@5,IoU=0.5": 89.78, "R@5,IoU=0.7": 62.04},
        },
        {
            "benchmark": "activitynet_captions",
            "features": "C3D, 500-d",
            "source": "the paper, table 1",
            "metrics": {
                "R@1,IoU=0.3": 67.14,
                "R@1,IoU=0.5": 48.57,
                "R@1,IoU=0.7": 27.95,
                "R@5,IoU=0.3": 87.21,
                "R@5,IoU=0.5": 78.99,
                "R@5,IoU=0.7": 63.12,
            },
        },
        {
            "benchmark": "tacos",
            "features": "C3D, 4096-d",
            "source": "the paper, table 1",
            "metrics": {
                "R@1,IoU=0.1": 47.18,
                "R@1,IoU=0.3": 37.91,
                "R@1,IoU=0.5": 26.27,
                "R@5,IoU=0.1": 71.75,
                "R@5,IoU=0.3": 57.62,
                "R@5,IoU=0.5": 46.39,
            },
        },
    ),
)
