"""How much of a model's AUROC composition alone would give, in words made from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

COMPOSITION = ("gc", "cpg", "2-mer")
MOST = 0.5  # of the way from chance to the model


def composition_words(controls: Mapping[str, Sequence[float]], auroc: float, matched: float | None) -> str | None:
    """Say whether composition could be what the models have learned.

    Parameters
    ----------
    controls : mapping of str to sequence of float
        Control -> AUROCs on the same split.
    auroc : float
        Of the models.
    matched : float or None
        Theirs where GC and CpG content cannot tell the classes apart.

    Returns
    -------
    str or None
        One paragraph; None without composition baselines, or for models that are not above chance.
    """
    known = {name: max(controls[name]) for name in COMPOSITION if controls.get(name)}
    if not known or auroc <= 0.5:
        return None
    best = max(known, key=lambda name: known[name])
    share = max(0.0, (known[best] - 0.5) / (auroc - 0.5))
    label = {"gc": "GC content", "cpg": "CpG content", "2-mer": "2-mer counts"}[best]
    numbers = f"{label} alone reach{'' if best == '2-mer' else 'es'} AUROC {known[best]:.3f}, {share:.0%} of the way "
    numbers += f"from chance to the models' {auroc:.3f}"
    rest = "" if matched is None else f"; on the GC x CpG-matched part the models reach {matched:.3f}"
    if share >= MOST:
        return (
            f"Composition is confounded with the label: {numbers}{rest}. "
            "Read the AUROC beside the baselines, or bring negatives of matched composition."
        )
    return f"Composition explains little: {numbers}{rest}."
