"""From RGB frames to the pixel tensors of a Hugging Face vision model, by PIL alone (no torchvision).

Image models use their own image processor. The video processors of transformers need torchvision, so the frames of
clip models go through a plain resize, crop and normalise with the numbers of the model's preprocessor file.
"""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from ..errors import FeatureError, ModelError

_RESAMPLE = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}
_FILES = ("video_preprocessor_config.json", "preprocessor_config.json")
_PLAIN = (
    "do_resize",
    "size",
    "resample",
    "do_center_crop",
    "crop_size",
    "do_rescale",
    "rescale_factor",
    "do_normalize",
    "image_mean",
    "image_std",
)


class FramePreprocessor:
    """``preprocessor(frames)`` -> dict of tensors of an image model, or (N, 3, H, W) pixels for a clip model.

    ``crop`` and ``normalization`` say what is done, in the words of FeatureSpec:
    ``resize shortest_edge=256 bilinear, center_crop 224x224`` and ``rescale=0.00392157 mean=.. std=..``.
    A ``crop`` of that form replaces the model's own; ``resize 224x224 bilinear`` shows the whole picture squeezed.
    Raises ModelError if the model has no usable preprocessor file.
    """

    def __init__(self, backbone: str, for_clips: bool, crop: str | None = None, **hub: Any):
        overrides = parse_crop(crop) if crop is not None else {}
        load = _plain_processor if for_clips else _image_processor
        self.processor = load(backbone, {}, hub)
        if crop is not None and crop != describe_crop(self.processor):
            self.processor = load(backbone, overrides, hub)
        self.crop = describe_crop(self.processor)
        self.normalization = describe_normalization(self.processor)

    def __call__(self, frames: Sequence[np.ndarray]) -> dict[str, torch.Tensor]:
        """Tensors of N frames (H, W, 3) uint8; the sizes of the frames may differ."""
        images = [Image.fromarray(np.ascontiguousarray(frame)) for frame in frames]
        return dict(self.processor(images=images, return_tensors="pt"))


def _image_processor(backbone: str, overrides: dict[str, Any], hub: dict[str, Any]):
    from transformers import AutoImageProcessor

    try:
        return AutoImageProcessor.from_pretrained(backbone, backend="pil", **overrides, **hub)
    except (OSError, ValueError, ImportError, KeyError) as error:
        raise _no_processor(backbone, error) from error


def _plain_processor(backbone: str, overrides: dict[str, Any], hub: dict[str, Any]):
    """Resize, centre crop, rescale, normalise: the model's numbers in CLIP's class, which does just this."""
    from transformers import CLIPImageProcessorPil
    from transformers.image_processing_utils import ImageProcessingMixin

    hub = {name: value for name, value in hub.items() if name != "trust_remote_code"}
    values, problem = {}, None
    for file in _FILES:
        try:
            values, _ = ImageProcessingMixin.get_image_processor_dict(backbone, image_processor_filename=file, **hub)
            break
        except (OSError, ValueError) as error:
            problem = error
    if not values:
        raise _no_processor(backbone, problem) from problem
    plain = {name: values[name] for name in _PLAIN if values.get(name) is not None} | overrides
    if plain.get("do_normalize", True) and not {"image_mean", "image_std"} <= set(plain):
        raise ModelError(f"{backbone}: its preprocessor file has no image_mean and image_std. Add them.")
    if values.get("offset"):
        # ViViT's rescaling also subtracts 1; as part of the mean it needs no step of its own.
        on = plain.get("do_normalize", True)
        plain["image_mean"] = [m + 1 for m in plain["image_mean"]] if on else [1.0] * 3
        plain["image_std"] = plain["image_std"] if on else [1.0] * 3
        plain["do_normalize"] = True
    return CLIPImageProcessorPil(**plain)


def _no_processor(backbone: str, error: Exception | None) -> ModelError:
    return ModelError(
        f"{backbone} has no preprocessor file that can be used ({error}). "
        "Save one beside the weights: AutoImageProcessor.from_pretrained(ORIGINAL).save_pretrained(FOLDER)."
    )


def describe_crop(processor: Any) -> str:
    """What an image processor does to the geometry of a frame, canonical and readable by ``parse_crop``."""
    steps = []
    size, crop = _edges(getattr(processor, "size", None)), _edges(getattr(processor, "crop_size", None))
    if getattr(processor, "max_num_patches", None) is not None:
        size = f"max_num_patches={processor.max_num_patches}"
    if getattr(processor, "do_resize", False):
        resample = getattr(processor, "resample", None)
        steps.append(f"resize {size} {_RESAMPLE.get(int(resample), resample) if resample is not None else ''}".strip())
        if getattr(processor, "crop_pct", None) is not None:
            steps.append(f"crop_pct {processor.crop_pct:g}")
    if getattr(processor, "do_center_crop", False):
        steps.append(f"center_crop {crop}")
    return ", ".join(steps) or "none"


def parse_crop(crop: str) -> dict[str, Any]:
    """Keyword arguments of an image processor for a ``crop`` text; raises FeatureError for another form."""
    edges = r"(?:(\d+)x(\d+)|shortest_edge=(\d+))"
    names = "|".join(_RESAMPLE.values())
    match = re.fullmatch(rf"(?:resize {edges} ({names}))?(?:(?:, )?center_crop (\d+)x(\d+))?", crop)
    if crop != "none" and (match is None or not crop):
        raise FeatureError(
            f"crop {crop!r} is not understood: write 'resize 224x224 bilinear', 'resize shortest_edge=256 bicubic, "
            "center_crop 224x224' or 'none'"
        )
    height, width, shortest, resample, crop_height, crop_width = match.groups() if crop != "none" else [None] * 6
    values: dict[str, Any] = {"do_resize": resample is not None, "do_center_crop": crop_height is not None}
    if resample is not None:
        values["size"] = {"shortest_edge": int(shortest)} if shortest else {"height": int(height), "width": int(width)}
        values["resample"] = next(code for code, name in _RESAMPLE.items() if name == resample)
    if crop_height is not None:
        values["crop_size"] = {"height": int(crop_height), "width": int(crop_width)}
    return values


def describe_normalization(processor: Any) -> str:
    """What an image processor does to the values of the pixels."""
    parts = []
    if getattr(processor, "do_rescale", False):
        parts.append(f"rescale={processor.rescale_factor:.6g}")
    if getattr(processor, "do_normalize", False):
        for name, values in (("mean", processor.image_mean), ("std", processor.image_std)):
            values = values if isinstance(values, list | tuple) else [values]
            parts.append(f"{name}={','.join(f'{value:.6g}' for value in values)}")
    return " ".join(parts) or "none"


def _edges(size: Any) -> str:
    if isinstance(size, int):
        return f"shortest_edge={size}"
    edges = {name: value for name, value in dict(size or {}).items() if value is not None}
    if set(edges) == {"height", "width"}:
        return f"{edges['height']}x{edges['width']}"
    return ",".join(f"{name}={edges[name]}" for name in sorted(edges, reverse=True))
