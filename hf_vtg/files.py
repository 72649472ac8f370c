"""Where the package keeps what it can make again, and how it writes and reads files and folders.

A file or folder is written completely or not at all; one that cannot be read is one clear error.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

from huggingface_hub import constants
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError

from .errors import HFVTGError, ModelError, StorageError

# What transformers and safetensors raise for folders that are damaged, incomplete or something else.
UNUSABLE = (OSError, ValueError, RuntimeError, KeyError, SafetensorError, UnpicklingError, StrictDataclassError)
HUB_OPTIONS = ("repo_id", "token", "private", "commit_message", "commit_description", "create_pr", "revision", "tags")


def cache_root() -> Path:
    """``$HF_VTG_CACHE``, else the folder ``hf_vtg`` beside the Hugging Face cache. Not created here."""
    given = os.environ.get("HF_VTG_CACHE")
    return Path(given).expanduser() if given else Path(constants.HF_HOME).expanduser().parent / "hf_vtg"


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yields a temporary name in the same folder with the same ending; renames it to ``path`` if the block succeeds.

    After an exception the temporary file is gone and an older ``path`` is untouched. Missing folders are made.

    Raises:
        StorageError: for every OSError, naming ``path``, the cause and the remedy.
    """
    path, temporary = Path(path), None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}.", suffix=path.suffix)
        os.close(handle)
        temporary = Path(name)
        # mkstemp makes files private; the result gets the permissions any other new file would have
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise cannot_write(path, error) from error
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | Path, text: str) -> None:
    """Whole or not at all, in UTF-8. Raises StorageError like :func:`atomic_path`."""
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any) -> None:
    """``value`` as indented JSON, written like :func:`write_text`."""
    write_text(path, json.dumps(value, indent=2) + "\n")


def cannot_write(path: str | Path, error: Exception, remedy: str = "choose another folder") -> StorageError:
    """The error that says why ``path`` could not be written and what to do about it."""
    if isinstance(error, StorageError):
        return error
    cause = getattr(error, "strerror", None) or next(iter(str(error).splitlines()), type(error).__name__)
    return StorageError(
        f"{path} cannot be written: {cause.rstrip('.')}. Free some room, or {remedy}; what was written before is "
        "unchanged."
    )


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


def check_version(version: Any, newest: int, where: str | Path) -> None:
    """Whether something saved can be read: this or an older ``version`` (none: from before versions were written).

    Raises:
        HFVTGError: it was written by a newer hf_vtg, or its version is no whole number.
    """
    if version is None:
        return
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise HFVTGError(f"{where} has version {version!r}; a whole number was expected. Write it again.")
    if version > newest:
        raise HFVTGError(
            f"{where} has version {version}, this hf_vtg reads up to {newest}: it was written by a newer one. Update "
            "hf_vtg, or write it again."
        )


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
