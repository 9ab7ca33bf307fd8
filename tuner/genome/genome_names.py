"""GENOMES: the genomes that a study can name, and where their files are downloaded from; names of blacklists."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

ENCODE: Final = "encode"
"""Value of ``blacklist`` that means the ENCODE blacklist of the genome's assembly."""
_UCSC: Final = "https://hgdownload.soe.ucsc.edu/goldenPath/{0}/bigZips/{0}.fa.gz"


class NamedGenome(NamedTuple):
    """One row of `GENOMES`.

    Attributes
    ----------
    organism : str
    url : str
        Soft-masked FASTA, compressed with gzip.
    digest : str or None
        ``sha256:...`` or ``md5:...`` of the file at the URL. Without one, the digest of the first download is kept
        beside the file, and a later change of the file is an error.
    """

    organism: str
    url: str
    digest: str | None


# Digests: md5 as UCSC publishes them in bigZips/md5sum.txt; the SHA-256 of hg38 belongs to the file with UCSC's md5
# 1c9dcaddfa41027f17cd8f7a82c7293b. The other files are not pinned, as no second source confirmed a digest.
GENOMES: Final[Mapping[str, NamedGenome]] = {
    "hg38": NamedGenome(
        "Homo sapiens",
        _UCSC.format("hg38"),
        "sha256:c1dd87068c254eb53d944f71e51d1311964fce8de24d6fc0effc9c61c01527d4",
    ),
    "hg19": NamedGenome("Homo sapiens", _UCSC.format("hg19"), "md5:806c02398f5ac5da8ffd6da2d1d5d1a9"),
    "mm10": NamedGenome("Mus musculus", _UCSC.format("mm10"), "md5:db005b65828db31735f384e4c5787be5"),
    "mm39": NamedGenome("Mus musculus", _UCSC.format("mm39"), None),
    "dm6": NamedGenome("Drosophila melanogaster", _UCSC.format("dm6"), None),
    "ce11": NamedGenome("Caenorhabditis elegans", _UCSC.format("ce11"), None),
    "sacCer3": NamedGenome("Saccharomyces cerevisiae", _UCSC.format("sacCer3"), None),
    "danRer11": NamedGenome("Danio rerio", _UCSC.format("danRer11"), None),
    "tair10": NamedGenome(
        "Arabidopsis thaliana",
        "https://ftp.ensemblgenomes.ebi.ac.uk/pub/plants/release-58/fasta/arabidopsis_thaliana/dna/"
        "Arabidopsis_thaliana.TAIR10.dna_sm.toplevel.fa.gz",
        None,
    ),
}
