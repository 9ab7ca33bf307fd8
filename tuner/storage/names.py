"""What a study may be called, and the folder that a name stands for.

A name becomes a folder of logs, checkpoints and a report, a word of a command line, and the beginning of the names of
its stages. So new studies have names of one form. A study that is stored under another name, from before there was
the rule, opens as it did.
"""

from __future__ import annotations

import hashlib
import re

from tuner.errors import StudyError, UsageError

LONGEST = 128
STAGE_SUFFIXES = (".confirmation", ".controls")
_NAME = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_-]{{0,{LONGEST - 1}}}")
# Of workers: hosts and pods have dots.
_WORKER = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.:@-]{{0,{LONGEST - 1}}}")
_LONGEST_FOLDER = 200  # bytes; file systems take 255, and an ending is added


def name_fault(name: str) -> str | None:
    """Why a name breaks the rule for new studies; None if it does not.

    Parameters
    ----------
    name : str
        Letters of ASCII, digits, ``-`` and ``_``; not beginning with ``-``; at most `LONGEST` of them.
    """
    if _NAME.fullmatch(name):
        return None
    if not name:
        return "it is empty"
    if len(name) > LONGEST:
        return f"it has {len(name)} characters, and at most {LONGEST} are taken"
    if name.startswith("-"):
        return "it begins with '-', as options do"
    if name.endswith(STAGE_SUFFIXES):
        return f"the stages of a study are called {' and '.join('NAME' + suffix for suffix in STAGE_SUFFIXES)}"
    odd = next(letter for letter in name if not _NAME.fullmatch(f"_{letter}"))
    return f"it holds {odd!a}, and a name is also a folder and a word of a command"


def check_name(name: str) -> None:
    """Refuse a name for a new study.

    Raises
    ------
    StudyError
        With the rule, and what breaks it.
    """
    if fault := name_fault(name):
        raise StudyError(
            f"{shown(name)!r} cannot name a study: {fault}. "
            f"Use letters a-z and A-Z, digits, '_' and '-', at most {LONGEST} of them."
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
    """Refuse a name for a worker: it is shown to others and stands in the database.

    Raises
    ------
    UsageError
        With the rule.
    """
    if not _WORKER.fullmatch(name):
        raise UsageError(
            f"--worker-name {shown(name)!r}: use letters, digits and '_', '-', '.', ':', '@', at most {LONGEST}, "
            "and begin with a letter, a digit or '_'."
        )


def folder_name(name: str) -> str:
    """One part of a path for a study or stage: its name, or, where that is no such part, one made of it."""
    plain = name not in ("", ".", "..") and "/" not in name and name.isprintable()
    if plain and len(name.encode()) <= _LONGEST_FOLDER:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:16]
    return re.sub(r"[^A-Za-z0-9_-]", "_", name)[:64] + f"-{digest}"


def shown(name: str, longest: int = 80) -> str:
    """A name as one line can show it, whoever chose it: nothing that moves a cursor or colours a terminal."""
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in name[:longest])
    return text + ("..." if len(name) > longest else "")
