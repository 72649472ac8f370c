"""A benchmark as a data set folder: Parquet and a card, for plain ``datasets.load_dataset(FOLDER)``."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from huggingface_hub import DatasetCard, DatasetCardData

from ..errors import AnnotationError
from ..folders import whole_folder
from . import benchmark_builder
from .annotations import SplitReport

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
    configs: Iterable[str] = ("sentence", "paragraph", "video"),
    version: str | None = None,
    cache_dir: str | None = None,
) -> dict[str, dict[str, int]]:
    """Write ``OUT/CONFIG/SPLIT.parquet`` and ``OUT/README.md``; the first of ``configs`` is the default one.

    Returns:
        rows by config and split.

    Raises:
        AnnotationError: the folder holds files already, or as the benchmark's builder.
    """
    out, configs = Path(out), list(configs)
    if out.is_file() or out.is_dir() and any(out.iterdir()):
        raise AnnotationError(f"{out} is not empty: choose a new folder to export {name} to")
    sizes, lines, examples, about = {}, [], [], ""
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
                examples += [f"`{e.split('/')[-1]}`" for e in report[split].examples if config == configs[0]]
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
            dropped="Dropped: " + "; ".join(examples) + "." if examples else "Nothing was dropped.",
        )
        card.save(folder / "README.md")
    return sizes


def _config(config: str, sizes: dict[str, int], is_default: bool) -> dict[str, Any]:
    files = [{"split": split, "path": f"{config}/{split}.parquet"} for split in sizes]
    return {"config_name": config, "data_files": files, **({"default": True} if is_default else {})}


def _line(config: str, split: str, rows: int, report: SplitReport) -> str:
    numbers = (rows, report.sentences_kept, report.sentences_read, report.num_dropped, report.clipped_ends)
    return f"| {config} | {split} | " + " | ".join(f"{number:,}" for number in numbers) + " |"
