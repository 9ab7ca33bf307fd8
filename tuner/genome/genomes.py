"""Opens genomes by name or file.

The file of a named genome is looked for in the folder of reference data and in the cache; otherwise it is downloaded.
Whatever its origin, the sizes of its chromosomes must be those of the assembly.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Final

import pooch

from tuner.errors import DataError, unknown
from tuner.genome.assemblies import ASSEMBLIES
from tuner.genome.chromosomes import is_main
from tuner.genome.genome import Genome
from tuner.genome.genome_names import GENOMES

_ENDINGS: Final = (".fa", ".fa.gz", ".2bit", ".fasta", ".fasta.gz", ".fna", ".fna.gz")


def open_genome(
    named: str,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    offline: bool = False,
    progress: bool = False,
) -> Genome:
    """Open a genome by its name or its file.

    Parameters
    ----------
    named : str
        A name in `tuner.genome.genome_names.GENOMES`, or the path of a FASTA or 2bit file.
    data_dir : Path, optional
        Folder of reference data, where ``NAME.fa``, ``.fa.gz`` or ``.2bit`` may lie, directly or in ``genomes``.
    cache, offline, progress
        As in `tuner.data.registry.load_dataset`.

    Returns
    -------
    Genome

    Raises
    ------
    DataError
        If there is no such file, it cannot be downloaded, it is not the published one, or it is another assembly.
    """
    if named not in GENOMES:
        if not Path(named).exists() and not Path(named).suffix:
            name = unknown("genome", Path(named).name, GENOMES)
            raise DataError(f"{named}: no such file, and {name} Or give the path of a FASTA or 2bit file.")
        return Genome(named, cache=cache)
    folder = Path(pooch.os_cache("tuner")) if cache is None else cache
    genome = Genome(_find(named, data_dir, folder, offline, progress), cache=cache)
    _check_assembly(genome, named)
    return genome


def _find(name: str, data_dir: Path | None, folder: Path, offline: bool, progress: bool) -> Path:
    if data_dir is not None:
        places = [place / f"{name}{ending}" for place in (data_dir / "genomes", data_dir) for ending in _ENDINGS]
        for place in places:
            if place.is_file():
                return place
    row = GENOMES[name]
    kept = folder / "genomes" / f"{name}.fa.gz"
    beside = kept.with_name(kept.name + ".sha256")
    digest = row.digest or (f"sha256:{beside.read_text().strip()}" if beside.is_file() and kept.is_file() else None)
    looked = f"{data_dir / 'genomes' if data_dir is not None else 'TUNER_DATA_DIR is unset'}; {kept}"
    remedy = (
        f"Download {row.url} by hand to genomes/{name}.fa.gz in a folder and set TUNER_DATA_DIR to that folder, or "
        f"give the path of a FASTA or 2bit file as genome."
    )
    if offline and not kept.is_file():
        raise DataError(f"genome {name}: {kept.name} is not here ({looked}) and downloads are off. {remedy}")
    if kept.is_file() and _trusted(kept, digest):
        return kept
    downloader = pooch.HTTPDownloader(progressbar=progress, timeout=30)
    try:
        found = Path(
            pooch.retrieve(row.url, known_hash=digest, fname=kept.name, path=kept.parent, downloader=downloader)
        )
    except (OSError, ValueError) as error:  # errors of requests are OSErrors; a wrong hash is a ValueError
        raise DataError(
            f"genome {name}: {kept.name} is not here ({looked}) and could not be downloaded from {row.url} "
            f"({type(error).__name__}: {error}). {remedy}"
        ) from error
    _remember(found, beside, row.digest)
    return found


def _trusted(kept: Path, digest: str | None) -> bool:
    """Whether a downloaded file was checked before and has not changed since; a marker holds its size and time."""
    mark = kept.with_name(kept.name + ".checked")
    state = kept.stat()
    return mark.is_file() and mark.read_text() == f"{digest} {state.st_size} {state.st_mtime_ns}"


def _remember(found: Path, beside: Path, digest: str | None) -> None:
    """Write the digest of a first download, and that the file was checked; hashing it takes seconds per gigabyte."""
    if digest is None:
        with found.open("rb") as stream:
            beside.write_text(hashlib.file_digest(stream, "sha256").hexdigest() + "\n")
        digest = f"sha256:{beside.read_text().strip()}"
    state = found.stat()
    found.with_name(found.name + ".checked").write_text(f"{digest} {state.st_size} {state.st_mtime_ns}")


def _check_assembly(genome: Genome, name: str) -> None:
    found = genome.assembly
    if found is not None and found.assembly == name:
        return
    sizes = ASSEMBLIES[name]
    which = f"it is {found.assembly}" if found is not None else f"its chromosomes do not have the sizes of {name}"
    first = next((one for one in genome.sizes if is_main(one)), next(iter(genome.sizes), "none"))
    raise DataError(
        f"{genome.path}: {which}, not {name} ({first} has {genome.sizes.get(first, 0):,} bp; the first chromosome of "
        f"{name} has {next(iter(sizes.values())):,}). Replace the file, or give its path as genome to use it as it is."
    )
