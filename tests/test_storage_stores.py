"""One contract that every artifact store passes; and what is said when a store is away."""

from __future__ import annotations

import io
import json
import os
import socket
import sys
import threading
from pathlib import Path

import azure.core.exceptions
import optuna
import pytest
from optuna.trial import FrozenTrial, TrialState
from stores import SECRET, Server

from tuner.errors import StorageError
from tuner.storage.artifacts import PREFIX, SIZES, Artifacts, is_identifier
from tuner.storage.remote import RemoteStore
from tuner.storage.store import ObjectNotFound, read, write
from tuner.storage.stores import open_store

TOKEN = "0b8a4cf2-7d7e-4c3c-9d4e-2f6a1b3c5d7e"


def trial_with(entries: dict[str, str]) -> FrozenTrial:
    return optuna.trial.create_trial(state=TrialState.COMPLETE, value=1.0, system_attrs=entries)


def test_what_is_written_is_read_replaced_and_removed(place: str) -> None:
    store = open_store(place)
    write(store, "checkpoints/one", b"first")
    write(store, "checkpoints/one", b"second, and longer")
    assert read(open_store(place), "checkpoints/one") == b"second, and longer"
    store.remove("checkpoints/one")
    store.remove("checkpoints/one")
    with pytest.raises(ObjectNotFound):
        store.open_reader("checkpoints/one")


def test_objects_are_listed_by_prefix_with_size_and_age(place: str) -> None:
    store = open_store(place)
    for key in ("abc", "abd", "folder/abc"):
        write(store, key, key.encode())
    assert {(s.key, s.size) for s in store.find()} == {("abc", 3), ("abd", 3), ("folder/abc", 10)}
    assert {s.key for s in store.find("ab")} == {"abc", "abd"}
    assert {s.key for s in store.find("folder/")} == {"folder/abc"}
    assert list(store.find("none/")) == []
    now = store.clock()
    assert all(-2 < now - s.modified < 60 for s in store.find())
    assert {s.key for s in store.find()} == {"abc", "abd", "folder/abc"}  # what told the time is gone


@pytest.mark.parametrize("key", ["../out", "a/../../out", "/etc/passwd", "a//b", ".hidden", "", "a b", "x" * 501])
def test_a_key_that_could_leave_the_store_is_refused(place: str, key: str) -> None:
    store = open_store(place)
    for use in (store.open_reader, store.remove, lambda k: store.write(k, io.BytesIO(b""))):
        with pytest.raises(StorageError, match="is not the name of a stored file"):
            use(key)


def test_a_larger_object_than_asked_for_is_not_read(place: str) -> None:
    store = open_store(place)
    write(store, "text", b"x" * 100)
    assert read(store, "text", limit=100) == b"x" * 100
    with pytest.raises(StorageError, match="text is larger than 99 bytes"):
        read(store, "text", limit=99)


def test_files_of_a_trial_come_back_by_name_and_only_their_entries_are_for_the_database(place: str) -> None:
    artifacts = Artifacts(place)
    files = {"model.safetensors": bytes(300_000), "history.tsv": b"epoch\n1\n"}
    entries = artifacts.put(files, TOKEN)
    assert sum(len(k) + len(v) for k, v in entries.items()) < 1000
    identifiers = [k.removeprefix(PREFIX) for k in entries if k.startswith(PREFIX)]
    assert all(is_identifier(i) and i[:24] == TOKEN[:24] for i in identifiers)
    assert sorted(json.loads(entries[SIZES]).values()) == [8, 300_000]
    assert artifacts.put(files, TOKEN) == entries  # an upload that is repeated replaces the same objects
    trial = trial_with(entries)
    assert {name: artifacts.get(trial, name) for name in artifacts.names(trial)} == files
    assert all(h.present and h.place.startswith(artifacts.address) for h in artifacts.held(trial).values())
    artifacts.remove([PREFIX + identifiers[0]])
    assert [artifacts.held(trial)[name].present for name in files] == [False, True]
    with pytest.raises(StorageError, match=r"model.safetensors is missing from .*another --artifacts folder"):
        artifacts.get(trial, "model.safetensors")
    with pytest.raises(StorageError, match="has no artifact other"):
        artifacts.get(trial, "other")


def test_entries_that_other_programs_made_are_passed_over(place: str) -> None:
    odd = {"artifacts:x": "no JSON", "artifacts:y": json.dumps({"artifact_id": "../../etc/passwd", "filename": "f"})}
    artifacts = Artifacts(place)
    assert artifacts.held(trial_with(odd)) == {}
    artifacts.remove(["artifacts:../outside", "artifacts:x"])


