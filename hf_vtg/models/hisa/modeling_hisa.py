"""HiSA (IEEE TIP 2022, doi 10.1109/TIP.2022.3191841): two distributions over clips, of the start and of the end.

A video block takes apart what stays and what changes between neighbouring clips; each clip attends to the words; an
LSTM over the fused clips feeds the heads of start, end and inside. A candidate is a pair of clips.
"""

from dataclasses import dataclass

import torch
from torch import nn
from transformers import initialization as init
from transformers.utils import ModelOutput

from ...layers.losses import upcast
from ...layers.padding import real_only
from ...layers.recurrent import PackedRecurrent
from ...layers.text_encoder import TextEncoder
from ...modeling import VideoGroundingPreTrainedModel
from ...steps import VideoGroundingOutput
from .attention_hisa import HiSAWordAttention, masked_softmax
from .configuration_hisa import HiSAConfig
from .decoding_hisa import best_pairs
from .disentangling_hisa import HiSADisentangler, next_clips
from .losses_hisa import boundary_nll, contrast, inside_nll, pool_span, reconstruction_loss


@dataclass
class HiSAVideoState(ModelOutput):
    """What does not depend on the query. C = 2 * hidden_size.

    Args:
        output_video: (B, T, C) clips O.
        clip_keys: (B, T, C) their projection for the attention.
        video_mask: (B, T) bool.
        clips: (B, T, D) features as the convolutions saw them: padding is zero where the model does not look at it.
        background, action: (B, T, D) G and A.
        video_lstm: (B, T, C) before the projection; with ``output_intermediates`` only.
        action_neighbor, recon, recon_neighbor: (B, T, D) A', R and R'; in training or with ``output_intermediates``.
    """

    output_video: torch.Tensor | None = None
    clip_keys: torch.Tensor | None = None
    video_mask: torch.Tensor | None = None
    clips: torch.Tensor | None = None
    background: torch.Tensor | None = None
    action: torch.Tensor | None = None
    video_lstm: torch.Tensor | None = None
    action_neighbor: torch.Tensor | None = None
    recon: torch.Tensor | None = None
    recon_neighbor: torch.Tensor | None = None


@dataclass
class HiSATextState(ModelOutput):
    """What does not depend on the video.

    Args:
        query_lstm: (B, S, L, C) words H, zeros at padding.
        word_keys: (B, S, L, C) their projection for the attention.
        word_mask: (B, S, L) bool. sentence_mask: (B, S) bool.
    """

    query_lstm: torch.Tensor | None = None
    word_keys: torch.Tensor | None = None
    word_mask: torch.Tensor | None = None
    sentence_mask: torch.Tensor | None = None


@dataclass
class HiSAOutput(VideoGroundingOutput):
    """Output of HiSA; the K candidates are the best ``num_candidates`` pairs, in the order of their clips.

    Padded sentences hold zeros. Rows are the R real sentences in the order of ``sentence_mask.nonzero()``.

    Args:
        logits_start, logits_end, logits_inter: (B, S, T) of the start clip, the end clip, and of lying inside.
        prob_start, prob_end, prob_inter: (B, S, T) masked softmax over the clips, plus 1e-13.
        filter_start: (R, T, C) attended words F of each clip.
        rnn_loc: (R, T, C) clips Y after the localisation LSTM.
        word_attention: (R, T, L) weights; with ``output_intermediates`` only, like all that follow.
        attended_query: (R, T, C) attended words before their projection.
        fused: (R, T, C) input of the localisation LSTM.
    """

    logits_start: torch.Tensor | None = None
    logits_end: torch.Tensor | None = None
    logits_inter: torch.Tensor | None = None
    prob_start: torch.Tensor | None = None
    prob_end: torch.Tensor | None = None
    prob_inter: torch.Tensor | None = None
    filter_start: torch.Tensor | None = None
    rnn_loc: torch.Tensor | None = None
    word_attention: torch.Tensor | None = None
    attended_query: torch.Tensor | None = None
    fused: torch.Tensor | None = None

    per_sentence = tuple(f"{kind}_{name}" for kind in ("logits", "prob") for name in ("start", "end", "inter"))


