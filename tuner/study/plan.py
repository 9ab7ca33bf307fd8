"""Plans: a study file with preset, seed and overrides applied, and the identity of a study.

File, preset and seed belong to the identity of a study and give it its name in the storage; budget, workers, device
and time limit do not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import Field

from tuner.data.dataset import Dataset
from tuner.data.spec import DataSpec
from tuner.errors import StudyError, unknown
from tuner.models.recipe import Recipe
from tuner.motifs.database import MotifDatabase
from tuner.storage.names import shown
from tuner.study.directions import MOTIF_OBJECTIVES
from tuner.study.file import PRESETS, ConfirmationSection, Sampler, StudyFile
from tuner.study.grid import grid_points
from tuner.study.parameters import check_names, recipe_of
from tuner.study.space import Parameter, SearchSpace, WarmStart, listed_space, read_space
from tuner.study.toml import Table, parse_table

FOLDS = "folds"
NULLS = ("shuffled", "composition")  # how many null networks [confirmation] asks for
MOST_COMPOSITION = 3  # composition-only networks, unless a study asks for more
MOST_TRIALS = 1_000_000  # the database column could hold two thousand times as many, but no study can run for so long


@dataclass(frozen=True)
class Plan:
    """A study file with its preset, seed and overrides applied: everything that a worker needs to know.

    Attributes
    ----------
    study : StudyFile
        The file as written.
    space : SearchSpace
        Checked against every table of names.
    preset, name : str
        Preset, and the study's name in the storage.
    seed : int
        Seed of every random draw of the study.
    trials : int
        Budget of the search, as slots that each end in exactly one result; for a grid, points x replicates.
    replicates : int
        How many seeds each point of a grid is run with; 1 for a search.
    recipe : Recipe
        Training settings that the space does not search.
    sampler, startup, max_failures, confirmation
        As in the study file, with the preset applied.
    folder : Path
        Folder of the study file; its data paths are relative to it.
    """

    study: StudyFile
    space: SearchSpace
    preset: str
    name: str
    seed: int
    trials: int
    replicates: int
    recipe: Recipe
    sampler: Sampler
    startup: int
    max_failures: int
    confirmation: ConfirmationSection
    folder: Path

    def composition_networks(self, *, paired: bool) -> int:
        """How many composition-only networks the study trains.

        Parameters
        ----------
        paired : bool
            Whether the negatives are dinucleotide shuffles of the positives: then both classes have one composition,
            and there is nothing for such a network to learn.

        Returns
        -------
        int
            0 for pairs, and in a study without a motif objective.
        """
        if paired or not MOTIF_OBJECTIVES & set(self.study.objectives):
            return 0
        asked = self.confirmation.composition
        return min(self.confirmation.shuffled, MOST_COMPOSITION) if asked is None else asked

    @property
    def data_spec(self) -> DataSpec:
        """The data section, with relative paths resolved from the study file's folder."""
        here = {key: str(self.folder / name) for key, name in self.study.data.files.items()}
        return self.study.data.at(here)


def study_space(study: StudyFile, preset: str, find: Callable[[str], Path]) -> tuple[SearchSpace, Path | None]:
    """Read the search space of a study: its own [parameters], or else the file that the study or the preset names.

    Parameters
    ----------
    study : StudyFile
        The study file as read.
    preset : str
        Name of the preset, which may choose another space.
    find : callable
        Name of a space -> its file.

    Returns
    -------
    tuple of (SearchSpace, Path or None)
        The space, and its file if it has one.

    Raises
    ------
    SearchSpaceError
        The space cannot be read.
    """
    if study.parameters:
        return listed_space(study.name, study.parameters, f"{study.name}.toml"), None
    overridden = study.presets.get(preset)
    path = find(overridden.space if overridden and overridden.space else study.space)
    return read_space(path), path


