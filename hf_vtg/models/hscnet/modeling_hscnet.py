"""HSCNet: Hierarchical Semantic Correspondence Network for video paragraph grounding (CVPR 2023).

Words, sentences and the paragraph each meet the clips in a level of the encoder and are aligned with them; the decoder
goes the other way, from the paragraph's moment over the sentences' to the words', and from both to the answer. No
code was published: section numbers below are those of the specification that the package was written from.
"""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...errors import ModelError
from ...layers.losses import upcast
from ...layers.padding import restore_sentences
from ...layers.positions import sinusoidal_positions
from ...layers.recurrent import PackedRecurrent
from ...layers.text_encoder import TextEncoder
from ...modeling import VideoGroundingPreTrainedModel
from ...steps import VideoGroundingOutput
from .configuration_hscnet import HSCNetConfig
from .layers_hscnet import (
    EncoderLayer,
    EncoderLevel,
    MultiHeadAttention,
    MultiModalLayer,
    PoolingLevel,
    PredictionHead,
    Projections,
)
from .losses_hscnet import (
    alignment_terms,
    attention_inside,
    clip_sets,
    excess_terms,
    hulls,
    localisation_terms,
    predicted_moments,
)
from .text_hscnet import HSCNetTextState, pack_words


@dataclass
class HSCNetVideoState(ModelOutput):
    """What does not depend on the query.

    Args:
        clips: (B, N, D) clips, each seen in its whole video (F^V).
        video_mask: (B, N) bool.
        fused, phi, rho, psi: the clips' part of the first multi-modal layer, see :class:`Projections`.
        sentence_clips: (B, N, D) clips that enter the sentence level, if there is no word level.
    """

    clips: torch.Tensor | None = None
    video_mask: torch.Tensor | None = None
    fused: torch.Tensor | None = None
    phi: torch.Tensor | None = None
    rho: torch.Tensor | None = None
    psi: torch.Tensor | None = None
    sentence_clips: torch.Tensor | None = None

    @property
    def projections(self) -> Projections:
        return Projections(self.fused, self.phi, self.rho, self.psi)


@dataclass
class HSCNetSegments(ModelOutput):
    """What the heads answer, as fractions, not clamped to the video: the losses compare these.

    Args:
        final: (B, S, 2); sentence: (B, S, 2), the same without a word decoder; paragraph: (B, 1, 2).
        word: (B, S, M, 2), of the words of each sentence; 0 where there is none.
    """

    final: torch.Tensor | None = None
    sentence: torch.Tensor | None = None
    paragraph: torch.Tensor | None = None
    word: torch.Tensor | None = None


@dataclass
class HSCNetOutput(VideoGroundingOutput):
    """Output of HSCNet; there is one candidate (K = 1) a sentence, its score the attention mass inside it.

    Args:
        word_moments: (B, S, M, 2) moments of the words; with a word decoder only.
        word_similarity: (B, N words, N clips), sentence_similarity: (B, S, N), paragraph_similarity: (B, 1, N): cosine
            of queries and clips over the temperature, float32; of levels that are aligned or decoded.
        segments: the moments before they are clamped.
        intermediates: golden name -> tensor; with ``output_intermediates`` only.
    """

    word_moments: torch.Tensor | None = None
    word_similarity: torch.Tensor | None = None
    sentence_similarity: torch.Tensor | None = None
    paragraph_similarity: torch.Tensor | None = None
    segments: HSCNetSegments | None = None
    intermediates: dict[str, torch.Tensor] | None = None


