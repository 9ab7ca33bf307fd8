"""Rules for the names of studies, and the folder that belongs to a name.

A name becomes a folder of logs, checkpoints and a report, a word on a command line, and the beginning of the names of
its stages. So the names of new studies must have a fixed form. A study that was stored under another name before this
rule existed can still be opened.
"""

from __future__ import annotations

import hashlib
import re

from tuner.errors import StudyError, UsageError

LONGEST = 128
STAGE_SUFFIXES = (".confirmation", ".controls")
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{LONGEST - 1}}}")
# Names of workers: those of hosts and pods contain dots.
_WORKER = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.:@-]{{0,{LONGEST - 1}}}")
_LONGEST_FOLDER = 200  # bytes; file systems allow 255, and an ending is added


def name_fault(name: str) -> str | None:
    """Say why a name breaks the rule for new studies; None if it does not.

    Parameters
    ----------
    name : str
        The rule: ASCII letters, digits, ``-`` and ``_``; not beginning with ``-``; at most `LONGEST` of them.
    """
    if _NAME.fullmatch(name):
        return None
    if not name:
        return "it is empty"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, but at most {LONGEST} are allowed"
    if name.startswith("-"):
        return "it begins with '-', as options do"
    if name.endswith(STAGE_SUFFIXES):
        return f"the stages of a study are called {' and '.join('NAME' + suffix for suffix in STAGE_SUFFIXES)}"
    odd = next(letter for letter in name if not _NAME.fullmatch(f"_{letter}"))
    return f"it contains {odd!a}, but a name is also a folder and a word on a command line"


def check_name(name: str) -> None:
    """Refuse a name for a new study.

    Raises
    ------
    StudyError
        The name breaks the rule; the message states both.
    """
    if fault := name_fault(name):
        raise StudyError(
            f"{shown(name)!r} cannot be the name of a study: {fault}. "
            f"Use letters a-z and A-Z, digits, '_' and '-', at most {LONGEST} characters."
        )


def check_stored_name(name: str) -> None:
    """Refuse a name for a new study or for one of its stages.

    Raises
    ------
    StudyError
        As `check_name`.
    """
    for suffix in STAGE_SUFFIXES:
        if name.endswith(suffix) and name_fault(name.removesuffix(suffix)) is None:
            return
    check_name(name)


def check_worker_name(name: str) -> None:
    """Refuse a bad name for a worker: it is stored in the database and shown to others.

    Raises
    ------
    UsageError
        The name breaks the rule, which the message states.
    """
    if not _WORKER.fullmatch(name):
        raise UsageError(
            f"--worker-name {shown(name)!r}: use letters, digits and '_', '-', '.', ':', '@', at most {LONGEST} "
            "characters, and begin with a letter, a digit or '_'."
        )


def folder_name(name: str) -> str:
    """Folder name for a study or stage: its name, or one derived from it if that cannot be a folder name."""
    plain = name not in ("", ".", "..") and "/" not in name and name.isprintable()
    if plain and len(name.encode()) <= _LONGEST_FOLDER:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] + f"-{digest}"


def shown(name: str, longest: int = 80) -> str:
    """A name made safe to show in one line: without characters that move a cursor or colour a terminal."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name[:longest])
    return text + ("..." if len(name) > longest else "")
