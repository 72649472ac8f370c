"""What every method's configuration shares, and the configuration of a frozen word-vector table."""

import copy
import difflib
import logging
from typing import Any, ClassVar, Literal

from huggingface_hub.dataclasses import strict
from transformers import AutoConfig, PreTrainedConfig

from .errors import ModelError

logger = logging.getLogger(__name__)

VARIANTS = ("default", "official")


@strict
class WordVectorConfig(PreTrainedConfig):
    """A frozen table of word vectors as text encoder (GloVe and its like).

    Args:
        vocab_size: rows of the table, PAD (row 0) and UNK (row 1) included.
        hidden_size: width of a vector.
    """

    model_type = "word_vectors"

    vocab_size: int = 2
    hidden_size: int = 300
    pad_token_id: int | None = 0
    unk_token_id: int | None = 1


@strict
class VideoGroundingConfig(PreTrainedConfig):
    """Base of the configurations of all methods.

    A subclass names its ``model_type``, fills ``presets`` (benchmark -> fields) and ``processor_presets``
    (benchmark -> processor settings), and may change presets by variant in ``variant_overrides``. A method with
    further variants lists them in ``variants`` and widens the type of ``variant``.

    Args:
        text_config: configuration of the text encoder: a :class:`WordVectorConfig`, any Hugging Face text
            configuration, or a dict of either with its ``model_type``. None = ``default_text_config()``.
        feature_dim: width D of the clip features.
        variant: ``"official"`` reproduces the published code, ``"default"`` repairs what the specification
            says to repair.
        benchmark: the benchmark whose preset this is, if any; decides the processor's settings.
    """

    sub_configs = {"text_config": AutoConfig}
    variants: ClassVar[tuple[str, ...]] = VARIANTS
    presets: ClassVar[dict[str, dict[str, Any]]] = {}
    variant_overrides: ClassVar[dict[str, dict[str, Any]]] = {}
    processor_presets: ClassVar[dict[str, dict[str, Any]]] = {}
    # Processor setting -> field of the configuration that decides it, such as {"num_clips": "num_pre_clips"}.
    processor_fields: ClassVar[dict[str, str]] = {}
    # Benchmark whose settings serve a configuration without a benchmark; None: those that all benchmarks share.
    usual_benchmark: ClassVar[str | None] = None
    # Whether the sentences of a batch row are read together, as one paragraph in order; else each is read by itself.
    reads_paragraphs: ClassVar[bool] = False

    text_config: dict | PreTrainedConfig | None = None
    feature_dim: int = 1024
    variant: Literal["default", "official"] = "default"
    benchmark: str | None = None

    def __post_init__(self, **kwargs):
        if self.text_config is None:
            self.text_config = self.default_text_config()
        elif isinstance(self.text_config, dict):
            fields = dict(self.text_config)
            if "model_type" not in fields:
                raise ModelError(
                    f"text_config={fields!r} names no model_type. Add one, such as 'distilbert' or 'word_vectors'."
                )
            self.text_config = AutoConfig.for_model(**fields)
        self._warn_of_unknown_fields(kwargs)
        super().__post_init__(**kwargs)
        for name, value in self.variant_overrides.get(self.variant, {}).items():
            if getattr(self, name) is None:
                setattr(self, name, copy.deepcopy(value))

    def _warn_of_unknown_fields(self, fields: dict[str, Any]) -> None:
        known = set(type(self).__dataclass_fields__)
        for name in fields:
            near = difflib.get_close_matches(name, known, n=1)
            if near and name not in known:
                logger.warning("%s has no field %r; did you mean %r?", type(self).__name__, name, near[0])

    @classmethod
    def default_text_config(cls) -> PreTrainedConfig:
        """The text encoder of the published method."""
        return WordVectorConfig()

    @property
    def text_hidden_size(self) -> int:
        """Width E of the token states."""
        return self.text_config.hidden_size

    @classmethod
    def for_benchmark(cls, benchmark: str, variant: str = "default", **overrides) -> "VideoGroundingConfig":
        """The configuration of the paper's experiment on ``benchmark``.

        Raises:
            ModelError: for a benchmark or variant without preset.
        """
        _check_choice("benchmark", benchmark, cls.presets, cls.__name__)
        _check_choice("variant", variant, cls.variants, cls.__name__)
        return cls(benchmark=benchmark, variant=variant, **{**cls._preset(benchmark, variant), **overrides})

    @classmethod
    def _preset(cls, benchmark: str | None, variant: str) -> dict[str, Any]:
        """The fields that ``benchmark`` and ``variant`` decide."""
        return copy.deepcopy({**cls.presets.get(benchmark, {}), **cls.variant_overrides.get(variant, {})})

    @classmethod
    def from_dict(cls, config_dict: dict[str, Any], **kwargs):
        """As in transformers; another ``variant`` than the stored one replaces every field that the stored variant
        decided. Fields set to something else stay, as do those given beside it."""
        stored = config_dict.get("variant", "default")
        wanted = kwargs.get("variant", stored)
        if wanted != stored:
            benchmark = config_dict.get("benchmark")
            old = cls._preset(benchmark, stored)
            of_wanted = {
                name: value
                for name, value in cls._preset(benchmark, wanted).items()
                if _plain(config_dict.get(name)) == _plain(old.get(name))
            }
            config_dict = {**config_dict, **of_wanted, "variant": wanted}
        return super().from_dict(config_dict, **kwargs)

    @classmethod
    def processor_defaults(cls, benchmark: str | None = None, variant: str = "default") -> dict[str, Any]:
        """How features and text reach the model: resampling, number of clips, normalisation, word limit and
        NMS threshold. Without a benchmark: the settings that all of the method's benchmarks share."""
        if benchmark is not None:
            _check_choice("benchmark", benchmark, cls.processor_presets, cls.__name__)
            return copy.deepcopy(cls.processor_presets[benchmark])
        presets = list(cls.processor_presets.values())
        if not presets:
            return {}
        return {k: copy.deepcopy(v) for k, v in presets[0].items() if all(p.get(k, v) == v for p in presets)}

    def processor_settings(self) -> dict[str, Any]:
        """:meth:`processor_defaults` of this configuration, with the sizes that the configuration itself fixes."""
        known = self.benchmark if self.benchmark in self.processor_presets else self.usual_benchmark
        own = {setting: getattr(self, name) for setting, name in self.processor_fields.items()}
        return self.processor_defaults(known, self.variant) | own


def _plain(value: Any) -> Any:
    """As JSON would give it back."""
    return list(value) if isinstance(value, tuple) else value


def _check_choice(what: str, value: str, choices, owner: str) -> None:
    if value not in choices:
        near = difflib.get_close_matches(str(value), list(choices), n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"{owner} has no preset for {what} {value!r}.{hint} Known: {', '.join(choices)}.")
