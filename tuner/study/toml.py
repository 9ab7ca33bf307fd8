"""Read a TOML file into a validated model, and describe what is wrong with it in one line."""

from __future__ import annotations

import re
import stat
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import TypeVar, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError

from tuner.errors import DataError, TunerError, permission, unknown


class Table(BaseModel):
    """A TOML table: typed literals only, unknown keys refused, immutable."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


T = TypeVar("T", bound=Table)

LIMIT = 1_000_000  # bytes of one file; hand-written files have a few thousand
DEEPEST = 32  # nested tables and lists; a study or a space has 4 levels
_SHOWN = 120  # characters of a value in an error
_STRING = re.compile(r'"""(?:[^\\]|\\.)*?"""|\'\'\'.*?\'\'\'|"(?:[^"\\\n]|\\.)*+"|\'[^\'\n]*+\'|\#[^\n]*+', re.DOTALL)
_DOTTED = re.compile(rf"(?<![\w.-])[\w-]++(?:[ \t]*+\.[ \t]*+[\w-]++){{{DEEPEST},}}+")


def read_toml(path: Path, error: type[TunerError]) -> dict[str, object]:
    """Parse a TOML file.

    Parameters
    ----------
    path : Path
        The file.
    error : type of TunerError
        Type of the error to raise.

    Returns
    -------
    dict
        The parsed document.

    Raises
    ------
    TunerError
        Of the given type: the file cannot be read, is not UTF-8, or is not TOML (with the line if the parser gives
        one).
    """
    try:
        if not stat.S_ISREG(path.stat().st_mode):  # reading a pipe could block, and workers read the file again
            raise error(f"{path}: it is not a regular file; expected a TOML file.")
        with path.open("rb") as stream:
            content = stream.read(LIMIT + 1)
        if len(content) > LIMIT:
            raise error(f"{path}: larger than {LIMIT:,} bytes, too large for a study or search space. Check the path.")
        text = content.decode("utf-8").replace("\r\n", "\n")
    except UnicodeDecodeError as e:
        raise error(f"{path}: not UTF-8 text ({e.reason} at byte {e.start}). Save the file as UTF-8.") from e
    except OSError as e:
        raise error(f"{path}: cannot be read: {e.strerror}.{permission(e)}") from e
    return parse_toml(text, str(path), error)


def parse_toml(text: str, where: str, error: type[TunerError]) -> dict[str, object]:
    """Parse the text of a TOML file; `where` names it in an error.

    Raises
    ------
    TunerError
        Of the given type: the text is not TOML, or is larger or more deeply nested than any study.
    """
    if len(text) > LIMIT:
        raise error(f"{where}: larger than {LIMIT:,} bytes, too large for a study or search space. Check the path.")
    if line := _deep_line(text):  # the parser is recursive, and takes quadratic time for dotted keys
        raise error(f"{where}: line {line} nests tables or lists more than {DEEPEST} deep; no study needs that.")
    try:
        return tomllib.loads(text)
    except RecursionError as e:
        raise error(f"{where}: tables or lists are nested deeper than can be read.") from e
    except ValueError as e:  # a syntax error, or a number of more than 4300 digits
        raise error(f"{where}: TOML syntax error: {short(str(e))}.") from e


def _deep_line(text: str) -> int | None:
    """Return the first line on which brackets, or the parts of a dotted key, nest too deep; strings do not count."""
    bare = _STRING.sub(lambda found: "s" + "\n" * found[0].count("\n"), text)
    depth = 0
    if found := _DOTTED.search(bare):
        return bare.count("\n", 0, found.start()) + 1
    for found in re.finditer(r"[\[\]{}]", bare):
        depth = max(0, depth + (1 if found[0] in "[{" else -1))
        if depth > DEEPEST:
            return bare.count("\n", 0, found.start()) + 1
    return None


def short(text: str) -> str:
    """Shorten a text of unknown origin to one line of bounded length, for an error."""
    line = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text[: _SHOWN + 1])
    return line if len(text) <= _SHOWN else line[:_SHOWN] + "..."


def parse_table(model: type[T], table: object, where: str, error: type[TunerError]) -> T:
    """Validate one table against its model.

    Parameters
    ----------
    model : type of Table
        Model of the table.
    table : object
        The parsed table.
    where : str
        File and table, as the message should name them.
    error : type of TunerError
        Type of the error to raise.

    Raises
    ------
    TunerError
        Of the given type; names file, key, value and, for an unknown key, the nearest known one.
    """
    try:
        return model.model_validate(table)
    except ValidationError as e:
        raise error(_word(e, model, where)) from e
    except DataError as e:  # raised by a `DataSpec`, which checks itself
        raise error(f"{where}: {e}") from e


def _word(e: ValidationError, model: type[BaseModel], where: str) -> str:
    first = e.errors(include_url=False)[0]
    path = [str(p) for p in first["loc"] if not str(p).startswith(("function-", "constrained-"))]
    unexpected = first["type"] in ("extra_forbidden", "unexpected_keyword_argument")  # of a model, of a dataclass
    more = f" (and {e.error_count() - 1} more)" if e.error_count() > 1 and not unexpected else ""
    if unexpected:
        return f"{where} {_dotted(path[:-1])}: {unknown('key', path[-1], _keys(model, path[:-1]))}"
    message = first["msg"].removeprefix("Value error, ").replace("valid tuple", "valid list")
    if first["type"] == "missing":
        return f"{where} {_dotted(path[:-1])}: the key {path[-1]!r} is missing.{more}"
    shown = "" if first["type"] == "value_error" else f"; it is {short(repr(first['input']))}"
    return f"{where} {_dotted(path)}: {message}{shown}.{more}".replace(" :", ":")


def _dotted(path: Iterable[str]) -> str:
    text = ".".join(short(part) for part in path)
    return f"[{text}]" if text else ""


def _keys(model: type, path: list[str]) -> list[str]:
    """List every key that the table at `path` below `model` accepts."""
    current: type | None = model
    for part in path:
        annotation = None if current is None else _annotations(current).get(part)
        current = None
        for candidate in _models_in(annotation):
            current = candidate
    if current is None:
        return []
    return list(current.model_fields) if issubclass(current, BaseModel) else [f.name for f in fields(current)]  # type: ignore[arg-type]  # a dataclass, by `_models_in`


def _annotations(model: type) -> Mapping[str, object]:
    """Type of each key of a model or dataclass."""
    if issubclass(model, BaseModel):
        return {name: field.annotation for name, field in model.model_fields.items()}
    return get_type_hints(model)


def _models_in(annotation: object) -> list[type]:
    if isinstance(annotation, type) and (issubclass(annotation, BaseModel) or is_dataclass(annotation)):
        return [annotation]
    found: list[type] = []
    for argument in getattr(annotation, "__args__", ()):
        found += _models_in(argument)
    return found
