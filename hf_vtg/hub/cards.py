"""The card of a published model, with its results as ``EvalResult`` entries."""

from collections.abc import Mapping
from typing import Any

from huggingface_hub import EvalResult, ModelCard, ModelCardData

from ..benchmarks.facts import title_of
from ..errors import install_hint

LIBRARY = "hf_vtg"
TAG = "video-grounding"
TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

A model for video temporal grounding{{ method }}: given an untrimmed video and a sentence, it finds when the described
moment starts and ends.
{{ note }}
```python
from transformers import pipeline
import hf_vtg  # {{ install }}; without this import transformers does not know the model

ground = pipeline("video-grounding", model="{{ repo_id }}")
ground("video.mp4", "a person turns on the light")
```

## Features

{{ features }}

## Results

{{ results }}
"""


def model_card(
    repo_id: str,
    model: Any = None,
    processor: Any = None,
    results: Mapping[str, Any] | None = None,
    license: str | None = None,
    tags: list[str] | None = None,
    note: str | None = None,
) -> ModelCard:
    """The card of a published model.

    ```python
    results = json.loads(Path("outputs/run/results.json").read_text())
    model_card("me/mmn-charades", model, processor, results, license="mit").push_to_hub("me/mmn-charades")
    ```

    Args:
        repo_id: where it will be.
        model, processor: for what the card says about method and features; anything else is passed over.
        note: a paragraph of where the weights come from.
        results: the content of a ``results.json`` (:func:`hf_vtg.training.run.run_training`); they become
            ``EvalResult`` entries and a table.
    """
    method = f" (`{type(model).__name__}`)" if hasattr(model, "config") else ""
    title = repo_id.split("/")[-1]
    evaluated = eval_results(results) if results else []
    data = ModelCardData(
        library_name=LIBRARY,
        license=license,
        tags=list(dict.fromkeys([TAG, *([model.config.model_type] if method else []), *(tags or [])])),
        **({"eval_results": evaluated, "model_name": title} if evaluated else {}),
    )
    return ModelCard.from_template(
        data,
        template_str=TEMPLATE,
        title=title,
        method=method,
        note=f"\n{note}\n" if note else "",
        repo_id=repo_id,
        install=install_hint("video"),
        features=_features(processor),
        results=_table(results) if results else "Not measured yet.",
    )


def eval_results(results: Mapping[str, Any]) -> list[EvalResult]:
    """Each metric of a ``results.json`` as an ``EvalResult``; counts are none."""
    benchmark = results["benchmark"]
    return [
        EvalResult(
            task_type=TAG,
            dataset_type=benchmark,
            dataset_name=title_of(benchmark),
            dataset_split=results.get("split"),
            metric_type=name,
            metric_value=round(value, 2),
        )
        for name, value in results["metrics"].items()
        if not name.startswith("num_")
    ]


def _table(results: Mapping[str, Any]) -> str:
    metrics = {name: value for name, value in results["metrics"].items() if not name.startswith("num_")}
    benchmark = title_of(results["benchmark"])
    queries = results["metrics"].get("num_queries")
    lines = [
        f"{benchmark}, split `{results.get('split')}`, {queries} queries, a hit is {results.get('convention')}, "
        f"seed {results.get('seed')}.",
        "",
        f"| {' | '.join(metrics)} |",
        f"|{'---|' * len(metrics)}",
        f"| {' | '.join(f'{value:.2f}' for value in metrics.values())} |",
    ]
    return "\n".join(lines)


def _features(processor: Any) -> str:
    extractor = getattr(processor, "feature_extractor", None)
    spec = getattr(extractor, "spec", None)
    if spec is None or not spec.is_specified:
        return "Nobody has said which features the model was trained on."
    known = {name: value for name, value in spec.to_dict().items() if value is not None}
    return "\n".join(["| | |", "|---|---|", *(f"| {name} | `{value}` |" for name, value in known.items())])
