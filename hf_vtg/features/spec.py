"""What features of a video are: one record, saved in the processor config and beside every feature file."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import FeatureError

_INTEGERS = ("window", "stride", "dim")
_NUMBERS = ("fps", "seconds_per_feature")


@dataclass(frozen=True)
class FeatureSpec:
    """How clip features (T, D) were made; ``None`` means unknown and conflicts with nothing.

    The plain dict of ``to_dict`` is the documented schema (JSON: these keys, strings / numbers / null):

    | field | type | meaning |
    |---|---|---|
    | backbone | str | Hub id, absolute path of a local folder, published network ("c3d") or packaged encoder |
    | revision | str | Hub commit, or ``sha256:<16 hex>`` of the weights of a local folder |
    | fps | float | sampled frames per second of video |
    | window | int | sampled frames seen by one feature |
    | stride | int | sampled frames between two features |
    | dim | int | width D |
    | pooling | str | ``pooler_output``, ``mean``, ``max`` (over tokens, space), ``image_embeds``, ``video_embeds`` |
    | crop | str | as ``resize shortest_edge=256 bilinear, center_crop 224x224`` (preprocess.py) |
    | normalization | str | ``rescale=R offset=O mean=a,b,c std=a,b,c`` of the pixels |
    | seconds_per_feature | float | stride / fps; filled in when both are known |

    Raises FeatureError for a value of the wrong type or out of range.
    """

    backbone: str | None = None
    revision: str | None = None
    fps: float | None = None
    window: int | None = None
    stride: int | None = None
    dim: int | None = None
    pooling: str | None = None
    crop: str | None = None
    normalization: str | None = None
    seconds_per_feature: float | None = None

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if value is None:
                continue
            if field.name in _INTEGERS or field.name in _NUMBERS:
                kinds = int if field.name in _INTEGERS else (int, float)
                if isinstance(value, bool) or not isinstance(value, kinds) or not 0 < value < float("inf"):
                    kind = "a positive integer" if field.name in _INTEGERS else "a positive number"
                    raise FeatureError(f"FeatureSpec.{field.name} is {value!r}: give {kind}, or None if unknown")
            elif not isinstance(value, str) or not value:
                raise FeatureError(
                    f"FeatureSpec.{field.name} is {value!r}: give a non-empty string, or None if unknown"
                )
        if self.seconds_per_feature is None and self.fps is not None and self.stride is not None:
            object.__setattr__(self, "seconds_per_feature", self.stride / self.fps)

    @property
    def is_specified(self) -> bool:
        """Whether the backbone is known; features of an unknown backbone are compared with nothing."""
        return self.backbone is not None

    def to_dict(self) -> dict[str, Any]:
        """All fields as plain JSON values; ``from_dict(to_dict())`` is equal."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: "Mapping[str, Any] | FeatureSpec | None") -> "FeatureSpec":
        """The spec of a dict (None or {}: nothing known). Raises FeatureError for an unknown key."""
        if isinstance(values, cls):
            return values
        if not isinstance(values, Mapping | None):
            raise FeatureError(f"a feature spec is a dict, not {type(values).__name__}: {values!r}")
        values = dict(values or {})
        known = [field.name for field in fields(cls)]
        unknown = sorted(set(values) - set(known))
        if unknown:
            raise FeatureError(f"unknown keys of a feature spec: {unknown}; it has {known}")
        return cls(**values)

    def describe(self) -> str:
        """The known fields in one line, for messages."""
        known = {name: value for name, value in self.to_dict().items() if value is not None}
        return ", ".join(f"{name}={value}" for name, value in known.items()) or "unspecified features"

    def differences(self, other: "FeatureSpec") -> list[str]:
        """Names of the fields known on both sides that differ.

        The content fingerprint of a local folder outranks its path: a moved folder is the same backbone,
        changed weights under an unchanged path are another one. Paths without a fingerprint are compared resolved.
        """
        different = []
        for field in fields(self):
            mine, theirs = getattr(self, field.name), getattr(other, field.name)
            if mine is None or theirs is None or mine == theirs:
                continue
            if field.name in _NUMBERS and abs(mine - theirs) <= 1e-6 * max(mine, theirs):
                continue
            if field.name == "backbone" and (self._same_fingerprint(other) or _resolved(mine) == _resolved(theirs)):
                continue
            different.append(field.name)
        return different

    def check_compatible(self, other: "FeatureSpec", where: str) -> None:
        """Raise FeatureError naming both specs when both are specified and differ.

        ``self`` is what is expected, ``other`` what was found; ``where`` says in which file or argument.
        """
        if not (self.is_specified and other.is_specified):
            return
        different = self.differences(other)
        if different:
            raise FeatureError(
                f"{where}: features of another kind (different: {', '.join(different)}). "
                f"Expected [{self.describe()}], found [{other.describe()}]. "
                "Extract the features with the expected settings, or use a model trained on these."
            )

    def _same_fingerprint(self, other: "FeatureSpec") -> bool:
        return self.revision == other.revision and str(self.revision).startswith("sha256:")


def _resolved(backbone: str) -> str:
    """A path without links and relative parts; a Hub id or network name as it is."""
    path = Path(backbone).expanduser()
    return str(path.resolve()) if path.is_absolute() or path.is_dir() else backbone
