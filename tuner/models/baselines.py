"""Baselines that a network must beat: composition and single motifs, fitted like a model and stored as plain arrays.

ChIP-seq peaks differ from their background in composition, so a network's AUROC says little until it is compared with
that of GC content or of a 6-mer regression. All choices are made on training and validation data; a stored baseline
can score the test split later, when that is opened.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from tuner.data.composition import kmer_counts
from tuner.data.dataset import Dataset, Split
from tuner.errors import DataError, unknown
from tuner.genome.sequence import cpg, gc_content
from tuner.models.budget import check_archive
from tuner.models.metrics import FloatArray, auroc
from tuner.models.pwm import best_scores
from tuner.motifs.meme import Motif

# Inverse regularisation, in half decades; the best value is inside this range on ZBED2 and IRF1 for k = 2 and 6.
_GRID = tuple(float(10 ** (exponent / 2)) for exponent in range(-6, 3))
# More sequences than these change the baselines little and would take minutes (2080 6-mers, 1000 motifs).
_MOST_FOR_REGRESSION = 20_000
_MOST_FOR_MOTIFS = 5_000
_FORMAT = "tuner-baselines-1"

Arrays = Mapping[str, npt.NDArray[Any]]


@dataclass(frozen=True, eq=False)
class Baseline:
    """A fitted baseline of one data set.

    Parameters
    ----------
    name : str
        ``"gc"``, ``"cpg"``, ``"2-mer"``, ``"6-mer"`` or ``"best PWM"``.
    detail : str
        What was chosen, and on what.
    kind : str
        How `arrays` score a sequence; a key of `SCORERS`.
    arrays : mapping of str to numpy.ndarray
        Fitted values, one row per task.
    train_auroc, valid_auroc : float
        Macro over tasks, of the training sequences used and of the validation split.
    """

    name: str
    detail: str
    kind: str
    arrays: Arrays
    train_auroc: float
    valid_auroc: float

    def to_bytes(self) -> bytes:
        """Serialise the baseline as an .npz file with a JSON header and plain arrays; nothing is pickled."""
        head = {
            "name": self.name, "detail": self.detail, "kind": self.kind, "train_auroc": self.train_auroc,
            "valid_auroc": self.valid_auroc, "arrays": sorted(self.arrays),
        }  # fmt: skip
        text = json.dumps({"format": _FORMAT, "baselines": [head]}).encode()
        arrays = {f"0.{name}": array for name, array in self.arrays.items()}
        stream = io.BytesIO()
        np.savez_compressed(stream, allow_pickle=False, header=np.frombuffer(text, dtype=np.uint8), **arrays)
        return stream.getvalue()

    @classmethod
    def from_bytes(cls, content: bytes, name: str) -> Baseline:
        """Read what `to_bytes` returned.

        Raises
        ------
        DataError
            The content is damaged, of another format, or larger than its bytes justify; the error calls it `name`.
        """
        try:
            check_archive(io.BytesIO(content), name)
            with np.load(io.BytesIO(content), allow_pickle=False) as file:
                header = json.loads(file["header"].tobytes())
                if header["format"] != _FORMAT:
                    raise DataError(f"{name}: format {header['format']!r}; expected {_FORMAT!r}.")
                [row] = header["baselines"]
                if row["kind"] not in SCORERS:
                    raise DataError(f"{name}: {unknown('kind of baseline', row['kind'], SCORERS)}")
                arrays = {key: file[f"0.{key}"] for key in row.pop("arrays")}
                return cls(**row, arrays=arrays)
        except DataError:
            raise
        except Exception as error:  # zipfile, numpy and json report damage by many exceptions
            raise DataError(f"{name}: not a readable baseline ({error}).") from error

    def score(self, codes: npt.NDArray[np.uint8]) -> FloatArray:
        """Score sequences; higher means positive.

        Parameters
        ----------
        codes : numpy.ndarray, shape=(n, length), uint8
            A, C, G, T = 0..3, N = 4.

        Returns
        -------
        numpy.ndarray, shape=(n, n_tasks), float64
            Log-odds for regressions, bits for motifs, signed content for GC and CpG.
        """
        return SCORERS[self.kind](self.arrays, codes)


def _score_gc(arrays: Arrays, codes: npt.NDArray[np.uint8]) -> FloatArray:
    return np.asarray(gc_content(codes)[:, None] * arrays["sign"])


def _score_cpg(arrays: Arrays, codes: npt.NDArray[np.uint8]) -> FloatArray:
    return np.asarray(cpg(codes)[:, None] * arrays["sign"])


def _features(codes: npt.NDArray[np.uint8], k: int) -> npt.NDArray[np.float32]:
    """Square roots of strand-collapsed k-mer counts: their variance does not grow with the mean."""
    return np.sqrt(kmer_counts(codes, k, collapse=True))


def _score_kmers(arrays: Arrays, codes: npt.NDArray[np.uint8]) -> FloatArray:
    features = _features(codes, int(arrays["k"])).astype(np.float64)
    return np.asarray(features @ arrays["weights"].T + arrays["intercept"])


def _score_pwm(arrays: Arrays, codes: npt.NDArray[np.uint8]) -> FloatArray:
    ppms = [ppm[:, :width] for ppm, width in zip(arrays["ppm"], arrays["width"], strict=True)]
    return best_scores(codes, ppms).astype(np.float64)


SCORERS: dict[str, Callable[[Arrays, npt.NDArray[np.uint8]], FloatArray]] = {
    "gc": _score_gc,
    "cpg": _score_cpg,
    "kmers": _score_kmers,
    "pwm": _score_pwm,
}


def fit_baselines(dataset: Dataset, motifs: Sequence[Motif] = (), *, seed: int = 0) -> tuple[Baseline, ...]:
    """Fit GC, CpG, 2-mer and 6-mer regressions, and the best single motif, on training data.

    Parameters
    ----------
    dataset : Dataset
        Its test split is not touched.
    motifs : sequence of Motif
        Candidates for the best single motif; none leaves that baseline out.
    seed : int
        Draws the subset of a training split that is larger than a baseline needs.

    Returns
    -------
    tuple of Baseline
        In the order named.

    Raises
    ------
    DataError
        If a task of the training or validation split has one class.
    MetricError
        Likewise.
    """
    names = ["gc", "cpg", *(f"{k}-mer" for k in (2, 6) if dataset.length >= k)]
    names += ["best PWM"] if motifs else []
    return tuple(fit_baseline(name, dataset, motifs, seed=seed) for name in names)


def fit_baseline(name: str, dataset: Dataset, motifs: Sequence[Motif] = (), *, seed: int = 0) -> Baseline:
    """Fit one baseline by its name; see `fit_baselines`."""
    train, valid = dataset.train, dataset.valid
    fitters: dict[str, Callable[[], Baseline]] = {
        "gc": lambda: _content("gc", "GC content", train, valid),
        "cpg": lambda: _content("cpg", "CpG o/e", train, valid),
        "2-mer": lambda: _regression(2, *_subset(train, _MOST_FOR_REGRESSION, seed), valid),
        "6-mer": lambda: _regression(6, *_subset(train, _MOST_FOR_REGRESSION, seed), valid),
        "best PWM": lambda: _best_motif(motifs, *_subset(train, _MOST_FOR_MOTIFS, seed), valid),
    }
    if name not in fitters:
        raise DataError(unknown("baseline", name, fitters))
    return fitters[name]()


def _subset(split: Split, most: int, seed: int) -> tuple[Split, str]:
    if len(split) <= most:
        return split, f"{len(split)} training sequences"
    rows = np.sort(np.random.default_rng(seed).permutation(len(split))[:most])
    return split.take(rows), f"{most} of {len(split)} training sequences"


def _finish(name: str, detail: str, kind: str, arrays: Arrays, train: Split, valid: Split) -> Baseline:
    return Baseline(
        name,
        detail,
        kind,
        arrays,
        auroc(train.labels, SCORERS[kind](arrays, train.codes)),
        auroc(valid.labels, SCORERS[kind](arrays, valid.codes)),
    )


def _content(kind: str, words: str, train: Split, valid: Split) -> Baseline:
    plain = SCORERS[kind]({"sign": np.ones(train.labels.shape[1])}, train.codes)
    up = [auroc(train.labels[:, t], plain[:, t]) >= 0.5 for t in range(train.labels.shape[1])]
    sign = np.where(up, 1.0, -1.0)
    direction = "higher" if all(up) else "lower" if not any(up) else "higher or lower by task"
    detail = f"{words}; positives have the {direction} one in the training split"
    return _finish(kind, detail, kind, {"sign": sign}, train, valid)


def _regression(k: int, train: Split, note: str, valid: Split) -> Baseline:
    from sklearn.linear_model import LogisticRegression  # takes half a second to import, and few processes need it

    x, x_valid = _features(train.codes, k), _features(valid.codes, k)
    weights, intercepts, chosen = [], [], []
    for task in range(train.labels.shape[1]):
        y = train.labels[:, task]
        if y.min() == y.max():
            raise DataError(f"task {task} has one class in {note}; the {k}-mer regression needs both.")
        best: tuple[float, float, Any] | None = None
        for c in _GRID:
            model = LogisticRegression(C=c, max_iter=5000).fit(x, y)
            value = auroc(valid.labels[:, task], model.decision_function(x_valid))
            if best is None or value > best[0]:
                best = value, c, model
        assert best is not None
        weights.append(best[2].coef_[0])
        intercepts.append(best[2].intercept_[0])
        chosen.append(f"{best[1]:.3g}")
    arrays = {
        "k": np.asarray(k),
        "weights": np.stack(weights).astype(np.float64),
        "intercept": np.asarray(intercepts, dtype=np.float64),
    }
    detail = (
        f"logistic regression on square roots of strand-collapsed {k}-mer counts; {note}; "
        f"C chosen on validation: {', '.join(chosen)}"
    )
    return _finish(f"{k}-mer", detail, "kmers", arrays, train, valid)


def _best_motif(motifs: Sequence[Motif], train: Split, note: str, valid: Split) -> Baseline:
    if not motifs:
        raise DataError("the best PWM needs motifs to choose from; the database has none.")
    scores = best_scores(train.codes, [motif.ppm for motif in motifs])
    best: list[Motif] = []
    for task in range(train.labels.shape[1]):
        values = [auroc(train.labels[:, task], scores[:, m]) for m in range(len(motifs))]
        best.append(motifs[int(np.argmax(values))])
    width = np.asarray([motif.ppm.shape[1] for motif in best])
    ppm = np.full((len(best), 4, int(width.max())), 0.25)
    for row, motif in zip(ppm, best, strict=True):
        row[:, : motif.ppm.shape[1]] = motif.ppm
    named = ", ".join(f"{motif.id} {motif.name}" for motif in best)
    detail = f"best window on either strand; of {len(motifs)} motifs, by AUROC of {note}: {named}"
    return _finish("best PWM", detail, "pwm", {"ppm": ppm, "width": width}, train, valid)
