"""Freed memory stays with the process, so that the next step needs no fresh pages."""

import ctypes
import os
import platform
import resource
import subprocess
import sys

import pytest

from tuner.models.memory import keep_freed_memory

FAULTS = """
import resource, sys, torch
from tuner.models.memory import keep_freed_memory
if sys.argv[1] == "keep":
    assert keep_freed_memory()
def touch():
    blocks = [torch.ones(3_000_000) for _ in range(8)]  # 12 MB each
for _ in range(3):
    touch()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(10):
    touch()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def page_faults(how: str) -> int:
    # By itself glibc raises the threshold as it goes, as far as the heap happens to allow; fixed, it maps every block.
    environment = {**os.environ, "GLIBC_TUNABLES": "glibc.malloc.mmap_threshold=131072"}
    command = [sys.executable, "-c", FAULTS, how]
    return int(subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout)


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_kept_memory_needs_no_fresh_pages() -> None:
    pages = 10 * 8 * 12_000_000 // resource.getpagesize()  # were every block mapped anew
    assert page_faults("keep") < pages / 100 < page_faults("give back")


LEFT_FREE = """
import psutil
from tuner.models.memory import keep_freed_memory
blocks = [bytes(1000) for _ in range(200_000)]  # as reading a FASTA file makes them
last = bytes(1000)
held = psutil.Process().memory_info().rss
del blocks
assert keep_freed_memory()
print(held - psutil.Process().memory_info().rss)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the C library is not glibc")
def test_what_reading_left_free_goes_back_first() -> None:
    command = [sys.executable, "-c", LEFT_FREE]
    assert int(subprocess.run(command, check=True, capture_output=True, text=True).stdout) > 150_000_000


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    keep_freed_memory.cache_clear()
    assert keep_freed_memory() is False
    keep_freed_memory.cache_clear()
