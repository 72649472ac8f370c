"""Benchmarks by name. Builders, and with them ``datasets``, are imported when one is asked for."""

import dataclasses
import difflib
import importlib
from typing import Any

from ..errors import AnnotationError
from .facts import BENCHMARKS


def load_benchmark(
    name: str,
    data_dir: Any = None,
    config: str = "sentence",
    version: str | None = None,
    cache_dir: str | None = None,
    split: str | None = None,
    streaming: bool = False,
    **options: Any,
):
    """The rows of a benchmark as a ``DatasetDict``; what was dropped or clipped is logged.

    A row is ``{"video_id": str, "duration": float, "sentences": [str], "moments": [[start, end]]}``, in seconds.

    Args:
        name: see ``BENCHMARKS``; ``jsonl`` for own data.
        data_dir: folder with the official files, unchanged; or a file, a list of files, or ``{split: file}``.
        config: ``sentence``, one query a row; ``video``, all sentences of a video in one row; or ``paragraph``, the
            rows of the paragraph methods (a video, or a part of it, in one row: see the builder).
        version: version of the annotations, where there are several (``tacos``: 2dtan or tall); None = the usual one.
        cache_dir: default below ``$HF_VTG_CACHE``.
        split: one split as a ``Dataset``, as ``"train"`` or ``"train[:10%]"``.
        streaming: rows as they are read, without a cache (``IterableDatasetDict``).
        options: ``clip`` and ``drop_invalid`` of the builder.

    Raises:
        AnnotationError: unknown name, config, version, split or option; files missing or malformed.
    """
    builder = benchmark_builder(name, data_dir, config, version, cache_dir, **options)
    if not streaming:
        builder.download_and_prepare()
    try:
        return builder.as_streaming_dataset(split) if streaming else builder.as_dataset(split)
    except ValueError as error:
        if isinstance(error, AnnotationError) or split is None:
            raise
        raise AnnotationError(f"{name} at {data_dir}, split={split!r}: {error}") from error


def benchmark_builder(
    name: str,
    data_dir: Any = None,
    config: str = "sentence",
    version: str | None = None,
    cache_dir: str | None = None,
    **options: Any,
):
    """The builder itself: ``.report`` (what was dropped), ``.as_streaming_dataset()``. As :func:`load_benchmark`."""
    builder = builder_class(name)
    fields = dataclasses.fields(builder.BUILDER_CONFIG_CLASS)
    known = [field.name for field in fields if isinstance(field.default, int | float)]
    if unknown := sorted(set(options) - set(known)):
        raise AnnotationError(f"{name} has no option {', '.join(unknown)}. It has: {', '.join(known)}.")
    return builder(data_dir=data_dir, config_name=config, cache_dir=cache_dir, annotation_version=version, **options)


def builder_class(name: str) -> type:
    """The class behind a name of ``BENCHMARKS``. AnnotationError: unknown name."""
    if name not in BENCHMARKS:
        close = difflib.get_close_matches(str(name), BENCHMARKS, n=1, cutoff=0.4)
        hint = f"did you mean {close[0]!r}? " if close else ""
        raise AnnotationError(f"unknown benchmark {name!r}; {hint}Known: {', '.join(BENCHMARKS)} (jsonl: own data)")
    module, class_name = BENCHMARKS[name].builder
    return getattr(importlib.import_module(f".{module}", __name__), class_name)
