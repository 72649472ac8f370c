"""What whoever starts the page decides: models, limits, and where it listens."""

from dataclasses import dataclass
from pathlib import Path

from ..errors import HFVTGError
from ..pipeline import DEFAULT_MODEL

SHIPPED = "moving_shapes"
OWN_BACKBONE = "the model's own"


@dataclass(frozen=True)
class AppSettings:
    """Settings of the page.

    Args:
        models, backbones: folders or Hub ids that visitors choose from, besides the shipped model and the model's own
            backbone; nothing else can be loaded from the page.
        host, port: 127.0.0.1 is this machine alone; with another host everybody who reaches it can upload.
        max_megabytes, max_minutes: of an uploaded video.
        max_sentences: of one question.
        device: as in torch.
    """

    models: tuple[str, ...] = ()
    backbones: tuple[str, ...] = ()
    host: str = "127.0.0.1"
    port: int = 7860
    max_megabytes: int = 200
    max_minutes: float = 30.0
    max_sentences: int = 30
    top_k: int = 5
    device: str | None = None

    def __post_init__(self):
        if not 0 <= self.port <= 65_535:
            raise HFVTGError(f"port {self.port} does not exist: give 1024 to 65535, or 0 for any that is free.")
        if min(self.max_megabytes, self.max_minutes, self.max_sentences, self.top_k) <= 0:
            raise HFVTGError("The limits of the page are numbers above 0.")

    @property
    def model_names(self) -> dict[str, str]:
        """What stands in the list -> what is loaded."""
        return {**_named(self.models, {SHIPPED}), SHIPPED: str(DEFAULT_MODEL)}

    @property
    def backbone_names(self) -> dict[str, str | None]:
        return {OWN_BACKBONE: None, **_named(self.backbones, {OWN_BACKBONE})}


def _named(sources: tuple[str, ...], taken: set[str]) -> dict[str, str]:
    """A folder under its own name, or under its path where several have that name; a Hub id as it is."""
    short = [Path(source).resolve().name if Path(source).exists() else source for source in sources]
    return {
        source if name in taken or short.count(name) > 1 else name: source
        for name, source in zip(short, sources, strict=True)
    }
