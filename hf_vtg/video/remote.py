"""Videos behind a link: fetched whole into a file without a name, which is gone when it is closed."""

import http.client
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, BinaryIO

from ..errors import VideoError

TIMEOUT = 30.0


def is_link(video: Any) -> bool:
    """Whether this is the http(s) address of a video."""
    return isinstance(video, str) and video.lower().startswith(("http://", "https://"))


@contextmanager
def fetched(url: str) -> Iterator[BinaryIO]:
    """The video at ``url`` as a binary file that has the address for a name.

    Nothing of the address reaches the file system, and an answer that breaks off is refused.

    Raises:
        VideoError: the address cannot be fetched; says why.
    """
    # delete=True unlinks the file when it is closed, by the name that it was made with.
    with tempfile.NamedTemporaryFile(prefix="hf_vtg_") as file:
        try:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as answer:
                shutil.copyfileobj(answer, file)
                expected = answer.headers.get("Content-Length")
        except (OSError, ValueError, http.client.HTTPException) as error:
            reason = f"{error.code} {error.reason}" if isinstance(error, urllib.error.HTTPError) else error
            reason = getattr(reason, "reason", reason)
            raise VideoError(
                f"{url} cannot be fetched: {reason}. Check the address and the connection, or give a file."
            ) from error
        if expected is not None and file.tell() != int(expected):
            raise VideoError(f"{url} broke off after {file.tell()} of {expected} bytes. Fetch it again.")
        file.seek(0)
        file.name = url
        yield file