class HiSAForVideoGrounding(VideoGroundingPreTrainedModel):
    """HiSA with heads for start, end and inside.

    With ``config.pad_invariant`` a video's answer depends on nothing but the video and its query. Without it, as
    published, the convolutions and the reconstruction loss see the padding of the batch.
    """

    config: HiSAConfig
    text_state_class = HiSATextState

    def __init__(self, config: HiSAConfig):
        super().__init__(config)
        width = 2 * config.hidden_size
        self.disentangler = HiSADisentangler(config)
        self.video_lstm = PackedRecurrent("lstm", 2 * config.feature_dim, config.hidden_size, bidirectional=True)
        self.video_head = nn.Linear(width, width)
        self.text_encoder = TextEncoder(config.text_config)
        self.query_lstm = PackedRecurrent(
            "lstm", config.text_hidden_size, config.hidden_size, bidirectional=True, bias=config.query_lstm_bias
        )
        self.dropout = nn.Dropout(config.encoder_dropout)
        self.attention = HiSAWordAttention(width, config.pad_invariant, config.attention_elements)
        self.query_head = nn.Linear(width, width)
        self.localization_lstm = PackedRecurrent(
            "lstm", width, config.hidden_size, bidirectional=True, bias=config.localization_lstm_bias
        )
        self.start_head = _head(width, config.head_hidden_size)
        self.end_head = _head(width, config.head_hidden_size)
        self.inside_head = _head(width, config.head_hidden_size)
        self.post_init()

    @property
    def attends_words(self) -> bool:
        return True

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        super()._init_weights(module)
        gain, recurrent = self.config.initial_gain, self.localization_lstm.rnn
        if gain == 1:
            return
        if module is self.query_head or module is self.video_head:
            _widen(module.weight, gain, module.in_features)
        if module is recurrent:
            for weight in (module.weight_ih_l0, module.weight_ih_l0_reverse):
                _widen(weight, gain, module.hidden_size)

    def default_loss_weights(self) -> dict[str, float]:
        config = self.config
        return {
            "start": config.start_weight,
            "end": config.end_weight,
            "inter": config.inside_weight,
            "recon_l1": config.reconstruction_weight,
            "contrast": config.contrast_weight,
        }

    def encode_video(self, video_features, video_mask=None, output_intermediates=False) -> HiSAVideoState:
        """(B, T, D) features -> encoded clips. Reconstructions only in training, or as intermediates."""
        video_mask = self.real_clips(video_features, video_mask)
        clips = video_features
        if self.config.pad_invariant:
            clips = clips.masked_fill(~video_mask.unsqueeze(-1), 0)
        background, action = self.disentangler(clips, self._lengths(video_mask))
        states = self.video_lstm(torch.cat([action, background], dim=-1), video_mask)
        seen = self._seen(video_mask)
        output_video = real_only(self.video_head, seen, self.dropout(states)).tanh()
        state = HiSAVideoState(
            output_video=output_video,
            clip_keys=real_only(self.attention.clip_projection, seen, output_video),
            video_mask=video_mask,
            clips=clips,
            background=background,
            action=action,
            video_lstm=states if output_intermediates else None,
        )
        if self.training or output_intermediates:
            return HiSAVideoState(**state, **self.reconstruct(state))
        return state

    def reconstruct(self, state: HiSAVideoState) -> dict[str, torch.Tensor]:
        """``action_neighbor``, ``recon`` and ``recon_neighbor`` (B, T, D): what only the reconstruction loss needs."""
        inputs = (state[name].to(self.dtype) for name in ("clips", "background", "action"))
        made = self.disentangler.reconstruct(*inputs, self._lengths(state.video_mask))
        return dict(zip(("action_neighbor", "recon", "recon_neighbor"), made, strict=True))

    def _seen(self, mask: torch.Tensor) -> torch.Tensor | None:
        """Clips that a layer must see: the real ones, or None, published: all."""
        return mask if self.config.pad_invariant else None

    def _lengths(self, video_mask: torch.Tensor) -> torch.Tensor:
        """(B,) clips of each video that the convolutions see; published: the padded length."""
        lengths = video_mask.sum(1)
        return lengths if self.config.pad_invariant else torch.full_like(lengths, video_mask.shape[1])

    def encode_sentences(self, states, mask, output_intermediates=False) -> dict[str, torch.Tensor]:
        """Token states -> encoded words, and their projection for the attention."""
        words = self.dropout(self.query_lstm(states, mask))
        return {"query_lstm": words, "word_keys": self.attention.word_projection(words), "word_mask": mask}

    def ground_rows(self, pairs, video_state, text_state, output_intermediates=False) -> HiSAOutput:
        """Start, end and inside distributions; score of a pair = product of its start and end probability."""
        clip_mask = pairs.of_videos(video_state.video_mask)
        lengths = clip_mask.sum(1)
        query = (pairs.of_sentences(text_state[name]) for name in ("query_lstm", "word_keys", "word_mask"))
        attended, weights = self.attention(*query, pairs.of_videos(video_state.clip_keys), lengths)
        seen = self._seen(clip_mask)
        words = real_only(self.query_head, seen, attended).tanh()
        clips = pairs.of_videos(video_state.output_video)
        fused = words * clips if self.config.fusion == "cross_cos" else (words - clips).abs()
        localized = self.localization_lstm(fused, clip_mask)
        heads = {"start": self.start_head, "end": self.end_head, "inter": self.inside_head}
        with torch.autocast(device_type=fused.device.type, enabled=False):
            states = localized.to(self.dtype)
            logits = {name: real_only(head, seen, states).squeeze(-1) for name, head in heads.items()}
            prob = {name: masked_softmax(x, clip_mask, self.config.pad_invariant) for name, x in logits.items()}
            best, scores = best_pairs(
                prob["start"].detach(), prob["end"].detach(), lengths, self.config.num_candidates
            )
        candidates = best + best.new_tensor([0, 1]) * scores.isfinite().unsqueeze(-1)
        return HiSAOutput(
            moments=candidates.to(scores.dtype) / lengths[:, None, None],
            scores=scores,
            # A clip's weights are 1 in sum over the words.
            word_clip_attention=weights.transpose(1, 2) if output_intermediates else None,
            **{f"logits_{name}": x for name, x in logits.items()},
            **{f"prob_{name}": x for name, x in prob.items()},
            filter_start=words,
            rnn_loc=localized,
            word_attention=weights if output_intermediates else None,
            attended_query=attended if output_intermediates else None,
            fused=fused if output_intermediates else None,
        )

    def build_targets(self, labels, sentence_mask, video_mask=None, source_length=None) -> dict[str, torch.Tensor]:
        """First and last clip of each moment (official ``data/datasets/*.py``).

        With x and y the moment's bounds in clips: start = floor(x); end = floor(y), or for ``target_rule="ceil"``
        ceil(y); both at most the last clip. Clips are every ``clip_stride``-th of ``source_length`` rows; where the
        numbers say otherwise, the rows were resampled and the clips share the video evenly.

        Returns:
            start_index, end_index: (B, S) int64. Padded sentences hold 0.
        """
        clips = video_mask.sum(1)
        rows = clips if source_length is None else source_length.to(clips.device)
        stride = self.config.clip_stride
        strided = clips == -(-rows // stride)
        bounds = labels.double() * torch.where(strided, rows.double() / stride, clips.double())[:, None, None]
        last = clips.unsqueeze(1) - 1
        end = bounds[..., 1].floor() if self.config.target_rule == "floor" else bounds[..., 1].ceil()
        return {
            "start_index": torch.minimum(bounds[..., 0].floor().long(), last) * sentence_mask,
            "end_index": torch.minimum(end.long(), last) * sentence_mask,
        }

    def compute_losses(self, output: HiSAOutput, targets: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """start, end, inter: negative log likelihoods; recon_l1: of both neighbours; contrast: over all sentences of
        the batch."""
        mask = output.text_state.sentence_mask
        start, end = targets["start_index"][mask], targets["end_index"][mask]
        prob = {name: output[f"prob_{name}"][mask] for name in ("start", "end", "inter")}
        pooled = (
            pool_span(upcast(x), start, end, self.config.contrast_pooling)
            for x in (output.filter_start, output.rnn_loc)
        )
        return {
            "start": boundary_nll(prob["start"], start).mean(),
            "end": boundary_nll(prob["end"], end).mean(),
            "inter": inside_nll(prob["inter"], start, end, self.config.inside_divisor).mean(),
            "recon_l1": self._reconstruction_loss(output.video_state, mask.sum(1)),
            "contrast": contrast(*pooled, self.config.contrast_temperature, self.config.contrast_detach_weights),
        }

    def _reconstruction_loss(self, state: HiSAVideoState, sentences: torch.Tensor) -> torch.Tensor:
        """Sum over clips and neighbours of the mean absolute error; each video counts once for each sentence."""
        made = state if state.recon is not None else self.reconstruct(state)
        lengths = self._lengths(state.video_mask)
        neighbors = next_clips(state.clips, lengths)
        pairs = ((state.clips, made["recon"]), (neighbors, made["recon_neighbor"]))
        return sum(reconstruction_loss(clips, rebuilt, lengths, sentences) for clips, rebuilt in pairs)


def _head(width: int, hidden: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.Tanh(), nn.Linear(hidden, 1))


def _widen(weight: nn.Parameter, gain: float, size: int) -> None:
    """Draw ``weight`` from ``gain`` times the range of PyTorch's own layers of that size."""
    init.uniform_(weight, -gain * size**-0.5, gain * size**-0.5)
