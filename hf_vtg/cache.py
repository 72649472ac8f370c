"""Where the package keeps what it can make again: prepared datasets, features of videos, scratch files of metrics."""

import os
from pathlib import Path

from huggingface_hub import constants


def cache_root() -> Path:
    """``$HF_VTG_CACHE``, else the folder ``hf_vtg`` beside the Hugging Face cache. Not created here."""
    given = os.environ.get("HF_VTG_CACHE")
    return Path(given).expanduser() if given else Path(constants.HF_HOME).expanduser().parent / "hf_vtg"
