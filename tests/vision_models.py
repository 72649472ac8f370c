"""Tiny vision models with random weights, saved as a folder that VideoEncoder loads."""

import json
from pathlib import Path

import torch
from transformers import (
    CLIPConfig,
    CLIPModel,
    MobileNetV1Config,
    MobileNetV1Model,
    VideoMAEConfig,
    VideoMAEModel,
    ViTConfig,
    ViTModel,
    VivitConfig,
    VivitModel,
)

SMALL = {
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "image_size": 32,
}
TEXT = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "vocab_size": 9,
    "bos_token_id": 0,
    "eos_token_id": 1,
    "pad_token_id": 1,
}
PREPROCESSOR = {
    "do_resize": True,
    "size": {"shortest_edge": 36},
    "resample": 3,
    "do_center_crop": True,
    "crop_size": {"height": 32, "width": 32},
    "do_rescale": True,
    "rescale_factor": 1 / 255,
    "do_normalize": True,
    "image_mean": [0.5, 0.4, 0.3],
    "image_std": [0.2, 0.3, 0.4],
}
MODELS = {
    "vit": (lambda: ViTModel(ViTConfig(**SMALL, patch_size=8)), "ViTImageProcessor", {}),
    "convnet": (
        lambda: MobileNetV1Model(MobileNetV1Config(depth_multiplier=0.25, image_size=32)),
        "MobileNetV1ImageProcessor",
        {},
    ),
    "clip": (
        lambda: CLIPModel(CLIPConfig(text_config=TEXT, vision_config={**SMALL, "patch_size": 8}, projection_dim=24)),
        "CLIPImageProcessor",
        {},
    ),
    "videomae": (
        lambda: VideoMAEModel(VideoMAEConfig(**SMALL, patch_size=8, num_frames=4)),
        "VideoMAEImageProcessor",
        {"resample": 2},
    ),
    "vivit": (
        lambda: VivitModel(VivitConfig(**SMALL, tubelet_size=[2, 8, 8], num_frames=4)),
        "VivitImageProcessor",
        {"rescale_factor": 1 / 127.5, "offset": True},
    ),
}


def save_vision_model(name: str, folder: Path) -> Path:
    """Save the model ``name`` of MODELS (always the same weights) with its preprocessor file."""
    build, processor, more = MODELS[name]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = build()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.save_pretrained(folder)
    config = {**PREPROCESSOR, "image_processor_type": processor, **more}
    (folder / "preprocessor_config.json").write_text(json.dumps(config))
    return folder


def save_grounding_model(folder: Path, method: str = "mmn") -> Path:
    """Save a tiny model as ``folder``/model whose processor names ``folder``/vit at 10 frames a second."""
    from hf_vtg import VideoEncoder, VideoGroundingProcessor

    from .testers import model_tester

    encoder = VideoEncoder(save_vision_model("vit", folder / "vit"), fps=10)
    tester = model_tester(method)
    model = tester.model(feature_dim=encoder.spec.dim)
    processor = VideoGroundingProcessor.from_model_config(
        model.config, tester.word_vectors().build_tokenizer(), encoder.spec
    )
    model.save_pretrained(folder / "model")
    processor.save_pretrained(folder / "model")
    return folder / "model"
