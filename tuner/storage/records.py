"""Reading and checking what our attributes hold as JSON text, because others can also write to the database."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from tuner.errors import StorageError
from tuner.storage.names import shown

REMEDY = "is not what tuner writes: somebody changed it, or the database is damaged. Restore a backup."


def kept_table(attrs: Mapping[str, Any], key: str, whose: str) -> dict[str, Any]:
    """Read a JSON object from an attribute; an empty one if there is none.

    Parameters
    ----------
    attrs : mapping of str to any
        Attributes of a study or a trial.
    key : str
        The attribute.
    whose : str
        Name of the study or trial in errors.

    Raises
    ------
    StorageError
        It is not a JSON object.
    """
    found = _read(attrs.get(key, "{}"))
    if not isinstance(found, dict):
        raise StorageError(f"{whose}: the attribute {key} {REMEDY}")
    return found


def kept_record(attrs: Mapping[str, Any], key: str, whose: str) -> list[dict[str, Any]]:
    """Read a list of JSON objects from an attribute; parameters as in `kept_table`.

    Raises
    ------
    StorageError
        It is not a list of JSON objects.
    """
    found = _read(attrs.get(key, "[]"))
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise StorageError(f"{whose}: the attribute {key} {REMEDY}")
    return found


def kept_sizes(attrs: Mapping[str, Any], key: str, whose: str) -> dict[str, int]:
    """Read sizes in bytes by name from an attribute; parameters as in `kept_table`.

    Raises
    ------
    StorageError
        It is not a JSON object of whole numbers.
    """
    found = kept_table(attrs, key, whose)
    if not all(is_count(size) for size in found.values()):
        raise StorageError(f"{whose}: the attribute {key} {REMEDY}")
    return found


def is_count(value: object) -> bool:
    """Whether a value is a whole number and not negative."""
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def check_numbers(attrs: Mapping[str, Any], whose: str, *, whole: Iterable[str], real: Iterable[str]) -> None:
    """Check that attributes which are read as numbers are numbers, if they exist.

    Raises
    ------
    StorageError
        One is not; the message names attribute and value.
    """
    for keys, fits in ((whole, is_count), (real, _is_real)):
        for key in keys:
            if key in attrs and not fits(attrs[key]):
                raise StorageError(f"{whose}: the attribute {key}, {shown(str(attrs[key]))}, {REMEDY}")


def file_name(entry: object) -> str | None:
    """Name of a file from its entry among a trial's attributes; None if another program wrote or removed the entry."""
    found = _read(entry)
    name = found.get("filename") if isinstance(found, dict) else None
    return name if isinstance(name, str) else None


def _is_real(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _read(text: object) -> object:
    try:
        return json.loads(text) if isinstance(text, str) else None
    except (ValueError, RecursionError):
        return None
