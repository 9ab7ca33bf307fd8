"""The store in an S3 bucket: AWS, MinIO, or whatever speaks the same. The only module that knows boto3."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, BinaryIO, cast

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from optuna.artifacts import Boto3ArtifactStore
from optuna.artifacts.exceptions import ArtifactNotFound

from tuner.errors import StorageError
from tuner.storage.store import StoreAway, Stored, check_key

_BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_CODES = {
    "NoSuchBucket": "the bucket does not exist. Make it, or name another with --artifacts",
    "404": "the bucket does not exist. Make it, or name another with --artifacts",
    "AccessDenied": "access denied. Allow these credentials to list, read, write and delete there",
    "403": "access denied. Allow these credentials to list, read, write and delete there",
    "InvalidAccessKeyId": "the access key is unknown. Check AWS_ACCESS_KEY_ID, and AWS_ENDPOINT_URL",
    "SignatureDoesNotMatch": "the secret key is wrong. Check AWS_SECRET_ACCESS_KEY",
}
_KINDS = {
    "NoCredentialsError": "no credentials. Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role",
    "PartialCredentialsError": "half of the credentials are missing. Set both AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY",
    "EndpointConnectionError": "no connection to {endpoint}. Is the server running, and does AWS_ENDPOINT_URL fit?",
    "ConnectTimeoutError": "no connection to {endpoint}. Is the server running, and does AWS_ENDPOINT_URL fit?",
}


class S3Store(Boto3ArtifactStore):
    """Objects below a prefix of a bucket; each is one PUT, so that it is there whole or not at all.

    Parameters
    ----------
    bucket, prefix : str
        The prefix is empty or ends with ``/``.
    client : botocore client
        Of S3.
    """

    folder = None

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        super().__init__(bucket, client)
        self.prefix = prefix

    @property
    def address(self) -> str:
        """``s3://BUCKET/PREFIX``."""
        return f"s3://{self.bucket}/{self.prefix}".rstrip("/")

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open an object."""
        with self._worded():
            try:
                answer = self.client.get_object(Bucket=self.bucket, Key=self.prefix + check_key(artifact_id))
            except self.client.exceptions.NoSuchKey as e:
                raise ArtifactNotFound(f"{self.address}: there is no {artifact_id}") from e
            return cast(BinaryIO, _Body(answer["Body"], self))

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Write an object."""
        with self._worded():
            self.client.put_object(
                Bucket=self.bucket, Key=self.prefix + check_key(artifact_id), Body=content_body.read()
            )

    def remove(self, artifact_id: str) -> None:
        """Remove an object."""
        with self._worded():
            super().remove(self.prefix + check_key(artifact_id))

    def find(self, prefix: str = "") -> Iterator[Stored]:
        """List objects, a thousand a request."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=self.prefix + prefix)
        listed = iter(pages)
        while True:
            with self._worded():
                page = next(listed, None)
            if page is None:
                return
            now = _server_time(page)
            for item in page.get("Contents", ()):
                age = (now - item["LastModified"]).total_seconds()
                yield Stored(str(item["Key"]).removeprefix(self.prefix), int(item["Size"]), age)

    def check(self) -> None:
        """See that the bucket answers.

        Raises
        ------
        StoreAway
            It does not.
        """
        with self._worded():
            self.client.list_objects_v2(Bucket=self.bucket, Prefix=self.prefix, MaxKeys=1)

    @contextlib.contextmanager
    def _worded(self) -> Iterator[None]:
        try:
            yield
        except ClientError as e:
            error = e.response.get("Error", {})
            code = str(error.get("Code", "unknown"))
            words = _CODES.get(code) or f"{code}: {' '.join(str(error.get('Message', '')).split())[:200]}"
            raise StoreAway(f"{self.address}: {words.rstrip('.')}.") from e
        except (BotoCoreError, HTTPClientError) as e:
            endpoint = re.sub(r"//[^/@]*@", "//", str(self.client.meta.endpoint_url))
            words = _KINDS.get(type(e).__name__, f"{type(e).__name__} at {{endpoint}}").format(endpoint=endpoint)
            raise StoreAway(f"{self.address}: {words}{'' if words.endswith('?') else '.'}") from e


class _Body:
    """A body being downloaded, whose broken connections are worded like every other error."""

    def __init__(self, body: Any, store: S3Store) -> None:
        self._body, self._store = body, store

    def read(self, size: int | None = None) -> bytes:
        with self._store._worded():
            return cast(bytes, self._body.read(size))

    def close(self) -> None:
        self._body.close()

    def __enter__(self) -> _Body:
        return self

    def __exit__(self, *args: object) -> None:
        self.close()


def open_s3(address: str) -> S3Store:
    """Open ``s3://BUCKET/PREFIX``.

    Raises
    ------
    StorageError
        Another form of address, or a bucket that does not answer.
    """
    found = re.fullmatch(r"s3://([^/]*)(/.*)?", address)
    if found is None or not _BUCKET.fullmatch(found[1]):
        raise StorageError("the address of the artifacts is none; expected s3://BUCKET or s3://BUCKET/PREFIX, no keys.")
    prefix = (found[2] or "").strip("/")
    if prefix:
        check_key(prefix)
    config = Config(
        connect_timeout=5, read_timeout=60, retries={"mode": "standard", "total_max_attempts": 1},
        # Checksums that every server understands.
        request_checksum_calculation="when_required", response_checksum_validation="when_required",
    )  # fmt: skip
    try:
        client = boto3.session.Session().client("s3", config=config)
    except (BotoCoreError, ValueError) as e:
        raise StorageError(f"s3://{found[1]}: {type(e).__name__} in the AWS settings of this machine.") from e
    store = S3Store(found[1], f"{prefix}/" if prefix else "", client)
    store.check()
    return store


def _server_time(page: dict[str, Any]) -> datetime:
    """The store's own clock, so that ages need no agreement of two machines."""
    date = page.get("ResponseMetadata", {}).get("HTTPHeaders", {}).get("date")
    return parsedate_to_datetime(date) if date else datetime.now(UTC)
