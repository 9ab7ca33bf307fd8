"""Files that cannot be read as what they are named for: one clear error, whatever stands there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from command_line import SPACE, STUDY, Terminal, write_tiny_study
from other_user import NOBODY, needs_root, shared_folder

from tuner.data.hdf5_file import open_hdf5
from tuner.errors import DataError, MotifError, SearchSpaceError, StudyError, TunerError
from tuner.genome.textfile import read_text
from tuner.motifs.formats import read_motif_file
from tuner.resources import find_resource
from tuner.study.file import read_study
from tuner.study.space import read_space

pytestmark = pytest.mark.slow

KINDS = ("folder", "pipe", "latin-1", "a name too long", "links in a circle")


@pytest.fixture
def terminal(terminal: Terminal) -> Terminal:
    write_tiny_study(terminal.folder)
    return terminal


def put(path: Path, kind: str) -> str:
    """Put something else in a file's place; the name under which it is to be read."""
    path.unlink(missing_ok=True)
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind == "latin-1":
        path.write_bytes("título = \u00e9\n".encode("latin-1"))
    elif kind == "links in a circle":
        path.symlink_to(path.name)
    else:
        return f"./{'x' * 300}{path.suffix}"
    return f"./{path.name}"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["study", "space", "motifs", "data", "fasta"])
def test_what_is_no_readable_file_is_one_clear_error(what: str, kind: str, terminal: Terminal) -> None:
    folder = terminal.folder
    names = {
        "study": "tiny.toml", "space": "tiny_space.toml", "motifs": "motifs.meme", "data": "data.h5",
        "fasta": "positives.fa",
    }  # fmt: skip
    named = put(folder / names[what], kind)
    texts = {
        "space": STUDY.replace("./tiny_space.toml", named),
        "motifs": STUDY.replace("motifs.meme", named),
        "data": STUDY.replace('positives = "positives.fa"\nnegatives = "negatives.fa"', f'path = "{named}"'),
        "fasta": STUDY.replace("positives.fa", named),
    }
    if what in texts:
        (folder / "tiny.toml").write_text(texts[what])
    study = named if what == "study" else "./tiny.toml"
    for command in ("check", "run"):
        answer = terminal(command, "--study", study)
        assert answer.code in (1, 2), answer
        assert "Traceback" not in answer.err
        assert "(this is a bug" not in answer.err + answer.out
        assert [line for line in answer.err.splitlines() if line.startswith("error: ")], answer
    if what == "motifs" and kind != "latin-1":
        assert named.removeprefix("./")[:20] in terminal.refuses("match", named)[1]


@contextmanager
def somebody_else() -> Iterator[None]:
    """Be another user, whom permissions bind, in this process."""
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


READERS: tuple[tuple[str, Callable[[Path], object], type[TunerError]], ...] = (
    ("a.toml", lambda path: read_study(find_resource("studies", str(path), path.parent)), StudyError),
    ("b.toml", lambda path: read_space(find_resource("search_spaces", str(path), path.parent)), SearchSpaceError),
    ("c.meme", read_motif_file, MotifError),
    ("d.fa", read_text, DataError),
    ("e.h5", lambda path: open_hdf5(path).__enter__(), DataError),
)


@pytest.mark.parametrize(("name", "read", "error"), READERS)
@pytest.mark.parametrize("closed", ["file", "folder"])
def test_a_file_without_permission_is_said_to_be_closed(
    closed: str, name: str, read: Callable[[Path], object], error: type[TunerError], tmp_path: Path
) -> None:
    needs_root()
    folder = shared_folder(tmp_path) / "private"
    folder.mkdir()
    path = folder / name
    path.write_text(SPACE)
    (path if closed == "file" else folder).chmod(0)
    with somebody_else(), pytest.raises(error, match="Permission denied"):
        read(path)
