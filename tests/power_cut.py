"""What a power cut leaves: file operations are recorded as they happen, and then every moment is a crash.

A disk keeps what was forced out: the content of a file as it was at its last fsync (nothing, if there was none), and
the names of a folder as they were at its own. Beyond that a file system may or may not have written more, so each
moment has two extremes. In one no name reached the disk that was not forced out; in the other every name did, and no
content: that is what ext4 and xfs leave of a file that was renamed and never forced out, 0 bytes under its name.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_hooks: list[Recording] = []


@dataclass
class Recording:
    """Operations below a folder, in order, and the states that a cut after each would leave.

    Parameters
    ----------
    root : Path
        The folder; what it holds before is on the disk.
    """

    root: Path
    names: dict[str, int] = field(default_factory=dict)  # path -> file, as processes see it; 0 is a folder
    kept: dict[str, dict[str, int]] = field(default_factory=dict)  # folder -> names forced out
    data: dict[int, bytes] = field(default_factory=dict)  # file -> content forced out
    states: list[tuple[str, dict[str, bytes], dict[str, bytes]]] = field(default_factory=list)
    _files: int = 0

    def start(self) -> None:
        for path in (self.root, *self.root.rglob("*")):
            if path.is_dir():
                self.kept[str(path)] = {}
        for path in self.root.rglob("*"):
            self.names[str(path)] = 0 if path.is_dir() else self._new(path.read_bytes())
            self.kept[str(path.parent)][path.name] = self.names[str(path)]

    def _new(self, content: bytes = b"") -> int:
        self._files += 1
        self.data[self._files] = content
        return self._files

    def hear(self, event: str, arguments: tuple[object, ...]) -> None:
        """Take in an audit event; it comes before the operation."""
        paths = [os.path.abspath(os.fsdecode(a)) for a in arguments[:2] if isinstance(a, str | bytes | os.PathLike)]
        if not paths or not paths[0].startswith(f"{self.root}/"):
            return
        if event == "open":
            flags = arguments[2] if isinstance(arguments[2], int) else 0
            if flags & os.O_CREAT and paths[0] not in self.names:
                self.names[paths[0]] = self._new()
            elif flags & os.O_TRUNC:
                self.data[self.names[paths[0]]] = b""  # the truncation may reach the disk before what follows it
        elif event == "os.rename" and os.path.exists(paths[0]):
            self.names[paths[1]] = self.names.pop(paths[0])
        elif event == "os.link" and os.path.exists(paths[0]):
            self.names[paths[1]] = self.names[paths[0]]
        elif event == "os.remove" and os.path.exists(paths[0]):
            self.names.pop(paths[0], None)
        elif event == "os.mkdir" and not os.path.exists(paths[0]):
            self.names[paths[0]] = 0
        else:
            return
        self.mark(f"{event} {' '.join(os.path.relpath(p, self.root) for p in paths)}")

    def forced(self, handle: int) -> None:
        path = os.readlink(f"/proc/self/fd/{handle}")
        if os.path.isdir(path):
            inside = {os.path.basename(p): f for p, f in self.names.items() if os.path.dirname(p) == path}
            self.kept[path] = inside
        elif path in self.names:
            self.data[self.names[path]] = Path(path).read_bytes()
        self.mark(f"fsync {path}")

    def mark(self, what: str) -> None:
        """Note what a cut at this moment would leave: names forced out, and all names."""
        everywhere = {p: self.data[f] for p, f in self.names.items() if f}
        self.states.append((what, dict(self._reachable(str(self.root))), everywhere))

    def _reachable(self, folder: str) -> Iterator[tuple[str, bytes]]:
        for name, file in self.kept.get(folder, {}).items():
            path = f"{folder}/{name}"
            if file:
                yield path, self.data[file]
            else:
                yield from self._reachable(path)


def _hear(event: str, arguments: tuple[object, ...]) -> None:
    for recording in _hooks:
        recording.hear(event, arguments)


sys.addaudithook(_hear)  # for good: it cannot be taken back


@contextlib.contextmanager
def recorded(root: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Recording]:
    """Record what the block does below `root`."""
    recording, fsync = Recording(root.resolve()), os.fsync

    def forced(handle: int) -> None:
        fsync(handle)
        recording.forced(handle)

    recording.start()
    monkeypatch.setattr(os, "fsync", forced)
    _hooks.append(recording)
    try:
        yield recording
    finally:
        _hooks.remove(recording)
