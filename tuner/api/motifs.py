"""`match`: compare motifs with a database, and return a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuner.api.places import folders_of, prepare_matching
from tuner.api.trial import Filters
from tuner.errors import MotifError
from tuner.motifs.compare import match_motifs, matchable
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.formats import read_motif_file
from tuner.motifs.meme import Motif

if TYPE_CHECKING:
    import pandas as pd

Motifs = str | Path | Filters | Sequence[Motif] | Mapping[str, npt.NDArray[Any]]


def match(
    motifs: Motifs, database: str | Path | MotifDatabase = "JASPAR2026", *, cache: str | Path | None = None
) -> pd.DataFrame:
    """Compare motifs with a database using Tomtom, as `tuner match` does.

    Parameters
    ----------
    motifs : path, Filters, sequence of Motif, or mapping of str to numpy.ndarray, shape=(4, width)
        A motif file; the filters of a trial; or matrices of probabilities, rows A, C, G, T.
    database : str, Path or MotifDatabase
        ``"JASPAR2014"`` to ``"JASPAR2026"`` (CORE vertebrates), e.g. ``"JASPAR2026-fungi"``, a motif file, or a
        database from `tuner.load_database`.
    cache : str or Path, optional
        As for `tuner.run`.

    Returns
    -------
    pandas.DataFrame
        One row per pair of motifs: all pairs with E <= 10, and the best match of each motif.

    Raises
    ------
    MotifError
        A file or matrix is not a motif, or has too many columns to be compared.
    """
    import pandas as pd

    from tuner.motifs.compare import MotifMatch

    folders = folders_of(None, cache)
    queries, wide = matchable(_read(motifs))
    if wide:
        raise MotifError(wide[0])
    prepare_matching(folders)
    if not isinstance(database, MotifDatabase):
        database = load_database(str(database), cache=folders.cache)
    return pd.DataFrame(match_motifs(queries, database), columns=list(MotifMatch._fields))


def _read(motifs: Motifs) -> Sequence[Motif]:
    if isinstance(motifs, str | Path):
        file = read_motif_file(Path(motifs))
        if file.broken:
            raise MotifError(f"{motifs}: {file.broken[0]}")
        return file.motifs
    if isinstance(motifs, Filters):
        return motifs.motifs
    if isinstance(motifs, Mapping):
        return [Motif(name, name, np.asarray(ppm, dtype=np.float64), None, None) for name, ppm in motifs.items()]
    return motifs
