"""docs/models.md lists what the tables hold."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from tuner.models.activations import ACTIVATIONS
from tuner.models.architectures import ARCHITECTURES
from tuner.models.hyperparameters import HYPERPARAMETERS
from tuner.models.initializers import INITIALIZERS

PAGE = Path(__file__).parents[1] / "docs" / "models.md"
HEADINGS = {
    "Architectures": ARCHITECTURES,
    "Hyperparameters": HYPERPARAMETERS,
    "Activations of the first layer": ACTIVATIONS,
    "Initial weights of the first layer": INITIALIZERS,
}


def rows(heading: str) -> dict[str, list[str]]:
    """Rows of the first table under a heading: name -> its other cells."""
    section = PAGE.read_text(encoding="utf-8").split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {first.strip("`"): rest for first, *rest in cells}


@pytest.mark.parametrize(("heading", "table"), HEADINGS.items(), ids=list(HEADINGS))
def test_the_page_lists_every_row_and_no_other(heading: str, table: Iterable[str]) -> None:
    assert list(rows(heading)) == list(table)


def test_the_page_states_published_shapes() -> None:
    for name, (_, length, tasks, parameters, source) in rows("Architectures").items():
        row = ARCHITECTURES[name]
        assert (length, tasks, parameters, source) == (
            str(row.length),
            str(row.tasks),
            f"{row.parameters:,}",
            row.source,
        )


def test_the_page_states_what_hyperparameters_do() -> None:
    for name, (_, note) in rows("Hyperparameters").items():
        assert note == HYPERPARAMETERS[name].note


def test_the_page_states_the_deeplift_rules() -> None:
    for name, (_, rule) in rows("Activations of the first layer").items():
        assert rule == ACTIVATIONS[name].deeplift
