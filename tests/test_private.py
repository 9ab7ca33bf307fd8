"""Private folders: nobody else can put code where this package loads it from."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from other_user import NOBODY, attack, needs_root, shared_folder

from tuner.errors import CacheError
from tuner.models import kernels
from tuner.motifs import tomtom
from tuner.private import first_private, is_guarded, private_folder, temporary_private_folder

needs_compiler = pytest.mark.skipif(kernels.find_compiler() is None, reason="no C++ compiler")


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o7777


def test_a_missing_folder_is_made_for_its_owner_alone(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        made = private_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert made == (tmp_path / "a" / "b").resolve()
    assert [mode(made), mode(made.parent)] == [0o700, 0o700]
    assert list(made.iterdir()) == []


def test_a_folder_that_others_only_read_is_closed_and_used(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir(mode=0o755)
    assert mode(private_folder(tmp_path / "open")) == 0o700


@pytest.mark.parametrize("bits", [0o777, 0o1777, 0o702])
def test_a_folder_that_others_may_write_is_refused(tmp_path: Path, bits: int) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(bits)
    with pytest.raises(CacheError, match=f"open can be written by others .mode {bits:04o}.. Remove it"):
        private_folder(tmp_path / "open")
    assert mode(tmp_path / "open") == bits, "what others may have filled does not become trusted"


def test_a_folder_in_which_others_can_exchange_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    with pytest.raises(CacheError, match=r"open can be written by others .mode 0777., who can replace"):
        private_folder(tmp_path / "open" / "cache" / "kernels")
    assert not is_guarded(tmp_path / "open")
    (tmp_path / "open").chmod(0o1777)
    assert mode(private_folder(tmp_path / "open" / "cache" / "kernels")) == 0o700


def test_own_links_are_followed_where_only_the_owner_can_make_them(tmp_path: Path) -> None:
    (tmp_path / "large-disk").mkdir()
    (tmp_path / "cache").symlink_to("large-disk")
    assert private_folder(tmp_path / "cache" / "kernels") == (tmp_path / "large-disk" / "kernels").resolve()
    (tmp_path / "up").symlink_to("cache/../large-disk")
    assert private_folder(tmp_path / "up") == (tmp_path / "large-disk").resolve()
    (tmp_path / "round").symlink_to("round")
    with pytest.raises(CacheError, match="too many symbolic links"):
        private_folder(tmp_path / "round")
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o1777)
    (shared / "cache").symlink_to(tmp_path / "large-disk")
    with pytest.raises(CacheError, match="symbolic link that somebody else may have made"):
        private_folder(shared / "cache")


def test_a_file_and_a_missing_root_are_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CacheError, match=r"file cannot be used \(Not a directory\)"):
        private_folder(tmp_path / "file" / "cache")
    with pytest.raises(CacheError, match="/proc/cache cannot be used"):
        private_folder(Path("/proc/cache"))
    found, reasons = first_private([tmp_path / "file", tmp_path / "good"])
    assert found == (tmp_path / "good").resolve()
    assert len(reasons) == 1


def test_what_another_user_planted_is_refused(tmp_path: Path) -> None:
    needs_root()
    shared = shared_folder(tmp_path)
    attack(shared, "mkdir -m 700 theirs; mkdir -p -m 755 way; mkdir evil; ln -s evil link; ln -s /root dangling")
    with pytest.raises(CacheError, match=f"theirs belongs to uid {NOBODY}, not to uid 0"):
        private_folder(shared / "theirs")
    with pytest.raises(CacheError, match=f"way belongs to uid {NOBODY}, who can replace"):
        private_folder(shared / "way" / "kernels")
    for link in ("link", "dangling"):
        with pytest.raises(CacheError, match="symbolic link that somebody else may have made"):
            private_folder(shared / link)


def test_a_race_for_the_name_is_never_won_by_another_user(tmp_path: Path) -> None:
    needs_root()
    shared = shared_folder(tmp_path)
    attack(shared, "mkdir evil")
    script = "while [ ! -e end ]; do mkdir x; rmdir x; ln -s evil x; rm -f x; done 2>/dev/null || true"
    words = ["setpriv", f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups", "/bin/sh", "-c", script]
    ours = refused = 0
    with subprocess.Popen(words, cwd=shared) as attacker:
        for _ in range(400):
            try:
                found = private_folder(shared / "x" / "kernels")
            except CacheError:
                refused += 1
                continue
            ours += 1
            assert found == shared / "x" / "kernels"
            assert [p.lstat().st_uid for p in (found, found.parent)] == [0, 0]
            assert not list((shared / "evil").iterdir())
            shutil.rmtree(shared / "x")
        (shared / "end").write_text("")
        attacker.wait(60)
    assert ours, "it was never ours, so nothing was seen"
    assert ours + refused == 400


def test_a_temporary_folder_goes_with_its_process_and_not_with_a_child(tmp_path: Path) -> None:
    script = """
import os, sys
from pathlib import Path
from tuner.private import temporary_private_folder
folder = temporary_private_folder()
if (child := os.fork()) == 0:
    sys.exit(0)
