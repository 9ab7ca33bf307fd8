"""The synthetic study, from nothing to a leaderboard: no file, no network, no variable set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


def tuner(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    nowhere = "http://127.0.0.1:9"  # nothing listens on the discard port: a download would fail at once
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(folder), "NUMBA_CACHE_DIR": os.environ["NUMBA_CACHE_DIR"],
        "TUNER_CACHE_DIR": str(Path(os.environ["NUMBA_CACHE_DIR"]).parent),
        "http_proxy": nowhere, "https_proxy": nowhere,
    }  # fmt: skip
    command = [sys.executable, "-m", "tuner", *arguments]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def test_the_synthetic_study_runs_without_files_and_network(tmp_path: Path) -> None:
    run = tuner(
        tmp_path, "run", "--study", "synthetic", "--preset", "smoke", "--trials", "3", "--workers", "2", "--no-confirm"
    )
    assert run.returncode == 0, run.stderr
    assert "search 3/3" in run.stderr
    best = tuner(tmp_path, "best", "--study", "synthetic", "--json")
    found = json.loads(best.stdout)
    assert found["study"] == "synthetic-smoke"
    assert found["objectives"] == [
        {"name": "auroc", "direction": "maximize"}, {"name": "match_fraction", "direction": "maximize"},
    ]  # fmt: skip
    assert [t["state"] for t in found["trials"]] == ["COMPLETE"] * 3
    assert found["trials"][0]["values"]["auroc"] > 0.8
    assert found["trials"][0]["watched"]["filters_alive"] > 0
    fields = {"number", "state", "values", "watched", "params", "pareto", "reason", "warm_start"}
    assert set(found["trials"][0]) == fields
    # Neither composition nor k-mers tell the classes apart by design; planted motifs do.
    assert abs(found["controls"]["gc"][0] - 0.5) < 0.1
    assert found["test_openings"] == []
