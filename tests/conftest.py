"""Fixtures shared by every test: where the reference data lies, one thread; those of the plugins have their own."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# As the command line sets them; numba refuses another number once its threads have started.
for _name in ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
for _name in ("COLUMNS", "LINES"):  # a terminal's size, which readline exports to the processes of pytest -n
    os.environ.pop(_name, None)
os.environ["TUNER_COMPILED"] = (
    "0"  # the same values with and without a C++ compiler; what tests the kernels asks for them
)
# Tomtom's kernel takes most of a minute to compile; keep it where the product keeps it.
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path.home() / ".cache" / "tuner" / "numba"))

# Helpers with fixtures: no test file imports a fixture. They are loaded after the lines above.
pytest_plugins = ["command_line", "database_roles", "predictor_models", "storage_backends", "stores"]


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Folder of the reference data, or a skip that says why."""
    folder = os.environ.get("TUNER_DATA_DIR")
    if not folder or not Path(folder).is_dir():
        pytest.skip("TUNER_DATA_DIR is unset: the reference data is not here")
    return Path(folder)


def pytest_make_parametrize_id(config: pytest.Config, val: object, argname: str) -> str | None:
    """Name bytes by their length: compressed ones hold the time, so two processes would name a test differently."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip what needs a GPU where there is none; the reason's first word is what CI allows."""
    if item.get_closest_marker("gpu") is not None:
        import torch

        if not torch.cuda.is_available():
            pytest.skip("gpu: no CUDA device here")


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    import torch

    torch.set_num_threads(1)
