"""Functions that commands share: paths from the environment, plans from names, opening the storage, output."""

from __future__ import annotations

import json
import math
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from tuner.cli import logs
from tuner.cli.places import cache_dir, code_dir, numba_dir, prepare_places
from tuner.cli.redaction import redact, secrets_of
from tuner.resources import RUNS

if TYPE_CHECKING:
    from tuner.search.run import Places
    from tuner.storage.artifacts import Artifacts
    from tuner.storage.storage import FencedStorage
    from tuner.study.file import Sampler
    from tuner.study.plan import Plan

__all__ = ["cache_dir", "code_dir", "numba_dir"]  # of tuner.cli.places

INTERRUPTED = 130  # exit code: 128 + SIGINT, as in shells


def prepare_process() -> None:
    """Set the environment variables that libraries read when they are imported: one thread, kernel cache."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("MPLBACKEND", "Agg")
    warnings.filterwarnings("ignore", module=r"optuna(\..*)?")
    prepare_places()


@contextmanager
def use_threads(threads: int | None) -> Iterator[None]:
    """Let torch use so many threads in a block, by default one for each core that this process may run on."""
    import torch

    before = torch.get_num_threads()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    torch.set_num_threads(threads or cores)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def data_dir() -> Path | None:
    """TUNER_DATA_DIR, if set."""
    folder = os.environ.get("TUNER_DATA_DIR")
    return Path(folder) if folder else None


def max_memory(given: str | None) -> int | None:
    """--max-memory in bytes, if given.

    Raises
    ------
    UsageError
        Not a size.
    """
    from tuner.limits import parse_size

    return None if given is None else parse_size(given)


def storage_url(given: str | None) -> str:
    """--storage, else TUNER_STORAGE, else a SQLite file under runs/."""
    return given or os.environ.get("TUNER_STORAGE") or str(RUNS / "tuner.db")


def artifacts_address(given: str | None) -> str:
    """--artifacts, else TUNER_ARTIFACTS, else runs/artifacts: a folder, or s3://, gs://, az:// BUCKET/PREFIX."""
    return given or os.environ.get("TUNER_ARTIFACTS") or str(RUNS / "artifacts")


def places(storage: str | None, artifacts: str | None) -> Places:
    """Where a run reads and stores things."""
    from tuner.search.run import Places

    return Places(storage_url(storage), artifacts_address(artifacts), data_dir(), cache_dir())


def plan_for(
    study: str,
    *,
    preset: str = "standard",
    seed: int = 0,
    name: str | None = None,
    trials: int | None = None,
    sampler: Sampler | None = None,
) -> Plan:
    """Find and read a study and its space; say on stderr which files are used.

    Raises
    ------
    StudyError, SearchSpaceError
        Something is unknown or wrong; the message says where, and names the nearest known name.
    """
    from tuner.study.named import find_plan

    found = find_plan(
        study, os.environ, preset=preset, seed=seed, name=name, trials=trials, sampler=sampler
    )  # fmt: skip
    note(f"study {found.study}, " + (f"search space {found.space}" if found.space else "with its own search space"))
    return found.plan


def stored_name(storage: FencedStorage, study: str | None, preset: str | None, name: str | None) -> str:
    """Which stored study is meant: --name, else study and preset, else the only stored one of that file.

    Raises
    ------
    StudyError
        None or several fit.
    ForeignStudy
        Another program made it.
    """
    from tuner.errors import StudyError, unknown
    from tuner.storage.catalog import listed

    known = storage.catalog()
    stored = sorted(known.searches)
    if name is not None:
        known.check(name)
        if name not in stored:
            raise StudyError(unknown("study in this storage", name, stored))
        return name
    if study is None:
        if len(stored) == 1:
            return stored[0]
        others = f"; of other programs: {listed(known.foreign)}" if known.foreign else ""
        if not stored:
            raise StudyError(f"no study of tuner in this storage{others}. Create one with tuner run.")
        raise StudyError(f"which study? Give --study or --name; this storage holds: {listed(stored)}{others}.")
    stem = Path(study).stem if study.endswith(".toml") else study
    if preset is not None:
        from tuner.study.plan import default_name  # slow: it imports data and networks

        wanted = default_name(stem, preset, 0)
        known.check(wanted)
        if wanted not in stored:
            raise StudyError(unknown("study in this storage", wanted, stored))
        return wanted
    fitting = [s for s in stored if s == stem or s.startswith(f"{stem}-")]
    if stem in stored and len(fitting) > 1:
        return stem
    if len(fitting) != 1:
        if not fitting:
            known.check(stem)
            raise StudyError(unknown("study in this storage", stem, stored))
        raise StudyError(f"{stem} has several studies here: {', '.join(fitting)}. Choose with --preset or --name.")
    return fitting[0]