os.waitpid(child, 0)
assert folder.is_dir() and folder.stat().st_mode & 0o7777 == 0o700
print(folder)
"""
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True)
    assert Path(done.stdout.strip()).parent == tmp_path
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_folder_is_not_made_where_others_can_exchange_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tmp_path.chmod(0o777)
    monkeypatch.setattr("tuner.private._temporary_folders", lambda: [tmp_path])
    with pytest.raises(CacheError, match=r"no folder that only you can write: .* Name one with TUNER_CACHE_DIR"):
        temporary_private_folder()
    assert list(tmp_path.iterdir()) == []


def test_numba_compiles_elsewhere_where_others_could_have_put_a_pickle(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import numba

    (tmp_path / "numba").mkdir()
    (tmp_path / "numba").chmod(0o777)
    monkeypatch.setattr(tomtom, "_run", lambda queries, targets: None)
    monkeypatch.setattr(numba.config, "CACHE_DIR", numba.config.CACHE_DIR)
    used = tomtom.prepare_kernel(tmp_path / "numba")
    assert used.name.startswith("tuner-private-")
    assert numba.config.CACHE_DIR == str(used)
    assert tomtom.prepare_kernel(tmp_path / "good") == (tmp_path / "good").resolve()


@pytest.fixture
def small_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Kernels that compile in a moment."""
    (tmp_path / "maps.hpp").write_text("")
    (tmp_path / "small.cpp").write_text('extern "C" long answer() { return 42; }\n')
    monkeypatch.setattr(kernels, "_HERE", tmp_path)
    monkeypatch.setattr(kernels, "_SOURCES", (tmp_path / "small.cpp",))
    monkeypatch.setattr(kernels.Library, "loaded", None)
    return tmp_path / "cache"


@needs_compiler
def test_a_library_that_is_not_what_was_built_is_built_again(small_kernels: Path) -> None:
    assert kernels.load(small_kernels) == ""
    [built] = small_kernels.glob("*.so")
    good = built.read_bytes()
    # A flipped bit, another library, a half, and one whose record is gone or is another's.
    middle = len(good) // 2
    other = small_kernels.parent / "other.so"
    source = small_kernels.parent / "other.cpp"
    source.write_text('extern "C" long answer() { return 13; }\n')
    subprocess.run([str(kernels.find_compiler()), "-shared", "-fPIC", str(source), "-o", str(other)], check=True)
    flipped = good[:middle] + bytes([good[middle] ^ 1]) + good[middle + 1 :]
    for content in (flipped, other.read_bytes(), good[:middle], b""):
        built.unlink()  # the old one stays mapped as it was
        built.write_bytes(content)
        kernels.Library.loaded = None
        assert kernels.load(small_kernels) == ""
        assert ctypes.CDLL(str(built)).answer() == 42
        assert kernels.call("answer") == 42
    record = built.with_suffix(".sha256")
    for text in ("", "0" * 64, "\u00e9"):
        record.write_text(text, encoding="utf-8")
        before = built.stat().st_ino
        assert kernels.load(small_kernels) == ""
        assert built.stat().st_ino != before
    before = built.stat().st_ino
    assert kernels.load(small_kernels) == ""
    assert built.stat().st_ino == before, "what is whole is not built again"


def test_kernels_are_off_where_others_can_write(small_kernels: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernels, "find_compiler", lambda: "/bin/false")
    small_kernels.mkdir()
    small_kernels.chmod(0o777)
    assert "can be written by others" in kernels.load(small_kernels)
    assert kernels.Library.loaded is None


VICTIM = """
from tuner.cli import context
context.prepare_process()
import os, pathlib
from tuner.models import kernels
code = getattr(context, "code_dir", context.cache_dir)
print(kernels.load(code() / "kernels"))
print(os.environ["NUMBA_CACHE_DIR"])
"""
EVIL = """#include <cstdio>
__attribute__((constructor)) static void planted() { std::puts("FOREIGN CODE"); std::fflush(stdout); }
"""


@needs_compiler
@pytest.mark.parametrize("cache", ["none", "shared"])
def test_code_that_another_user_put_into_a_predictable_folder_does_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, cache: str
) -> None:
    needs_root()
    shared = shared_folder(tmp_path)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "c++").write_text("#!/bin/sh\nexit 1\n")  # nothing is built here: only loaded
    (tmp_path / "bin" / "c++").chmod(0o755)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    names = []

    def learn(compiler: str, built: Path) -> None:  # what an attacker can compute as well
        names.append(built.name)
        raise OSError("enough")

    with monkeypatch.context() as patch:
        patch.setenv("PATH", path)
        patch.setattr(kernels, "_build", learn)
        kernels.load(tmp_path / "learn")
    (tmp_path / "evil.cpp").write_text(EVIL)
    library = tmp_path / "evil.so"
    compiler = str(kernels.find_compiler())
    subprocess.run([compiler, "-shared", "-fPIC", str(tmp_path / "evil.cpp"), "-o", str(library)], check=True)
    tmp_path.chmod(0o755)
    planted = ["tuner-cache-0", "cache", "cache/code-0"]
    attack(
        shared,
        "for f in tuner-cache-0 cache cache/code-0; do mkdir -p $f/kernels $f/numba; "
        f"cp {library} $f/kernels/{names[0]}; "
        f"sha256sum {library} | cut -c1-64 > $f/kernels/{Path(names[0]).stem}.sha256; done; "
        "mkdir tuner-numba-0; chmod -R a+rwX cache tuner-cache-0 tuner-numba-0",
    )
    environment = {"PATH": path, "HOME": "/proc/no-home", "TMPDIR": str(shared), "PYTHONPATH": os.getcwd()}
    if cache == "shared":
        environment["TUNER_CACHE_DIR"] = str(shared / "cache")
    before = sorted(shared.iterdir())
    done = subprocess.run([sys.executable, "-c", VICTIM], env=environment, capture_output=True, text=True, cwd="/")
    assert done.returncode == 0, done.stderr
    assert "FOREIGN CODE" not in done.stdout
    assert "c++ failed" in done.stdout, "it was to be built by this user"
    numba = Path(done.stdout.splitlines()[-1])
    assert not any(str(numba).startswith(str(shared / name)) for name in planted), numba
    assert sorted(shared.iterdir()) == before, "the temporary folder is gone"
