"""Publishing on the Hugging Face Hub: a card with results, and one clear error where an upload fails."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from huggingface_hub import EvalResult, HfApi, ModelCard, ModelCardData
from huggingface_hub.errors import HfHubHTTPError

from .errors import HFVTGError, HubError

LIBRARY = "hf_vtg"
TAG = "video-grounding"
BENCHMARK_NAMES = {
    "charades_sta": "Charades-STA",
    "activitynet_captions": "ActivityNet Captions",
    "tacos": "TACoS",
    "moving_shapes": "moving_shapes",
}
TEMPLATE = """---
{{ card_data }}
---

# {{ title }}

A model for video temporal grounding{{ method }}: given an untrimmed video and a sentence, it finds when the described
moment starts and ends.
{{ note }}
```python
from transformers import pipeline
import hf_vtg  # pip install "hf-vtg[video]"; without this import transformers does not know the model

ground = pipeline("video-grounding", model="{{ repo_id }}")
ground("video.mp4", "a person turns on the light")
```

## Features

{{ features }}

## Results

{{ results }}
"""


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
            dataset_name=BENCHMARK_NAMES.get(benchmark, benchmark),
            dataset_split=results.get("split"),
            metric_type=name,
            metric_value=round(value, 2),
        )
        for name, value in results["metrics"].items()
        if not name.startswith("num_")
    ]


def _table(results: Mapping[str, Any]) -> str:
    metrics = {name: value for name, value in results["metrics"].items() if not name.startswith("num_")}
    benchmark = BENCHMARK_NAMES.get(results["benchmark"], results["benchmark"])
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
