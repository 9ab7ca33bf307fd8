"""Names of chromosomes: ``chr1`` and ``1``, ``chrIV`` and ``4``, ``chrM`` and ``MT``; which contigs are alternative.

Peaks and genomes come from different databases, which name the same chromosome differently. Names are matched as they
are, then by a table of the user, then without their prefix, and last with Roman and Arabic numerals exchanged.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Final

from tuner.errors import DataError
from tuner.genome.textfile import read_text

_PREFIX: Final = re.compile(r"^(?:chromosome|chrom|chr)[ _.:-]*(?=.)")
_MITOCHONDRION: Final = frozenset({"m", "mt", "mito", "mtdna", "mitochondrion", "mitochondrial"})
_PLASTID: Final = frozenset({"c", "pt", "pltd", "chloroplast", "plastid"})
_ROMAN: Final = re.compile(r"x{0,3}(?:ix|iv|v?i{0,3})")
# Numerals that no other naming uses: X, V and I may be letters of sex chromosomes or arms.
_SURELY_ROMAN: Final = frozenset({"ii", "iii", "iv", "vi", "vii", "viii", "ix"})
_ALTERNATIVE: Final = re.compile(
    r"(?:_alt|_random|_fix|_decoy|_hap\d+)$|^chrUn|^Un(?:_|mapped|known|$)|^CHR_|scaffold|^(?:chr)?(?:EBV|hs37d5)"
    r"|^(?:GL|KI|KN|KQ|KZ|KV|ML|MU|JH|JTFH|NW_|NT_)\d",
    re.IGNORECASE,
)


def plain(name: str) -> str:
    """Reduce a name to what all spellings of a chromosome share: ``chr01`` and ``1`` give ``1``, ``Mito`` gives ``mt``.

    Parameters
    ----------
    name : str

    Returns
    -------
    str
    """
    short = _PREFIX.sub("", name.strip().lower())
    if short in _MITOCHONDRION:
        return "mt"
    if short in _PLASTID:
        return "pt"
    return str(int(short)) if short.isascii() and short.isdigit() and len(short) < 4 else short


def is_main(name: str) -> bool:
    """Whether a name is that of a chromosome: neither an alternative or unplaced contig nor an organelle."""
    return _ALTERNATIVE.search(name) is None and plain(name) not in ("mt", "pt")


def main_names(names: Iterable[str]) -> frozenset[str]:
    """Names of the chromosomes of a genome; of a genome that consists of contigs, all of them."""
    known = tuple(names)
    return frozenset(name for name in known if is_main(name)) or frozenset(known)


def match_names(
    names: Iterable[str], known: Collection[str], table: Mapping[str, tuple[str, ...]] | None = None
) -> dict[str, str]:
    """Find the chromosome of a genome that each name means.

    Parameters
    ----------
    names : iterable of str
        Names in use, e.g. those of a file of peaks.
    known : collection of str
        Names in the genome.
    table : mapping of str to tuple of str, optional
        Other names of a chromosome, as `read_aliases` returns them.

    Returns
    -------
    dict of str to str
        Name -> name in the genome; a name that means none of them, or possibly two, is left out.
    """
    wanted = tuple(dict.fromkeys(names))
    by_plain: dict[str, list[str]] = {}
    for name in known:
        by_plain.setdefault(plain(name), []).append(name)
    roman = bool(_SURELY_ROMAN & set(by_plain)), bool(_SURELY_ROMAN & {plain(name) for name in wanted})
    found = {}
    for name in wanted:
        spellings = [name, *((table or {}).get(name, ()))]
        exact = [one for one in spellings if one in known]
        short = [plain(one) for one in spellings]
        if roman[0] or roman[1]:
            short += [other for one in short if (other := _other_numeral(one, *roman)) is not None]
        if exact:
            found[name] = exact[-1] if name not in known else name
            continue
        candidates = next((by_plain[one] for one in short if one in by_plain), [])
        if len(candidates) == 1:
            found[name] = candidates[0]
    return found


def _other_numeral(short: str, genome_is_roman: bool, names_are_roman: bool) -> str | None:
    """The Roman numeral of an Arabic one, if the genome has Roman ones, or the reverse, if the names have them."""
    if short.isdigit() and genome_is_roman and 0 < int(short) < 40:
        tens, ones = divmod(int(short), 10)
        return "x" * tens + ("", "i", "ii", "iii", "iv", "v", "vi", "vii", "viii", "ix")[ones]
    if names_are_roman and short and _ROMAN.fullmatch(short):
        values = {"i": 1, "v": 5, "x": 10}
        digits = [values[letter] for letter in short]
        return str(sum(-a if a < b else a for a, b in zip(digits, [*digits[1:], 0], strict=True)))
    return None


def ordered_names(names: Iterable[str]) -> tuple[str, ...]:
    """Chromosomes in the order of their numbers, Arabic or Roman, and all others behind them by name.

    Parameters
    ----------
    names : iterable of str

    Returns
    -------
    tuple of str
    """
    known = tuple(names)
    roman = bool(_SURELY_ROMAN & {plain(name) for name in known})

    def place(name: str) -> tuple[bool, int, str]:
        short = plain(name)
        number = short if short.isdigit() else _other_numeral(short, False, roman)
        return number is None, int(number or 0), short

    return tuple(sorted(known, key=place))


def read_aliases(path: Path) -> dict[str, tuple[str, ...]]:
    """Read a table of chromosome names: one chromosome per line, its names separated by tabs, spaces or commas.

    Parameters
    ----------
    path : Path
        Two columns or more, as UCSC's chromAlias.txt; lines that begin with ``#`` are skipped.

    Returns
    -------
    dict of str to tuple of str
        Each name -> the other names of its chromosome.

    Raises
    ------
    DataError
        If the file cannot be read, or a line has fewer than two names.
    """
    others: dict[str, tuple[str, ...]] = {}
    for number, line in enumerate(read_text(path).decode().split("\n"), start=1):
        if not line.strip() or line.startswith("#"):
            continue
        cells = [cell for cell in re.split(r"[\t,; ]+", line.strip()) if cell]
        if len(cells) < 2:
            raise DataError(
                f"{path.name} line {number}: {line.strip()[:40]!r} is one name. Each line of a table of aliases needs "
                f"two names of one chromosome, separated by a tab."
            )
        for cell in cells:
            others[cell] = (*others.get(cell, ()), *(other for other in cells if other != cell))
    return others
