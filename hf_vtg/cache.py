"""Where the package keeps what it can make again, and how it writes files: completely or not at all."""

import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import constants

from .errors import StorageError


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
