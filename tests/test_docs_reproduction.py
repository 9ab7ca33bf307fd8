"""The page of reproductions is what its script prints from the committed runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

DOCS = Path(__file__).parents[1] / "docs"


def test_the_page_is_printed_from_the_committed_runs() -> None:
    command = [sys.executable, str(DOCS / "make_reproduction.py")]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout == (DOCS / "reproduction.md").read_text(encoding="utf-8")
