"""Write the SHA-256 of every wheel that an image may install; asks the package index through pip.

requirements.lock       what an installed tuner needs, except torch
requirements-dev.lock   what only its tests, checks and documentation need
torch.lock              with --torch INDEX: torch from its own index and its dependencies, for one Python and processor

The versions are those of constraints.txt, the wheels those for Linux on two processors and three versions of Python.
Only what pip needs for its answer is downloaded, and nothing is installed. Run it with `make lock` and `make torch`.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
from collections import defaultdict
from importlib import metadata
from itertools import product
from pathlib import Path

from packaging.markers import Marker, default_environment
from packaging.requirements import Requirement
from packaging.tags import Tag, compatible_tags, cpython_tags
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename
from packaging.version import Version
from pip._internal.commands import create_command
from pip._internal.index.collector import parse_links

ROOT = Path(__file__).parents[1]
PYTHONS = ("3.11", "3.12", "3.13")
MACHINES = ("x86_64", "aarch64")
GLIBC = 41  # minor version of glibc 2 on the newest system


def pins() -> dict[str, str]:
    """Name, as spelled in constraints.txt, and version of each package."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))


def holds(marker: Marker | None, extra: str) -> bool:
    """Whether a marker holds on any of the systems for which wheels are wanted."""
    if marker is None:
        return True
    return any(
        marker.evaluate({
            **default_environment(), "extra": extra, "python_version": python, "python_full_version": f"{python}.0",
            "sys_platform": "linux", "platform_system": "Linux", "platform_machine": machine,
        })
        for python, machine in product(PYTHONS, MACHINES)
    )  # fmt: skip


def needed(roots: list[str]) -> set[str]:
    """Canonical names of all packages that these requirements need, except those that only torch needs on a GPU."""
    wanted, seen = [(Requirement(root), "") for root in roots], set[tuple[str, str]]()
    while wanted:
        requirement, _ = wanted.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *requirement.extras):
            if (name, extra) in seen:
                continue
            seen.add((name, extra))
            for text in metadata.requires(name) or ():
                below = Requirement(text)
                if holds(below.marker, extra):
                    wanted.append((below, name))
    return {name for name, _ in seen} - {"tuner-tfbs"}


def ask(lines: list[str], python: str, machine: str, glibc: int, *options: str) -> list[dict[str, object]]:
    """Pip's report of what it would install from wheels alone."""
    tags = [f"manylinux_2_{minor}" for minor in range(glibc, 4, -1)] + ["manylinux2014", "manylinux2010", "manylinux1"]
    with tempfile.TemporaryDirectory() as folder:
        wanted, report = Path(folder, "wanted.txt"), Path(folder, "report.json")
        wanted.write_text("\n".join(lines))
        command = [
            sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed", "--target", folder,
            "--only-binary", ":all:", "--python-version", python, "--implementation", "cp",
            *(word for tag in tags for word in ("--platform", f"{tag}_{machine}")),
            "--report", str(report), "--requirement", str(wanted), *options,
        ]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            raise LookupError(done.stderr)
        return list(json.loads(report.read_text())["install"])


def hashes_of(found: list[dict[str, object]]) -> dict[tuple[str, str], set[str]]:
    """Digests by name and version."""
    digests = defaultdict[tuple[str, str], set[str]](set)
    for one in found:
        about, info = one["metadata"], one["download_info"]
        assert isinstance(about, dict)
        assert isinstance(info, dict)
        digests[canonicalize_name(about["name"]), about["version"]].add(info["archive_info"]["hashes"]["sha256"])
    return digests


def tags_of(machine: str) -> set[Tag]:
    """Tags of the wheels that can be installed on a processor."""
    platforms = [f"manylinux_2_{minor}_{machine}" for minor in range(GLIBC, 4, -1)]
    platforms += [f"manylinux{year}_{machine}" for year in ("2014", "2010", "1")]
    versions = [tuple(int(part) for part in python.split(".")) for python in PYTHONS]
    return {
        tag
        for version in versions
        for tag in (*cpython_tags(version, platforms=platforms), *compatible_tags(version, None, platforms))
    }


