"""What a predictor does beyond sequences that are at hand: genomes, intervals, variants, mutants, contributions."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from tuner.genome.genome import Genome
from tuner.genome.genomes import open_genome
from tuner.genome.named import NamedGenome

if TYPE_CHECKING:
    import pandas as pd

    from tuner.predictor.predictor import Predictor


class Uses:
    """Methods of `tuner.predictor.predictor.Predictor`."""

    def predict_bed(
        self,
        path: str | Path,
        genome: Genome | str | Path,
        *,
        around: str | None = None,
        aliases: str | Path | None = None,
        device: str = "cpu",
        stride: int | None = None,
    ) -> pd.DataFrame:
        """Predict intervals of a genome.

        Parameters
        ----------
        path : str or Path
            BED, narrowPeak, broadPeak or summits; plain or compressed.
        genome : Genome, str or Path
            A file, or a name such as hg38.
        around : str, optional
            ``"summit"``: one window of the model's length around each summit, as in training; ``"interval"``: all of
            it, in windows where it is longer. By default the summit, if the file has summits.
        aliases : str or Path, optional
            Table of chromosome names.
        device, stride
            As for `predict`.

        Returns
        -------
        pandas.DataFrame
            One row per interval, in the order of the file: chrom, start, end, strand, status, then `columns`, of which
            start is called window_start and is a position on the chromosome.

        Raises
        ------
        DataError, DeviceError, UsageError
            As for `predict`; or the genome has the chromosomes of fewer than 90 % of the intervals.
        """
        import pandas as pd

        from tuner.predictor.intervals import columns_of, intervals_of, rows_of

        named = _named(genome, aliases)
        found = intervals_of(path, named, _this(self).length, around=around)
        rows = rows_of(_this(self), named, found.places, device=device, stride=stride)
        return pd.DataFrame(list(rows), columns=columns_of(_this(self)))

    def scan(
        self,
        genome: Genome | str | Path,
        *,
        regions: str | Path | None = None,
        stride: int = 25,
        fpr: float = 1e-3,
        task: str | None = None,
        bigwig: str | Path | None = None,
        bed: str | Path | None = None,
        aliases: str | Path | None = None,
        device: str = "cpu",
    ) -> pd.DataFrame:
        """Scan a genome and return the hits; `docs/predictor.md` says how.

        Parameters
        ----------
        genome : Genome, str or Path
            A file, or a name such as hg38.
        regions : str or Path, optional
            What to scan, as a BED file; by default everything.
        stride : int, bp
            From one window to the next.
        fpr : float
            Share of shuffled windows that reach the threshold.
        task : str, optional
            Which one, if the model has several.
        bigwig, bed : str or Path, optional
            Files for the scores of all windows and for the hits; the same call continues an interrupted scan.
        aliases, device
            As for `predict_bed`.

        Returns
        -------
        pandas.DataFrame
            One row per hit; its ``attrs`` hold the threshold (``logit``), its ``rate``, and the number of ``windows``.

        Raises
        ------
        DataError, DeviceError, UsageError
            The regions are not of this genome, or an option is out of its range.
        OSError
            An output cannot be written.
        """
        from tuner.predictor.hits import scan

        found = scan(
            _this(self), _named(genome, aliases), regions=regions, stride=stride, rate=fpr, task=task, bigwig=bigwig,
            bed=bed, device=device,
        )  # fmt: skip
        found.hits.attrs.update(logit=found.threshold.logit, rate=found.threshold.rate, windows=found.windows)
        return found.hits

    def score_vcf(
        self,
        path: str | Path,
        genome: Genome | str | Path,
        *,
        aliases: str | Path | None = None,
        null: int = 1000,
        device: str = "cpu",
    ) -> pd.DataFrame:
        """Score every alternative allele of a VCF; needs the packages of the extra ``genome``.

        Parameters
        ----------
        path : str or Path
            VCF or BCF, plain or compressed.
        genome : Genome, str or Path
            To which its positions refer: a file, or a name such as hg38.
        aliases : str or Path, optional
            Table of chromosome names.
        null : int
            Shuffled contexts of each class of alleles for `p`; 0 leaves it out.
        device : str
            As for `predict`.

        Returns
        -------
        pandas.DataFrame
            One row per allele, in the order of the file; columns as `tuner variants` writes them.

        Raises
        ------
        DataError
            The file or the genome cannot be read, or REF differs from the genome in more than 2 % of the alleles.
        UsageError
            pysam is missing.
        """
        import pandas as pd

        from tuner.predictor.variants import VariantScorer, columns
        from tuner.predictor.vcf import open_vcf, records_of, survey

        named, file = _named(genome, aliases), Path(path)
        scorer = VariantScorer(_this(self), named, survey(file, named, _this(self).length), device=device, null=null)
        with open_vcf(file) as vcf:
            rows = [row for _, found in scorer.score(records_of(vcf, file)) for row in found]
        return pd.DataFrame(rows, columns=columns(_this(self).tasks))

    def ism(self, sequences: Any, *, task: str | None = None, device: str = "cpu") -> npt.NDArray[np.float32]:
        """Replace every base by every other one, and measure by how much the mean logit changes.

        Parameters
        ----------
        sequences, device
            As for `predict`. Of a longer sequence, the window with the highest logit is mutated.
        task : str, optional
            Name of one task; by default all.

        Returns
        -------
        numpy.ndarray, shape=(n, 4, length) or, for several tasks, (n, n_tasks, 4, length), float32
            Logit of the mutant minus that of the sequence, rows A, C, G, T; 0 at the observed base, and at N.

        Raises
        ------
        DataError, DeviceError, UsageError
            A character is not a nucleotide, or there is no such device or task.
        """
        from tuner.predictor.ism import ism

        return ism(_this(self), sequences, task=task, device=device)

    def attributions(
        self,
        sequences: Any,
        *,
        method: str = "deep_shap",
        hypothetical: bool = False,
        task: str | None = None,
        references: int = 20,
        device: str = "cpu",
        seed: int = 0,
    ) -> npt.NDArray[np.float32]:
        """Share the mean logit out to the bases, with all networks on the strands from which they predict.

        Parameters
        ----------
        sequences, task, device
            As for `ism`.
        method : str
            A name in `tuner.interpret.attribution.ATTRIBUTIONS`.
        hypothetical : bool
            Return what each base would contribute, which TF-MoDISco reads, instead of what the observed one does.
        references : int
            Dinucleotide shuffles of each sequence with which it is compared.
        seed : int
            Of the shuffles.

        Returns
        -------
        numpy.ndarray, shape=(n, 4, length) or, for several tasks, (n, n_tasks, 4, length), float32
            Rows A, C, G, T. Contributions are 0 except at the observed base; those of DeepSHAP add up to the logit
            minus the mean logit of the references.

        Raises
        ------
        AttributionError, DataError, DeviceError, UsageError
            As for `ism`; or an unknown method, or one that has no hypothetical contributions.
        """
        from tuner.predictor.explain import attributions

        return attributions(
            _this(self), sequences, method=method, hypothetical=hypothetical, task=task, references=references,
            device=device, seed=seed,
        )  # fmt: skip


def _named(genome: Genome | str | Path, aliases: str | Path | None) -> NamedGenome:
    """Open a genome unless it is open, and read the user's names of its chromosomes."""
    return NamedGenome(genome if isinstance(genome, Genome) else open_genome(os.path.expanduser(genome)), aliases)


def _this(uses: Uses) -> Predictor:
    """The predictor whose methods these are; `Uses` stands alone only because files are kept short."""
    return cast("Predictor", uses)
