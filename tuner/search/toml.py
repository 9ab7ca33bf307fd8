"""Read a TOML file into a validated model, and word what is wrong with it in one line."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from tuner.errors import TunerError, unknown


class Table(BaseModel):
    """A TOML table: typed literals only, unknown keys refused, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


T = TypeVar("T", bound=Table)


def read_toml(path: Path, error: type[TunerError]) -> dict[str, object]:
    """Parse a TOML file.

    Parameters
    ----------
    path : Path
        The file.
    error : type of TunerError
        What to raise.

    Returns
    -------
    dict
        The parsed document.

    Raises
    ------
    TunerError
        Of the given type: the file cannot be read, is not UTF-8, or is no TOML (with the line where
        the parser gives one).
    """
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as e:
        raise error(f"{path}: not UTF-8 text ({e.reason} at byte {e.start}). Save the file as UTF-8.") from e
    except OSError as e:
        raise error(f"{path}: cannot be read: {e.strerror}.") from e
    return parse_toml(text, str(path), error)


def parse_toml(text: str, where: str, error: type[TunerError]) -> dict[str, object]:
    """Parse the text of a TOML file; `where` names it in an error.

    Raises
    ------
    TunerError
        Of the given type: no TOML.
    """
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise error(f"{where}: TOML syntax error: {e}.") from e


def parse_table(model: type[T], table: object, where: str, error: type[TunerError]) -> T:
    """Validate one table against its model.

    Parameters
    ----------
    model : type of Table
        What the table must be.
    table : object
        The parsed table.
    where : str
        File and table, as the message should name them.
    error : type of TunerError
        What to raise.

    Raises
    ------
    TunerError
        Of the given type, naming file, key, the value and, for an unknown key, the nearest known one.
    """
    try:
        return model.model_validate(table)
    except ValidationError as e:
        raise error(_word(e, model, where)) from e


def _word(e: ValidationError, model: type[BaseModel], where: str) -> str:
    first = e.errors(include_url=False)[0]
    path = [str(p) for p in first["loc"] if not str(p).startswith(("function-", "constrained-"))]
    more = f" (and {e.error_count() - 1} more)" if e.error_count() > 1 and first["type"] != "extra_forbidden" else ""
    if first["type"] == "extra_forbidden":
        return f"{where} {_dotted(path[:-1])}: {unknown('key', path[-1], _keys(model, path[:-1]))}"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "missing":
        return f"{where} {_dotted(path[:-1])}: the key {path[-1]!r} is missing.{more}"
    shown = "" if first["type"] == "value_error" else f"; it is {first['input']!r}"
    return f"{where} {_dotted(path)}: {message}{shown}.{more}".replace(" :", ":")


def _dotted(path: Iterable[str]) -> str:
    text = ".".join(path)
    return f"[{text}]" if text else ""


def _keys(model: type[BaseModel], path: list[str]) -> list[str]:
    """Every key that the table at `path` below `model` accepts."""
    current: type[BaseModel] | None = model
    for part in path:
        field = current.model_fields.get(part) if current is not None else None
        current = None
        for candidate in _models_in(field.annotation if field else None):
            current = candidate
    return list(current.model_fields) if current is not None else []


def _models_in(annotation: object) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    found: list[type[BaseModel]] = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found
