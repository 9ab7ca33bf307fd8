"""Makes a data set from peaks and a genome: windows around the summits, negatives, splits by chromosome."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import numpy as np
import pooch
from numpy.typing import NDArray

from tuner.data.dataset import SPLITS, Dataset, Split
from tuner.data.fasta import read_fasta
from tuner.data.lengths import BYTES_A_BASE, BYTES_A_SEQUENCE, fit_length
from tuner.data.negatives import NEGATIVES, Draw, Ground, Share, draw_from, repeated, shortfalls
from tuner.data.partition import rule_of
from tuner.data.peak_cache import keep, kept, place_of
from tuner.data.peak_keys import LENGTH, SHUFFLE, tasks_of
from tuner.data.peak_splits import SHUFFLED, dealt_later, resplit, split_chromosomes
from tuner.data.shuffle import dinucleotide_shuffle
from tuner.data.spec import DataSpec
from tuner.data.splits import duplicate_groups, merge_groups, stratified
from tuner.errors import DataError
from tuner.genome.blacklists import encode_blacklist
from tuner.genome.chromosomes import read_aliases
from tuner.genome.genome import Genome
from tuner.genome.genome_names import ENCODE
from tuner.genome.genomes import open_genome
from tuner.genome.intervals import Axis, Index, Regions, union, window_letters
from tuner.genome.peaks import Peaks, read_peaks
from tuner.genome.sequence import Codes, encode_letters, reverse_complement
from tuner.genome.site_merging import merge_sites
from tuner.genome.sites import RESOLVED, Sites, describe_drops, locate, make_sites, zones
from tuner.genome.textfile import read_text
from tuner.genome.window_counts import count_windows
from tuner.limits import require

FEWEST_SITES: Final = 100
"""Sites below which a note says that they are too few to train and compare networks."""


class Found(NamedTuple):
    """Sites of all files of peaks.

    Attributes
    ----------
    sites : Sites
    labels : numpy.ndarray, shape=(n, n_tasks), uint8
    near : Regions
        Zones around all peaks of all files, where no negative may lie.
    notes, recipe : tuple of str
        Of the data set.
    """

    sites: Sites
    labels: NDArray[np.uint8]
    near: Regions
    notes: tuple[str, ...]
    recipe: tuple[str, ...]


def peak_dataset(
    spec: DataSpec,
    base: Path | None = None,
    *,
    data_dir: Path | None = None,
    cache: Path | None = None,
    offline: bool = False,
    progress: bool = False,
    max_memory: int | None = None,
) -> Dataset:
    """Make the data set that ``peaks`` and ``genome`` describe.

    Parameters
    ----------
    spec : DataSpec
        With `peaks`.
    base : Path, optional
        Folder to which relative paths refer.
    data_dir, cache, offline, progress, max_memory
        As in `tuner.data.registry.load_dataset`.

    Returns
    -------
    Dataset
        Ids are ``chromosome:start-end(strand)`` with the names of the genome, 0-based and half-open. Sites on the
        reverse strand are reverse complements. Copies and overlapping windows are in one group.

    Raises
    ------
    DataError
        If a file is missing or wrong, peaks and genome do not belong together, or no peak gives a site.
    """
    start = Path() if base is None else base
    spec = spec.at({key: str(start / path) for key, path in spec.files.items()})
    length = spec.length if isinstance(spec.length, int) else LENGTH
    files = {task: Path(path) for task, path in tasks_of(spec).items()}
    read = {task: read_peaks(path, max_memory) for task, path in files.items()}
    genome = open_genome(str(spec.genome), data_dir=data_dir, cache=cache, offline=offline, progress=progress)
    named = [Path(path) for key, path in spec.files.items() if key != "genome" and Path(path).is_file()]
    place = place_of(spec, [*named, genome.path], Path(pooch.os_cache("tuner")) if cache is None else cache)
    if (found := kept(place)) is not None:
        return found
    blacklist = None if spec.blacklist is None else Path(spec.blacklist)
    if spec.blacklist == ENCODE:
        blacklist = encode_blacklist(genome, data_dir=data_dir, cache=cache, offline=offline, progress=progress)
    dataset = _made(spec, files, read, genome, blacklist, length, max_memory)
    keep(dataset, place)
    return dataset


def _made(
    spec: DataSpec, files: Mapping[str, Path], read: Mapping[str, Peaks], genome: Genome, blacklist: Path | None,
    length: int, max_memory: int | None,
) -> Dataset:  # fmt: skip
    """Make the data set, which is in no cache."""
    axis = Axis(genome.sizes, 8 * length + 1000)
    found = _find(spec, read, genome, axis, blacklist, length, max_memory)
    name = next(iter(files.values())).name if len(files) == 1 else "+".join(files)
    count = len(found.sites) * (1 + int(np.ceil(spec.ratio or 1)))
    require(name, count * (BYTES_A_SEQUENCE + BYTES_A_BASE * length), max_memory, f"{count} windows of {length} bases")
    split_of, held = split_chromosomes(axis, found.sites.start, found.labels, spec, name)
    positives = _codes(genome, axis, found.sites.start, found.sites.strand, length)
    parts, notes = _with_negatives(spec, genome, axis, found, split_of, positives, length, max_memory)
    parts, dealt = resplit(parts, spec, name)
    sizes = genome.assembly.other_sizes if genome.assembly is not None else ""
    other = (f"{genome.name}: {sizes}",) if sizes else ()
    return Dataset(
        name=name,
        tasks=tuple(files),
        splits=parts,
        source=f"{' + '.join(str(path) for path in files.values())} on {genome.path}",
        notes=(*found.notes, *genome.notes, *other, *notes),
        recipe=tuple(text for text in (*found.recipe, _recipe(spec, genome, length), held, *dealt) if text),
    )


def _find(
    spec: DataSpec, read: Mapping[str, Peaks], genome: Genome, axis: Axis, listed: Path | None, length: int,
    max_memory: int | None,
) -> Found:  # fmt: skip
    """Make the sites of every file of peaks, and merge those of several."""
    table = read_aliases(Path(spec.aliases)) if spec.aliases is not None else None
    nothing = Regions(np.zeros(0, np.int64), np.zeros(0, np.int64))
    blacklist = nothing
    notes: list[str] = []
    recipe: list[str] = []
    if listed is not None:
        # The list of an assembly belongs to a part of its chromosomes too.
        least = 0.0 if spec.blacklist == ENCODE else RESOLVED
        where = locate(read_peaks(listed, max_memory), genome, axis, table, least=least)
        blacklist = union(where.start, where.end)
        recipe.append(f"blacklist {listed.name}: {len(where.start)} regions of {genome.name}.")
    parts, near = [], [blacklist]
    for peaks in read.values():
        located = locate(peaks, genome, axis, table)
        sites = make_sites(located, genome, axis, length, blacklist=blacklist, top=spec.top)
        told = describe_drops(peaks.name, len(peaks), sites)
        if not len(sites):
            raise DataError(f"{told} Nothing is left to learn from; see which of these reasons applies to the file.")
        recipe += [*peaks.notes, told]
        if 2 * len(sites) < len(peaks) and spec.top is None:
            notes.append(f"more than half of the peaks were not used. {told}")
        if spec.top is not None and np.isnan(peaks.signal).all():
            notes.append(f"{peaks.name}: it has no signal, so top = {spec.top} keeps the first ones of the file.")
        parts.append(sites)
        near.append(zones(located, length))
    zone = union(np.concatenate([z.start for z in near]), np.concatenate([z.end for z in near]))
    if len(parts) == 1:
        sites, labels = parts[0], np.ones((len(parts[0]), 1), dtype=np.uint8)
    else:
        least = length // 3 if spec.min_overlap is None else spec.min_overlap
        sites, labels = merge_sites(parts, length, least)
        each = ", ".join(f"{task} {n}" for task, n in zip(read, labels.sum(axis=0, dtype=int).tolist(), strict=True))
        recipe.append(
            f"{sum(map(len, parts))} sites of {len(parts)} files were merged to {len(sites)} where their windows "
            f"overlap by at least {least} bp; positives: {each}; of several: {int((labels.sum(axis=1) > 1).sum())}."
        )
    if len(sites) < FEWEST_SITES:
        notes.append(
            f"{len(sites)} sites are too few to train a network and to compare trials: expect at least "
            f"{FEWEST_SITES}, better a thousand. Give more peaks, e.g. with a weaker threshold."
        )
    return Found(sites, labels, zone, tuple(notes), tuple(recipe))


def _codes(genome: Genome, axis: Axis, start: Index, strand: NDArray[np.str_], length: int) -> Codes:
    """Read windows, those of the reverse strand as reverse complements."""
    codes = encode_letters(window_letters(genome, axis, start, length), genome.name)
    reverse = strand == "-"
    codes[reverse] = reverse_complement(codes[reverse])
    return codes


def _ids(axis: Axis, start: Index, strand: NDArray[np.str_], length: int) -> tuple[str, ...]:
    number = axis.chromosome(start)
    first = start - axis.offset[number]
    names = (axis.names[i] for i in number.tolist())
    return tuple(
        f"{name}:{at}-{at + length}({sign})"
        for name, at, sign in zip(names, first.tolist(), strand.tolist(), strict=True)
    )


def _recipe(spec: DataSpec, genome: Genome, length: int) -> str:
    """How the data set was made, in one sentence."""
    which = f" ({genome.assembly.assembly})" if genome.assembly is not None else ""
    ratio = "" if spec.ratio is None else f", {spec.ratio:g} per positive"
    return (
        f"made from {genome.name}{which}: windows of {length} bp, negatives {_words(spec.negatives)}{ratio}, split by "
        f"{rule_of(spec).by}, seed {spec.seed}."
    )


def _words(negatives: Any) -> str:
    if isinstance(negatives, dict):
        key, value = next(iter(negatives.items()))
        return f"{key} {', '.join(Path(path).name for path in ([value] if isinstance(value, str) else value))}"
    return "gc" if negatives is None else Path(str(negatives)).name


def _with_negatives(
    spec: DataSpec, genome: Genome, axis: Axis, found: Found, split_of: Mapping[int, str], positives: Codes,
    length: int, max_memory: int | None,
) -> tuple[dict[str, Split], tuple[str, ...]]:  # fmt: skip
    """Draw the negatives of every split and join them with its positives."""
    ground = Ground(genome, axis, found.near, length)
    part = np.array([split_of[int(i)] for i in axis.chromosome(found.sites.start)])
    rows = {name: np.flatnonzero(part == name) for name in SPLITS if name in split_of.values()}
    wanted = {name: max(1, round((spec.ratio or 1) * len(index))) for name, index in rows.items()}
    rng = np.random.default_rng([spec.seed, 1])
    codes: dict[str, Codes] = {}
    ids: dict[str, tuple[str, ...]] = {}
    starts: dict[str, Index] = {}
    notes: tuple[str, ...] = ()
    kind = "gc" if spec.negatives is None else spec.negatives
    if kind == SHUFFLE:
        for name, index in rows.items():
            chosen = index[repeated(len(index), wanted[name], rng)]
            codes[name] = dinucleotide_shuffle(positives[chosen], seed=spec.seed)
            own = _ids(axis, found.sites.start[chosen], found.sites.strand[chosen], length)
            ids[name] = tuple(f"{one}{SHUFFLED}" for one in own)
            starts[name] = found.sites.start[chosen]
    elif isinstance(kind, str) and kind not in NEGATIVES and _is_fasta(kind, max_memory):
        codes, ids, notes = _fasta_negatives(Path(kind), spec, wanted, length, max_memory)
    else:
        draw, notes, whole = _drawing(spec, genome, axis, length, max_memory)
        stranded = bool((found.sites.strand != ".").any())
        for name, index in rows.items():
            chromosomes = np.array([i for i, one in split_of.items() if one == name], dtype=np.int64)
            most = np.iinfo(np.int64).max if whole else wanted[name]
            start = draw(ground, Share(chromosomes, found.sites.start[index], int(most)), rng)
            strand = rng.choice(np.array(["+", "-"]), len(start)) if stranded else np.full(len(start), ".")
            codes[name], starts[name] = _codes(genome, axis, start, strand, length), start
            ids[name] = _ids(axis, start, strand, length)
        short = () if whole else shortfalls(_words(spec.negatives), wanted, starts)
        notes = (*notes, *short)
    return _joined(genome if kind != SHUFFLE else None, axis, found, rows, positives, codes, ids, starts, length), notes


def _drawing(
    spec: DataSpec, genome: Genome, axis: Axis, length: int, max_memory: int | None
) -> tuple[Draw, tuple[str, ...], bool]:
    """The function that draws the negatives, its notes, and whether it gives all that there are."""
    kind = "gc" if spec.negatives is None else spec.negatives
    if isinstance(kind, str) and kind in NEGATIVES:
        return NEGATIVES[kind], (), False
    table = read_aliases(Path(spec.aliases)) if spec.aliases is not None else None
    named = [kind] if isinstance(kind, str) else next(iter(kind.values()))
    starts, notes = [], []
    for path in [named] if isinstance(named, str) else named:
        peaks = read_peaks(path, max_memory)
        located = locate(peaks, genome, axis, table)
        sites = make_sites(located, genome, axis, length, blacklist=Regions(*(np.zeros(0, np.int64),) * 2))
        starts.append(sites.start)
        notes.append(f"negatives: {describe_drops(peaks.name, len(peaks), sites)}")
    return draw_from(np.concatenate(starts)), tuple(notes), isinstance(kind, str) and spec.ratio is None


def _is_fasta(path: str, max_memory: int | None) -> bool:
    return read_text(Path(path), max_memory).lstrip().startswith(b">")


def _fasta_negatives(
    path: Path, spec: DataSpec, wanted: Mapping[str, int], length: int, max_memory: int | None
) -> tuple[dict[str, Codes], dict[str, tuple[str, ...]], tuple[str, ...]]:
    """Read negatives from a FASTA file, cropped to the length of the windows, and split them at random."""
    records = read_fasta(path, max_memory)
    for record in records:
        if len(record.codes) < length:
            raise DataError(
                f"{path.name} record {record.number} ({record.id}) has {len(record.codes)} bases, fewer than the "
                f"windows of {length}; padding would tell the classes apart. Give longer negatives or a smaller length."
            )
    codes = np.stack([fit_length(record.codes, length) for record in records])
    labels = np.zeros(len(codes), dtype=np.uint8)
    shares = (1.0,) if dealt_later(spec) else spec.shares
    rows = stratified(labels, shares, seed=spec.seed, groups=duplicate_groups(codes))
    if spec.ratio is not None:
        rng = np.random.default_rng([spec.seed, 2])
        rows = {name: np.sort(rng.permutation(index)[: wanted[name]]) for name, index in rows.items()}
    note = f"{path.name}: its {len(codes)} negatives are split at random; as a BED file they would be by chromosome."
    short = () if spec.ratio is None else shortfalls(path.name, wanted, rows)
    return (
        {name: codes[index] for name, index in rows.items()},
        {name: tuple(records[i].id for i in index) for name, index in rows.items()},
        (note, *short),
    )


def _joined(
    masked: Genome | None, axis: Axis, found: Found, rows: Mapping[str, Index], positives: Codes,
    codes: Mapping[str, Codes], ids: Mapping[str, Sequence[str]], starts: Mapping[str, Index], length: int,
) -> dict[str, Split]:  # fmt: skip
    """Join positives and negatives; copies, overlapping windows and a positive with its shuffles share a group.

    The share of repeats is known of windows of a genome that has any in lower case.
    """
    repeats = None
    n_tasks = found.labels.shape[1]
    all_codes = np.concatenate([part for name in rows for part in (positives[rows[name]], codes[name])])
    groups = duplicate_groups(all_codes)
    if starts:
        place = np.concatenate([part for name in rows for part in (found.sites.start[rows[name]], starts[name])])
        groups = merge_groups(groups, _overlapping(place, length))
        if masked is not None and (lower := count_windows(masked, axis, place, length).repeats).any():
            repeats = (lower / length).astype(np.float32)
    splits = {}
    at = 0
    for name, index in rows.items():
        n = len(index) + len(codes[name])
        labels = np.concatenate([found.labels[index], np.zeros((len(codes[name]), n_tasks), dtype=np.uint8)])
        own = _ids(axis, found.sites.start[index], found.sites.strand[index], length)
        own_repeats = None if repeats is None else repeats[at : at + n]
        splits[name] = Split(
            all_codes[at : at + n], labels, (*own, *ids[name]), groups=groups[at : at + n], repeats=own_repeats
        )
        at += n
    return splits


def _overlapping(start: Index, length: int) -> Index:
    """Number windows so that overlapping ones, through any chain, have one number."""
    order = np.argsort(start, kind="stable")
    group = np.empty(len(start), dtype=np.int64)
    group[order] = np.cumsum(np.diff(start[order], prepend=start[order][:1]) >= length)
    return group
