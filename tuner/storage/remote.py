"""Remote stores: S3, Google Cloud Storage and Azure, each through its fsspec file system.

Every call is a single try; callers wait for a store that is away with `tuner.storage.store.patiently`. Whatever a
provider's library raises becomes an error of one line without secrets.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import re
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple, cast

from tuner.errors import StorageError
from tuner.storage.store import ObjectNotFound, StoreAway, Stored, check_key

if TYPE_CHECKING:
    from fsspec import AbstractFileSystem

BLOCK = 8 << 20  # bytes that a reader fetches at a time
TIMEOUT = 60.0  # seconds that one request may take
CONNECT_TIMEOUT = 5.0

_BUCKET = re.compile(r"[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]")
# Libraries whose errors mean that a request to a store failed; errors of others are bugs of this program.
_LIBRARIES = {"adlfs", "aiobotocore", "aiohttp", "azure", "botocore", "fsspec", "gcsfs", "google", "requests", "s3fs"}


class Provider(NamedTuple):
    """What differs between object stores.

    Attributes
    ----------
    extra : str
        Extra of this package that installs the library.
    module, name : str
        Module and name of the file system's class.
    options : callable
        Returns its arguments: a single try for each call, no cached listings.
    credentials : str
        What to do if no credentials are found.
    """

    extra: str
    module: str
    name: str
    options: Callable[[], dict[str, Any]]
    credentials: str


def _s3() -> dict[str, Any]:
    # Only checksums that every server understands.
    checksums = {"request_checksum_calculation": "when_required", "response_checksum_validation": "when_required"}
    tries = {"mode": "standard", "total_max_attempts": 1}
    times = {"connect_timeout": CONNECT_TIMEOUT, "read_timeout": TIMEOUT}
    return {"config_kwargs": {**times, "retries": tries, **checksums}}


def _azure() -> dict[str, Any]:
    return {"anon": False, "connection_timeout": CONNECT_TIMEOUT, "read_timeout": TIMEOUT}


PROVIDERS = {
    "s3": Provider(
        "s3", "s3fs", "S3FileSystem", _s3,
        "Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
    ),
    "gs": Provider(
        "gs", "gcsfs.core", "GCSFileSystem", dict,
        "Set GOOGLE_APPLICATION_CREDENTIALS, run `gcloud auth application-default login`, or give the machine a role",
    ),
    "az": Provider(
        "az", "adlfs", "AzureBlobFileSystem", _azure,
        "Set AZURE_STORAGE_CONNECTION_STRING, or AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or give the "
        "machine a role",
    ),
}  # fmt: skip

_NO_BUCKET = "the bucket does not exist. Create it, or name another with --artifacts"
_DENIED = "access denied. Allow these credentials to list, read, write and delete there"
_CODES = {
    "NoSuchBucket": _NO_BUCKET,
    "ContainerNotFound": _NO_BUCKET,
    "404": _NO_BUCKET,
    "AccessDenied": _DENIED,
    "AuthorizationFailure": _DENIED,
    "AuthorizationPermissionMismatch": _DENIED,
    "403": _DENIED,
    "401": _DENIED,
    "AuthenticationFailed": "the credentials are not accepted",
    "InvalidAccessKeyId": "the access key is unknown. Check AWS_ACCESS_KEY_ID, and AWS_ENDPOINT_URL",
    "SignatureDoesNotMatch": "the secret key is wrong. Check AWS_SECRET_ACCESS_KEY",
}
_NO_CREDENTIALS = {
    "NoCredentialsError", "PartialCredentialsError", "DefaultCredentialsError", "ClientAuthenticationError",
}  # fmt: skip
_NO_CONNECTION = {
    "EndpointConnectionError", "ConnectTimeoutError", "ConnectionRefusedError", "ClientConnectorError",
    "ServiceRequestError", "ConnectionError", "TransportError",
}  # fmt: skip


class RemoteStore:
    """Objects below a prefix of a bucket; an object exists completely or not at all.

    Parameters
    ----------
    scheme, bucket, prefix : str
        Parts of the address ``SCHEME://BUCKET/PREFIX``; the prefix may be empty.
    system : AbstractFileSystem
        Accesses the bucket, with a single try for each call and without cached listings.
    """

    folder = None

    def __init__(self, scheme: str, bucket: str, prefix: str, system: AbstractFileSystem) -> None:
        self._root = f"{bucket}/{prefix}".rstrip("/")
        self._scheme, self._bucket, self._system = scheme, bucket, system

    @property
    def address(self) -> str:
        """``SCHEME://BUCKET/PREFIX``."""
        return f"{self._scheme}://{self._root}"

    def _path(self, key: str) -> str:
        return f"{self._root}/{check_key(key)}"

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an object."""
        path = self._path(artifact_id)
        with self._worded():
            try:
                stream = self._system.open(path, "rb", block_size=BLOCK, cache_type="readahead")
            except FileNotFoundError as e:
                if _code(e) is None and self._bucket_exists():
                    raise ObjectNotFound(f"{self.address}: there is no {artifact_id}.") from e
                raise
            return cast(BinaryIO, _Reader(stream, self))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an object."""
        path = self._path(artifact_id)
        with self._worded():
            self._system.pipe_file(path, content_body.read())

    def remove(self, artifact_id: str) -> None:
        """Remove an object."""
        path = self._path(artifact_id)
        with self._worded():
            try:
                self._system.rm_file(path)
            except FileNotFoundError:
                if not self._bucket_exists():
                    raise

    def find(self, prefix: str = "") -> Iterator[Stored]:
        """List objects."""
        parent, _, start = prefix.rpartition("/")
        base = self._path(parent) if parent else self._root
        with self._worded():
            try:
                found = self._system.find(base, prefix=start, detail=True)
            except FileNotFoundError:
                if not self._bucket_exists():
                    raise
                found = {}
        for path, details in found.items():
            key = path.removeprefix(f"{self._root}/")
            if key.startswith(prefix):  # not every file system respects the prefix
                yield Stored(key, int(details["size"]), _modified(details))

    def clock(self) -> float:
        """Seconds since the epoch by the store's own clock, so that ages do not depend on the clocks of two machines.

        It is read from a small object written for this purpose, or from this machine's clock if that cannot be written.
        """
        key = f"clock-{uuid.uuid4()}"
        try:
            self.write(key, io.BytesIO())
            (probe,) = self.find(key)
            self.remove(key)
        except (StorageError, ValueError):
            return time.time()
        return probe.modified

    def check(self) -> None:
        """Check that the bucket answers.

        Raises
        ------
        StoreAway
            It does not.
        """
        with self._worded():
            if not self._bucket_exists():
                raise FileNotFoundError(self._bucket)

    def _bucket_exists(self) -> bool:
        """Whether the bucket exists; this needs only the permission to list, and costs an empty listing."""
        try:
            self._system.find(self._bucket, prefix=f"{uuid.uuid4()}", detail=True)
        except FileNotFoundError:
            return False
        return True

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except StorageError:
            raise
        except Exception as e:
            if not _is_theirs(e):
                raise
            words = self._words(e)
            raise StoreAway(self.address, f"{words}{'' if words.endswith('?') else '.'}") from e

    def _words(self, e: Exception) -> str:
        kinds = {type(e).__name__, type(e.__cause__).__name__}
        if kinds & _NO_CREDENTIALS:
            return f"no credentials. {PROVIDERS[self._scheme].credentials}"
        if kinds & _NO_CONNECTION or isinstance(e, (ConnectionError, TimeoutError)):
            return f"no connection{_server(e)}. Is the server running, and is its address right?"
        code = _code(e)
        if isinstance(e, FileNotFoundError) and code not in _CODES:
            return _NO_BUCKET
        if isinstance(e, PermissionError) and code not in _CODES:
            return _DENIED
        return _CODES.get(str(code)) or f"{code or type(e).__name__}: {_line(e)}"


