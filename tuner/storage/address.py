"""Addresses of databases, and what their errors mean.

Accepted: a path of a SQLite file, ``sqlite:///FILE``, or ``postgresql://USER:PASSWORD@HOST/DATABASE``.
"""

from __future__ import annotations

import re
from pathlib import Path

import psutil
from optuna.exceptions import StorageInternalError
from sqlalchemy import exc
from sqlalchemy.engine import URL, make_url

from tuner.errors import StorageError
from tuner.files import make_folder
from tuner.storage.masking import mask

# File systems that several machines share (names as in /proc/mounts).
NETWORK_DISKS = frozenset(
    "nfs nfs4 cifs smb3 smbfs lustre gpfs beegfs ceph afs 9p fuse.sshfs fuse.glusterfs fuse.ceph".split()
)
# SQLSTATE classes and codes of transient errors: lost connection, rollback (deadlock), resources, lock timeout,
# operator intervention (restart), system error, idle transaction ended, read-only (a standby until it takes over).
READ_ONLY = "25006"
PASSING = ("08", "40", "53", "55", "57", "58", "25P03", READ_ONLY)
# SQLite's names of transient errors: locks, and a disk that is full, failing or read-only for now.
SQLITE_LOCKS = ("SQLITE_BUSY", "SQLITE_LOCKED", "SQLITE_PROTOCOL")
SQLITE_PASSING = (*SQLITE_LOCKS, "SQLITE_FULL", "SQLITE_IOERR", "SQLITE_READONLY", "SQLITE_CANTOPEN")

# Tested with MariaDB 10.11 and pymysql: there the index also covers ended attempts, so a slot's second attempt fails.
NO_PARTIAL_INDEX = " MySQL and MariaDB lack partial indexes, which ensure that a trial has only one live attempt."

_LIBPQ = re.compile(r"(?:^|\s)(?:host|hostaddr|port|dbname|user|password|service)\s*=", re.IGNORECASE)

REMEDIES = (
    ("readonly", " Choose a file in a folder that you can write."),
    ("unable to open", " Choose a file in a folder that you can write."),
    ("not a database", " Name a SQLite file."),
    (
        "permission denied",
        " Ask the owner to run tuner tables and to grant this role what it needs, or use one that may do this: "
        "tuner_worker to run or record, tuner_owner to delete.",
    ),
    ("password authentication", " Check user and password in the URL."),
    ("Connection refused", " Is the server running, and are host and port correct?"),
)


def parse_url(text: str | Path) -> URL:
    """Parse the path or URL of a database.

    Parameters
    ----------
    text : str or Path
        Path of a SQLite file (``~`` is expanded, the folder is created), or a URL.

    Returns
    -------
    URL
        With the driver that is used: ``sqlite`` or ``postgresql+psycopg``.

    Raises
    ------
    StorageError
        Not a URL, an unsupported kind of database, a database in memory, or a folder that cannot be created.
    """
    if "://" not in str(text):
        if _LIBPQ.search(str(text)):
            raise StorageError(
                "the storage is a connection string of key=value pairs; write postgresql://USER@HOST/DATABASE, and put "
                "the password into PGPASSWORD or ~/.pgpass."
            )
        url = URL.create("sqlite", database=str(Path(text).expanduser().absolute()))
    else:
        try:
            url = make_url(str(text).replace("postgres://", "postgresql://", 1))
        except (exc.ArgumentError, ValueError) as e:
            raise StorageError(
                "the storage is not a database URL; expected FILE, sqlite:///FILE or postgresql://USER:PASSWORD@HOST/DB."
            ) from e
    if "@" in (url.host or ""):  # the host is not shown: before the @ it has the end of a password
        raise StorageError("the storage's user or password contains an @; write %40 for it, or set PGPASSWORD.")
    backend = url.get_backend_name()
    if backend == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if backend != "sqlite":
        reason = NO_PARTIAL_INDEX if backend in ("mysql", "mariadb") else ""
        raise StorageError(f"{address(url)}: {backend} is not supported; use SQLite or PostgreSQL.{reason}")
    if url.database in (None, "", ":memory:"):
        raise StorageError(f"{address(url)}: workers cannot share a database in memory; name a file.")
    if str(url.database).startswith("file:"):
        raise StorageError(f"{address(url)}: name a plain path, not a file: URI.")
    folder = Path(str(url.database)).absolute().parent
    try:
        make_folder(folder)
    except OSError as e:
        raise StorageError(f"{address(url)}: cannot create the folder {folder} ({e.strerror}).") from e
    return url


def address(url: URL) -> str:
    """The URL without its password, for display."""
    if url.get_backend_name() == "sqlite" and url.database:
        return url.database
    secret = {key: "***" for key in url.query if "password" in key.lower()}
    return url.update_query_dict(secret).render_as_string(hide_password=True)


def explain(error: BaseException, url: URL, *, remedy: bool = True) -> str:
    """Describe a database error in one line, without the password; without a remedy if it may pass by itself."""
    original = getattr(error, "orig", None) or error
    line = " ".join(str(original).split()) or type(original).__name__
    queried = (value for key, value in url.query.items() if "password" in key.lower())
    values = (one for value in queried for one in ((value,) if isinstance(value, str) else value))
    line = mask(line, {str(secret) for secret in (url.password, *values) if secret})
    what = next((text for part, text in REMEDIES if part in line), "") if remedy else ""
    return f"{address(url)}: {line[:300].rstrip('.')}.{what}"


def is_passing(error: BaseException) -> bool:
    """Whether the same statement may succeed later: a lock, a full disk, a restart, a lost connection."""
    if isinstance(error, exc.TimeoutError):
        return True
    if not isinstance(error, exc.DBAPIError):
        return False
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return str(state).startswith(PASSING)
    if "sqlite3" in type(error.orig).__module__:
        return _sqlite_name(error).startswith(SQLITE_PASSING)
    return isinstance(error, exc.OperationalError | exc.InterfaceError)


def is_lock(error: BaseException) -> bool:
    """Whether another process was in the way: it held a lock, or there was a deadlock."""
    return _sqlite_name(error).startswith(SQLITE_LOCKS) or _state(error).startswith(("40", "55P03"))


def is_full(error: BaseException) -> bool:
    """Whether a disk is full."""
    return _sqlite_name(error) == "SQLITE_FULL" or _state(error) == "53100"


def is_read_only(error: BaseException) -> bool:
    """Whether the database accepts no writes now: the file or its disk is read-only, or the server is a standby."""
    return _sqlite_name(error).startswith("SQLITE_READONLY") or _state(error) == READ_ONLY


def _sqlite_name(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlite_errorname", ""))


def _state(error: BaseException) -> str:
    return str(getattr(getattr(error, "orig", None), "sqlstate", ""))


def database_error(error: BaseException) -> exc.SQLAlchemyError | None:
    """The database error that caused what Optuna raised, if there is one."""
    if isinstance(error, StorageInternalError) and isinstance(error.__cause__, exc.SQLAlchemyError):
        return error.__cause__
    return error if isinstance(error, exc.SQLAlchemyError) else None


def is_network_disk(path: Path) -> bool:
    """Whether `path` lies on a file system that several machines share."""
    best, kind = "", ""
    for part in psutil.disk_partitions(all=True):
        if path.is_relative_to(part.mountpoint) and len(part.mountpoint) >= len(best):
            best, kind = part.mountpoint, part.fstype
    return kind in NETWORK_DISKS
