"""The papers' training settings as data: one module a method, one record for each benchmark and variant."""

import difflib
from collections.abc import Mapping
from typing import Any

from ...errors import ModelError
from . import clear, hisa, hscnet, ianet, mmn
from .recipe import TEXT_MODEL, LossStage, Recipe

__all__ = ["RECIPES", "TEXT_MODEL", "LossStage", "Recipe", "get_recipe", "official_recipe"]

# One line a method.
METHOD_RECIPES = {
    "clear": clear,
    "hisa": hisa,
    "hscnet": hscnet,
    "ianet": ianet,
    "mmn": mmn,
}

RECIPES: dict[str, Recipe] = {r.name: r for module in METHOD_RECIPES.values() for r in module.RECIPES}


def get_recipe(name: str, **changes) -> Recipe:
    """The recipe ``method/benchmark`` or ``method/benchmark/variant``, with ``changes`` applied.

    Raises:
        ModelError: for an unknown name, with the nearest known one.
    """
    name = name.removesuffix("/default")
    if name not in RECIPES:
        known = [recipe for recipe in RECIPES if recipe.startswith(name.lower())]
        near = known or difflib.get_close_matches(name.lower(), RECIPES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"Unknown recipe {name!r}.{hint} Known: {', '.join(RECIPES)}.")
    return RECIPES[name].replace(**changes)


def official_recipe(method: str, official: Mapping[str, Any]) -> Recipe:
    """The recipe of an official training run, from the configuration that a golden training curve carries.

    Raises:
        ModelError: for a method whose runs are not known.
    """
    readers = {name: module for name, module in METHOD_RECIPES.items() if hasattr(module, "official_recipe")}
    if method not in readers:
        raise ModelError(f"No official training run of method {method!r} is known. Known: {', '.join(readers)}.")
    return readers[method].official_recipe(official)
