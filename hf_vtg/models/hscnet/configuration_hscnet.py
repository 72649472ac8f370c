"""Configuration of HSCNet (Hierarchical Semantic Correspondence Network, CVPR 2023)."""

from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict

from ...configuration import VideoGroundingConfig

LEVELS = ("W", "S", "P")


@strict
class HSCNetConfig(VideoGroundingConfig):
    """Configuration of :class:`HSCNetForVideoGrounding`; the defaults are those for Charades-STA.

    No code of HSCNet was published, so ``variant="official"`` is the same model as the default.

    Args:
        num_clips: clips N that the processor resamples a video to.
        hidden_size, num_attention_heads, intermediate_size: width D, its heads, and the inner width of the MLPs.
        num_feature_layers: self-attention layers over the clips alone and over the words alone.
        encoder_depths: multi-modal layers of the word, sentence and paragraph level.
        dropout: of attention weights, residual branches and MLPs.
        temperature: of the similarity maps between queries and clips.
        sigma_init, sigma_floor: start and lower limit of the learned temperature of each multi-modal layer.
        initial_gain: factor on the first weights of the projection of clips. Projected with Xavier's (1), features of
            unit length (``l2_normalize``) are a tenth as long as the positions that are added, and learned late.
        max_sentences: longer paragraphs are read in parts of at most so many sentences; None = whole.
        sample_sentences: training reads a random part of each paragraph, of 1 to ``max_sentences`` sentences.
        strip_punctuation: split words as word vectors do best; False = at blanks, as the predecessors do.
        box_format: the heads answer (centre, width), ``"cw"``, or (start, end), ``"se"``, which may cross.
        decoder_bidirectional: LSTMs of the decoder in both directions, half as wide each.
        levels: of the encoder, among W (word), S (sentence) and P (paragraph); S is always there.
        align_levels: levels with an alignment loss.
        decoder_levels: levels with a decoder. One that is left out neither predicts nor hands its semantics on.
        l1_weight, giou_weight: of the two parts of every localisation loss.
        align_weight, paragraph_weight, sentence_weight, union_weight, subset_weight, grounding_weight: of the losses.
    """

    model_type = "hscnet"
    reads_paragraphs: ClassVar[bool] = True

    feature_dim: int = 1024
    num_clips: int = 128
    hidden_size: int = 256
    num_attention_heads: int = 8
    intermediate_size: int = 1024
    num_feature_layers: int = 3
    encoder_depths: list[int] | tuple[int, ...] = (1, 1, 1)
    dropout: float | int = 0.1
    temperature: float | int = 0.2
    sigma_init: float | int = 0.2
    sigma_floor: float | int = 0.01
    initial_gain: float | int = 1.0
    max_sentences: int | None = 8
    sample_sentences: bool = True
    strip_punctuation: bool = False
    box_format: Literal["cw", "se"] = "cw"
    decoder_bidirectional: bool = False
    levels: list[str] | tuple[str, ...] = LEVELS
    align_levels: list[str] | tuple[str, ...] = LEVELS
    decoder_levels: list[str] | tuple[str, ...] = LEVELS
    l1_weight: float | int = 1.0
    giou_weight: float | int = 1.0
    align_weight: float | int = 1.0
    paragraph_weight: float | int = 1.0
    sentence_weight: float | int = 1.0
    union_weight: float | int = 1.0
    subset_weight: float | int = 1.0
    grounding_weight: float | int = 1.0

    presets: ClassVar[dict[str, dict[str, Any]]] = {
        "charades_sta": {},
        "activitynet_captions": {"feature_dim": 500, "num_clips": 256},
        "tacos": {"feature_dim": 4096, "num_clips": 512, "encoder_depths": (3, 3, 3)},
    }
    processor_presets: ClassVar[dict[str, dict[str, Any]]] = {
        name: {
            "resampling": "mean_bins",
            "num_clips": clips,
            "l2_normalize": True,
            "legacy_resample": True,
            "nms_threshold": None,
            "max_words": None,
            "word_pattern": "whitespace",
            "lowercase": True,
        }
        for name, clips in (("charades_sta", 128), ("activitynet_captions", 256), ("tacos", 512))
    }
    processor_fields: ClassVar[dict[str, str]] = {"num_clips": "num_clips"}
    usual_benchmark: ClassVar[str | None] = "charades_sta"

    def processor_settings(self) -> dict[str, Any]:
        return super().processor_settings() | ({"word_pattern": None} if self.strip_punctuation else {})

    def aligns(self, level: str) -> bool:
        """Whether ``level`` exists and has an alignment loss."""
        return level in self.levels and level in self.align_levels

    def decodes(self, level: str) -> bool:
        """Whether ``level`` exists and has a decoder."""
        return level in self.levels and level in self.decoder_levels

    def encodes(self, level: str) -> bool:
        """Whether anything reads what ``level`` of the encoder yields."""
        return level in self.levels and (level != "P" or self.aligns("P") or self.decodes("P"))

    def validate_levels(self):
        """Known levels only; the sentence level cannot be left out."""
        for name in ("levels", "align_levels", "decoder_levels"):
            unknown = [level for level in getattr(self, name) if level not in LEVELS]
            if unknown:
                raise ValueError(f"{name}={list(getattr(self, name))} names {unknown}; known are {list(LEVELS)}.")
            if name != "align_levels" and "S" not in getattr(self, name):
                raise ValueError(f"{name}={list(getattr(self, name))} lacks 'S', the level that answers.")

    def validate_sizes(self):
        """Heads divide the width, and every level has layers."""
        if self.hidden_size % self.num_attention_heads or self.hidden_size % 2:
            raise ValueError(
                f"hidden_size={self.hidden_size} must be even and a multiple of "
                f"num_attention_heads={self.num_attention_heads}."
            )
        if len(self.encoder_depths) != len(LEVELS) or min(self.encoder_depths) < 1:
            raise ValueError(f"encoder_depths={list(self.encoder_depths)}: give at least 1 for each of W, S and P.")
        if self.max_sentences is not None and self.max_sentences < 1:
            raise ValueError(f"max_sentences={self.max_sentences}: give at least 1, or None for no limit.")
