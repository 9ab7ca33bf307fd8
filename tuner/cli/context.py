"""What commands share: paths from the environment, a plan from names, an open storage, output."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from tuner.cli import logs

if TYPE_CHECKING:
    from tuner.search.artifacts import Artifacts
    from tuner.search.storage import FencedStorage
    from tuner.search.study import Plan
    from tuner.search.study_file import Sampler

RUNS = Path("runs")
INTERRUPTED = 130  # exit code: 128 + SIGINT, as shells count


def prepare_process() -> None:
    """Set what libraries read from the environment when they are imported: one thread, kernel cache."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ.setdefault(name, "1")
    os.environ.setdefault("NUMBA_CACHE_DIR", str(cache_dir() / "numba"))
    os.environ.setdefault("MPLBACKEND", "Agg")
    warnings.filterwarnings("ignore", module=r"optuna(\..*)?")


def cache_dir() -> Path:
    """User cache: TUNER_CACHE_DIR, else XDG_CACHE_HOME/tuner, else ~/.cache/tuner; a temporary one if unwritable."""
    given = os.environ.get("TUNER_CACHE_DIR")
    base = os.environ.get("XDG_CACHE_HOME")
    folder = Path(given) if given else (Path(base) if base else Path.home() / ".cache") / "tuner"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            return folder
    except OSError:
        fallback = Path(tempfile.gettempdir()) / f"tuner-cache-{os.getuid()}"
        fallback.mkdir(mode=0o700, parents=True, exist_ok=True)
        return fallback


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
    """--artifacts, else TUNER_ARTIFACTS, else runs/artifacts: a folder, or s3://BUCKET/PREFIX."""
    return given or os.environ.get("TUNER_ARTIFACTS") or str(RUNS / "artifacts")


def artifacts_folder(given: str | None) -> Path:
    """The folder of the artifacts; of a store that is none, the default one, beside which logs and checkpoints lie."""
    from tuner.search.stores import is_remote

    address = artifacts_address(given)
    return RUNS / "artifacts" if is_remote(address) else Path(address)


def checkpoints_folder(artifacts: Path) -> Path:
    """Checkpoints lie beside the artifacts, so that any worker that reads these finds those."""
    return artifacts.parent / "checkpoints"


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
        What is unknown or wrong, where, and the nearest known name.
    """
    from tuner.resources import find_resource
    from tuner.search.paths import expand_paths
    from tuner.search.study import make_plan, study_space
    from tuner.search.study_file import read_study

    path = find_resource("studies", study, folder=Path.cwd())
    parsed = expand_paths(read_study(path), os.environ, path.parent, path.name)
    folder = path.parent if "/" in study else Path.cwd()
    space, space_path = study_space(parsed, preset, lambda name: find_resource("search_spaces", name, folder=folder))
    note(f"study {path}, " + (f"search space {space_path}" if space_path else "with its own search space"))
    plan = make_plan(
        parsed, space, folder=path.parent, preset=preset, seed=seed, name=name, trials=trials,
        sampler=sampler,
    )  # fmt: skip
    files = {"study": path} | ({"space": space_path} if space_path else {})
    return replace(plan, texts={kind: file.read_bytes() for kind, file in files.items()})


def stored_name(storage: FencedStorage, study: str | None, preset: str | None, name: str | None) -> str:
    """Which stored study is meant: --name, else study and preset, else the only stored one of that file.

    Raises
    ------
    StudyError
        None or several fit.
    """
    from tuner.errors import StudyError, unknown

    stored = [s for s in study_names(storage) if "." not in s]
    if name is not None:
        if name not in stored:
            raise StudyError(unknown("study in this storage", name, stored))
        return name
    if study is None:
        if len(stored) == 1:
            return stored[0]
        raise StudyError(f"which study? Give --study or --name; this storage holds: {', '.join(stored) or 'none'}.")
    stem = Path(study).stem if study.endswith(".toml") else study
    if preset is not None:
        from tuner.search.study import default_name  # slow: it knows data and networks

        wanted = default_name(stem, preset, 0)
        if wanted not in stored:
            raise StudyError(unknown("study in this storage", wanted, stored))
        return wanted
    fitting = [s for s in stored if s == stem or s.startswith(f"{stem}-")]
    if stem in stored and len(fitting) > 1:
        return stem
    if len(fitting) != 1:
        if not fitting:
            raise StudyError(unknown("study in this storage", stem, stored))
        raise StudyError(f"{stem} has several studies here: {', '.join(fitting)}. Choose with --preset or --name.")
    return fitting[0]


def study_names(storage: FencedStorage) -> list[str]:
    """Names of every Optuna study in the storage."""
    return sorted(s.study_name for s in storage.get_all_studies())


def open_existing(url: str | None) -> FencedStorage:
    """Open a storage that should already be there.

    Raises
    ------
    StorageError
        A SQLite file that does not exist is not created by a command that only reads.
    """
    from tuner.errors import StorageError
    from tuner.search.storage import open_storage

    where = storage_url(url)
    if "://" not in where and not Path(where).is_file():
        raise StorageError(f"{where}: no storage here yet. Run a study first, or name one with --storage.")
    return open_storage(where)


def open_artifacts(given: str | None) -> Artifacts:
    """Open the artifact store."""
    from tuner.search.artifacts import Artifacts

    return Artifacts(artifacts_address(given))


def console() -> Console:
    """Everything for people goes to stderr; without a terminal, tables are wide enough to be searched."""
    wide = None if sys.stderr.isatty() or "COLUMNS" in os.environ else 160
    return Console(stderr=True, highlight=False, width=wide)


def note(text: str, **fields: object) -> None:
    """Print one line for people, without secrets; `fields` are for JSON logs."""
    logs.say(text, **fields)


def emit(value: Any) -> None:
    """Print machine-readable output; JSON has no infinity and no NaN, they become null."""
    print(json.dumps(_finite(value), indent=1, allow_nan=False, default=str))


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    return [_finite(v) for v in value] if isinstance(value, list | tuple) else value


def check_sampler(sampler: str | None) -> Any:
    """Check --sampler against the known names.

    Raises
    ------
    UsageError
        Unknown sampler.
    """
    from typing import get_args

    from tuner.errors import UsageError, unknown
    from tuner.search.study_file import Sampler

    if sampler is not None and sampler not in get_args(Sampler):
        raise UsageError(unknown("sampler", sampler, get_args(Sampler)))
    return sampler


def checkpoints(artifacts: str | None) -> Path:
    """Folder of the checkpoints that belong to these artifacts."""
    return checkpoints_folder(artifacts_folder(artifacts))