def look_up(versions: dict[str, str]) -> dict[str, dict[str, set[str]]]:
    """Digests of the wheels by package, then by processor, from the indexes that pip is configured to use."""
    command = create_command("install")
    options, _ = command.parse_args(["--only-binary", ":all:", "none"])
    digests = defaultdict[str, dict[str, set[str]]](dict)
    tags = {machine: tags_of(machine) for machine in MACHINES}
    with command.main_context():
        collector = command._build_package_finder(options, command.get_default_session(options))._link_collector
        for name, version in versions.items():
            for source in filter(None, itertools.chain(*collector.collect_sources(name, lambda c: ()))):
                page = source.link and collector.fetch_response(source.link)
                for link in parse_links(page) if page else ():
                    if not link.is_wheel or link.is_yanked or link.hash_name != "sha256":
                        continue
                    try:
                        of, that, _, fits = parse_wheel_filename(link.filename)
                    except InvalidWheelFilename:  # old versions without valid file names, which pip skips, too
                        continue
                    for machine in MACHINES:
                        if of == canonicalize_name(name) and that == Version(version) and fits & tags[machine]:
                            digests[of].setdefault(machine, set()).add(link.hash)
    return digests


def entry(name: str, version: str, digests: set[str], marker: str = "") -> str:
    """One requirement with its digests, in pip's format."""
    return " \\\n".join([f"{name}=={version}{marker}", *(f"    --hash=sha256:{digest}" for digest in sorted(digests))])


def write_lock(path: Path, names: list[str], versions: dict[str, str], digests: dict[str, dict[str, set[str]]]) -> None:
    """Write one lock file."""
    entries = []
    for name in names:
        by_machine = digests.get(canonicalize_name(name), {})
        if not by_machine:
            sys.exit(f"error: {name}=={versions[name]} has no wheel for Linux: pin a version that has one.")
        only = f' ; platform_machine == "{next(iter(by_machine))}"' if len(by_machine) == 1 else ""
        entries.append(entry(name, versions[name], set().union(*by_machine.values()), only))
    path.write_text("# Made by `make lock` from constraints.txt.\n" + "\n".join(entries) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(entries)} packages, {sum(e.count('--hash') for e in entries)} wheels")


def lock() -> None:
    """Write requirements.lock and requirements-dev.lock."""
    versions = {name: version for name, version in pins().items() if name != "torch"}
    image = needed(["tuner-tfbs[postgres]", "hatchling"])
    digests = look_up(versions)
    inside = [name for name in versions if canonicalize_name(name) in image]
    outside = [name for name in versions if canonicalize_name(name) not in image]
    write_lock(ROOT / "requirements.lock", inside, versions, digests)
    write_lock(ROOT / "requirements-dev.lock", outside, versions, digests)


def lock_torch(index: str, python: str, machine: str) -> None:
    """Write torch.lock: the pinned torch from its own index, and what it needs beyond constraints.txt."""
    versions = pins()
    constraints = ["--constraint", str(ROOT / "constraints.txt"), "--extra-index-url", index]
    found = hashes_of(ask([f"torch=={versions['torch']}"], python, machine, GLIBC, *constraints))
    known = {canonicalize_name(name) for name in versions} - {"torch"}
    entries = [entry(name, version, some) for (name, version), some in sorted(found.items()) if name not in known]
    text = f"# Made by `make torch` for Python {python} on {machine}.\n" + "\n".join(entries) + "\n"
    (ROOT / "torch.lock").write_text(text, encoding="utf-8")
    print(f"torch.lock: {', '.join(e.split(' ')[0] for e in entries)}")


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--torch", metavar="INDEX", help="write torch.lock from this index")
    parser.add_argument("--python", choices=PYTHONS, default="3.11", help="of the image, for torch.lock")
    parser.add_argument("--machine", choices=MACHINES, default="x86_64", help="of the image, for torch.lock")
    given = parser.parse_args()
    if given.torch:
        lock_torch(given.torch, given.python, given.machine)
    else:
        lock()


if __name__ == "__main__":
    main()
