"""Folders of models and processors: written so that an older one survives a failure, read with one clear error."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .cache import cannot_write
from .errors import HFVTGError, ModelError

# What transformers and safetensors raise for folders that are damaged, incomplete or something else.
UNUSABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError, UnpicklingError, StrictDataclassError)
HUB_OPTIONS = ("repo_id", "token", "private", "commit_message", "commit_description", "create_pr", "revision", "tags")


class SavedInFolder:
    """For what transformers saves in a folder: ``save_pretrained`` and ``from_pretrained`` with errors of ours."""

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **kwargs: Any) -> None:
        """As in transformers, but files that are already there are replaced only when all new ones are complete.

        Raises:
            StorageError: the folder cannot be written; its older files are unchanged.
            HubError: the upload failed.
        """
        target = Path(save_directory)
        hub = {name: kwargs.pop(name) for name in HUB_OPTIONS if name in kwargs}
        with whole_folder(target) as folder:
            super().save_pretrained(folder, **kwargs)
        if push_to_hub and kwargs.get("is_main_process", True):
            self.push_to_hub(hub.pop("repo_id", target.name), **hub)

    @classmethod
    def from_pretrained(cls, pretrained_model_name_or_path: str | Path, *args: Any, **kwargs: Any):
        """As in transformers.

        Raises:
            ModelError: it is no such folder, or a damaged one.
        """
        with loading(pretrained_model_name_or_path, cls.__name__):
            return super().from_pretrained(pretrained_model_name_or_path, *args, **kwargs)


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """Yields an empty folder inside ``target``; when the block succeeds its files move up, replacing older ones.

    After an exception a ``target`` that was not there before is gone again.

    Raises:
        StorageError: for what fails while files are written.
    """
    temporary, new = None, [folder for folder in (target, *target.parents) if not folder.exists()]
    try:
        target.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(dir=target, prefix=".saving-"))
        yield temporary
        _move_files(temporary, target)
    except (OSError, SafetensorError) as error:
        raise cannot_write(target, error) from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
        with suppress(OSError):  # the first that holds something ends it
            for folder in new:
                folder.rmdir()


def _move_files(source: Path, target: Path) -> None:
    new = [path.relative_to(source) for path in sorted(source.rglob("*")) if path.is_file()]
    for name in new:
        (target / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).replace(target / name)
    if any(name.match("model*.safetensors") for name in new):
        # Weights in one file and in parts would contradict each other.
        for old in target.glob("model*.safetensors*"):
            if old.relative_to(target) not in new:
                old.unlink()


@contextmanager
def loading(source: str | Path, what: str) -> Iterator[None]:
    """Turns every way in which ``source`` can be unusable into one :class:`ModelError`."""
    try:
        yield
    except HFVTGError:
        raise
    except UNUSABLE as error:
        cause = " ".join(str(error).split("\n\n")[0].split()).rstrip(".") or type(error).__name__
        if "ignore_mismatched_sizes" in cause:
            cause = "its tensors have other shapes than its configuration says (they are listed above)"
        raise ModelError(
            f"{source} cannot be loaded as {what}: {cause}. Give the folder of a trained model (train.py's "
            "--output_dir), or its id on the Hub."
        ) from error
