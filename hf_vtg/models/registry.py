"""Methods by name: where the files of each are, loaded when they are asked for.

A method is a package whose files bear its name: ``configuration_<m>.py`` and ``modeling_<m>.py``, and where it has
them ``conversion_<m>.py``, ``recipes_<m>.py``, ``sizes_<m>.py`` and ``paper_<m>.py``. Those of this package are the
folders beside this file. Another installed package joins through an entry point of the group ``hf_vtg.methods``, whose
name is the ``model_type`` and whose value the package; classes that stand elsewhere through
:func:`hf_vtg.register_method`.
"""

import difflib
import importlib
import importlib.util
import logging
import reprlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import ModelError
from ..recipe import Paper, Recipe, Sizes

logger = logging.getLogger(__name__)

GROUP = "hf_vtg.methods"
HERE = Path(__file__).parent


@dataclass(frozen=True)
class Method:
    """One method; everything but the name is looked up when it is asked for.

    Args:
        name: its ``model_type``.
        package: the package of its files; None where everything is given.
        given: parts that were registered by hand: ``config_class``, ``model_class``, ``conversion``, ``recipes``,
            ``sizes``, ``paper``.
    """

    name: str
    package: str | None = None
    given: Mapping[str, Any] = field(default_factory=dict)

    @property
    def is_built_in(self) -> bool:
        """Whether it is one of this package's own."""
        return self.package == f"{__package__}.{self.name}"

    @cached_property
    def config_class(self) -> type:
        """The configuration: the class of ``configuration_<m>.py`` whose ``model_type`` is the name."""
        return self.given.get("config_class") or self._class("configuration", "model_type", self.name)

    @cached_property
    def model_class(self) -> type:
        """The model: the class of ``modeling_<m>.py`` that takes this configuration."""
        return self.given.get("model_class") or self._class("modeling", "config_class", self.config_class)

    @property
    def conversion(self) -> ModuleType | None:
        """The conversion module; None for a method without published weights (or without this file)."""
        return self.given.get("conversion") or self._module("conversion", optional=True)

    @property
    def recipes(self) -> tuple[Recipe, ...]:
        """The papers' training settings. ModelError for anything but recipes of this method."""
        found = self._value("recipes", "RECIPES", ())
        if isinstance(found, Iterable) and all(isinstance(r, Recipe) and r.method == self.name for r in found):
            return tuple(found)
        raise ModelError(
            f"The recipes of {self.name!r} ({self.package or 'registered by hand'}) are {reprlib.repr(found)}: "
            f"RECIPES of recipes_{self.name}.py is a list of Recipe(method={self.name!r}, ...)."
        )

    @property
    def sizes(self) -> Sizes:
        """Small sizes for tests and experiments."""
        return self._value("sizes", "SIZES", Sizes())

    @property
    def paper(self) -> Paper:
        """What its publication states."""
        return self._value("paper", "PAPER", Paper(name=self.name, title="", venue=""))

    def _value(self, part: str, constant: str, default: Any) -> Any:
        if self.given.get(part) is not None:
            return self.given[part]
        return getattr(self._module(part, optional=True), constant, default)

    def _module(self, part: str, optional: bool = False) -> ModuleType | None:
        if self.package is None:
            return None
        name = f"{self.package}.{part}_{self.name}"
        try:
            if importlib.util.find_spec(name) is not None:
                return importlib.import_module(name)
        except (Exception, SystemExit) as error:
            if self.is_built_in:
                raise
            raise ModelError(
                f"{part}_{self.name}.py of {self.package} cannot be imported: {type(error).__name__}: {error}. Mend "
                f"it, or uninstall the package that names it in the entry-point group {GROUP!r}."
            ) from error
        if optional:
            return None
        raise ModelError(
            f"The method {self.name!r} needs a file {part}_{self.name}.py in {self.package}: in the entry-point group "
            f"{GROUP!r} the name is the model_type, by which the files are called, and the value their package."
        )

    def _class(self, part: str, attribute: str, value: Any) -> type:
        module = self._module(part)
        own = (c for c in vars(module).values() if isinstance(c, type) and c.__module__ == module.__name__)
        found = [c for c in own if getattr(c, attribute, None) == value]
        if not found and getattr(module.__spec__, "_initializing", False):
            raise ModelError(
                f"{module.__name__} was imported before hf_vtg, which looks for its method while it is not yet read. "
                f"Begin the __init__.py of {self.package.partition('.')[0]} with `import hf_vtg`."
            )
        if len(found) != 1:
            raise ModelError(
                f"{module.__file__} holds {len(found)} classes whose {attribute} is {value!r}, but method "
                f"{self.name!r} needs one."
            )
        return found[0]


