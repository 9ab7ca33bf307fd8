"""How much of a model's AUROC composition alone would give, in words made from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tuner.data.sizes import auroc_interval

COMPOSITION = ("gc", "cpg", "2-mer")
MOST = 0.5  # of the way from chance to the model


def composition_words(
    controls: Mapping[str, Sequence[float]], auroc: float, matched: float | None, sizes: tuple[int, int] | None = None
) -> str | None:
    """Say whether composition could be what the models have learned.

    Parameters
    ----------
    controls : mapping of str to sequence of float
        Control -> AUROCs on the same split.
    auroc : float
        Of the models.
    matched : float or None
        Theirs where GC and CpG content cannot tell the classes apart.
    sizes : tuple of int, optional
        Positives and negatives that the AUROCs were measured on. They give the interval beside the number, and where
        that leaves open what composition explains, the words do so too.

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
    interval, open_ = "", False
    if sizes is not None:
        low, high = auroc_interval(known[best], *sizes)
        interval = f" (95 % about {low:.2f} to {high:.2f}, of {sizes[0]} + {sizes[1]} sequences)"
        open_ = (low - 0.5) / (auroc - 0.5) < MOST <= (high - 0.5) / (auroc - 0.5)
    numbers = f"{label} alone reach{'' if best == '2-mer' else 'es'} AUROC {known[best]:.3f}{interval}, "
    numbers += f"{share:.0%} of the way "
    numbers += f"from chance to the models' {auroc:.3f}"
    rest = "" if matched is None else f"; on the GC x CpG-matched part the models reach {matched:.3f}"
    if open_:
        return (
            f"So few sequences leave open whether composition explains the label: {numbers}{rest}. "
            "Bring more sequences before this is read either way."
        )
    if share >= MOST:
        return (
            f"Composition is confounded with the label: {numbers}{rest}. "
            "Read the AUROC beside the baselines, or bring negatives of matched composition."
        )
    return f"Composition explains little: {numbers}{rest}."
