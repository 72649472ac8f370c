"""A benchmark as a data set folder: Parquet and a card, for plain ``datasets.load_dataset(FOLDER)``."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from ..errors import AnnotationError
from ..files import whole_folder
from . import benchmark_builder, builder_class
from .annotations import MAX_EXAMPLES, SplitReport

TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

Annotations of {{ benchmark }}{{ version }} for video temporal grounding, as `hf_vtg` reads the official files.
{{ about }}

A row: `video_id` (str), `duration` (float64, seconds), `sentences` (list of str), `moments` (list of [start, end],
float64, seconds; one for each sentence). Videos and features are not included.

```python
from datasets import load_dataset

load_dataset("{{ title }}", "{{ default }}")
```

| config | split | rows | sentences | read | dropped | ends cut to the duration |
|---|---|---|---|---|---|---|
{{ table }}

{{ dropped }}

The annotations belong to their authors: cite their paper, and see its page for their licence.
"""


def export_benchmark(
    name: str,
    data_dir: Any,
    out: Path,
    configs: Iterable[str] | None = None,
    version: str | None = None,
    cache_dir: str | None = None,
) -> dict[str, dict[str, int]]:
    """Write ``OUT/CONFIG/SPLIT.parquet`` and ``OUT/README.md``; the first of ``configs`` is the default one.

    Args:
        configs: None = all that this version of the benchmark has.

    Returns:
        rows by config and split.

    Raises:
        AnnotationError: the folder holds files already, or as the benchmark's builder.
    """
    out, configs = Path(out).resolve(), list(configs or builder_class(name).config_names(version))
    if out.is_file() or out.is_dir() and any(out.iterdir()):
        raise AnnotationError(f"{out} is not empty: choose a new folder to export {name} to")
    sizes, lines, dropped, about = {}, [], [], ""
    with whole_folder(out) as folder:
        for config in configs:
            builder = benchmark_builder(name, data_dir, config, version, cache_dir)
            builder.download_and_prepare()
            about = " ".join((type(builder).__doc__ or "").split("\n\n")[0].split())
            version_name = builder.config.annotation_version
            data, report = builder.as_dataset(), builder.report
            sizes[config] = {split: len(rows) for split, rows in data.items()}
            for split, rows in data.items():
                (folder / config).mkdir(exist_ok=True)
                rows.to_parquet(folder / config / f"{split}.parquet")
                lines.append(_line(config, split, len(rows), report[split]))
                if config == configs[0] and report[split].dropped:
                    dropped.append(_dropped(split, report[split], builder.files[split]))
        card = DatasetCard.from_template(
            DatasetCardData(
                pretty_name=name,
                task_categories=["other"],
                language="en",
                tags=["video-grounding", "video-temporal-grounding"],
                configs=[_config(config, sizes[config], config == configs[0]) for config in configs],
            ),
            template_str=TEMPLATE,
            title=out.name,
            benchmark=name,
            version=f" (version {version_name})" if version_name else "",
            about=about,
            default=configs[0],
            table="\n".join(lines),
            dropped="\n\n".join(dropped) or "Nothing was dropped.",
        )
        card.save(folder / "README.md")
    return sizes


def _config(config: str, sizes: dict[str, int], is_default: bool) -> dict[str, Any]:
    files = [{"split": split, "path": f"{config}/{split}.parquet"} for split in sizes]
    return {"config_name": config, "data_files": files, **({"default": True} if is_default else {})}


def _line(config: str, split: str, rows: int, report: SplitReport) -> str:
    numbers = (rows, report.sentences_kept, report.sentences_read, report.num_dropped, report.clipped_ends)
    return f"| {config} | {split} | " + " | ".join(f"{number:,}" for number in numbers) + " |"


def _dropped(split: str, report: SplitReport, files: Iterable[Path]) -> str:
    """The examples begin with the path of their file; its folder means nothing to a reader."""
    examples = report.examples
    for path in files:
        examples = [example.removeprefix(f"{path.parent}{os.sep}") for example in examples]
    first = f", the first {MAX_EXAMPLES}" if len(examples) == MAX_EXAMPLES else ""
    shown = "; ".join(f"`{example}`" for example in examples)
    return f"Dropped from {split}, {report.num_dropped} sentences{first}: {shown}."
