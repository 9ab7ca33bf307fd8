"""Sizes of the main chromosomes of common assemblies, by which a genome or a set of peaks tells its assembly.

The sizes are those of the UCSC Genome Browser (mitochondria and alternative contigs left out), as the package bioframe
0.8.0 lists them; those of tair10 are from TAIR.
"""

from __future__ import annotations

from collections.abc import Mapping
from statistics import median
from typing import Final, NamedTuple

from tuner.genome.chromosomes import is_main, match_names

_SIZES: Final[Mapping[str, tuple[str, tuple[int, ...]]]] = {
    "hg38": (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 X Y",
        (
            248956422, 242193529, 198295559, 190214555, 181538259, 170805979, 159345973, 145138636, 138394717,
            133797422, 135086622, 133275309, 114364328, 107043718, 101991189, 90338345, 83257441, 80373285, 58617616,
            64444167, 46709983, 50818468, 156040895, 57227415,
        ),
    ),
    "hg19": (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 X Y",
        (
            249250621, 243199373, 198022430, 191154276, 180915260, 171115067, 159138663, 146364022, 141213431,
            135534747, 135006516, 133851895, 115169878, 107349540, 102531392, 90354753, 81195210, 78077248, 59128983,
            63025520, 48129895, 51304566, 155270560, 59373566,
        ),
    ),
    "mm10": (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 X Y",
        (
            195471971, 182113224, 160039680, 156508116, 151834684, 149736546, 145441459, 129401213, 124595110,
            130694993, 122082543, 120129022, 120421639, 124902244, 104043685, 98207768, 94987271, 90702639, 61431566,
            171031299, 91744698,
        ),
    ),
    "mm39": (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 X Y",
        (
            195154279, 181755017, 159745316, 156860686, 151758149, 149588044, 144995196, 130127694, 124359700,
            130530862, 121973369, 120092757, 120883175, 125139656, 104073951, 98008968, 95294699, 90720763, 61420004,
            169476592, 91455967,
        ),
    ),
    "mm9": (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 X Y",
        (
            197195432, 181748087, 159599783, 155630120, 152537259, 149517037, 152524553, 131738871, 124076172,
            129993255, 121843856, 121257530, 120284312, 125194864, 103494974, 98319150, 95272651, 90772031, 61342430,
            166650296, 15902555,
        ),
    ),
    "dm6": (
        "2L 2R 3L 3R 4 X Y",
        (
            23513712, 25286936, 28110227, 32079331, 1348131, 23542271, 3667352,
        ),
    ),
    "dm3": (
        "2L 2R 3L 3R 4 X",
        (
            23011544, 21146708, 24543557, 27905053, 1351857, 22422827,
        ),
    ),
    "ce11": (
        "I II III IV V X",
        (
            15072434, 15279421, 13783801, 17493829, 20924180, 17718942,
        ),
    ),
    "ce10": (
        "I II III IV V X",
        (
            15072423, 15279345, 13783700, 17493793, 20924149, 17718866,
        ),
    ),
    "sacCer3": (
        "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI",
        (
            230218, 813184, 316620, 1531933, 576874, 270161, 1090940, 562643, 439888, 745751, 666816, 1078177, 924431,
            784333, 1091291, 948066,
        ),
    ),
    "danRer11": (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25",
        (
            59578282, 59640629, 62628489, 78093715, 72500376, 60270059, 74282399, 54304671, 56459846, 45420867,
            45484837, 49182954, 52186027, 52660232, 48040578, 55266484, 53461100, 51023478, 48449771, 55201332,
            45934066, 39133080, 46223584, 42172926, 37502051,
        ),
    ),
    "danRer10": (
        "1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24 25",
        (
            58871917, 59543403, 62385949, 76625712, 71715914, 60272633, 74082188, 54191831, 56892771, 45574255,
            45107271, 49229541, 51780250, 51944548, 47771147, 55381981, 53345113, 51008593, 48790377, 55370968,
            45895719, 39226288, 46272358, 42251103, 36898761,
        ),
    ),
    "tair10": (
        "1 2 3 4 5",
        (
            30427671, 19698289, 23459830, 18585056, 26975502,
        ),
    ),
}  # fmt: skip

ASSEMBLIES: Final[Mapping[str, Mapping[str, int]]] = {
    assembly: dict(zip((f"chr{name}" for name in names.split()), sizes, strict=True))
    for assembly, (names, sizes) in _SIZES.items()
}
"""Assembly -> size of each main chromosome, in bp."""


_REACHED: Final = 0.7
"""Share of a chromosome up to which the peaks of its assembly reach at least, in the median over chromosomes."""


class Identified(NamedTuple):
    """The assembly that the sizes of chromosomes show.

    Attributes
    ----------
    assembly : str
        A name in `ASSEMBLIES`.
    equal, shared : int
        How many of the chromosomes with a name of that assembly have its size, and how many there are.
    differing : tuple of (str, int, int)
        Chromosomes of another size: name, size here, size in the assembly.
    """

    assembly: str
    equal: int
    shared: int
    differing: tuple[tuple[str, int, int], ...]

    @property
    def other_sizes(self) -> str:
        """Name the chromosomes whose size is not that of the assembly, as in a file that was cut short."""
        if not self.differing:
            return ""
        told = ", ".join(f"{name} has {here:,} bp and not {there:,}" for name, here, there in self.differing[:3])
        return (
            f"{len(self.differing)} of its {self.shared} chromosomes differ from {self.assembly} in size ({told}). If "
            f"nobody changed them, the file was cut short: copy or download it again."
        )


def identify(sizes: Mapping[str, int]) -> Identified | None:
    """Find the assembly whose chromosomes have these sizes.

    Parameters
    ----------
    sizes : mapping of str to int, bp

    Returns
    -------
    Identified or None
        None if fewer than half of the shared chromosomes have the size of any assembly.
    """
    best = None
    for assembly, known in ASSEMBLIES.items():
        named = match_names((name for name in sizes if is_main(name)), known)
        differing = tuple((n, sizes[n], known[k]) for n, k in named.items() if sizes[n] != known[k])
        found = Identified(assembly, len(named) - len(differing), len(named), differing)
        if found.equal and 2 * found.equal >= found.shared and (best is None or found.equal > best.equal):
            best = found
    return best


def fitting(ends: Mapping[str, int]) -> tuple[str, ...]:
    """Name the assemblies that have all these chromosomes and whose sizes fit these positions.

    Parameters
    ----------
    ends : mapping of str to int, bp
        Largest position on each main chromosome.

    Returns
    -------
    tuple of str
        The assemblies whose chromosomes are long enough, and of which most are not much longer: peaks of a whole genome
        reach nearly to the ends of its chromosomes. The best fit comes first.
    """
    found = []
    for assembly, known in ASSEMBLIES.items():
        named = match_names(ends, known)
        if ends and len(named) == len(ends) and all(ends[name] <= known[key] for name, key in named.items()):
            reached = median(ends[name] / known[key] for name, key in named.items())
            if reached >= _REACHED:
                found.append((-reached, assembly))
    return tuple(assembly for _, assembly in sorted(found))
