"""`tuner evaluate --predictions`: what is predicted for every test sequence, as the model predicts it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from command_line import Terminal, copy_runs

import tuner
from tuner.errors import DataError, UsageError
from tuner.models.metrics import auroc
from tuner.results.test_predictions import Predictions, check_predictions, write_predictions


@pytest.mark.slow
def test_the_table_holds_what_the_model_predicts(terminal: Terminal, used_study: tuner.Study) -> None:
    copy_runs(Path(used_study.storage).parents[1], terminal.folder)
    done = terminal("evaluate", "--study", "tiny", "--predictions", "p.tsv", "--json")
    assert done.code == 0, done.err
    assert "predictions of" in done.err
    table = pd.read_csv(terminal.folder / "p.tsv", sep="\t")
    assert table.columns.tolist() == ["id", "label", "logit", "sd", "probability"]
    value = auroc(table[["label"]].to_numpy(), table[["logit"]].to_numpy())
    assert value == pytest.approx(done.json["ensemble"], abs=1e-6)
    refused = terminal.refuses("evaluate", "--study", "tiny", "--predictions", "p.xlsx")
    assert refused[0] == 2
    assert "its name must end with .tsv or .bed" in refused[1]
    without = terminal("evaluate", "--study", "tiny", "--predictions", "p.bed")
    assert without.code == 1
    assert "have no positions on a genome" in without.err
    assert not (terminal.folder / "p.bed").exists()


def found(ids: tuple[str, ...], tasks: tuple[str, ...] = ("a",)) -> Predictions:
    rng = np.random.default_rng(0)
    shape = (len(ids), len(tasks))
    numbers = [rng.random(shape) for _ in range(3)]
    return Predictions(ids, tasks, rng.integers(0, 2, shape).astype(np.uint8), *numbers, 100)


def test_bed_is_sorted_and_keeps_strands(tmp_path: Path) -> None:
    some = found(("chr2:500-600(-)", "chr1:900-1000(+)", "chr1:20-120(.)"))
    write_predictions(tmp_path / "p.bed", some)
    lines = [line.split("\t") for line in (tmp_path / "p.bed").read_text().splitlines()]
    assert [line[:3] for line in lines] == [
        ["chr1", "20", "120"], ["chr1", "900", "1000"], ["chr2", "500", "600"],
    ]  # fmt: skip
    assert [line[5] for line in lines] == [".", "+", "-"]
    assert [int(line[4]) for line in lines] == [round(1000 * some.probability[i, 0]) for i in (2, 1, 0)]
    assert [float(line[7]) for line in lines] == pytest.approx([some.logits[i, 0] for i in (2, 1, 0)], abs=1e-5)
    assert [line[6] for line in lines] == [str(some.labels[i, 0]) for i in (2, 1, 0)]


def test_several_tasks_and_wrong_names(tmp_path: Path) -> None:
    several = found(("chr2:500-600(-)",), ("a", "b"))
    write_predictions(tmp_path / "p.tsv", several)
    header = (tmp_path / "p.tsv").read_text().splitlines()[0].split("\t")
    assert header == [
        "id",
        "label_a",
        "logit_a",
        "sd_a",
        "probability_a",
        "label_b",
        "logit_b",
        "sd_b",
        "probability_b",
    ]
    with pytest.raises(DataError, match="BED holds one task, and there are a, b"):
        write_predictions(tmp_path / "p.bed", several)
    with pytest.raises(UsageError, match=r"must end with \.tsv or \.bed"):
        check_predictions(tmp_path / "p.txt")
