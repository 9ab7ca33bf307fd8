"""No study, search space or HDF5 file that a user can write ends in anything but a result or one clear error.

Seeded, so that each run of the suite tries the same inputs; TUNER_FUZZ=20000 tries as many, and others.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st

from tuner.data.dataset import Dataset, check
from tuner.data.hdf5 import koo_hdf5
from tuner.data.registry import load_dataset
from tuner.data.spec import DataSpec
from tuner.errors import StudyError, TunerError
from tuner.models.architectures import ARCHITECTURES
from tuner.search.checks import sample_points
from tuner.study.file import StudyFile, check_study, read_study
from tuner.study.objectives import OBJECTIVES
from tuner.study.parameters import RECIPE_FIELDS
from tuner.study.plan import identity, make_plan, plan_source, restore_plan, study_space
from tuner.study.space import Parameter, read_space
from tuner.study.toml import parse_toml

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("TUNER_FUZZ", "250"))


def tried(examples: int = EXAMPLES) -> Any:
    """Settings of a fuzz test: seeded and bounded, or, if asked for, many and new."""
    fixed = "TUNER_FUZZ" not in os.environ
    return settings(
        max_examples=examples, deadline=None, derandomize=fixed, database=None,
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.function_scoped_fixture],
    )  # fmt: skip


def one_line(e: TunerError) -> None:
    """What an error must be."""
    text = str(e)
    assert text.strip()
    assert len(text) < 20_000
    assert "\x1b" not in text
    text.encode("utf-8")


TEXTS = st.one_of(
    st.sampled_from(
        ["", "zbed2", "relu", "cnn", "shuffle", "../x", "/dev/null", ".", "a\0b", "~", "\x1b[2J", "𝔸", "5 GB"]
    ),
    st.text(max_size=12),
)
NUMBERS = st.one_of(
    st.integers(-3, 5),
    st.sampled_from([10**9, 2**31, 2**63, 10**30, -(10**30), 10**4000]),
    st.floats(),
    st.sampled_from([1e-320, 1e308, float("inf"), float("nan"), 0.1, 0.5]),
)
SCALARS = st.one_of(TEXTS, NUMBERS, st.booleans(), st.sampled_from(["2020-01-01", "07:00:00"]).map(lambda t: Raw(t)))


class Raw(str):
    """Stands in TOML as it is."""


VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3), max_leaves=6
)


def toml(value: Any) -> str:
    """Write one value."""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, str):
        escaped = "".join(c if c.isalnum() and c.isascii() else f"\\U{ord(c):08x}" for c in value)
        return '"' + escaped.replace("\\U0000d8", "\\U0000e8") + '"'
    if isinstance(value, dict):
        return "{" + ", ".join(f"{toml(str(k))} = {toml(v)}" for k, v in value.items()) + "}"
    return "[" + ", ".join(map(toml, value)) + "]"


def document(table: dict[str, Any]) -> str:
    return "\n".join(f"{toml(str(key))} = {toml(value)}" for key, value in table.items())


def changed(base: dict[str, Any], known: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    """A table of which some keys have other values, some are gone and some are new."""
    keys = st.sampled_from([*known, *base])
    return st.tuples(st.dictionaries(st.one_of(keys, TEXTS), VALUES, max_size=3), st.lists(keys, max_size=1)).map(
        lambda both: {k: v for k, v in {**base, **both[0]}.items() if k not in both[1]}
    )


NAMES = [
    *RECIPE_FIELDS,
    "architecture",
    "dataset",
    *sorted({p for row in ARCHITECTURES.values() for p in row.defaults}),
]
SECTIONS = {name: field.annotation for name, field in StudyFile.model_fields.items()}
SPACE = {
    "architecture": {"choices": ["cnn", "residualbind"]},
    "kernel_size": {"low": 7, "high": 19, "step": 2},
    "learning_rate": {"low": 1e-4, "high": 1e-2, "log": True},
    "filters": {"fixed": 8, "when": {"architecture": ["cnn"]}},
    "warm_starts": [
        {"source": "x", "parameters": {"architecture": "residualbind", "kernel_size": 7, "learning_rate": 1e-3}}
    ],
}
DATA = {"path": "mine.h5"}
STUDY = {"name": "mine", "data": DATA}


@st.composite
def spaces(draw: st.DrawFn) -> dict[str, Any]:
    """A search space of which one or two tables are changed."""
    space = dict(SPACE)
    for _ in range(draw(st.integers(0, 2))):
        name = draw(st.sampled_from([*SPACE, *NAMES]))
        old = SPACE.get(name, {"fixed": 1})
        space[name] = draw(changed(old, list(Parameter.model_fields)) if isinstance(old, dict) else VALUES)
    return draw(st.one_of(st.just(space), changed(space, NAMES)))


@st.composite
def studies(draw: st.DrawFn) -> dict[str, Any]:
    """A study of which some tables are changed."""
    study = dict(STUDY)
    study["data"] = draw(st.one_of(st.just(DATA), changed(DATA, list(DataSpec.__dataclass_fields__))))
    for name in draw(st.lists(st.sampled_from(list(SECTIONS)), max_size=2)):
        fields = list(getattr(SECTIONS[name], "model_fields", {"standard": 0, "smoke": 0, **OBJECTIVES}))
        study[name] = draw(
            st.one_of(VALUES, changed({}, fields), st.lists(st.sampled_from(list(OBJECTIVES)), max_size=3))
        )
    return study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    found = tmp_path_factory.mktemp("files")
    (found / "base.toml").write_text(document(STUDY))
    (found / "space.toml").write_text(document(SPACE))
    return found


def read_and_plan(study: Path, space: Path, preset: str = "standard") -> None:
    """Everything that reads the two files, up to the data."""
    parsed = read_study(study)
    searched, _ = study_space(parsed, preset, lambda _: space)
    plan = make_plan(parsed, searched, folder=study.parent, preset=preset)
    sample_points(plan.space, 4, plan.seed)
    restored = restore_plan(plan_source(plan))
    assert restored.space.digest == plan.space.digest
    assert identity  # of the data, which is tried below
    load_dataset(plan.data_spec, cache=study.parent, base=study.parent, offline=True)


@seed(1)
@tried()
@given(studies(), st.sampled_from(["standard", "smoke", "best"]))
def test_no_study_file_ends_in_a_bug(folder: Path, study: dict[str, Any], preset: str) -> None:
    (folder / "mine.toml").write_text(document(study), encoding="utf-8")
    try:
        read_and_plan(folder / "mine.toml", folder / "space.toml", preset)
    except TunerError as e:
        one_line(e)


@seed(2)
@tried()
@given(spaces())
def test_no_search_space_ends_in_a_bug(folder: Path, space: dict[str, Any]) -> None:
    (folder / "other.toml").write_text(document(space), encoding="utf-8")
    try:
        read_space(folder / "other.toml")
        read_and_plan(folder / "base.toml", folder / "other.toml")
    except TunerError as e:
        one_line(e)


@seed(3)
@tried()
@given(st.one_of(st.text("[]{}.=\"'#\n\\a1,- ", max_size=60), st.text(max_size=60), st.binary(max_size=60)))
def test_no_text_ends_in_a_bug(folder: Path, content: str | bytes) -> None:
    raw = content if isinstance(content, bytes) else content.encode("utf-8", "surrogatepass")
    (folder / "any.toml").write_bytes(raw)
    for read in (read_study, read_space):
        try:
            read(folder / "any.toml")
        except TunerError as e:
            one_line(e)


@pytest.mark.parametrize(
    "text",
    [
        "a = " + "[" * 5000, "a = " + "[" * 5000 + "]" * 5000, "a = " + "{a = " * 5000, "a" + ".a" * 50_000 + " = 1",
        "[" + ".".join("a" * 50_000) + "]", "[data]\n" + "\n".join(f"[{'.'.join(['a'] * i)}]" for i in range(1, 500)),
        "a = " + "9" * 5000, "a = 1" + "\n#" * 2_000_000, "name = '" + "x" * 900_000 + "'\n[data]",
        "name = 'x'\n[data]\ntasks = [" + "1, " * 40_000 + "]",
        "\n".join(f"a{i} = {{fixed = 1}}" for i in range(8_000)),
    ],
    ids=["lists", "closed", "tables", "dotted", "header", "headers", "digits", "comments", "long", "wide", "many"],
)  # fmt: skip
def test_bombs_are_one_short_error(folder: Path, text: str) -> None:
    (folder / "bomb.toml").write_text(text)
    for read in (read_study, read_space):
        with pytest.raises(TunerError) as found:
            read(folder / "bomb.toml")
        assert len(str(found.value)) < 1000
    if "#" not in text:
        with pytest.raises(TunerError) as found:  # as from the artifact store
            check_study(parse_toml(text, "study.toml", StudyError), "study.toml")
        assert len(str(found.value)) < 1000


SPLITS = ("train", "valid", "test")
KEYS = [f"{kind}_{split}" for kind in ("X", "Y", "model") for split in SPLITS]
DTYPES = st.sampled_from(
    ["i1", "u8", "f2", ">f4", "f8", "?", "c16", "S4", "V3", h5py.string_dtype(), h5py.vlen_dtype(np.int8),
     h5py.ref_dtype, h5py.enum_dtype({"A": 0, "C": 1}), np.dtype([("a", "i4")]), np.dtype(("f4", (4,)))]
)  # fmt: skip
SHAPES = st.one_of(
    st.sampled_from(
        [(8, 4, 10), (8, 10, 4), (8, 4, 1, 10), (8, 4, 10, 1), (4, 8, 10), (8, 40), (8,), (), (0, 4, 10), (8, 4, 4)]
    ),
    st.lists(st.sampled_from([0, 1, 4, 8, 10, 2**33]), max_size=5).map(tuple),
)
ATTRIBUTES = st.one_of(
    st.text(max_size=20), st.binary(min_size=1, max_size=20).map(np.bytes_), st.integers(-5, 5), st.floats(),
    st.lists(st.text("abc,[]\"{}", max_size=4), min_size=1, max_size=3).map(
        lambda v: np.array(v, dtype=h5py.string_dtype())
    ),
    st.lists(st.binary(max_size=4), min_size=1, max_size=3).map(lambda v: np.array(v, dtype="S4")),
    st.sampled_from([h5py.Empty("f4"), "[" * 50_000, '["a"]', "a", np.zeros((2, 2)), np.array([1j])]),
)  # fmt: skip


@st.composite
def entries(draw: st.DrawFn) -> tuple[Any, ...]:
    """How one array of a file is made."""
    kind = draw(
        st.sampled_from(["sound", "sound", "declared", "chunked", "group", "soft", "external", "empty", "gone"])
    )
    return kind, draw(DTYPES), draw(SHAPES), draw(st.integers(0, 2**16))


def put(file: h5py.File, key: str, entry: tuple[Any, ...]) -> None:
    """Write one array as far as HDF5 takes it."""
    kind, dtype, shape, number = entry
    rng = np.random.default_rng(number)
    if kind == "sound":
        codes = rng.integers(4, size=(8, 10))
        sound = np.eye(4, dtype=np.int8)[codes].transpose(0, 2, 1) if key[0] != "Y" else np.arange(8) % 2
        file[key] = (
            sound if key in file.attrs or number % 2 or np.dtype(dtype).kind not in "iufb?" else sound.astype(dtype)
        )
    elif kind in ("declared", "chunked"):
        chunks = tuple(min(size, 4) or 1 for size in shape) if kind == "chunked" and shape else None
        try:
            made = file.create_dataset(key, shape, dtype, chunks=chunks, compression="gzip" if chunks else None)
            if number % 3 and np.prod(shape, dtype=float) < 10_000:
                made[...] = rng.integers(0, 2, size=shape) if np.dtype(dtype).kind in "iufbc" else made[...]
        except (ValueError, TypeError, OSError, RuntimeError):
            file.pop(key, None)  # no such file can be written
    elif kind == "group":
        file.create_group(key)
    elif kind in ("soft", "external"):
        file[key] = h5py.SoftLink("/X_train") if kind == "soft" else h5py.ExternalLink("gone.h5", "/x")
    elif kind == "empty":
        file[key] = h5py.Empty("f4")


@seed(4)
@tried()
@given(
    st.dictionaries(st.sampled_from(KEYS), entries(), max_size=4),
    st.sampled_from(["X_{}", "{}_in", "x_{}"]),
    st.one_of(st.none(), ATTRIBUTES),
    st.sampled_from([None, "ncl", "nlc"]),
)  # fmt: skip
def test_no_hdf5_file_ends_in_a_bug(
    folder: Path, odd: dict[str, Any], scheme: str, attribute: Any, layout: str | None
) -> None:
    path = folder / "mine.h5"
    with h5py.File(path, "w") as file:
        for split in SPLITS:
            for kind in ("X", "Y"):
                key = f"{kind}_{split}"
                name = scheme if kind == "X" else scheme.replace("X", "Y").replace("x", "y").replace("in", "out")
                put(file, name.format(split), odd.get(key, ("sound", "i1", (), 1)))
            if f"model_{split}" in odd:
                put(file, f"model_{split}", odd[f"model_{split}"])
        if attribute is not None:
            try:
                file.attrs["tasks"] = attribute
            except (ValueError, TypeError, OSError, UnicodeEncodeError):
                return  # no such attribute can be written
    try:
        found = koo_hdf5(path, layout=layout, max_memory=50_000_000)
        assert isinstance(found, Dataset)
        check(found)
        assert found.describe()["fingerprint"] == found.fingerprint
    except TunerError as e:
        one_line(e)


@seed(5)
@tried(min(EXAMPLES, 2000))
@given(
    st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4), st.integers(0, 1 << 20)
)
def test_no_damaged_hdf5_file_ends_in_a_bug(folder: Path, flips: list[tuple[int, int]], cut: int) -> None:
    whole = folder / "whole.h5"
    if not whole.exists():
        with h5py.File(whole, "w") as file:
            for split in SPLITS:
                put(file, f"X_{split}", ("sound", "i1", (), 1))
                put(file, f"Y_{split}", ("sound", "i1", (), 1))
            file.attrs["tasks"] = '["a"]'
    raw = bytearray(whole.read_bytes())
    for at, value in flips:
        raw[at % len(raw)] = value
    (folder / "broken.h5").write_bytes(raw[: cut % len(raw)] if cut % 3 == 0 else raw)
    try:
        koo_hdf5(folder / "broken.h5", max_memory=50_000_000)
    except TunerError as e:
        one_line(e)