def make_plan(
    study: StudyFile,
    space: SearchSpace,
    *,
    folder: Path,
    preset: str = "standard",
    seed: int = 0,
    name: str | None = None,
    trials: int | None = None,
    sampler: Sampler | None = None,
) -> Plan:
    """Apply preset and overrides to a study.

    Raises
    ------
    StudyError, SearchSpaceError
        A preset, training key, model or activation is unknown.
    """
    if preset not in PRESETS:
        raise StudyError(unknown("preset", preset, PRESETS))
    scaled: dict[str, Any] = PRESETS[preset].model_dump(exclude_none=True)
    if preset in study.presets:
        scaled |= study.presets[preset].model_dump(exclude_none=True)
    training = dict(study.training) | {k: scaled[k] for k in ("epochs", "patience") if k in scaled}
    recipe = recipe_of(training, f"{study.name} [training]")
    check_names(space, study.training, f"{space.name}.toml")
    used_sampler = sampler or study.search.sampler
    if (used_sampler == "grid") != (study.search.sampler == "grid"):
        raise StudyError(
            f"{study.name}: --sampler {used_sampler} cannot replace {study.search.sampler}; edit [search]."
        )
    if "dataset" in space.parameters and used_sampler != "grid":
        raise StudyError(f"{study.name} [dataset]: only a grid may vary the data set, so that values are comparable.")
    replicates = 1
    if used_sampler == "grid":
        replicates = scaled.get("replicates", study.search.replicates)
        whole = len(grid_points(space)) * replicates
        if trials not in (None, whole):
            raise StudyError(f"{study.name} is a grid of {whole} trials; choose a part of it with --only and --seeds.")
        trials = whole
    for what, number in (("trials", trials or scaled.get("trials", study.search.trials)), ("replicates", replicates)):
        if number > MOST_TRIALS:
            given = f"{number:,}" if number < 10**15 else "more than 10^15"
            raise StudyError(f"{study.name}: {given} {what}; a study takes at most {MOST_TRIALS:,}.")
    confirmation = study.confirmation.model_copy(
        update={k: scaled[k] for k in ("candidates", "seeds", "folds", *NULLS) if k in scaled}
    )
    return Plan(
        study=study,
        space=space,
        preset=preset,
        name=name or default_name(study.name, preset, seed),
        seed=seed,
        trials=trials or scaled.get("trials", study.search.trials),
        replicates=replicates,
        recipe=recipe,
        sampler=used_sampler,
        startup=study.search.startup,
        max_failures=study.search.max_failures,
        confirmation=confirmation,
        folder=folder,
    )


def default_name(study: str, preset: str, seed: int) -> str:
    """Name of a study in the storage: ``zbed2``, ``zbed2-smoke``, ``zbed2-smoke-seed3``."""
    return study + (f"-{preset}" if preset != "standard" else "") + (f"-seed{seed}" if seed else "")


def plan_source(plan: Plan) -> dict[str, Any]:
    """Return everything that `restore_plan` needs as plain JSON, which is stored with the study."""
    return {
        "study": plan.study.model_dump(exclude_none=True),
        "space": plan.space.name,
        "parameters": plan.space.canonical(),
        "warm_starts": [w.model_dump() for w in plan.space.warm_starts],
        "folder": str(plan.folder.resolve()),
        "preset": plan.preset,
        "seed": plan.seed,
        "name": plan.name,
        "trials": plan.trials,
        "sampler": plan.sampler,
    }


class _Source(Table):
    """The values that :func:`plan_source` stores."""

    study: dict[str, Any]
    space: str
    parameters: dict[str, dict[str, Any]]
    warm_starts: list[dict[str, Any]]
    folder: str
    preset: str
    seed: int = Field(ge=0)
    name: str
    trials: int = Field(gt=0)
    sampler: Sampler


def restore_plan(
    source: Mapping[str, Any],
    locate: Callable[[StudyFile], StudyFile] = lambda study: study,
    *,
    folder: Path | None = None,
) -> Plan:
    """Rebuild a plan from its stored source, through the same checks as a file.

    Parameters
    ----------
    source : mapping of str to any
        The values that :func:`plan_source` returned.
    locate : callable
        Maps the paths of the study's files to those on this machine.
    folder : Path, optional
        Folder from which relative paths are resolved; by default the one where the study was created.
    """
    where = f"stored study {shown(str(source.get('name')))}"
    described = parse_table(_Source, dict(source), where, StudyError)
    source = described.model_dump()
    parameters = {
        name: parse_table(Parameter, table, f"{where} [{name}]", StudyError)
        for name, table in source["parameters"].items()
    }
    starts = tuple(parse_table(WarmStart, w, where, StudyError) for w in source["warm_starts"])
    # In a study that lists its own parameters, `space` has its default value, which nobody chose.
    study = {k: v for k, v in source["study"].items() if k != "space" or not source["study"].get("parameters")}
    return make_plan(
        locate(parse_table(StudyFile, study, where, StudyError)),
        SearchSpace(source["space"], parameters, starts),
        folder=Path(source["folder"]) if folder is None else folder,
        preset=source["preset"],
        seed=source["seed"],
        name=source["name"],
        trials=source["trials"],
        sampler=source["sampler"],
    )


