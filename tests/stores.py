"""Artifact stores for tests: a folder, and buckets of servers that run in this process.

`TUNER_TEST_STORES` names more, empty ones, separated by spaces, for the contract of all stores: ``az://CONTAINER`` of
an Azurite, for example.
"""

from __future__ import annotations

import os
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


@pytest.fixture(scope="session")
def gs_endpoint() -> Iterator[str]:
    """URL of a Google Cloud Storage server with the bucket ``lab``."""
    from gcp_storage_emulator.server import create_server  # slow to import, and few tests need it

    server = create_server("127.0.0.1", 0, in_memory=True, default_bucket="lab")
    server.start()
    host, port = server._api._httpd.server_address[:2]
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def gs_bucket(gs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """``gs://BUCKET/PREFIX``, empty."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gs_endpoint)
    return f"gs://lab/{uuid.uuid4()}"


@pytest.fixture(params=["folder", "s3", "gs", *os.environ.get("TUNER_TEST_STORES", "").split()])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Address of an empty store of each kind."""
    if "://" in request.param:
        return f"{request.param}/{uuid.uuid4()}"
    if request.param == "folder":
        return str(tmp_path / "artifacts")
    return str(request.getfixturevalue({"s3": "bucket", "gs": "gs_bucket"}[request.param]))
