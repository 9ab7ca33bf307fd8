"""BLACKLISTS: the ENCODE blacklists, version 2, and where they are downloaded from.

They name regions of high signal or low mappability in any experiment (Amemiya et al. 2019, Sci Rep 9:9354). Their
repository is under the GPL, version 3, so they are downloaded from it and not a part of this package.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pooch

from tuner.errors import DataError
from tuner.genome.genome import Genome
from tuner.genome.genome_names import ENCODE

_URL: Final = "https://raw.githubusercontent.com/Boyle-Lab/Blacklist/61a04d2c5e49341d76735d485c61f0d1177d08a8/lists/{0}"
# SHA-256 of the files in that commit, whose own hash covers them.
BLACKLISTS: Final[Mapping[str, str]] = {
    "hg38": "c92e763af17271446194991e71917ac220593a5a3d40a06667be24178ef08cf2",
    "hg19": "1a4ba636f791936ab8952cb068f496ccbd55ec4753539547c5d3d055ed00642a",
    "mm10": "febafb843c6df492f9a9fc418f8796762ee899d9864330fb509ae2d38ddc0b46",
    "dm6": "6174aa0304859a2ee836de7f1eaabc4e7ab7fc4c75ffd4b7587172b1e234026e",
    "ce11": "f91e142370f980dece98de4e0454e3fabcce5406412da17e2fedb7042773c1d5",
}
"""Assembly -> SHA-256 of its list."""


def encode_blacklist(
    genome: Genome,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    offline: bool = False,
    progress: bool = False,
) -> Path:
    """Find the ENCODE blacklist of a genome, or download it.

    Parameters
    ----------
    genome : Genome
        Its chromosome sizes tell the assembly.
    data_dir : Path, optional
        Folder of reference data, where the list may lie, directly or in ``blacklists``.
    cache, offline, progress
        As in `tuner.data.registry.load_dataset`.

    Returns
    -------
    Path
        A BED file, compressed with gzip.

    Raises
    ------
    DataError
        If there is no list of this assembly, it cannot be downloaded, or it is not the published one.
    """
    assembly = None if genome.assembly is None else genome.assembly.assembly
    if assembly is None or assembly not in BLACKLISTS:
        raise DataError(
            f'blacklist = "{ENCODE}": there are lists for {", ".join(BLACKLISTS)}, and {genome.name} is '
            f"{assembly or 'none of the known assemblies'}. Give a BED file, or leave blacklist out."
        )
    name, digest = f"{assembly}-blacklist.v2.bed.gz", BLACKLISTS[assembly]
    url = _URL.format(name)
    remedy = (
        f"Download {url} by hand to blacklists/{name} in a folder and set TUNER_DATA_DIR to that folder, or give a BED "
        f"file as blacklist, or leave it out."
    )
    for place in () if data_dir is None else (data_dir / "blacklists" / name, data_dir / name):
        if place.is_file():
            _check(place, digest, remedy)
            return place
    folder = (Path(pooch.os_cache("tuner")) if cache is None else cache) / "blacklists"
    looked = f"{data_dir / 'blacklists' if data_dir is not None else 'TUNER_DATA_DIR is unset'}; {folder / name}"
    if (folder / name).is_file() and _sha256(folder / name) == digest:
        return folder / name
    if offline:
        raise DataError(f"blacklist: {name} is not here ({looked}) and downloads are off. {remedy}")
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=30)
    try:
        return Path(pooch.retrieve(url, known_hash=f"sha256:{digest}", fname=name, path=folder, downloader=downloader))
    except (OSError, ValueError) as error:  # errors of requests are OSErrors; a wrong hash is a ValueError
        raise DataError(
            f"blacklist: {name} is not here ({looked}) and could not be downloaded from {url} "
            f"({type(error).__name__}: {error}). {remedy}"
        ) from error


def _check(place: Path, digest: str, remedy: str) -> None:
    if (found := _sha256(place)) != digest:
        raise DataError(
            f"{place}: it is not the published list (SHA-256 {found[:12]}..., expected {digest[:12]}...). {remedy}"
        )


def _sha256(place: Path) -> str:
    try:
        return hashlib.sha256(place.read_bytes()).hexdigest()
    except OSError as error:
        raise DataError(f"{place}: cannot be read ({error.strerror or error}).") from error
