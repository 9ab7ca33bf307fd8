"""The house: who may import whom, and what no floor does."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "tuner").rglob("*.py"))

FLOORS = {
    "errors": 0,
    "files": 1,
    "limits": 1,
    "resources": 1,
    "private": 1,
    "textfile": 1,
    "motifs": 2,
    "storage": 2,
    "genome": 2,
    "data": 3,
    "models": 4,
    "interpret": 5,
    "plots": 5,
    "study": 6,
    "results": 7,
    "search": 8,
    "predictor": 9,
    "report": 10,
    "api": 11,
    "cli": 12,
    "__main__": 13,
}
# Library -> the packages that may know it. A library that is not listed is free.
HOMES = {
    "optuna": {"storage", "study", "results", "search", "predictor", "report"},
    "optuna_dashboard": {"report"},
    "sqlalchemy": {"storage"},
    "fsspec": {"storage"},
    "s3fs": {"storage"},
    "gcsfs": {"storage"},
    "adlfs": {"storage"},
    "boto3": set(),
    "memelite": {"motifs"},
    "pyjaspar": {"motifs"},
    "modiscolite": {"interpret"},
    "numba": {"motifs", "interpret"},
    "h5py": {"data"},
    "pooch": {"data", "genome"},
    "onnx": {"predictor"},
    "onnxruntime": {"predictor"},
    "pybigtools": {"predictor"},
    "pysam": {"predictor"},
    "shap": {"interpret"},
    "tangermeme": {"interpret"},
    "matplotlib": {"plots"},
    "resvg_py": {"plots"},
    "plotly": {"plots", "report"},
    "typer": {"cli"},
    "rich": {"cli"},
    "prometheus_client": {"report"},
    "pythonjsonlogger": {"cli"},
    "pickle": set(),  # nothing is unpickled
}
SLOW = {
    "torch",
    "optuna",
    "matplotlib",
    "plotly",
    "sklearn",
    "scipy",
    "pandas",
    "numba",
    "h5py",
    "shap",
    "tangermeme",
    "modiscolite",
    "fsspec",
    "s3fs",
    "gcsfs",
    "adlfs",
}


def floor(path: Path) -> str:
    """Name the package (or the single module) of tuner that a file belongs to."""
    return path.relative_to(ROOT / "tuner").parts[0].removesuffix(".py")


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def imports(nodes: Iterator[ast.AST], path: Path) -> Iterator[str]:
    """List every module that these nodes import, absolute, submodules of tuner in full."""
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                here = path.relative_to(ROOT).with_suffix("").parts
                base = ".".join([*here[: -node.level], *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def identify(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture(params=MODULES, ids=identify)
def module(request: pytest.FixtureRequest) -> Path:
    return request.param


def test_imports_only_point_down(module: Path) -> None:
    home = floor(module)
    if home == "__init__":
        nodes = [node for node in tree(module).body if not is_for_type_checkers(node)]
        assert not [name for name in imports(iter(nodes), module) if name.startswith("tuner.")]
        return
    assert home in FLOORS, f"{identify(module)} is on no floor: add it to FLOORS"
    for name in imports(ast.walk(tree(module)), module):
        parts = name.split(".")
        if parts[0] != "tuner" or parts[1:] in ([], ["__version__"]):
            continue
        other = parts[1]
        assert other == home or FLOORS[other] < FLOORS[home], f"{home} imports {name}, which is not below it"


def test_libraries_stay_at_home(module: Path) -> None:
    for name in imports(ast.walk(tree(module)), module):
        homes = HOMES.get(name.split(".")[0])
        assert homes is None or floor(module) in homes, f"{identify(module)} imports {name}"
        assert not name.startswith("matplotlib.pyplot"), "pyplot keeps global state"
        if floor(module) == "motifs":
            assert name.split(".")[0] != "torch", "motifs are matrices: numpy only"
        if floor(module) == "data":
            assert not name.startswith("torch.nn"), "data feeds models and knows none"


def test_only_the_roof_prints_and_reads_the_environment(module: Path) -> None:
    if floor(module) == "cli":
        return
    for node in ast.walk(tree(module)):
        line = f"{identify(module)}:{getattr(node, 'lineno', 0)}"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id not in {"print", "input", "exit", "quit"}, line
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            known = f"{node.value.id}.{node.attr}"
            assert known not in {"os.environ", "os.getenv", "os.putenv", "sys.exit"}, f"{line} uses {known}"


def test_module_says_what_it_is_for(module: Path) -> None:
    assert (ast.get_docstring(tree(module)) or "").strip()
    assert module.name != "utils.py"


def test_nothing_is_left_unimplemented(module: Path) -> None:
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Raise) and node.exc is not None:
            raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            assert not (isinstance(raised, ast.Name) and raised.id == "NotImplementedError"), identify(module)


# Module -> what it uses that Optuna does not publish. An upgrade of Optuna is checked against this list.
PRIVATE = {
    "storage/attempts.py": {"optuna.storages._rdb"},
    "storage/attributes.py": {"optuna.storages._rdb"},
    "storage/database.py": {
        "_set_trial_param_without_commit", "_set_trial_intermediate_value_without_commit",
        "_set_trial_attr_without_commit",
    },
    "storage/drawing.py": {"optuna.storages._cached_storage"},
    "storage/groups.py": {"optuna.search_space.group_decomposed._GroupDecomposedSearchSpace", "_get_trials"},
    "storage/identity.py": {"optuna.storages._rdb"},
    "storage/rungs.py": {"_trial_id", "_study_id"},
    "storage/schema.py": {"optuna.storages._rdb"},
    "storage/storage.py": {"_read_trials_from_remote_storage"},
    "storage/trials.py": {"optuna.storages._rdb", "_trial_id", "_distributions"},
    "search/sampler.py": {"_search_space_group", "_group_decomposed_search_space"},
    "results/leaderboard.py": {"optuna._hypervolume"},
    "report/dashboard.py": {"optuna_dashboard._note"},
}  # fmt: skip
OWN_NAMES = {"_study_id"}  # which `self` may have, as attributes of ours


def private_names(path: Path) -> Iterator[str]:
    """Modules, names and attributes of Optuna that begin with an underscore, as one module uses them."""
    known = {name for names in PRIVATE.values() for name in names}
    for name in imports(ast.walk(tree(path)), path):
        parts = name.split(".")
        if parts[0] in ("optuna", "optuna_dashboard") and (at := [i for i, p in enumerate(parts) if p[0] == "_"]):
            yield ".".join(parts[: at[0] + 1])
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Attribute) and node.attr in known:
            mine = isinstance(node.value, ast.Name) and node.value.id == "self"
            if not (mine and node.attr in OWN_NAMES):
                yield node.attr


def test_the_places_that_use_what_optuna_does_not_publish_are_listed(module: Path) -> None:
    listed = PRIVATE.get(str(module.relative_to(ROOT / "tuner")), set())
    assert set(private_names(module)) - {"optuna.search_space.group_decomposed._SearchSpaceGroup"} == listed


def test_the_biggest_room_is_no_house_of_its_own() -> None:
    lines: dict[str, int] = {}
    for path in MODULES:
        lines[floor(path)] = lines.get(floor(path), 0) + len(path.read_text(encoding="utf-8").splitlines())
    biggest = max(lines, key=lambda room: lines[room])
    assert lines[biggest] <= 0.16 * sum(lines.values()), f"{biggest}: {lines[biggest]} of {sum(lines.values())} lines"


def test_every_path_that_the_architecture_names_exists() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z_]+/[\w./]+\.(?:py|toml|md))`", text))
    assert len(named) > 20
    assert [
        path
        for path in sorted(named - {"cli/NAME.py"})
        if not ((ROOT / path).exists() or (ROOT / "tuner" / path).exists())
    ] == []


def test_every_package_says_what_it_is_for() -> None:
    packages = {path.parent for path in MODULES}
    assert [identify(package) for package in sorted(packages) if not (package / "__init__.py").is_file()] == []


def test_help_does_not_wait_for_heavy_libraries() -> None:
    script = "import sys, tuner.cli; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    assert SLOW & set(done.stdout.split()) == set()
