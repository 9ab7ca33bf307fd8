"""How much of a model's AUROC composition alone would give, in words made from the numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from tuner.data.sizes import FEWEST, auroc_interval

COMPOSITION = ("gc", "cpg", "2-mer")
MOST = 0.5  # of the way from chance to the model


class Composition(NamedTuple):
    """What composition explains.

    Attributes
    ----------
    words : str
        One paragraph.
    confounded : bool
        Whether it explains half of the score or more, and enough sequences say so.
    """

    words: str
    confounded: bool


def composition_words(
    controls: Mapping[str, Sequence[float]], auroc: float, matched: float | None, sizes: tuple[int, int] | None = None
) -> Composition | None:
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
        that leaves open what composition explains, the words do so too. Of few, the matched part is not spoken of.

    Returns
    -------
    Composition or None
        None without composition baselines, or for models that are not above chance.
    """
    known = {name: max(controls[name]) for name in COMPOSITION if controls.get(name)}
    if not known or auroc <= 0.5:
        return None
    best = max(known, key=lambda name: known[name])
    share = max(0.0, (known[best] - 0.5) / (auroc - 0.5))
    label = {"gc": "GC content", "cpg": "CpG content", "2-mer": "2-mer counts"}[best]
    interval, open_, few = "", False, False
    if sizes is not None:
        few = min(sizes) < FEWEST
        low, high = auroc_interval(known[best], *sizes)
        interval = f" (95 % interval about {low:.2f} to {high:.2f}, from {sizes[0]} + {sizes[1]} sequences)"
        open_ = (low - 0.5) / (auroc - 0.5) < MOST <= (high - 0.5) / (auroc - 0.5)
    numbers = f"{label} alone reach{'' if best == '2-mer' else 'es'} AUROC {known[best]:.3f}{interval}, "
    if share > 1:
        numbers += f"more than the models' {auroc:.3f}"
    else:
        numbers += f"{share:.0%} of the way from chance to the models' {auroc:.3f}"
    if matched is not None and not few:
        numbers += f"; on the GC x CpG-matched part the models reach {matched:.3f}"
    if open_:
        words = (
            f"There are too few sequences to say whether composition explains the label: {numbers}. "
            "Add sequences before concluding either way."
        )
    elif share >= MOST:
        words = (
            f"Composition is confounded with the label: {numbers}. Compare the models with the baselines, or use "
            "negatives that match the positives in composition and in N."
        )
    else:
        words = f"Composition explains little: {numbers}."
    return Composition(words, confounded=share >= MOST and not open_)
