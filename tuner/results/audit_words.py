"""Words for the audit of a data set: one line for each measurement, and warnings that say what to change."""

from __future__ import annotations

from typing import Final, NamedTuple

from tuner.models.audit import HIT_P, Audit, Feature, MotifHits
from tuner.models.intervals import Interval

SEPARATES: Final = 0.1
"""Distance of an AUROC from .5 at which composition alone is said to separate the classes."""
_MANY: Final = 8  # tasks from which on only the ends of the range are told
_NAMES: Final = {
    "gc": "GC content alone",
    "cpg": "CpG observed/expected alone",
    "repeats": "share of repeats (lower case) alone",
    "6-mer": "6-mer regression (validation)",
}


class AuditWords(NamedTuple):
    """An audit in words.

    Attributes
    ----------
    lines : tuple of str
        What was measured.
    warnings : tuple of str
        What should be changed, and how.
    """

    lines: tuple[str, ...]
    warnings: tuple[str, ...]


def audit_words(found: Audit, *, shuffled: bool) -> AuditWords:
    """Word an audit.

    Parameters
    ----------
    found : Audit
    shuffled : bool
        Whether the negatives are dinucleotide shuffles, whose composition separates nothing by construction.
    """
    tasks = list(dict.fromkeys(feature.task for feature in found.features))
    lines = [_feature_line([f for f in found.features if f.name == name], name) for name in _NAMES]
    warnings: list[str] = []
    if not shuffled:
        warnings += [*_composition_warning(found.features), *_repeats_warning(found.features)]
    for row in found.motifs:
        of = f" of {row.task}" if len(tasks) > 1 else ""
        lines.append(_motif_line(row, of))
        warnings += _motif_warnings(row, of)
    return AuditWords(tuple(line for line in lines if line), tuple(warnings))


def _interval(found: Interval) -> str:
    return f"AUROC {found.estimate:.3f} ({found.low:.3f} to {found.high:.3f})"


def _feature_line(rows: list[Feature], name: str) -> str:
    if not rows:
        return ""
    if len(rows) == 1:
        return f"{_NAMES[name]}: {_interval(rows[0].auroc)}"
    if len(rows) < _MANY:
        return f"{_NAMES[name]}: " + "; ".join(f"{row.task} {_interval(row.auroc)}" for row in rows)
    low, high = min(rows, key=lambda r: r.auroc.estimate), max(rows, key=lambda r: r.auroc.estimate)
    ends = " to ".join(f"{row.auroc.estimate:.3f} ({row.task})" for row in (low, high))
    return f"{_NAMES[name]}: AUROC {ends} over {len(rows)} tasks"


def _composition_warning(features: tuple[Feature, ...]) -> list[str]:
    """Warn once, by the stronger of GC and CpG content, of the task in which it separates most."""
    rows = [f for f in features if f.name in ("gc", "cpg") and abs(f.auroc.estimate - 0.5) >= SEPARATES]
    if not rows:
        return []
    worst = max(rows, key=lambda row: abs(row.auroc.estimate - 0.5))
    more = "more" if worst.auroc.estimate > 0.5 else "less"
    what = {"gc": "GC", "cpg": "CpG"}[worst.name]
    of = f" of {worst.task}" if len({f.task for f in features}) > 1 else ""
    return [
        f"positives{of} have {more} {what} than negatives: that alone reaches {_interval(worst.auroc)}, so much of a "
        "network's AUROC may come from composition. Go by the scores on the matched part, or give negatives of the "
        "same composition."
    ]


def _repeats_warning(features: tuple[Feature, ...]) -> list[str]:
    """Warn of the task in which the share of repeats separates most."""
    rows = [f for f in features if f.name == "repeats" and abs(f.auroc.estimate - 0.5) >= SEPARATES]
    if not rows:
        return []
    worst = max(rows, key=lambda row: abs(row.auroc.estimate - 0.5))
    more = "more" if worst.auroc.estimate > 0.5 else "fewer"
    of = f" of {worst.task}" if len({f.task for f in features}) > 1 else ""
    return [
        f"positives{of} have {more} repeats (lower-case letters) than negatives: that alone reaches "
        f'{_interval(worst.auroc)}, and a network can learn families of repeats. negatives = "gc" has as '
        "many repeats as the positives where the genome allows it; a smaller ratio leaves it more choice."
    ]


def _which(row: MotifHits) -> str:
    return f"{row.target} ({row.motif})" if row.name == row.target else f"{row.target} ({row.motif} {row.name})"


def _motif_line(row: MotifHits, of: str) -> str:
    text = (
        f"{_which(row)}: a hit (p <= {HIT_P:g}) in {100 * row.positives:.0f} % of positives{of} and "
        f"{100 * row.negatives:.0f} % of negatives, best window {_interval(row.auroc)}"
    )
    if row.distance is None or row.p_value is None:
        return text
    return (
        f"{text}; hits of positives lie {row.distance:.0f} bp from the middle in the median (anywhere: "
        f"{row.expected:.0f} bp, {_chance(row.p_value)})"
    )


def _chance(p_value: float) -> str:
    return f"p = {p_value:.2g}" if p_value > 1e-300 else "p < 1e-300"


def _motif_warnings(row: MotifHits, of: str) -> list[str]:
    which = _which(row)
    if row.auroc.high < 0.5 or row.auroc.low <= 0.5 <= row.auroc.high:
        return [
            f"{which} scores no higher in positives than in negatives{of}: {_interval(row.auroc)}. Check that "
            "the sequences are those of this factor and of the right assembly, or name another target."
        ]
    if row.p_value is not None and row.p_value > 0.01:
        return [
            f"hits of {which} do not gather at the middle of the positives{of} "
            f"({_chance(row.p_value)}): if the sequences are windows around summits, check the summits."
        ]
    return []
