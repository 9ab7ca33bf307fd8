"""Study files: TOML -> StudyFile, with every table and key checked.

A study names its data, its search space and its objectives. A preset scales it: it sets the number of trials, the
number of epochs and the size of the confirmation.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import ByteSize, Field, TypeAdapter, ValidationError, field_validator, model_validator

from tuner.data.spec import DataSpec
from tuner.errors import StudyError, unknown
from tuner.storage.names import check_name
from tuner.study.extra_metrics import AttributionSection, KooSection
from tuner.study.objectives import OBJECTIVES
from tuner.study.space import Parameter, Scalar
from tuner.study.stopping import StoppingSection
from tuner.study.toml import Table, parse_table, read_toml

Sampler = Literal["tpe", "random", "grid"]


class MotifSection(Table):
    """Motif database that filters are matched against, and the families that count as targets."""

    database: str = "JASPAR2026"
    targets: dict[str, list[str]] = Field(default_factory=dict)


class SearchSection(Table):
    """Size and sampler of the search.

    The sampler ``grid`` runs every point of the space with `replicates` seeds and ignores `trials` and `startup`. A
    trial that finishes no epoch within `stall_minutes` counts as hung. Without `stopping` every trial is trained to its
    end.
    """

    sampler: Sampler = "tpe"
    trials: int = Field(default=30, gt=0)
    replicates: int = Field(default=1, ge=1)
    startup: int = Field(default=5, ge=1)
    max_failures: int = Field(default=2, ge=1)
    stall_minutes: float = Field(default=30.0, gt=0)
    stopping: StoppingSection | None = None

    @model_validator(mode="after")
    def _grids_are_whole(self) -> SearchSection:
        if self.sampler == "grid" and self.stopping is not None:
            raise ValueError("a grid runs every point to its end; leave stopping out")
        return self


class ConfirmationSection(Table):
    """How the candidates are retrained before one of them is declared the primary trial.

    `folds` = 0 retrains on the training split and stops early on validation; k > 1 cross-validates over both splits.
    `shuffled` and `composition` are the numbers of label-shuffled and composition-only networks trained as nulls (by
    default as many of these, at most 3); they are no part of the study's identity.
    """

    candidates: int = Field(default=5, ge=0)
    seeds: int = Field(default=5, ge=1)
    folds: int = Field(default=0, ge=0)
    shuffled: int = Field(default=5, ge=0)
    composition: int | None = Field(default=None, ge=0)


class StorageSection(Table):
    """How much space the study's files may take in the artifact store; not part of the study's identity."""

    quota: str | None = None

    @field_validator("quota")
    @classmethod
    def _size(cls, quota: str | None) -> str | None:
        if quota is not None:
            try:
                read_bytes(quota)
            except StudyError as e:
                raise ValueError(str(e)) from e
        return quota


class Preset(Table):
    """Values that a preset replaces in a study; where a key is absent, the study's own value applies."""

    trials: int | None = Field(default=None, gt=0)
    replicates: int | None = Field(default=None, gt=0)
    epochs: int | None = Field(default=None, gt=0)
    patience: int | None = Field(default=None, gt=0)
    candidates: int | None = Field(default=None, ge=0)
    seeds: int | None = Field(default=None, ge=1)
    folds: int | None = Field(default=None, ge=0)
    shuffled: int | None = Field(default=None, ge=0)
    composition: int | None = Field(default=None, ge=0)
    space: str | None = None


PRESETS: Mapping[str, Preset] = {
    "smoke": Preset(trials=3, replicates=1, epochs=6, candidates=1, seeds=2, shuffled=0),
    "fast": Preset(trials=10, replicates=1, epochs=16, candidates=2, seeds=2, shuffled=1),
    "standard": Preset(),
    "best": Preset(trials=100, candidates=5, seeds=1, folds=5, shuffled=5),
}


class StudyFile(Table):
    """The complete content of a study file."""

    name: str
    title: str = ""
    space: str = "default"
    parameters: dict[str, Parameter] = Field(default_factory=dict)
    objectives: list[str] = Field(default=["auroc", "match_fraction"], min_length=1)
    data: DataSpec
    motifs: MotifSection = Field(default_factory=MotifSection)
    training: dict[str, Scalar] = Field(default_factory=dict)
    search: SearchSection = Field(default_factory=SearchSection)
    confirmation: ConfirmationSection = Field(default_factory=ConfirmationSection)
    koo: KooSection | None = None
    attribution: AttributionSection | None = None
    storage: StorageSection = Field(default_factory=StorageSection)
    presets: dict[str, Preset] = Field(default_factory=dict)

    @field_validator("name")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        try:
            check_name(name)
        except StudyError as e:
            raise ValueError(str(e)) from e
        return name

    @field_validator("objectives")
    @classmethod
    def _known_objectives(cls, objectives: list[str]) -> list[str]:
        for name in objectives:
            if name not in OBJECTIVES:
                raise ValueError(unknown("objective", name, OBJECTIVES))
            if objectives.count(name) > 1:
                raise ValueError(f"the objective {name!r} is listed twice")
        return objectives

    @model_validator(mode="after")
    def _one_space(self) -> StudyFile:
        if self.parameters and "space" in self.model_fields_set:
            raise ValueError("space names a file and [parameters] lists the space here; give one of them")
        return self

    @model_validator(mode="after")
    def _measurable(self) -> StudyFile:
        for name in self.objectives:
            needs = OBJECTIVES[name].needs
            if needs is not None and getattr(self, needs) is None:
                raise ValueError(f"the objective {name!r} needs the table [{needs}]")
        return self


def read_study(path: Path) -> StudyFile:
    """Read a study file.

    Raises
    ------
    StudyError
        Naming file, table, key and the nearest known name.
    """
    return check_study(read_toml(path, StudyError), path.name)


def check_study(document: dict[str, object], where: str) -> StudyFile:
    """Check a parsed study file; `where` names it in an error.

    Raises
    ------
    StudyError
        Naming file, table, key and the nearest known name.
    """
    if "data" not in document:
        raise StudyError(f"{where}: the [data] table is missing; name a dataset, or positives and negatives.")
    return parse_table(StudyFile, document, where, StudyError)


def read_bytes(text: str) -> int:
    """Parse a size such as ``2 GB`` or ``500 MiB``, and return it in bytes.

    Raises
    ------
    StudyError
        The text is not a size above 0.
    """
    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        size = 0
    if size <= 0:
        raise StudyError(f"{text!r} is not a size; write a number and a unit, e.g. 500 MB, 2 GB, 1.5 GiB.")
    return size
