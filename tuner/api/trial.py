"""`Trial`: one trial of a study with its files, and `Filters`: its first layer."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from functools import cached_property
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from tuner.api.model import Model
from tuner.motifs.filters import Filter
from tuner.motifs.match import FilterMatch
from tuner.motifs.meme import Motif
from tuner.plots.filter_logos import filter_logos
from tuner.results.leaderboard import FrozenTrial, watched
from tuner.results.trial_files import DESCRIPTION, read_filters, read_history, read_matches, stored_network
from tuner.storage.artifacts import Artifacts

if TYPE_CHECKING:
    import pandas as pd


class Filters:
    """The first-layer filters of a network as motifs; a notebook shows their logos.

    Parameters
    ----------
    filters : tuple of Filter
        The filters, in the order of the convolution's channels.
    matches : tuple of FilterMatch
        The best match of each filter in the database.
    """

    def __init__(self, filters: tuple[Filter, ...], matches: tuple[FilterMatch, ...]) -> None:
        self._filters, self._matches = filters, matches

    def __len__(self) -> int:
        return len(self._filters)

    def __iter__(self) -> Iterator[Filter]:
        return iter(self._filters)

    def __getitem__(self, index: int) -> npt.NDArray[np.float64]:
        """Probabilities of one filter, shape=(4, width), rows A, C, G, T; width 0 if no column is informative."""
        return self._filters[index].ppm

    @property
    def table(self) -> pd.DataFrame:
        """One row per filter: sites, information, and its best match."""
        return _frame(FilterMatch, self._matches)

    @property
    def motifs(self) -> list[Motif]:
        """Filters that have a matrix, for `tuner.match`."""
        return [
            Motif(f"filter{f.index}", f"filter{f.index}", f.ppm, None, float(f.sites))
            for f in self._filters
            if f.ppm.shape[1]
        ]

    @cached_property
    def svg(self) -> str:
        """Draw all logos as one SVG picture, matched ones first."""
        return filter_logos(self._filters, self._matches)

    def _repr_html_(self) -> str:
        # As an image, because styles and ids of an inline SVG would affect the page around it.
        content = base64.b64encode(self.svg.encode()).decode()
        return f'<img alt="logos of {len(self)} filters" src="data:image/svg+xml;base64,{content}"/>'

    def __repr__(self) -> str:
        matched = sum(row.significant for row in self._matches)
        return f"Filters({len(self)} filters, {matched} match a motif)"


class Trial:
    """One trial: its settings, its results, and its files.

    Parameters
    ----------
    study : str
        Name of the study or stage, for display.
    trial : FrozenTrial
        The trial as stored.
    objectives : list of str
        Names of its values.
    artifacts : Artifacts
        Store of its files.
    """

    def __init__(self, study: str, trial: FrozenTrial, objectives: list[str], artifacts: Artifacts) -> None:
        self._study, self._trial, self._objectives, self._artifacts = study, trial, objectives, artifacts

    @property
    def number(self) -> int:
        """Its number."""
        return self._trial.number

    @property
    def state(self) -> str:
        """``COMPLETE``, ``PRUNED``, ``FAIL``, ``RUNNING`` or ``WAITING``."""
        return self._trial.state.name

    @property
    def reason(self) -> str:
        """Why it was pruned or failed."""
        return str(self._trial.user_attrs.get("reason", ""))

    @property
    def params(self) -> dict[str, Any]:
        """Hyperparameters and training settings."""
        return dict(self._trial.params)

    @property
    def values(self) -> dict[str, float]:
        """Objective -> value, on validation; empty unless it completed."""
        return dict(zip(self._objectives, self._trial.values, strict=True)) if self._trial.values else {}

    @property
    def watched(self) -> dict[str, float]:
        """Every metric that was recorded in addition to the objectives."""
        return watched(self._trial)

    def model(self) -> Model:
        """The trained network.

        Raises
        ------
        StorageError
            Its files are missing, or differ from what was stored.
        """
        network, average_strands = stored_network(self._artifacts, self._trial)
        told = json.loads(self._artifacts.get(self._trial, DESCRIPTION))
        tasks = told.get("tasks") or [f"task {i}" for i in range(told["n_tasks"])]
        return Model(network, tuple(str(task) for task in tasks), int(told["length"]), average_strands)

    def filters(self) -> Filters:
        """The first layer as motifs, with logos in a notebook; raises the errors of `model`."""
        rows, ppms = read_matches(self._artifacts, self._trial), read_filters(self._artifacts, self._trial)
        nothing = np.zeros((4, 0))
        filters = tuple(
            Filter(r.filter, ppms.get(r.filter, nothing), r.sites, r.information, r.sites > 0, 0) for r in rows
        )
        return Filters(filters, rows)

    def matches(self) -> pd.DataFrame:
        """One row per filter: its best match in the database, with p and E; raises the errors of `model`."""
        return _frame(FilterMatch, read_matches(self._artifacts, self._trial))

    def history(self) -> pd.DataFrame:
        """One row per epoch: losses, validation scores, learning rate, seconds; raises the errors of `model`."""
        from tuner.models.recipe import EpochRecord

        return _frame(EpochRecord, read_history(self._artifacts, self._trial)).set_index("epoch")

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {value:.4f}" for name, value in self.values.items())
        return f"Trial({self._study} {self.number}: {self.state}{', ' + shown if shown else ''})"

    def _repr_html_(self) -> str:
        values = {"state": self.state, **self.values, **self.params, **({"reason": self.reason} if self.reason else {})}
        rows = "".join(f"<tr><td>{escape(k)}</td><td>{escape(_shown(v))}</td></tr>" for k, v in values.items())
        return f"<p><b>{escape(self._study)} trial {self.number}</b></p><table>{rows}</table>"


def _shown(value: Any) -> str:
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _frame(kind: Any, rows: Any) -> pd.DataFrame:
    import pandas as pd

    return pd.DataFrame(list(rows), columns=list(kind._fields))
