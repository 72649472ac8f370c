"""Errors of the package. Each names the offending value, its file where there is one, and the remedy."""

# How an extra is installed. The name on the package index is not ours, so a checkout is named.
INSTALL = 'pip install -e ".[{extra}]" in a checkout of hf_vtg'


def install_hint(extra: str) -> str:
    """The command that installs ``extra``."""
    return INSTALL.format(extra=extra)


class HFVTGError(ValueError):
    """Base of every error that hf_vtg raises on purpose."""


class AnnotationError(HFVTGError):
    """An annotation, prediction or reference file does not say what it should."""


class VideoError(HFVTGError):
    """A video file cannot be read, or holds no usable picture."""


class FeatureError(HFVTGError):
    """Video features are missing, malformed, or of another kind than the model expects."""


class QueryError(HFVTGError):
    """A query is empty, of the wrong type, or too long."""


class ModelError(HFVTGError):
    """A model, configuration or checkpoint breaks the contract."""


class StorageError(HFVTGError, OSError):
    """A file cannot be written: no room, no permission, or something in the way."""


class HubError(HFVTGError):
    """Something could not be uploaded to the Hub, or fetched from the network."""
