"""Artifact stores for tests: a folder, and a bucket of an S3 server that runs in this process."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SECRET = "wJalrXUtnFEMIK7MDENGbPxRfiCY"
ENVIRONMENT = {"AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_DEFAULT_REGION": "us-east-1"}


class Server:
    """An S3 server that can go away and come back with all it holds.

    Attributes
    ----------
    endpoint : str
        Its URL.
    """

    def __init__(self) -> None:
        self._start(0)
        self.port = self._server.get_host_and_port()[1]
        self.endpoint = f"http://127.0.0.1:{self.port}"

    def stop(self) -> None:
        self._server.stop()

    def start(self) -> None:
        self._start(self.port)

    def _start(self, port: int) -> None:
        from moto.server import ThreadedMotoServer  # slow to import, and few tests need it

        self._server = ThreadedMotoServer("127.0.0.1", port=port)
        self._server.start()

    def client(self) -> Any:
        import boto3

        return boto3.client("s3", endpoint_url=self.endpoint)

    def bucket(self) -> str:
        """Make a bucket of its own for one test."""
        name = f"b{uuid.uuid4().hex}"
        self.client().create_bucket(Bucket=name)
        return name


@pytest.fixture(scope="session")
def s3_server() -> Iterator[Server]:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in ENVIRONMENT.items():
            patch.setenv(name, value)
        server = Server()
        yield server
        server.stop()


@pytest.fixture
def s3(s3_server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    """The server, and an environment that leads every process of the test to it."""
    for name, value in {**ENVIRONMENT, "AWS_ENDPOINT_URL": s3_server.endpoint}.items():
        monkeypatch.setenv(name, value)
    return s3_server


@pytest.fixture
def bucket(s3: Server) -> str:
    """``s3://BUCKET/PREFIX``, empty."""
    return f"s3://{s3.bucket()}/lab/runs"


@pytest.fixture(params=["folder", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty store of each kind."""
    return str(tmp_path / "artifacts") if request.param == "folder" else str(request.getfixturevalue("bucket"))
