"""Folds of a confirmation keep together what belongs together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from optuna.trial import create_trial
from tiny import SPACE, STUDY, load_tiny

from tuner.data.registry import load_dataset
from tuner.data.relatives import related
from tuner.data.spec import DataSpec
from tuner.data.splits import k_fold
from tuner.genome.sequence import decode
from tuner.search.held_out import held_out
from tuner.search.loaded import load_bench
from tuner.search.trial import fold_dataset
from tuner.storage.keys import FOLDS
from tuner.study.file import read_study
from tuner.study.plan import check_identity, make_plan, mix, study_space


def test_a_group_is_never_in_training_and_held_out(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    texts = decode(rng.integers(0, 4, (1600, 40)).astype(np.uint8))
    chromosomes = rng.integers(1, 17, 1600)
    lines = [f"{s}\t{i % 2}\tchr{c}" for i, (s, c) in enumerate(zip(texts, chromosomes, strict=True))]
    (tmp_path / "t.tsv").write_text("\n".join(["sequence\ty\tchromosome", *lines]))
    whole = load_dataset(DataSpec(path="t.tsv", group_column="chromosome"), base=tmp_path).without_test()
    held = []
    for fold in range(5):
        part = fold_dataset(whole, 5, fold, seed=3)
        assert part.train.groups is not None
        assert part.valid.groups is not None
        assert not set(part.train.groups) & set(part.valid.groups)
        assert len(part.train) + len(part.valid) == len(whole.train) + len(whole.valid)
        held += sorted(set(part.valid.groups))
    assert len(held) == len(set(held))  # each chromosome is held out once


def test_a_positive_and_its_shuffle_and_copies_stay_in_one_fold(tmp_path: Path) -> None:
    texts = decode(np.random.default_rng(0).integers(0, 4, (300, 40)).astype(np.uint8))
    (tmp_path / "p.fa").write_text("".join(f">s{i}\n{s}\n" for i, s in enumerate([*texts, *texts[:50]])))
    whole = load_dataset(DataSpec(positives="p.fa", negatives="shuffle"), base=tmp_path).without_test()
    for fold in range(4):
        part = fold_dataset(whole, 4, fold, seed=1)
        of = {tuple(row) for row in part.train.codes}
        assert not of & {tuple(row) for row in part.valid.codes}
        assert part.valid.labels.mean() == 0.5  # a positive brings its shuffle


def test_sequences_that_stand_alone_are_dealt_as_before(tmp_path: Path) -> None:
    texts = decode(np.random.default_rng(0).integers(0, 4, (200, 40)).astype(np.uint8))
    for name, part in (("p.fa", texts[:100]), ("n.fa", texts[100:])):
        (tmp_path / name).write_text("".join(f">{name}{i}\n{s}\n" for i, s in enumerate(part)))
    whole = load_dataset(DataSpec(positives="p.fa", negatives="n.fa"), base=tmp_path).without_test()
    labels = np.concatenate([whole.train.labels, whole.valid.labels])
    codes = np.concatenate([whole.train.codes, whole.valid.codes])
    held_out = k_fold(labels, 5, seed=7) == 2
    np.testing.assert_array_equal(fold_dataset(whole, 5, 2, seed=7).valid.codes, codes[held_out])


FOLDED = STUDY.replace('positives = "positives.fa"\nnegatives = "negatives.fa"', 'folder = "parts"').replace(
    "[confirmation]", "[confirmation]\nfolds = 3"
)


def write_parts(folder: Path) -> None:
    """Write a folder that is already split, with windows of one genome, so that many overlap across its splits."""
    rng = np.random.default_rng(3)
    genome = rng.integers(0, 4, 24_000).astype(np.uint8)
    (folder / "parts").mkdir(parents=True)
    for split, n in (("train", 150), ("valid", 60), ("test", 60)):
        for kind in ("positives", "negatives"):
            starts = rng.integers(0, 23_900, n)
            rows = [f">{kind}{i}\n{decode(genome[None, s : s + 80])[0]}\n" for i, s in enumerate(starts)]
            (folder / "parts" / f"{split}_{kind}.fa").write_text("".join(rows))


def test_folds_of_data_that_came_split_keep_relatives_together_in_new_studies_only(tmp_path: Path) -> None:
    write_parts(tmp_path)
    bench = load_tiny(tmp_path, study=FOLDED)
    now = bench.identity
    assert now["folds"] == "relatives together"
    former = {key: value for key, value in now.items() if key != "folds"}  # as a version without relatives stored it
    kept = load_bench(bench.plan, data_dir=None, cache=bench.cache, stored=former)
    assert kept.identity == former
    again = load_bench(bench.plan, data_dir=None, cache=bench.cache, stored=now)
    assert again.identity == now
    check_identity("tiny", now, again.identity)
    leaks = {True: 0, False: 0}
    for one in (again, kept):
        for fold in range(3):
            part = fold_dataset(one.dataset, 3, fold, seed=1)
            leaks[one.kin] += int(related(part.train.codes, part.valid.codes).sum())
            assert len(part.train) + len(part.valid) == 420
        # What evaluate and the predictor calibrate on is what the run of that replicate did not see.
        run = create_trial(value=0.5, user_attrs={FOLDS: 3, "replicate": 1})
        whole = load_dataset(one.plan.data_spec)
        found = held_out(one.plan, whole, one.identity)(run)
        trained = fold_dataset(one.dataset, 3, 1, mix(one.plan.seed, "folds", 0))
        np.testing.assert_array_equal(found.codes, trained.valid.codes)
    assert leaks[True] == 0
    assert leaks[False] > 100
    np.testing.assert_array_equal(again.dataset.train.codes, kept.dataset.train.codes)  # its own split stays


def test_a_stored_study_of_data_split_by_copies_alone_is_loaded_with_its_split(tmp_path: Path) -> None:
    write_parts(tmp_path)
    for kind in ("positives", "negatives"):
        parts = [(tmp_path / "parts" / f"{split}_{kind}.fa").read_text() for split in ("train", "valid", "test")]
        (tmp_path / f"{kind}.fa").write_text("".join(parts))
    spec = DataSpec(positives="positives.fa", negatives="negatives.fa")
    former = load_dataset(replace(spec, split="random"), base=tmp_path)
    study = tmp_path / "tiny.toml"
    (tmp_path / "search_spaces").mkdir()
    (tmp_path / "search_spaces" / "tiny_space.toml").write_text(SPACE)
    study.write_text(STUDY)
    space, _ = study_space(read_study(study), "standard", lambda name: tmp_path / "search_spaces" / f"{name}.toml")
    plan = make_plan(read_study(study), space, folder=tmp_path)
    new = load_bench(plan, data_dir=None, cache=Path.home() / ".cache" / "tuner")
    assert new.dataset.fingerprint != former.fingerprint
    stored = new.identity | {"data set": {**new.identity["data set"], "fingerprint": former.fingerprint}}
    old = load_bench(plan, data_dir=None, cache=new.cache, stored=stored)
    assert old.dataset.fingerprint == former.fingerprint
    np.testing.assert_array_equal(old.dataset.valid.codes, former.valid.codes)