class HSCNetDecoder(nn.Module):
    """From the paragraph's moment to the sentences', the words', and the answer (section 5)."""

    def __init__(self, config: HSCNetConfig):
        super().__init__()
        width = config.hidden_size
        per_direction = width // 2 if config.decoder_bidirectional else width
        above = width if config.decodes("P") else 0

        def recurrent(in_features: int) -> PackedRecurrent:
            return PackedRecurrent("lstm", in_features, per_direction, bidirectional=config.decoder_bidirectional)

        self.paragraph_head = PredictionHead(width, config) if config.decodes("P") else None
        self.sentence_lstm, self.sentence_head = recurrent(width + above), PredictionHead(width, config)
        self.word_lstm = None
        if config.decodes("W"):
            self.word_lstm, self.word_head = recurrent(2 * width), PredictionHead(width, config)
            self.word_attention, self.final_head = MultiHeadAttention(config), PredictionHead(2 * width, config)

    def forward(
        self,
        words: torch.Tensor | None,
        sentences: torch.Tensor,
        paragraph: torch.Tensor | None,
        text: HSCNetTextState,
        trace: dict[str, torch.Tensor],
    ) -> HSCNetSegments:
        """Semantics of the levels that are decoded: (B, N, D) words, (B, S, D) sentences, (B, 1, D) paragraph."""
        paragraph_segment = None
        if self.paragraph_head is not None:
            paragraph_segment = self.paragraph_head(paragraph)
            sentences = torch.cat([sentences, paragraph.expand_as(sentences)], dim=-1)
        mask = text.sentence_mask
        decoded = trace["g_SP"] = self.sentence_lstm(sentences, _visible(mask))
        sentence_segments = self.sentence_head(decoded)
        if self.word_lstm is None:
            return HSCNetSegments(final=sentence_segments, sentence=sentence_segments, paragraph=paragraph_segment)
        decoded, slots, index = decoded[mask], text.slot_mask[mask], text.slot_index[mask]
        video = mask.nonzero()[:, :1]
        per_sentence = torch.cat([words[video, index], decoded.unsqueeze(1).expand(-1, slots.shape[1], -1)], dim=-1)
        # A sentence without words has one slot of zeros: there is no LSTM and no attention over nothing.
        visible = _visible(slots, first_only=True)
        word_states = self.word_lstm(per_sentence.masked_fill(~slots.unsqueeze(-1), 0), visible)
        word_segments = self.word_head(word_states).masked_fill(~slots.unsqueeze(-1), 0)
        semantics = self.word_attention(decoded.unsqueeze(1), word_states, visible).squeeze(1)
        trace |= {"word_lstm": word_states, "z": semantics}
        return HSCNetSegments(
            final=restore_sentences(self.final_head(torch.cat([semantics, decoded], dim=-1)), mask),
            sentence=sentence_segments,
            paragraph=paragraph_segment,
            word=restore_sentences(word_segments, mask),
        )


