"""Token states from a frozen word-vector table or from any Hugging Face text model."""

import torch
from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedConfig, PreTrainedModel
from transformers.models.auto.modeling_auto import MODEL_FOR_TEXT_ENCODING_MAPPING

from ..configuration import WordVectorConfig
from ..errors import ModelError


class WordVectorTable(nn.Module):
    """A frozen table of word vectors: a persistent buffer, saved with the checkpoint, never trained."""

    def __init__(self, config: WordVectorConfig):
        super().__init__()
        self.register_buffer("vectors", torch.zeros(config.vocab_size, config.hidden_size))

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return nn.functional.embedding(input_ids, self.vectors)


class TextEncoder(nn.Module):
    """(R, L) token ids, or (R, L, E) given embeddings, -> (R, L, E) token states."""

    def __init__(self, config: PreTrainedConfig):
        super().__init__()
        if isinstance(config, WordVectorConfig):
            self.model = WordVectorTable(config)
        else:
            self.model = _auto_class(config).from_config(config)

    def forward(
        self,
        input_ids: torch.Tensor | None,
        attention_mask: torch.Tensor,
        inputs_embeds: torch.Tensor | None = None,
    ) -> torch.Tensor:
        if isinstance(self.model, WordVectorTable):
            return inputs_embeds if inputs_embeds is not None else self.model(input_ids)
        self._check_length(attention_mask.shape[-1])
        inputs = {"input_ids": input_ids} if inputs_embeds is None else {"inputs_embeds": inputs_embeds}
        return self.model(**inputs, attention_mask=attention_mask.long()).last_hidden_state

    def _check_length(self, tokens: int) -> None:
        positions = getattr(self.model.config, "max_position_embeddings", None)
        if positions is not None and tokens > positions:
            raise ModelError(
                f"A sentence has {tokens} tokens, but {type(self.model).__name__} knows {positions} positions. "
                f"Set the tokenizer's model_max_length to {positions}, or the processor's max_words."
            )

    def set_word_vectors(self, table) -> None:
        """Copy (vocab_size, E) vectors into the table; see ``VideoGroundingPreTrainedModel.set_word_vectors``."""
        if not isinstance(self.model, WordVectorTable):
            raise ModelError(
                f"The text encoder is a {type(self.model).__name__}, not a word table. "
                "Set text_config=WordVectorConfig(...) to use word vectors."
            )
        table = torch.as_tensor(table)
        if table.shape != self.model.vectors.shape:
            raise ModelError(
                f"Word vectors of shape {tuple(table.shape)} do not fit {tuple(self.model.vectors.shape)}. "
                "Set vocab_size and hidden_size of the WordVectorConfig to theirs."
            )
        if not torch.isfinite(table).all():
            raise ModelError("The word vectors hold NaN or infinite values.")
        self.model.vectors.copy_(table)


def _auto_class(config: PreTrainedConfig):
    return AutoModelForTextEncoding if type(config) in MODEL_FOR_TEXT_ENCODING_MAPPING else AutoModel


def load_text_model(name_or_path: str, **kwargs) -> PreTrainedModel:
    """A pretrained text model by id or folder (the encoder alone of encoder-decoder models)."""
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(name_or_path, **kwargs)
    config = config.get_text_config()
    return _auto_class(config).from_pretrained(name_or_path, config=config, **kwargs)
