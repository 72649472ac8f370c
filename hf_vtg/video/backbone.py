"""A frozen Hugging Face vision model as a function from pixels to one vector an image or clip."""

import inspect
from functools import lru_cache
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import torch
from huggingface_hub import hf_hub_download
from transformers import PreTrainedModel

from ..errors import FeatureError, ModelError
from ..files import UNUSABLE
from .preprocess import FramePreprocessor

POOLINGS = ("pooler_output", "mean", "max", "image_embeds", "video_embeds")
# Encoders that come with the package; a spec names them so on every machine.
PACKAGED = {"hf_vtg/moving_shapes": Path(__file__).parent.parent / "assets" / "moving_shapes" / "encoder"}
_CLIP_LENGTH = ("num_frames", "frames_per_clip")


class Backbone:
    """The model, its preprocessing and its pooling. Not an ``nn.Module``: no ``train()`` of an owner reaches it.

    Pooling rule where ``pooling`` is None: the embedding of dual encoders (``image_embeds`` / ``video_embeds``), else
    ``pooler_output``, else the mean of ``last_hidden_state`` over tokens or space. A pooler that the checkpoint does
    not hold (and transformers would draw at random) counts as absent. ``max`` is the maximum over tokens or space.

    An image model whose ``num_channels`` is 3 * ``num_frames`` of its configuration is a clip model: the frames are
    its channels.

    ``name`` is the Hub id, the absolute folder or the name of a packaged encoder (:func:`resolve_backbone`),
    ``revision`` the commit or ``sha256:<16 hex>`` of the weights file of a folder, ``clip_length`` the frames of a
    clip (None: an image model). ``model`` is given where it is loaded already. Raises ModelError if it cannot be
    loaded.
    """

    def __init__(
        self,
        name: str | Path,
        revision: str | None = None,
        pooling: str | None = None,
        crop: str | None = None,
        device: str | torch.device | None = None,
        dtype: torch.dtype | None = None,
        trust_remote_code: bool = False,
        model: PreTrainedModel | None = None,
    ):
        if pooling is not None and pooling not in POOLINGS:
            raise ModelError(f"pooling is {pooling!r}: use one of {', '.join(POOLINGS)}, or None for the model's own")
        self.name, folder = _locate(name)
        source = self.name if folder is None else str(folder)
        hub: dict[str, Any] = {"trust_remote_code": trust_remote_code}
        if folder is None:
            self.revision = hub["revision"] = _commit(self.name, revision)
        else:
            self.revision = weights_fingerprint(folder)
        if folder is not None and revision is not None and revision != self.revision:
            raise FeatureError(
                f"{self.name}: its weights are {self.revision}, {revision} was asked for. "
                "Pass the folder with the weights that the features were made with."
            )
        self.device, missing = _device(device), []
        if model is None:
            model, missing = _load(source, hub, dtype or torch.float32)
            model.requires_grad_(False)
        self.model = model.to(self.device).eval()
        self.clip_length = _clip_length(self.model.config)
        self._frames_are_channels = _frames_are_channels(self.model.config)
        self.pooling = pooling or self._pooling_of_class(missing)
        if missing and self.pooling not in ("mean", "max"):
            raise ModelError(
                f"{self.name}: the checkpoint lacks weights that {self.pooling} needs ({', '.join(missing[:3])}...). "
                "Use pooling='mean', or a complete checkpoint."
            )
        self.preprocessor = FramePreprocessor(source, self.clip_length is not None, crop, **hub)
        names = inspect.signature(self._function).parameters
        self._pixels = "pixel_values_videos" if "pixel_values_videos" in names else "pixel_values"
        self._options = {"skip_predictor": True} if "skip_predictor" in names else {}

    @torch.inference_mode()
    def __call__(self, inputs: dict[str, torch.Tensor] | torch.Tensor) -> torch.Tensor:
        """(B, D) float32 on the CPU of the image processor's tensors, or of clips (B, frames, 3, H, W)."""
        if isinstance(inputs, torch.Tensor):
            inputs = {self._pixels: inputs.flatten(1, 2) if self._frames_are_channels else inputs}
        inputs = {
            key: value.to(self.device, self.model.dtype) if value.is_floating_point() else value.to(self.device)
            for key, value in inputs.items()
        }
        self.model.eval()
        try:
            output = self._function(**inputs, **self._options)
        except (RuntimeError, ValueError, TypeError) as error:
            shape = tuple(inputs.get(self._pixels, next(iter(inputs.values()))).shape)
            raise ModelError(
                f"{self.name} ({type(self.model).__name__}) cannot encode pixels of shape {shape}: {error}. "
                "Is it an image or video encoder, do window and crop fit it, is batch_size small enough?"
            ) from error
        features = self._pool(output).float().cpu()
        if not torch.isfinite(features).all():
            raise FeatureError(f"{self.name} gave features that are not finite; try dtype=torch.float32")
        return features

    @property
    def _function(self):
        return {
            "image_embeds": getattr(self.model, "get_image_features", None),
            "video_embeds": getattr(self.model, "get_video_features", None),
        }.get(self.pooling) or self.model.forward

    def _pooling_of_class(self, missing: list[str]) -> str | None:
        """The pooling that the model's class fixes, or None where the first output decides."""
        if hasattr(self.model, "get_video_features") and self.clip_length is not None:
            return "video_embeds"
        if hasattr(self.model, "get_image_features"):
            return "image_embeds"
        return "mean" if missing else None

    def _pool(self, output: Any) -> torch.Tensor:
        if isinstance(output, torch.Tensor):
            pooled = output
        else:
            pooler = getattr(output, "pooler_output", None)
            if self.pooling is None:
                self.pooling = "pooler_output" if pooler is not None else "mean"
            hidden = getattr(output, "last_hidden_state", None)
            pooled = _over_places(hidden, self.pooling) if self.pooling in ("mean", "max") else pooler
        if isinstance(pooled, torch.Tensor) and pooled.ndim > 2 and pooled.shape[2:].numel() == 1:
            pooled = pooled.flatten(1)
        if not isinstance(pooled, torch.Tensor) or pooled.ndim != 2:
            raise ModelError(
                f"{self.name} ({type(self.model).__name__}) gives no {self.pooling} of shape (images, width). "
                "Use another pooling, or an image or video encoder."
            )
        return pooled


