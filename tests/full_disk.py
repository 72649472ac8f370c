"""A disk that is full: files cannot grow beyond a size, whatever library writes them."""

import resource
from contextlib import contextmanager

from transformers.utils import logging


@contextmanager
def full_disk(size: int):
    """Writes beyond ``size`` bytes of a file fail in this process, as on a full disk (EFBIG for ENOSPC)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    # Where stderr is a file, a progress bar would fail too.
    logging.disable_progress_bar()
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        logging.enable_progress_bar()
