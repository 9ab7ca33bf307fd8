"""Names that a search space may use: every hyperparameter of a model or of its training."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping

from tuner.data.registry import DATASETS
from tuner.errors import ModelError, SearchSpaceError, StudyError, UsageError, unknown
from tuner.models.activations import ACTIVATIONS
from tuner.models.architectures import ARCHITECTURES
from tuner.models.hyperparameters import check
from tuner.models.initializers import INITIALIZERS
from tuner.models.plan import GLOBAL_POOLS
from tuner.models.recipe import RECIPES, WORDS, Recipe
from tuner.study.space import Scalar, SearchSpace

RECIPE_FIELDS: Mapping[str, dataclasses.Field[object]] = {f.name: f for f in dataclasses.fields(Recipe)}

# Parameters whose values are names of rows of a table.
TABLES: Mapping[str, Collection[str]] = {
    "architecture": ARCHITECTURES,
    "activation": ACTIVATIONS,
    "initializer": INITIALIZERS,
    "global_pool": GLOBAL_POOLS,
    "dataset": DATASETS,
}


def check_names(space: SearchSpace, training: Mapping[str, Scalar], where: str) -> None:
    """Check every parameter, and every value that names a row of a table, against the tables.

    Raises
    ------
    SearchSpaceError
        Naming the parameter and the nearest known name.
    """
    if "architecture" not in space.parameters:
        raise SearchSpaceError(f"{where}: [architecture] is missing; fix or list one of {', '.join(ARCHITECTURES)}.")
    for name, parameter in space.parameters.items():
        for value in parameter.values or ():
            if name in TABLES and value not in TABLES[name]:
                raise SearchSpaceError(f"{where} [{name}]: {unknown(name, value, TABLES[name])}")
    architectures = [str(a) for a in space.parameters["architecture"].values or ()]
    known = set(RECIPE_FIELDS) | {"architecture", "dataset"}  # every architecture given is a row by now
    for architecture in architectures:
        known |= set(ARCHITECTURES[architecture].defaults)
    for name in space.parameters:
        if name not in known:
            raise SearchSpaceError(f"{where} [{name}]: {unknown('parameter', name, known)}")
        if name in training:
            raise SearchSpaceError(
                f"{where} [{name}]: the study's [training] fixes {name}; search or fix it, not both."
            )
    for name, parameter in space.parameters.items():
        for value in (v for v in parameter.values or (parameter.low, parameter.high) if v is not None):
            try:
                if name in RECIPE_FIELDS:
                    recipe_of({name: value}, where)
                elif name != "dataset":
                    check(name, value)
            except (ModelError, StudyError) as e:
                raise SearchSpaceError(f"{where} [{name}]: {e}") from e


def recipe_of(training: Mapping[str, Scalar], where: str, base: Recipe | None = None) -> Recipe:
    """Apply training settings to a recipe.

    Parameters
    ----------
    training : mapping
        Recipe settings; without `base`, ``recipe`` may name the row of RECIPES that they start from.
    where : str
        File and table, as an error should name them.
    base : Recipe, optional
        The recipe that the settings change.

    Raises
    ------
    StudyError
        Unknown key or recipe, or a value of another type.
    """
    settings = dict(training)
    if base is None:
        row = settings.pop("recipe", "default")
        if row not in RECIPES:
            raise StudyError(f"{where}: {unknown('recipe', row, RECIPES)}")
        base = RECIPES[str(row)]
    values: dict[str, object] = dataclasses.asdict(base)
    for name, value in settings.items():
        if name not in RECIPE_FIELDS:
            raise StudyError(f"{where}: {unknown('key', name, RECIPE_FIELDS)}")
        if value in WORDS.get(name, ()):
            values[name] = value
            continue
        default = RECIPE_FIELDS[name].default
        if isinstance(default, float) and isinstance(value, int) and not isinstance(value, bool):
            value = float(value)
        if default is not None and type(value) is not type(default):
            words = "".join(f' or "{word}"' for word in WORDS.get(name, ()))
            raise StudyError(f"{where}: {name} = {value!r} must be {type(default).__name__}, like {default!r}{words}.")
        values[name] = value
    try:
        return Recipe(**values)  # type: ignore[arg-type]
    except UsageError as e:
        raise StudyError(f"{where}: {e}") from e


def split_point(point: Mapping[str, Scalar]) -> tuple[dict[str, Scalar], dict[str, Scalar]]:
    """Split a suggested point into (model hyperparameters, training settings); its data set belongs to neither."""
    training = {k: v for k, v in point.items() if k in RECIPE_FIELDS}
    return {k: v for k, v in point.items() if k not in training and k != "dataset"}, training
