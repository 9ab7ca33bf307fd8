"""A written file is whole or not there, whatever interrupts the writing; a power cut included."""

from __future__ import annotations

import errno
import os
import stat
import threading
from pathlib import Path

import pytest
from power_cut import recorded

from tuner.files import make_folder, write_atomically


@pytest.mark.parametrize("durable", [True, False])
def test_every_power_cut_leaves_the_old_or_the_new_file(
    durable: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with recorded(tmp_path, monkeypatch) as recording:
        write_atomically(path, b"new", durable=durable)
        recording.mark("returned")
    assert len(recording.states) >= 4
    for what, *states in recording.states:
        assert all(state[str(path)] in (b"old", b"new") for state in states), what
    assert [state[str(path)] for state in recording.states[-1][1:]] == [b"new" if durable else b"old", b"new"]


def test_a_durable_file_in_new_folders_outlasts_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(tmp_path, monkeypatch) as recording:
        make_folder(tmp_path / "a" / "b")
        write_atomically(tmp_path / "a" / "b" / "file", b"new")
        recording.mark("returned")
    assert recording.states[-1][1] == {str(tmp_path / "a" / "b" / "file"): b"new"}


def test_the_recording_tells_a_write_that_is_not_forced_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with recorded(tmp_path, monkeypatch) as recording:
        (tmp_path / "part").write_bytes(b"new")
        os.replace(tmp_path / "part", tmp_path / "file")
        recording.mark("returned")
    assert recording.states[-1][1:] == ({}, {str(tmp_path / "file"): b""})  # as ext4 leaves it: 0 bytes


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_failed_write_leaves_what_was_there_and_nothing_else(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_bytes(b"old")

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, call, broken)
    with pytest.raises(OSError, match="Input/output error"):
        write_atomically(tmp_path / "file", b"new")
    assert [(p.name, p.read_bytes()) for p in tmp_path.iterdir()] == [("file", b"old")]


def test_rights_and_links_stay_and_a_new_file_has_what_the_process_gives(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"old")
    (tmp_path / "real").chmod(0o640)
    (tmp_path / "link").symlink_to("real")
    write_atomically(tmp_path / "link", b"new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "real").read_bytes() == b"new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        write_atomically(tmp_path / "fresh", b"")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "fresh").stat().st_mode) == 0o640


def test_a_pipe_is_written_to_and_not_replaced(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    heard: list[bytes] = []
    reader = threading.Thread(target=lambda: heard.append((tmp_path / "pipe").read_bytes()))
    reader.start()
    write_atomically(tmp_path / "pipe", b"through")
    reader.join()
    assert heard == [b"through"]
    assert stat.S_ISFIFO((tmp_path / "pipe").stat().st_mode)