def test_optuna_itself_reads_and_writes_the_store(place: str, tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("by Optuna")
    study = optuna.create_study()
    store = open_store(place)
    identifier = optuna.artifacts.upload_artifact(
        artifact_store=store, file_path=str(tmp_path / "note.txt"), study_or_trial=study
    )
    optuna.artifacts.download_artifact(
        artifact_store=store, artifact_id=identifier, file_path=str(tmp_path / "back.txt")
    )
    assert (tmp_path / "back.txt").read_text() == "by Optuna"


# ------------------------------------------------------------------ away


def test_a_store_that_comes_back_in_time_costs_nothing(s3: Server, bucket: str) -> None:
    artifacts = Artifacts(bucket, patience=30)
    s3.stop()
    timer = threading.Timer(1.0, s3.start)
    timer.start()
    try:
        entries = artifacts.put({"filters.meme": b"MEME version 4"}, TOKEN)
    finally:
        timer.join()
    trial = trial_with(entries)
    assert artifacts.get(trial, "filters.meme") == b"MEME version 4"
    name = bucket.split("/")[2]
    artifacts.remove(entries)
    s3.client().delete_bucket(Bucket=name)
    artifacts.patience = 0
    with pytest.raises(StorageError, match="the bucket does not exist"):  # not that the file is missing
        artifacts.get(trial, "filters.meme")


def test_a_store_that_stays_away_is_one_line_without_secrets(s3: Server, bucket: str) -> None:
    artifacts = Artifacts(bucket, patience=0.6)
    s3.stop()
    try:
        with pytest.raises(StorageError, match="no connection to http") as caught:
            artifacts.put({"filters.meme": b""}, TOKEN)
        with pytest.raises(StorageError, match="no connection to http"):
            Artifacts(bucket)
    finally:
        s3.start()
    text = str(caught.value)
    assert text.startswith(f"{artifacts.address}: ")
    assert "waited 1 s to write filters.meme" in text
    assert "\n" not in text
    assert SECRET not in text


def test_a_bucket_that_is_gone_or_closed_is_said_so(s3: Server, bucket: str) -> None:
    with pytest.raises(StorageError, match=r"^s3://no-such-bucket-here/p: the bucket does not exist\. Create it"):
        Artifacts("s3://no-such-bucket-here/p")
    artifacts, name = Artifacts(bucket, patience=0), bucket.split("/")[2]
    deny = {"Effect": "Deny", "Principal": "*", "Action": "s3:PutObject", "Resource": f"arn:aws:s3:::{name}/*"}
    s3.client().put_bucket_policy(Bucket=name, Policy=json.dumps({"Version": "2012-10-17", "Statement": [deny]}))
    with pytest.raises(StorageError, match="access denied"):
        artifacts.put({"f": b""}, TOKEN)


@pytest.mark.parametrize("address", ["s3://", "s3:///p", "s3:/bucket/p", "s3://UPPER/p", "s3://key:secret@bucket/p"])
def test_an_address_that_is_none_is_refused_without_repeating_it(address: str) -> None:
    with pytest.raises(StorageError, match="expected s3://BUCKET or s3://BUCKET/PREFIX") as caught:
        open_store(address)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("s3://bucket/../x", "is not the name of a stored file"),
        ("ftp://bucket", "ftp://: artifacts are kept in a folder"),
    ],
)
def test_other_addresses_are_refused(address: str, told: str) -> None:
    with pytest.raises(StorageError, match=told):
        open_store(address)


def test_missing_credentials_are_said_so(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{nobody.getsockname()[1]}")
        with pytest.raises(StorageError, match=r"no credentials\. Set AWS_ACCESS_KEY_ID"):
            open_store("s3://bucket/p")


def test_a_bucket_of_google_that_is_gone_or_away_is_said_so(gs_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", gs_endpoint)
    with pytest.raises(StorageError, match=r"^gs://no-such-bucket/p: the bucket does not exist\. Create it"):
        open_store("gs://no-such-bucket/p")


def test_azure_without_credentials_says_where_they_come_from(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [n for n in os.environ if n.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match=r"^az://lab: .*AZURE_STORAGE_CONNECTION_STRING") as caught:
        open_store("az://lab/p")
    assert "\n" not in str(caught.value)


class Unreachable:
    """A file system whose server is away, as adlfs tells it after its own six tries (over a minute)."""

    def find(self, *_: object, **__: object) -> None:
        told = "Cannot connect to host 127.0.0.1:10000 ssl:default [Connect call failed]\n?sig=" + SECRET
        raise azure.core.exceptions.ServiceRequestError(told)


def test_azure_that_is_away_is_one_line_without_secrets() -> None:
    with pytest.raises(StorageError) as caught:
        RemoteStore("az", "data", "p", Unreachable()).check()  # type: ignore[arg-type]
    told = "no connection to 127.0.0.1:10000. Is the server running, and is its address right?"
    assert str(caught.value) == f"az://data/p: {told}"


def test_an_extra_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(StorageError, match=r"s3:// need s3fs; pip install 'tuner-tfbs\[s3\]'"):
        open_store("s3://bucket/p")