def check_new_name(name: str, url: str | None) -> dict[str, Any] | None:
    """Refuse a bad name for a new study before anything is loaded; a stored study may have any name.

    Returns
    -------
    dict of str to any, or None
        Identity of the study of that name, if it is stored already.

    Raises
    ------
    StudyError
        The name breaks the rule; the message states both.
    ForeignStudy
        Another program has taken the name.
    """
    from tuner.search.run import new_or_stored

    return new_or_stored(name, storage_url(url))


def open_existing(url: str | None, *, reading: bool = False) -> FencedStorage:
    """Open a storage that should already exist; one that cannot be written is opened only for `reading`.

    Raises
    ------
    StorageError
        The SQLite file does not exist; commands that only read do not create it.
    """
    from tuner.storage import storage

    return storage.open_existing(storage_url(url), reading=reading)


def open_artifacts(given: str | None, *, reading: bool = False) -> Artifacts:
    """Open the artifact store; for `reading`, no folder is created."""
    from tuner.storage.artifacts import Artifacts

    return Artifacts(artifacts_address(given), reading=reading)


class _Clean(Console):
    """Masks secrets in the cells of a table, before they are wrapped into lines; no cell is truncated.

    A truncated identifier or number would be misread, so text that is too wide continues in the next line.
    """

    def render_str(self, text: str, **how: Any) -> Text:
        shown = super().render_str(redact(text), **how)
        shown.overflow = shown.overflow or "fold"
        return shown


def console() -> Console:
    """A console on stderr, where all output for people goes; without a terminal, tables are wide enough for grep."""
    wide = None if sys.stderr.isatty() or "COLUMNS" in os.environ else 160
    return _Clean(stderr=True, highlight=False, width=wide)


def note(text: str, **fields: object) -> None:
    """Print a line for people, without secrets; `fields` are added to JSON logs."""
    logs.say(text, **fields)


def emit(value: Any) -> None:
    """Print machine-readable output without secrets; infinity and NaN, which JSON lacks, become null."""
    known = secrets_of(os.environ, sys.argv)
    print(json.dumps(_clean(value, known), indent=1, allow_nan=False, default=lambda other: redact(str(other), known)))


def _clean(value: Any, secrets: frozenset[str]) -> Any:
    """The same value, without secrets, infinity and NaN."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, str):
        return redact(value, secrets)
    if isinstance(value, dict):
        return {k: _clean(v, secrets) for k, v in value.items()}
    return [_clean(v, secrets) for v in value] if isinstance(value, list | tuple) else value


def check_sampler(sampler: str | None) -> Any:
    """Check --sampler against the known names.

    Raises
    ------
    UsageError
        Unknown sampler.
    """
    from typing import get_args

    from tuner.errors import UsageError, unknown
    from tuner.study.file import Sampler

    if sampler is not None and sampler not in get_args(Sampler):
        raise UsageError(unknown("sampler", sampler, get_args(Sampler)))
    return sampler


def checkpoints(artifacts: str | None) -> Path:
    """Folder of the checkpoints that belong to these artifacts."""
    from tuner.storage.stores import local_folder

    return local_folder(artifacts_address(artifacts)).parent / "checkpoints"
