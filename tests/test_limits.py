"""Memory limits: how they are written, where they come from, and what is said when one is too small."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tuner.errors import DataError, MotifError, UsageError
from tuner.limits import default_limit, memory_here, parse_size, require, word_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("8 GB", 8 * 10**9), ("500MB", 5 * 10**8), ("1.5 GiB", 3 * 2**29), ("2g", 2 * 10**9), ("4096", 4096), ("1 B", 1)],
)
def test_sizes_are_read_with_their_units(text, size):
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "much", "-1 GB", "8 XB", "nan", "1e9", "0.1", "9" * 400])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(UsageError, match="is not a size; write a number and a unit"):
        parse_size(text)


def test_the_limit_is_half_of_the_machine_unless_something_allows_less():
    assert memory_here() <= psutil.virtual_memory().total
    assert default_limit() == memory_here() // 2


@pytest.mark.parametrize(
    ("group", "files", "limit"),
    [
        # version 2: of the group and every group above it the least counts
        ("0::/a/b\n", {"a/b/memory.max": "max", "a/memory.max": "1000000000", "memory.max": "max"}, 10**9),
        # version 1
        ("4:memory:/a\n1:cpu:/a\n", {"memory/a/memory.limit_in_bytes": "2000000000"}, 2 * 10**9),
        # a container sees its own group at the root, under the host's path
        ("0::/host/path\n", {"memory.max": "700000000"}, 7 * 10**8),
        # 2^63 less a page is how version 1 says that there is no limit
        ("4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "9223372036854771712"}, None),
        ("0::/\n", {}, None),
    ],
)
def test_control_groups_are_respected(tmp_path, group, files, limit):
    (tmp_path / "proc/self").mkdir(parents=True)
    (tmp_path / "proc/self/cgroup").write_text(group)
    for name, text in files.items():
        path = tmp_path / "sys/fs/cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")
    bare = memory_here(tmp_path / "nothing")
    assert memory_here(tmp_path) == (bare if limit is None else min(bare, limit))


def test_a_limit_of_the_address_space_is_respected():
    script = "import tuner.limits; print(tuner.limits.memory_here())"
    done = subprocess.run(
        ["sh", "-c", f"ulimit -v 3000000; exec {sys.executable} -c '{script}'"],
        capture_output=True, text=True, check=True, timeout=120, cwd=Path(__file__).parents[1],
    )  # fmt: skip
    assert int(done.stdout) <= 3_000_000 * 1024


def test_the_error_names_file_size_limit_and_option():
    require("x.fa", 10**9, 10**9)
    with pytest.raises(
        DataError,
        match=r"^x\.fa: reading it takes about 4\.0 MB of memory; 2\.0 MB are allowed \(--max-memory, by default "
        r"half of the available memory\)\. If the file is correct, allow more with "
        r"--max-memory '4\.4 MB'\.$",
    ):
        require("x.fa", 4 * 10**6, 2 * 10**6)
    with pytest.raises(MotifError, match="X_train takes about"):
        require("x", 2, 1, what="X_train", error=MotifError)


def test_what_no_limit_would_allow_here_is_not_proposed():
    with pytest.raises(DataError, match=r"1000000\.0 GB of memory; .* read it on a machine with more memory than the"):
        require("x", 10**15, None)


def test_the_proposed_size_can_be_typed():
    assert parse_size(word_size(2_345_000_000)) == 2_300_000_000
    assert parse_size(word_size(999)) == 999
