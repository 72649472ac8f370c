"""Tiny models of transformers with random weights, saved as the Hub holds them: weights and their own processor."""

from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertModel,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    CLIPTokenizer,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedTokenizerFast,
    ResNetConfig,
    Siglip2Config,
    Siglip2ImageProcessorPil,
    Siglip2Model,
    Siglip2Processor,
    SiglipConfig,
    SiglipImageProcessorPil,
    SiglipModel,
    SiglipProcessor,
    TvpConfig,
    TvpForVideoGrounding,
    TvpImageProcessorPil,
    TvpProcessor,
    VisionTextDualEncoderConfig,
    VisionTextDualEncoderModel,
    VisionTextDualEncoderProcessor,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from hf_vtg.testing.tester import WORDS

SMALL = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
VISION = {**SMALL, "image_size": 32, "patch_size": 8}
SIZE = {"height": 32, "width": 32}


def word_tokenizer(pad_id: int = 0) -> PreTrainedTokenizerFast:
    """Words, with </s> at the end of each sentence; padded with ``pad_id``."""
    names = ["<pad>", "</s>", "<unk>", "<s>", *WORDS]
    vocabulary = {word: index for index, word in enumerate(names)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        eos_token="</s>",
        pad_token=names[pad_id],
        model_max_length=16,
        model_input_names=["input_ids", "attention_mask"],
    )


def clip_tokenizer() -> CLIPTokenizer:
    letters = [chr(code) for code in range(33, 127)]
    names = [*letters, *(letter + "</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={name: index for index, name in enumerate(names)}, merges=[], model_max_length=77)


def _clip():
    tokenizer = clip_tokenizer()
    text = {**SMALL, "vocab_size": len(tokenizer), "bos_token_id": 188, "eos_token_id": 189, "pad_token_id": 189}
    config = CLIPConfig(text_config=text, vision_config=VISION, projection_dim=12)
    image = CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=SIZE)
    return CLIPModel(config), CLIPProcessor(image, tokenizer)


def _metaclip2():
    text = {**SMALL, "vocab_size": 40, "bos_token_id": 3, "eos_token_id": 1, "pad_token_id": 0}
    config = MetaClip2Config(text_config=text, vision_config=VISION, projection_dim=12)
    image = CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=SIZE)
    return MetaClip2Model(config), CLIPProcessor(image, word_tokenizer())


def _chinese_clip():
    config = ChineseCLIPConfig(text_config={**SMALL, "vocab_size": 40}, vision_config=VISION, projection_dim=12)
    image = CLIPImageProcessorPil(size={"shortest_edge": 36}, crop_size=SIZE)
    return ChineseCLIPModel(config), CLIPProcessor(image, word_tokenizer())


def _vision_text():
    vision = ViTModel(ViTConfig(**VISION))
    text = BertModel(BertConfig(vocab_size=40, **SMALL))
    model = VisionTextDualEncoderModel(
        VisionTextDualEncoderConfig.from_vision_text_configs(vision.config, text.config, projection_dim=12),
        vision_model=vision,
        text_model=text,
    )
    return model, VisionTextDualEncoderProcessor(ViTImageProcessorPil(size=SIZE), word_tokenizer())


def _siglip():
    text = {**SMALL, "vocab_size": 40, "max_position_embeddings": 16, "pad_token_id": 1, "projection_size": 16}
    model = SiglipModel(SiglipConfig(text_config=text, vision_config=VISION))
    return model, SiglipProcessor(SiglipImageProcessorPil(size=SIZE), word_tokenizer(pad_id=1))


def _siglip2():
    text = {**SMALL, "vocab_size": 40, "max_position_embeddings": 16, "projection_size": 16}
    vision = {**SMALL, "patch_size": 8, "num_patches": 16}
    model = Siglip2Model(Siglip2Config(text_config=text, vision_config=vision))
    return model, Siglip2Processor(Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16), word_tokenizer())


def _tvp():
    backbone = ResNetConfig(
        embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic", out_features=["stage2"]
    )
    config = TvpConfig(
        backbone_config=backbone,
        visual_prompt_size=4,
        max_img_size=32,
        num_frames=6,
        vocab_size=40,
        pad_token_id=0,
        **SMALL,
    )
    image = TvpImageProcessorPil(size={"longest_edge": 32}, crop_size=SIZE, pad_size=SIZE)
    return TvpForVideoGrounding(config), TvpProcessor(image, word_tokenizer())


BUILDERS = {
    "clip": _clip,
    "siglip": _siglip,
    "siglip2": _siglip2,
    "metaclip_2": _metaclip2,
    "chinese_clip": _chinese_clip,
    "vision_text": _vision_text,
    "tvp": _tvp,
}


def save_foreign_model(name: str, folder: Path) -> Path:
    """Save the model ``name`` of BUILDERS, always with the same weights."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, processor = BUILDERS[name]()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder
