"""Publishing on the Hugging Face Hub, with one clear error where an upload fails."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from huggingface_hub import HfApi
from huggingface_hub.errors import HfHubHTTPError

from ..errors import HFVTGError, HubError
from .cards import model_card


@contextmanager
def uploading(what: str, repo_id: str) -> Iterator[None]:
    """Turns every way in which an upload to ``repo_id`` can fail into one :class:`HubError`."""
    try:
        yield
    except HFVTGError:
        raise
    except HfHubHTTPError.__bases__ as error:
        reason = next(iter(str(error).strip().splitlines()), "") or type(error).__name__
        raise HubError(
            f"{what} could not be uploaded to {repo_id}: {reason.rstrip('.')}. Local files are unchanged. Check the "
            "connection and that `hf auth login` may write there, then push again."
        ) from error


class PushesToHub:
    """For models, processors and pipelines: ``push_to_hub`` with a card of ours and with clear errors."""

    def push_to_hub(self, repo_id: str, **kwargs: Any) -> Any:
        """Upload to ``repo_id``; arguments as in ``transformers``. A repository without a card gets one.

        Raises:
            HubError: the upload failed. What had been uploaded before is still there, and local files are whole.
        """
        access = {name: kwargs.get(name) for name in ("token", "private")}
        with uploading(type(self).__name__, repo_id):
            repo_id = HfApi().create_repo(repo_id, exist_ok=True, **access).repo_id
            # A pull request is made by those who may not write a card themselves.
            has_card = kwargs.get("create_pr") or HfApi().file_exists(repo_id, "README.md", token=access["token"])
            if not has_card:
                card = model_card(repo_id, getattr(self, "model", self), getattr(self, "processor", self))
                card.push_to_hub(repo_id, token=access["token"])
            return super().push_to_hub(repo_id, **kwargs)