class Methods(Mapping[str, Method]):
    """All methods by name: this package's, then those of other packages and those registered by hand."""

    def __init__(self) -> None:
        self._registered: dict[str, Method] = {}

    def __getitem__(self, name: str) -> Method:
        return self._all()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def add(self, method: Method) -> None:
        """Make ``method`` known. ModelError for the name of one of this package's own."""
        if method.name in self._built_in():
            raise ModelError(f"{method.name!r} is a method of hf_vtg itself: give yours another model_type.")
        self._registered[method.name] = method

    def _all(self) -> dict[str, Method]:
        return {**self._built_in(), **_installed(), **self._registered}

    @staticmethod
    def _built_in() -> dict[str, Method]:
        return dict(_OWN)


@cache
def _installed() -> dict[str, Method]:
    """The methods of other packages. One whose name is taken is left out, with a warning."""
    found: dict[str, Method] = {}
    for name, package in sorted({(point.name, point.value) for point in entry_points(group=GROUP)}):
        taken = _OWN.get(name) or found.get(name)
        if taken is None:
            found[name] = Method(name, package)
        else:
            logger.warning("The method %r of %s is left out: %s has one of that name.", name, package, taken.package)
    return found


def _own_methods() -> dict[str, Method]:
    names = sorted(path.parent.name for path in HERE.glob("*/configuration_*.py"))
    return {name: Method(name, f"{__package__}.{name}") for name in names}


_OWN = _own_methods()
METHODS = Methods()


def get_method(name: str) -> Method:
    """The method of that name.

    Raises:
        ModelError: for an unknown one, with the nearest known.
    """
    if name in METHODS:
        return METHODS[name]
    near = difflib.get_close_matches(str(name).lower(), METHODS, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ModelError(f"Unknown method {name!r}.{hint} Known: {', '.join(METHODS)}.")


def usable_methods(*parts: str) -> Iterator[Method]:
    """All methods that can be loaded, or whose ``parts`` can; others are passed over with a warning, unless they are
    of this package."""
    for method in METHODS.values():
        try:
            _ = [getattr(method, part) for part in parts or ("config_class", "model_class", "recipes")]
        except (Exception, SystemExit) as error:
            if method.is_built_in:
                raise
            logger.warning("The method %r of %s cannot be loaded: %s", method.name, method.package, error)
        else:
            yield method


def all_recipes() -> dict[str, Recipe]:
    """The papers' training settings by name, one for each method, benchmark and variant."""
    return {recipe.name: recipe for method in usable_methods("recipes") for recipe in method.recipes}


def get_recipe(name: str, **changes) -> Recipe:
    """The recipe ``method/benchmark`` or ``method/benchmark/variant``, with ``changes`` applied.

    Raises:
        ModelError: for an unknown name, with the nearest known one.
    """
    recipes, name = all_recipes(), name.removesuffix("/default")
    if name not in recipes:
        method = name.lower().partition("/")[0]
        # Of the method that was named, if there is one.
        recipes = {known: recipe for known, recipe in recipes.items() if recipe.method == method} or recipes
        known = [recipe for recipe in recipes if recipe.startswith(name.lower())]
        near = known or difflib.get_close_matches(name.lower(), recipes, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise ModelError(f"Unknown recipe {name!r}.{hint} Known: {', '.join(recipes)}.")
    return recipes[name].replace(**changes)


def official_recipe(method: str, official: Mapping[str, Any]) -> Recipe:
    """The recipe of an official training run, from the configuration that a golden training curve carries.

    Raises:
        ModelError: for a method whose runs are not known.
    """
    reader = getattr(get_method(method)._module("recipes", optional=True), "official_recipe", None)
    if reader is None:
        raise ModelError(
            f"No official training run of method {method!r} is known: its recipes have no official_recipe."
        )
    return reader(official)
