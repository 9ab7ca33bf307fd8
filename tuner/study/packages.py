"""Versions of the packages that influence a trial's values; all workers of a study must use compatible ones."""

from __future__ import annotations

import json

import torch

import tuner
from tuner.errors import StudyError

PARTS = {"tuner": 2, "torch": 1}  # how many parts of a version must be equal: 2 for major and minor, 1 for major


def packages() -> dict[str, str]:
    """Versions here."""
    return {"tuner": tuner.__version__, "torch": str(torch.__version__).partition("+")[0]}


def check_packages(name: str, stored: str | None) -> None:
    """Refuse to join a study that was created with another version of a package that computes its values.

    Parameters
    ----------
    name : str
        The study.
    stored : str or None
        Its attribute `PACKAGES`; None in a study older than this attribute.

    Raises
    ------
    StudyError
        A version differs; names the package, the stored version and the installed one.
    """
    here = packages()
    try:
        made = json.loads(stored or "{}")
        if not isinstance(made, dict) or not all(isinstance(version, str) for version in made.values()):
            raise ValueError
    except (TypeError, ValueError, RecursionError) as e:
        raise StudyError(
            f"{name}: its list of packages is not what tuner writes; somebody changed it, or the database is damaged. "
            "Restore a backup, or use a new study name (--name)."
        ) from e
    for package, parts in PARTS.items():
        if package in made and _head(made[package], parts) != _head(here[package], parts):
            wanted = ".".join([*_head(made[package], parts), "*"])
            raise StudyError(
                f"{name} was created with {package} {made[package]}; {here[package]} is installed here. Install "
                f"'{package}=={wanted}' on this machine, or use a new study name (--name)."
            )


def _head(version: object, parts: int) -> list[str]:
    return str(version).split(".")[:parts]