class _Reader:
    """An object being downloaded, whose connection errors are worded like all others."""

    def __init__(self, stream: Any, store: RemoteStore) -> None:
        self._stream, self._store = stream, store

    def read(self, size: int | None = None) -> bytes:
        with self._store._worded():
            return cast(bytes, self._stream.read(-1 if size is None else size))

    def close(self) -> None:
        self._stream.close()

    def __enter__(self) -> _Reader:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def open_remote(address: str) -> RemoteStore:
    """Open ``s3://BUCKET/PREFIX``, ``gs://BUCKET/PREFIX`` or ``az://CONTAINER/PREFIX``.

    Raises
    ------
    StorageError
        An invalid address, a library that is not installed, or a bucket that does not answer.
    """
    scheme = address.partition(":")[0]
    provider = PROVIDERS[scheme]
    found = re.fullmatch(rf"{scheme}://([^/]*)(/.*)?", address)
    if found is None or not _BUCKET.fullmatch(found[1]):
        raise StorageError(
            f"the address of the artifacts is invalid; expected {scheme}://BUCKET or {scheme}://BUCKET/PREFIX, no keys."
        )
    prefix = (found[2] or "").strip("/")
    if prefix:
        check_key(prefix)
    try:
        make = getattr(importlib.import_module(provider.module), provider.name)
    except ModuleNotFoundError as e:
        library = provider.module.partition(".")[0]
        raise StorageError(
            f"artifacts in {scheme}:// need {library}; pip install 'tuner-tfbs[{provider.extra}]'."
        ) from e
    try:
        system = make(use_listings_cache=False, skip_instance_cache=True, **provider.options())
    except Exception as e:
        if not _is_theirs(e) and not isinstance(e, ValueError):
            raise
        raise StorageError(f"{scheme}://{found[1]}: {_line(e)}. {provider.credentials}.") from e
    system.retries = 1
    store = RemoteStore(scheme, found[1], prefix, system)
    store.check()
    return store


def _is_theirs(e: Exception) -> bool:
    """Whether an error comes from a provider's library or the network, and not from a bug of this program."""
    return type(e).__module__.partition(".")[0] in _LIBRARIES or isinstance(e, OSError)


def _code(e: BaseException | None) -> str | None:
    """The provider's code of an error, or of its cause."""
    if e is None:
        return None
    response = getattr(e, "response", None)
    if isinstance(response, dict):
        return str(response.get("Error", {}).get("Code", "unknown"))
    for name in ("error_code", "code", "status"):
        value = getattr(e, name, None)
        if isinstance(value, (str, int)) and value:
            return str(getattr(value, "value", value))
    return _code(e.__cause__)


def _line(e: BaseException) -> str:
    """The start of an error's message, without line breaks, user names, keys and query strings."""
    text = " ".join(str(e).split()) or type(e).__name__
    text = re.sub(r"//[^/@\s]*@", "//", re.sub(r"\?[^\s\"']*", "", text))
    return text[:200].rstrip(". ")


def _server(e: BaseException) -> str:
    """The server that a connection error names, if it names one."""
    found = re.search(r"(https?://[^/\s\"']+|(?<=host )[\w.-]+:\d+)", _line(e))
    return f" to {found[1]}" if found else ""


def _modified(details: dict[str, Any]) -> float:
    """When an object was written; each provider has its own name and form for it."""
    for name in ("LastModified", "last_modified", "mtime", "updated", "created"):
        value = details.get(name)
        if isinstance(value, str):
            value = datetime.fromisoformat(value)
        if isinstance(value, datetime):
            return (value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp()
    return time.time()