class HSCNetForVideoGrounding(VideoGroundingPreTrainedModel):
    """Hierarchical Semantic Correspondence Network.

    The S sentences of a batch row are read as one paragraph, in order: they see each other. Sentences that should be
    answered by themselves belong in rows of their own (see ``select_videos``).
    """

    config: HSCNetConfig

    def __init__(self, config: HSCNetConfig):
        super().__init__(config)
        width, depths = config.hidden_size, dict(zip("WSP", config.encoder_depths, strict=True))
        self.video_projection = nn.Linear(config.feature_dim, width)
        self.clip_encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_feature_layers))
        self.text_encoder = TextEncoder(config.text_config)
        self.word_projection = nn.Linear(config.text_hidden_size, width)
        self.word_encoder = nn.ModuleList(EncoderLayer(config) for _ in range(config.num_feature_layers))
        self.word_level = EncoderLevel(config, depths["W"]) if config.encodes("W") else None
        self.sentence_level = PoolingLevel(config, depths["S"])
        self.paragraph_level = PoolingLevel(config, depths["P"]) if config.encodes("P") else None
        self.aggregation = nn.ModuleDict(
            {level: nn.Linear(2 * width, width) for level in ("W", "S", "P") if config.decodes(level)}
        )
        self.decoder = HSCNetDecoder(config)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        if isinstance(module, nn.Linear):
            gain = self.config.initial_gain if module is self.video_projection else 1.0
            init.xavier_uniform_(module.weight, gain)
            init.zeros_(module.bias)
        elif isinstance(module, MultiModalLayer):
            init.constant_(module.log_sigma, module.initial_log_sigma)

    @property
    def attends_words(self) -> bool:
        return self.config.aligns("W") or self.config.decodes("W")

    def default_loss_weights(self) -> dict[str, float]:
        config = self.config
        names = {"W": "align_word", "S": "align_sentence", "P": "align_paragraph"}
        weights = {name: config.align_weight for level, name in names.items() if config.aligns(level)}
        if config.decodes("P"):
            weights["paragraph"] = config.paragraph_weight
        if config.decodes("W"):
            weights["sentence"] = config.sentence_weight
            weights |= {"union": config.union_weight, "subset": config.subset_weight}
        return {**weights, "grounding": config.grounding_weight}

    def encode_video(self, video_features, video_mask=None, output_intermediates=False) -> HSCNetVideoState:
        """(B, T, D) features -> encoded clips, and the first multi-modal layer's share of them."""
        video_mask = self.real_clips(video_features, video_mask)
        # Whatever stands in the padding, 0 * it must be 0.
        clips = self.video_projection(video_features.masked_fill(~video_mask.unsqueeze(-1), 0))
        clips = clips + sinusoidal_positions(*clips.shape[1:], clips)
        for layer in self.clip_encoder:
            clips = layer(clips, video_mask)
        entering = clips if self.word_level is not None else self.sentence_level.video_encoder(clips, video_mask)
        first = (self.word_level or self.sentence_level).layers[0].project(entering)
        sentence_clips = entering if self.word_level is None else None
        return HSCNetVideoState(clips=clips, video_mask=video_mask, sentence_clips=sentence_clips, **first._asdict())

    def encode_text(
        self, input_ids=None, attention_mask=None, sentence_mask=None, inputs_embeds=None, output_intermediates=False
    ) -> HSCNetTextState:
        """(B, S, L) ids or (B, S, L, E) embeddings -> the words of each paragraph, which see each other."""
        rows, _, sentence_mask = self.token_states(input_ids, attention_mask, sentence_mask, inputs_embeds)
        if (sentence_mask[:, 1:] & ~sentence_mask[:, :-1]).any():
            raise ModelError("HSCNet reads a paragraph in order: padded sentences must come after the real ones.")
        states = restore_sentences(rows, sentence_mask)
        words, layout = pack_words(states, attention_mask, sentence_mask)
        words = self.word_projection(words)
        words = words + sinusoidal_positions(*words.shape[1:], words)
        visible = _visible(layout["word_mask"])
        for layer in self.word_encoder:
            words = layer(words, visible)
        return HSCNetTextState(words=words, **layout)

    def ground(self, video_state, text_state, output_intermediates=False) -> HSCNetOutput:
        """The encoder from words to the paragraph (section 4), the decoder back to the words and sentences (5)."""
        config, trace = self.config, {}
        clip_mask, sentence_mask = video_state.video_mask, text_state.sentence_mask
        word_mask, sentences_visible = _visible(text_state.word_mask), _visible(sentence_mask)
        clips, words = video_state.projections, text_state.words
        states: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
        if self.word_level is not None:
            states["W"] = clips, words = self.word_level.interact(clips, words, clip_mask, word_mask)
            clips = trace["V_S0"] = self.sentence_level.video_encoder(clips, clip_mask)
        means = trace["omega_S"] = text_state.sentence_means(words)
        sentences = trace["Q_S0"] = self.sentence_level.pool(means, words, word_mask)
        states["S"] = clips, sentences = self.sentence_level.interact(clips, sentences, clip_mask, sentences_visible)
        if self.paragraph_level is not None:
            share = sentence_mask.to(sentences.dtype).unsqueeze(-1)
            count = share.sum(1, keepdim=True).clamp(min=1)
            means = trace["omega_P"] = (sentences * share).sum(1, keepdim=True) / count
            paragraph = trace["Q_P0"] = self.paragraph_level.pool(means, sentences, sentences_visible)
            clips = trace["V_P0"] = self.paragraph_level.video_encoder(clips, clip_mask)
            one = torch.ones_like(sentence_mask[:, :1])
            states["P"] = self.paragraph_level.interact(clips, paragraph, clip_mask, one)

        similarity, attention, semantics = {}, {}, {}
        for level, (level_clips, queries) in states.items():
            trace |= {f"V_{level}": level_clips, f"Q_{level}": queries}
            if config.aligns(level) or config.decodes(level):
                similarity[level], attention[level], semantics[level] = self._aggregate(
                    level, level_clips, queries, clip_mask
                )
        trace |= {f"g_{level}": value for level, value in semantics.items() if value is not None}
        segments = self.decoder(semantics.get("W"), semantics["S"], semantics.get("P"), text_state, trace)
        moments = predicted_moments(segments.final)
        scores = attention_inside(attention["S"], moments, clip_mask).masked_fill(~sentence_mask, -torch.inf)
        word_attention = None
        if output_intermediates and "W" in attention:
            places = text_state.slot_index[sentence_mask]
            word_attention = restore_sentences(attention["W"][sentence_mask.nonzero()[:, :1], places], sentence_mask)
        return HSCNetOutput(
            moments=moments.unsqueeze(2),
            scores=scores.unsqueeze(2),
            video_state=video_state,
            paragraph_moments=None if segments.paragraph is None else predicted_moments(segments.paragraph)[:, 0],
            word_clip_attention=word_attention,
            word_moments=None if segments.word is None else predicted_moments(segments.word),
            word_similarity=similarity.get("W"),
            sentence_similarity=similarity["S"],
            paragraph_similarity=similarity.get("P"),
            segments=segments,
            text_state=text_state,
            intermediates=trace if output_intermediates else None,
        )

    def _aggregate(self, level: str, clips: torch.Tensor, queries: torch.Tensor, clip_mask: torch.Tensor):
        """Similarity map, attention over the clips, and, if the level is decoded, semantics (section 4.3, eq. 5-6)."""
        with torch.autocast(device_type=clips.device.type, enabled=False):
            query, clip = F.normalize(upcast(queries), dim=-1), F.normalize(upcast(clips), dim=-1)
            similarity = query @ clip.transpose(1, 2) / self.config.temperature
            attention = similarity.masked_fill(~clip_mask.unsqueeze(1), -torch.inf).softmax(-1)
            if not self.config.decodes(level):
                return similarity, attention, None
            joint = torch.cat([query, attention @ clip], dim=-1)
        return similarity, attention, self.aggregation[level](joint.to(queries.dtype))

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        """Segments to regress and clips to attend to (section 6).

        Returns:
            moments: (B, S, 2) and paragraph: (B, 1, 2), the hull of a row's sentences; sentence_clips: (B, S, N) and
            paragraph_clips: (B, 1, N) bool. Padded sentences have no meaning.
        """
        if video_mask is None:
            video_mask = sentence_mask.new_ones(len(labels), self.config.num_clips)
        dtype = torch.promote_types(self.dtype, torch.float32)
        own_clips = clip_sets(labels, video_mask)
        any_sentence = sentence_mask.any(1)[:, None, None]
        paragraph = hulls(labels, sentence_mask).unsqueeze(1)
        return {
            "moments": labels.to(dtype),
            "paragraph": torch.where(any_sentence, paragraph, 0).to(dtype),
            "sentence_clips": own_clips,
            "paragraph_clips": (own_clips & sentence_mask.unsqueeze(-1)).any(1, keepdim=True),
        }

    def compute_losses(self, output: HSCNetOutput, targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """Alignment at each level, localisation of paragraph, sentences and answer, union and subset of the words;
        means over the words, sentences or paragraphs of the whole batch (section 6, eq. 9-11)."""
        config, segments, text = self.config, output.segments, output.text_state
        mask, clip_mask = text.sentence_mask, output.video_state.video_mask
        own_clips, moments = targets["sentence_clips"], targets["moments"][mask]
        if own_clips.shape[-1] != clip_mask.shape[1]:
            raise ModelError(
                f"The targets are for {own_clips.shape[-1]} clips, the video has {clip_mask.shape[1]}. "
                "Give video_mask, or resample the features with the model's processor."
            )
        has_sentence = mask.any(1)

        def localisation(found: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
            return _mean(localisation_terms(found, wanted, config.l1_weight, config.giou_weight))

        losses = {}
        if config.aligns("W"):
            video, word = text.word_mask.nonzero(as_tuple=True)
            sets = own_clips[video, text.sentence_ids[video, word]]
            losses["align_word"] = _mean(alignment_terms(output.word_similarity[video, word], sets, clip_mask[video]))
        if config.aligns("S"):
            clips = clip_mask.unsqueeze(1).expand_as(own_clips)[mask]
            losses["align_sentence"] = _mean(alignment_terms(output.sentence_similarity[mask], own_clips[mask], clips))
        if config.aligns("P"):
            rows = output.paragraph_similarity[has_sentence, 0], targets["paragraph_clips"][has_sentence, 0]
            losses["align_paragraph"] = _mean(alignment_terms(*rows, clip_mask[has_sentence]))
        if config.decodes("P"):
            losses["paragraph"] = localisation(segments.paragraph[has_sentence], targets["paragraph"][has_sentence])
        if config.decodes("W"):
            losses["sentence"] = localisation(segments.sentence[mask], moments)
            slots, words = text.slot_mask[mask], segments.word[mask]
            spoken = slots.any(-1)
            losses["union"] = localisation(hulls(words[spoken], slots[spoken]), moments[spoken])
            losses["subset"] = _mean(excess_terms(words, moments.unsqueeze(1))[slots])
        losses["grounding"] = localisation(segments.final[mask], moments)
        return losses


def _visible(mask: torch.Tensor, first_only: bool = False) -> torch.Tensor:
    """The mask, but a row without any entry sees all, or the first: attention over nothing is NaN."""
    shown = torch.arange(mask.shape[1], device=mask.device) < 1 if first_only else torch.ones_like(mask)
    return mask | (shown & ~mask.any(1, keepdim=True))


def _mean(terms: torch.Tensor) -> torch.Tensor:
    """The mean, 0 of nothing."""
    return terms.sum() / max(terms.numel(), 1)
