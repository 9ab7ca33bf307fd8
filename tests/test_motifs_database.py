"""Databases: JASPAR releases, MEME files, names that do not exist."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tuner.errors import MotifError
from tuner.motifs.database import MotifDatabase, load_database
from tuner.motifs.jaspar import JASPAR_GROUPS, JASPAR_NAMES, JASPAR_RELEASES, jaspar_motifs
from tuner.motifs.meme import Motif

# CORE vertebrates, non-redundant, as the releases' papers and download pages count them.
COUNTS = {
    "JASPAR2014": 205,
    "JASPAR2016": 519,
    "JASPAR2018": 579,
    "JASPAR2020": 746,
    "JASPAR2022": 841,
    "JASPAR2024": 879,
    "JASPAR2026": 1019,
}


def test_every_release_has_its_count_of_vertebrate_motifs() -> None:
    assert {name: len(jaspar_motifs(name)) for name in JASPAR_RELEASES} == COUNTS


def test_the_fungi_of_a_release_are_those_of_its_file(data_dir: Path) -> None:
    file = load_database(str(data_dir / "motifs" / "JASPAR2022_fungi.converted.meme"), screen=False)
    fungi = {m.id: m for m in jaspar_motifs("JASPAR2022-fungi")}
    assert {m.id for m in file.motifs} == set(fungi)
    for motif in file.motifs:
        np.testing.assert_allclose(motif.ppm, fungi[motif.id].ppm, atol=1e-5)
    assert fungi["MA0363.2"].name == "REB1"


def test_every_group_of_every_release_is_a_database() -> None:
    assert len(JASPAR_NAMES) == 6 * len(JASPAR_RELEASES)
    newest = {group: load_database(f"JASPAR2026-{group}", screen=False) for group in JASPAR_GROUPS}
    assert all(database.name == f"JASPAR2026-{group}" for group, database in newest.items())
    ids = [m.id for database in newest.values() for m in database.motifs]
    assert len(ids) == len(set(ids)) > 1500  # no motif belongs to two groups
    assert not set(ids) & {m.id for m in jaspar_motifs("JASPAR2026")}


def test_motifs_are_sorted_valid_and_unique() -> None:
    motifs = jaspar_motifs("JASPAR2026")
    ids = [m.id for m in motifs]
    assert ids == sorted(set(ids))
    for motif in motifs:
        np.testing.assert_allclose(motif.ppm.sum(axis=0), 1, atol=1e-12)
        assert motif.n_sites
        assert motif.n_sites >= 10
    assert sum(m.family is None for m in motifs) == 3


def test_jaspar_2016_is_the_list_the_published_simulations_draw_from(data_dir: Path) -> None:
    blocks = (data_dir / "koo" / "pfm_vertebrates.txt").read_text().split(">")[1:]
    motifs = jaspar_motifs("JASPAR2016")
    assert len(blocks) == len(motifs)
    for block, motif in zip(blocks, motifs, strict=True):
        lines = block.strip().splitlines()
        assert lines[0].split() == [motif.id, motif.name]
        counts = np.array([line[line.index("[") + 1 : line.index("]")].split() for line in lines[1:]], dtype=float)
        np.testing.assert_allclose(motif.ppm, counts / counts.sum(axis=0), atol=1e-12)
        assert motif.n_sites == counts.sum(axis=0).max()


def test_the_published_target_file_is_the_release_less_one(data_dir: Path) -> None:
    file = load_database(str(data_dir / "koo" / "JASPAR_CORE_2016_vertebrates.meme"), screen=False)
    release = {m.id: m for m in jaspar_motifs("JASPAR2016")}
    assert set(release) - {m.id for m in file.motifs} == {"MA0615.1"}
    for motif in file.motifs:
        np.testing.assert_allclose(motif.ppm, release[motif.id].ppm, atol=1e-5)
    assert file.name == "JASPAR_CORE_2016_vertebrates"
    assert {m.family for m in file.motifs} == {None}


def test_unknown_names_are_refused_with_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(MotifError, match=r"unknown motif database 'JASPR2026'; did you mean 'JASPAR2026'.*by its path"):
        load_database("JASPR2026")
    with pytest.raises(MotifError, match=r"no such file"):
        load_database(str(tmp_path / "mine.meme"))
    with pytest.raises(MotifError, match="unknown JASPAR release"):
        jaspar_motifs("JASPAR1999")


def test_a_motif_is_found_or_the_nearest_is_named() -> None:
    database = load_database("JASPAR2016", screen=False)
    assert database.find("MA0004.1").name == "Arnt"
    with pytest.raises(MotifError, match=r"JASPAR2016: unknown motif 'MA0137.9'; did you mean 'MA0137.3'"):
        database.find("MA0137.9")
    with pytest.raises(MotifError, match=r"unknown motif 'Arnt'; ") as error:
        database.find("Arnt")
    assert len(str(error.value)) < 200


def test_digest_sees_motifs_and_marks() -> None:
    ppm = np.full((4, 3), 0.25)
    motifs = (Motif("a", "", ppm), Motif("b", "", ppm))
    plain, marked = MotifDatabase("x", motifs), MotifDatabase("x", motifs, frozenset({"a"}))
    assert plain.digest == MotifDatabase("renamed", motifs).digest
    assert plain.digest != marked.digest
    assert plain.digest != MotifDatabase("x", motifs[:1]).digest
    assert [m.id for m in marked.screened] == ["b"]
