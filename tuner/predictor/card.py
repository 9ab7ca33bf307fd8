"""The card of a predictor: what it is, what it was made from, how well it does, and what it is not for."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tuner.predictor.reference import KEPT
from tuner.results.words import baseline_name

if TYPE_CHECKING:
    from jinja2 import Environment

    from tuner.predictor.predictor import Predictor

_TEMPLATES = Path(__file__).parent / "templates"
_METRICS = {"auroc": "roc_auc", "average_precision": "average_precision"}
_PARTS = ("study", "data", "validation", "controls", "outdone", "test", "openings", "motifs")  # of `about`
_SPECIAL = re.compile(r"([\\`*_{}\[\]<>|#])")


def card_text(predictor: Predictor, *, onnx: bool) -> str:
    """Word the card as Markdown, with the front matter of the Hugging Face Hub; the licence is left to the user.

    Parameters
    ----------
    predictor : Predictor
        What it describes; what `about` lacks is left out.
    onnx : bool
        Whether the folder holds a graph.
    """
    from tuner.predictor.predictor import threshold_rows

    about = dict.fromkeys(_PARTS) | dict(predictor.about)
    metrics = [known for name, known in _METRICS.items() if name in (about["validation"] or {})]
    return (
        _environment()
        .get_template("card.md.j2")
        .render(
            p=predictor, about=about, onnx=onnx, metrics=metrics or list(_METRICS.values()), kept=KEPT,
            thresholds=threshold_rows(predictor), matched=len(predictor.motifs()),
            parameters=sum(m.parameters for m in predictor.members),
            strands=[m.average_strands for m in predictor.members],
        )
    )  # fmt: skip


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    found = Environment(
        loader=FileSystemLoader(_TEMPLATES), undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True,
        keep_trailing_newline=True, autoescape=False,
    )  # fmt: skip
    found.filters |= {
        "quoted": lambda value: json.dumps(str(value), ensure_ascii=False), "plain": _plain, "share": _share,
        "interval": _interval, "baseline": baseline_name, "number": _number,
    }  # fmt: skip
    return found


def _plain(value: object) -> str:
    """Text that Markdown shows as it is."""
    return _SPECIAL.sub(r"\\\1", " ".join(str(value).split()))


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}"


def _share(value: Any) -> str:
    return "" if value is None else f"{100 * value:.3g} %"


def _interval(values: Any) -> str:
    """A value with its 95 % interval, as far as it is known."""
    value, low, high = values
    if value is None:
        return ""
    return f"{value:.4f}" + ("" if low is None or high is None else f" ({low:.3f} to {high:.3f})")