def load_object(text: object, name: str, key: str) -> dict[str, Any]:
    """Read a description that is stored with a study.

    Parameters
    ----------
    text : object
        Value of the attribute.
    name, key : str
        Study and attribute, for the error.

    Raises
    ------
    StudyError
        The value is not a JSON object.
    """
    try:
        found = json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise StudyError(
            f"{shown(name)}: its attribute {key} is not what tuner writes; somebody changed it, or the database is "
            "damaged. Restore a backup, or use a new study name."
        )
    return found


def identity(
    plan: Plan,
    dataset: Dataset,
    database: MotifDatabase,
    variants: Mapping[str, Dataset] | None = None,
    *,
    kin: bool = False,
) -> dict[str, Any]:
    """Return everything that two workers must agree on before they may share a study.

    `kin` says that the folds of data that came split keep relatives together; in studies of earlier versions they keep
    copies together, and nothing is said.
    """
    asked = {"koo": plan.study.koo, "attribution": plan.study.attribution, "stopping": plan.study.search.stopping}
    described: dict[str, Any] = {
        "search space": plan.space.canonical(),
        "data set": {"fingerprint": dataset.fingerprint, "sequences": _sizes(dataset)},
        "objectives": list(plan.study.objectives),
        "motif database": {
            "name": Path(plan.study.motifs.database).name,
            "digest": database.digest,
            "targets": plan.study.motifs.targets,
        },
        "training recipe": plan.recipe.settings(),
        "sampler": {"name": plan.sampler, "startup": plan.startup, "seed": plan.seed},
        "confirmation": plan.confirmation.model_dump(exclude=set(NULLS)),
        "preset": plan.preset,
    }
    if kin:
        described[FOLDS] = "relatives together"
    if variants:
        described["data sets"] = {name: variant.fingerprint for name, variant in variants.items()}
    return described | {key: section.model_dump() for key, section in asked.items() if section is not None}


def differences(stored: Mapping[str, Any], current: Mapping[str, Any]) -> list[str]:
    """Describe each difference between two identities, e.g. ``search space: kernel_size.high 19 -> 25``."""
    found = []
    for part in sorted(set(stored) | set(current)):
        a, b = _flat(stored.get(part)), _flat(current.get(part))
        for key in sorted(set(a) | set(b)):
            if a.get(key) != b.get(key):
                label = f"{part}: {key} " if key else f"{part} "
                found.append(f"{label}{_shown(a.get(key))} -> {_shown(b.get(key))}")
    return found


def check_identity(name: str, stored: Mapping[str, Any], current: Mapping[str, Any]) -> None:
    """Refuse to join a study that was created from different files.

    The number of null networks, which earlier versions stored, may differ: nothing else depends on it.

    Raises
    ------
    StudyError
        The identities differ; names the differences (the first eight).
    """
    found = differences(_without_nulls(stored), _without_nulls(current))
    if found:
        more = f"; and {len(found) - 8} more" if len(found) > 8 else ""
        raise StudyError(
            f"{name} was created with another {'; '.join(found[:8])}{more}. "
            "Use a new study name (--name), or restore the file."
        )


def _without_nulls(described: Mapping[str, Any]) -> dict[str, Any]:
    part = described.get("confirmation")
    if not isinstance(part, Mapping):
        return dict(described)
    return {**described, "confirmation": {k: v for k, v in part.items() if k not in NULLS}}


def mix(*parts: object) -> int:
    """Derive a 32-bit seed from its parts; distinct parts give independent seeds."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:4], "big")


def _sizes(dataset: Dataset) -> dict[str, int]:
    return {name: len(split) for name, split in dataset.splits.items()}


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        flat: dict[str, Any] = {}
        for key, inner in value.items():
            flat |= _flat(inner, f"{prefix}.{key}" if prefix else str(key))
        return flat
    return {prefix: json.loads(json.dumps(value))}


def _shown(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= 60 else text[:24] + "..."
