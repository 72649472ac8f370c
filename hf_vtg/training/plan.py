"""What a run will do, decided and checked before any work: its recipe, its folder, its features, its rows."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import AnnotationError, FeatureError, HFVTGError, ModelError
from ..features.store import FeatureStore
from ..models.registry import all_recipes, get_method, get_recipe
from ..recipe import Recipe

logger = logging.getLogger(__name__)

# A run that lacks more of its videos than this is refused: its numbers would not be the benchmark's.
MAX_MISSING = 0.05
# Files by which a folder is known as that of a run, finished or not.
TRACES = ("results.json", "checkpoint-*", "model*.safetensors", "predictions.jsonl")


def claim_output(folder: str | Path, resume: bool = False) -> Path:
    """The folder of a run. HFVTGError if it is a file, or (unless ``resume``) holds another run."""
    output = Path(folder)
    if output.exists() and not output.is_dir():
        raise HFVTGError(f"{output} is a file. Choose a folder as --output_dir.")
    if not resume and any(path for pattern in TRACES for path in output.glob(pattern)):
        raise HFVTGError(f"{output} holds another run. Choose a new --output_dir, or --resume it.")
    return output


def choose_recipe(
    method: str, benchmark: str, variant: str = "default", name: str | None = None, changes: Mapping[str, Any] = {}
) -> Recipe:
    """The recipe called ``name``, else METHOD/BENCHMARK/VARIANT, with ``changes``.

    For own data (``jsonl``) it is the one of Charades-STA, or the method's first.

    Raises:
        ModelError: an unknown method or recipe, or a method that cannot be loaded or has no recipe.
    """
    found = get_method(method)
    if found.model_class and not found.recipes:
        raise ModelError(f"{method} has no recipe: give it RECIPES in recipes_{method}.py (docs/adding_a_method.md).")
    if name is None and benchmark == "jsonl":
        own = [r.name for r in all_recipes().values() if (r.method, r.variant) == (method, variant)]
        usual = [known for known in own if "/charades_sta" in known] or own
        name = usual[0] if usual else None
    for field_name in ("method", "benchmark", "variant"):
        if field_name in changes:
            raise ModelError(
                f"{field_name}={changes[field_name]!r} cannot be changed within a recipe: choose another recipe, or "
                f"--{field_name}."
            )
    return get_recipe(name or f"{method}/{benchmark}/{variant}").replace(benchmark=benchmark, **changes)


def open_features(
    path: str, method: str, benchmark: str, preset: str | None = None, feature_dim: int | None = None
) -> FeatureStore:
    """The feature file, as wide as the paper's features, or wide on purpose.

    Args:
        preset: which published features these are.
        feature_dim: the width that was asked for.

    Raises:
        FeatureError: another width than asked for, or than the paper's on this benchmark if nothing was said.
    """
    store = FeatureStore(path, preset=preset)
    if feature_dim not in (None, store.dim):
        raise FeatureError(
            f"feature_dim={feature_dim} was asked for, but the features of {path} are {store.dim} wide."
        )
    config_class = get_method(method).config_class
    if feature_dim is None and preset is None and benchmark in config_class.presets:
        published = config_class.for_benchmark(benchmark).feature_dim
        if published != store.dim:
            raise FeatureError(
                f"The features of {path} are {store.dim} wide; {method} on {benchmark} was published with "
                f"{published}. If you mean to use these, say so: --set feature_dim={store.dim}."
            )
    return store


@dataclass(frozen=True)
class PlannedRows:
    """The rows of a run that have features.

    Args:
        splits: split -> rows; train, select_on and evaluate name them (None: no such split is used).
        missing: ids of videos without features, whose rows were left out.
        annotations: kind of rows, version of the annotations and the builder's report by split.
    """

    splits: Mapping[str, Any]
    train: str
    select_on: str | None
    evaluate: str | None
    missing: list[str] = field(default_factory=list)
    annotations: Mapping[str, Any] = field(default_factory=dict)

    def of(self, split: str | None) -> Any:
        """Rows of a split; None for none."""
        return None if split is None else self.splits[split]


def plan_rows(
    builder: Any,
    store: FeatureStore,
    train: str = "train",
    select_on: str | None = None,
    evaluate: str | None = None,
    allow_missing: bool = False,
) -> PlannedRows:
    """The rows of each split that is used, cleaned by the builder and joined with their features.

    Args:
        builder: of :func:`hf_vtg.benchmarks.benchmark_builder`.
        select_on: split whose metric decides which epoch's weights are kept. Default validation; without one,
            ``evaluate``, if given; else none, and the last epoch is kept.
        evaluate: split of the reported metrics; default test where there is one, else that of ``select_on``.
        allow_missing: train although more than 5 % of the videos have no features.

    Raises:
        AnnotationError: unusable annotations, or no such split.
        FeatureError: too many videos have no features.
    """
    builder.download_and_prepare()
    splits = builder.as_dataset()
    select_on = select_on or ("validation" if "validation" in splits else evaluate)
    evaluate = evaluate or ("test" if "test" in splits else select_on)
    kept, missing = {}, set()
    for name in dict.fromkeys(name for name in (train, select_on, evaluate) if name is not None):
        if name not in splits:
            raise AnnotationError(f"The annotations have no split {name!r}. They have: {', '.join(splits)}.")
        kept[name], absent = _with_features(splits[name], name, store, allow_missing)
        missing |= absent
    if select_on is None:
        logger.warning("There is no validation split: the last epoch is kept. See select_on.")
    described = {
        "rows": builder.config.name,
        "annotation_version": builder.config.annotation_version or None,
        "annotation_report": {name: report.to_dict() for name, report in builder.report.items()},
    }
    return PlannedRows(kept, train, select_on, evaluate, sorted(missing), described)


def _with_features(rows: Any, split: str, store: FeatureStore, allow_missing: bool) -> tuple[Any, set[str]]:
    """Rows of a split whose video has features, and the ids of the others, counted and reported."""
    missing = set(store.missing(rows["video_id"]))
    if not missing:
        return rows, missing
    share = len(missing) / len(set(rows["video_id"]))
    message = f"{len(missing)} of the videos of {split!r} ({share:.1%}) are not in {store.path}"
    if share == 1:
        raise FeatureError(f"None of the videos of {split!r} is in {store.path}: it has {sorted(store)[:3]}, ...")
    if share > MAX_MISSING and not allow_missing:
        raise FeatureError(f"{message}, such as {sorted(missing)[:3]}. Complete the file, or use --allow_missing.")
    logger.warning("%s; their rows are left out.", message)
    keep = [index for index, video in enumerate(rows["video_id"]) if video not in missing]
    return rows.select(keep), missing