def _over_places(hidden: torch.Tensor | None, pooling: str) -> torch.Tensor | None:
    """(B, tokens, D) -> mean or maximum over tokens; (B, D, H, W) -> over space."""
    if hidden is None or hidden.ndim not in (3, 4):
        return None
    places = 1 if hidden.ndim == 3 else (2, 3)
    return hidden.mean(places) if pooling == "mean" else hidden.amax(places)


def resolve_backbone(name: str | Path) -> str | Path:
    """The folder of an encoder that comes with the package ("hf_vtg/moving_shapes"); any other name as it is."""
    return PACKAGED.get(str(name), name)


def _locate(name: str | Path) -> tuple[str, Path | None]:
    """(name, folder): absolute path of a local model or the name of a packaged one, with its folder; or (id, None).

    Raises ModelError for a path that is not there.
    """
    if str(name) in PACKAGED:
        return str(name), Path(resolve_backbone(name))
    path = Path(name).expanduser()
    if path.is_dir():
        return str(path.resolve()), path.resolve()
    if isinstance(name, Path) or path.is_absolute() or str(name).startswith((".", "~")) or str(name).count("/") > 1:
        raise ModelError(f"{name}: no such folder of a vision model. Pass an existing folder or a Hub id.")
    return str(name), None


def _commit(name: str, revision: str | None) -> str | None:
    """The commit of the Hub (or of the local copy, offline) that a branch, a tag or None stands for."""
    try:
        file = Path(hf_hub_download(name, "config.json", revision=revision))
    except (OSError, ValueError) as error:
        raise _cannot_load(name, error) from error
    return file.parent.name if file.parent.parent.name == "snapshots" else revision


def _cannot_load(name: str, error: Exception) -> ModelError:
    cause = str(error).strip().splitlines()[0].rstrip(".")
    if "custom code" in cause:
        cause = "it brings code of its own, which runs only with trust_remote_code=True"
    return ModelError(
        f"{name} cannot be loaded as a vision model: {cause}. Pass the folder of a model saved with save_pretrained, "
        "or a Hub id while the Hub can be reached."
    )


def _load(name: str, hub: dict[str, Any], dtype: torch.dtype) -> tuple[torch.nn.Module, list[str]]:
    from transformers import AutoModel

    try:
        model, info = AutoModel.from_pretrained(name, dtype=dtype, output_loading_info=True, **hub)
    except (*UNUSABLE, ImportError) as error:
        raise _cannot_load(name, error) from error
    # A mask token serves training only. Without its own pooler a model can still be averaged over its tokens.
    missing = sorted(key for key in info["missing_keys"] if "mask_token" not in key)
    if any("pooler" not in key for key in missing):
        raise ModelError(
            f"{name}: the checkpoint lacks weights of {type(model).__name__} ({', '.join(missing[:5])}): its features "
            "would be random. Use a complete checkpoint."
        )
    return model, missing


def _clip_length(config: Any) -> int | None:
    for part in (config, getattr(config, "vision_config", None)):
        for name in _CLIP_LENGTH:
            value = getattr(part, name, None)
            if isinstance(value, int):
                return value
    return None


def _frames_are_channels(config: Any) -> bool:
    config = getattr(config, "vision_config", config)
    frames = getattr(config, "num_frames", None)
    return isinstance(frames, int) and getattr(config, "num_channels", None) == 3 * frames


def _device(device: str | torch.device | None) -> torch.device:
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device or "cpu")


def weights_fingerprint(folder: Path) -> str:
    """``sha256:<16 hex>`` of the weights file of a local model (of the list of sums where there are several)."""
    files = sorted(folder.glob("*.safetensors")) or sorted(folder.glob("pytorch_model*.bin"))
    if not files:
        raise ModelError(f"{folder} holds no weights (*.safetensors). Pass a folder made by save_pretrained.")
    sums = [file_sum(str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files]
    total = sums[0] if len(sums) == 1 else sha256("".join(sums).encode()).hexdigest()
    return f"sha256:{total[:16]}"


@lru_cache(maxsize=256)
def file_sum(path: str, size: int, mtime_ns: int) -> str:
    """sha256 of a file, read once for each (path, size, modification time)."""
    with open(path, "rb") as file:
        return file_digest(file, "sha256").hexdigest()
