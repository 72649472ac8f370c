"""What the publication of HSCNet states."""

from ...recipe import Paper

PAPER = Paper(
    name="HSCNet",
    title="Hierarchical Semantic Correspondence Networks for Video Paragraph Grounding",
    venue="CVPR 2023",
    features="C3D",
    text="word vectors, any HF text model; whole paragraphs",
    parity="no code was published: outputs, losses, gradients of a second implementation",
    note="One moment a sentence, so there is no R@5. No code was published; "
    "the paper leaves choices open, so its figures are not claimed for this implementation.",
    results=(
        {
            "benchmark": "activitynet_captions",
            "features": "C3D, 500-d; paragraphs",
            "source": "the paper, table 1",
            "metrics": {"R@1,IoU=0.3": 81.89, "R@1,IoU=0.5": 66.57, "R@1,IoU=0.7": 44.03, "mIoU": 59.71},
        },
        {
            "benchmark": "tacos",
            "features": "C3D, 4096-d; paragraphs",
            "source": "the paper, table 1",
            "metrics": {"R@1,IoU=0.1": 76.28, "R@1,IoU=0.3": 59.74, "R@1,IoU=0.5": 42.0, "mIoU": 40.61},
        },
    ),
)
