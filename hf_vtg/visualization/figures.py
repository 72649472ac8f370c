"""What all pictures share: colours, an empty figure, words on an axis, and files."""

import os
import textwrap
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import HFVTGError, install_hint
from ..files import atomic_path

# Okabe and Ito's palette: told apart with any colour vision, and in grey.
PREDICTION, TRUTH = "#0072B2", "#E69F00"
# Even to the eye, read the same with any colour vision, and in grey.
COLORMAP = "cividis"
FORMATS = (".png", ".svg", ".pdf")
# More do not fit one figure.
MAX_QUERIES = 60


def new_figure(width: float, height: float) -> Any:
    """A ``matplotlib.figure.Figure`` of that many inches. Raises HFVTGError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise HFVTGError(f"Pictures need matplotlib: {install_hint('demo')}.") from error
    return Figure(figsize=(width, height), layout="constrained")


def plain(text: str) -> str:
    """Text as it is: matplotlib reads what stands between two dollars as mathematics."""
    return " ".join(text.split()).replace("$", r"\$")


def wrapped(text: str, width: int, lines: int = 2) -> str:
    """At most so many lines of so many letters; what does not fit ends in an ellipsis."""
    return "\n".join(textwrap.wrap(plain(text), width, max_lines=lines, placeholder=" \u2026")) or " "


def as_array(values: Any) -> np.ndarray:
    """Numbers, or a tensor of any kind, as float64."""
    values = values.detach().cpu().float().numpy() if hasattr(values, "detach") else values
    return np.asarray(values, dtype=np.float64)


def save_figure(figure: Any, path: str | os.PathLike) -> Path:
    """Write a figure as .png, .svg or .pdf, whole or not at all. Raises HFVTGError for another ending."""
    path = Path(path)
    if path.suffix.lower() not in FORMATS:
        raise HFVTGError(f"{path} is no picture that can be written: choose a name that ends in {', '.join(FORMATS)}.")
    with atomic_path(path) as part, warnings.catch_warnings(record=True) as caught:
        figure.savefig(part, dpi=150)
    if any("missing from font" in str(warning.message) for warning in caught):
        warnings.warn(f"{path}: some letters are not in matplotlib's font and are drawn as boxes", stacklevel=2)
    return path
