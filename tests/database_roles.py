"""A PostgreSQL database with the roles that the manifests make."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tuner.storage.storage import open_storage

KUBERNETES = Path(__file__).parents[1] / "deploy" / "kubernetes"
PASSWORDS = {"TUNER_OWNER_PASSWORD": "own er'1", "TUNER_WORKER_PASSWORD": "w/rk@2", "TUNER_READER_PASSWORD": "read:3"}


def psql(server: Any, database: str, *words: str | Path, user: str = "postgres") -> subprocess.CompletedProcess[str]:
    uri = server.get_uri(database=database).replace("//postgres:", f"//{user}:")
    command = [server.bin_path / "psql", "--no-psqlrc", "--quiet", "--dbname", uri, *words]
    environment = {**os.environ, **PASSWORDS}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)


@pytest.fixture(scope="module")
def roles(postgres: Any) -> Iterator[str]:
    """A database made as the manifests make it; its URL, with USER for the role."""
    postgres.psql("CREATE DATABASE roles;")
    made = psql(postgres, "roles", "--file", KUBERNETES / "roles.sql")
    assert made.returncode == 0, made.stderr
    url = postgres.get_uri(database="roles").replace("//postgres:", "//USER:")
    open_storage(url.replace("USER", "tuner_owner")).close()
    for _ in range(2):  # it may be repeated
        done = psql(postgres, "roles", "--file", KUBERNETES / "grants.sql", user="tuner_owner")
        assert done.returncode == 0, done.stderr
    yield url
    postgres.psql("DROP DATABASE roles;")
    postgres.psql("DROP ROLE tuner_owner; DROP ROLE tuner_worker; DROP ROLE tuner_reader;")
