"""The web page of ``hf-vtg app`` (extra ``demo``): a video and sentences in, moments to click out."""

from .page import build_page, serve
from .settings import AppSettings

__all__ = ["AppSettings", "build_page", "serve"]
