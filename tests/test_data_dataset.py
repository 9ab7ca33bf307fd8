"""`Dataset`: fingerprint, the closed test split, description, and what `check` refuses."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from tuner.data.dataset import Dataset, Split, check
from tuner.errors import DataError
from tuner.genome.sequence import reverse_complement


@pytest.fixture
def dataset() -> Dataset:
    rng = np.random.default_rng(0)
    return Dataset(
        name="toy",
        tasks=("a", "b"),
        splits={
            name: Split(
                rng.integers(4, size=(n, 30)).astype(np.uint8),
                np.array([[0, 1], [1, 0]] * (n // 2), np.uint8),
            )
            for name, n in (("train", 20), ("valid", 6), ("test", 8))
        },
        source="made up",
    )


def changed(dataset: Dataset, name: str, **parts: object) -> Dataset:
    return replace(dataset, splits={**dataset.splits, name: replace(dataset.splits[name], **parts)})


def test_a_sound_data_set_passes(dataset):
    check(dataset)
    check(dataset.without_test())


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_one_changed_base_changes_the_fingerprint(dataset, split):
    codes = dataset.splits[split].codes.copy()
    codes[3, 7] = (codes[3, 7] + 1) % 4
    assert changed(dataset, split, codes=codes).fingerprint != dataset.fingerprint


def test_one_changed_label_or_task_name_changes_the_fingerprint(dataset):
    labels = dataset.valid.labels.copy()
    labels[0] = 1 - labels[0]
    assert changed(dataset, "valid", labels=labels).fingerprint != dataset.fingerprint
    assert replace(dataset, tasks=("a", "c")).fingerprint != dataset.fingerprint


def test_name_source_and_notes_leave_the_fingerprint(dataset):
    assert replace(dataset, name="x", source="y", notes=("z",)).fingerprint == dataset.fingerprint


def test_the_test_split_closes_and_the_fingerprint_stays(dataset):
    closed = dataset.without_test()
    assert closed.fingerprint == dataset.fingerprint
    assert closed.without_test().fingerprint == dataset.fingerprint
    with pytest.raises(DataError, match="toy: the test split is closed"):
        _ = closed.test
    assert "test" not in closed.describe()["splits"]


def test_the_description_tells_nothing_about_the_test_split_but_its_size(dataset):
    description = dataset.describe()
    assert description["splits"]["test"] == {"sequences": 8}
    assert description["splits"]["train"]["positives"] == {"a": 10, "b": 10}
    assert json.loads(json.dumps(description)) == description


def test_copies_across_splits_and_contradicting_labels_are_warnings(dataset):
    codes = dataset.valid.codes.copy()
    codes[0] = reverse_complement(dataset.train.codes[4])
    codes[2] = codes[3]
    codes[1] = dataset.test.codes[1]
    warnings = changed(dataset, "valid", codes=codes).describe()["warnings"]
    assert [w for w in warnings if "occur" in w] == [
        "1 sequence of valid occurs in it again, on either strand, with a different label; the first is number 3. "
        "Remove them, or correct their labels.",
        "1 sequence of valid also occurs in train (on either strand), so scores on valid may be too high. Remove them "
        "from one of the two.",
        "1 sequence of test also occurs in valid (on either strand), so scores on test may be too high. Remove them "
        "from one of the two.",
    ]
    assert [w for w in dataset.describe()["warnings"] if "occur" in w] == []


@pytest.mark.parametrize(("value", "kind"), [(0, "negatives"), (1, "positives")])
def test_a_split_with_one_class_is_refused_with_task_and_split(dataset, value, kind):
    labels = dataset.valid.labels.copy()
    labels[:, 1] = value
    with pytest.raises(DataError, match=rf"toy, split 'valid': task 'b' has only {kind} \(6 sequences\)"):
        check(changed(dataset, "valid", labels=labels))


def test_wrong_codes_labels_and_shapes_are_refused(dataset):
    with pytest.raises(DataError, match=r"split 'train': codes hold 7; expected 0\.\.3"):
        check(changed(dataset, "train", codes=np.full((20, 30), 7, np.uint8)))
    with pytest.raises(DataError, match="split 'train': labels hold 2; expected 0 or 1"):
        check(changed(dataset, "train", labels=dataset.train.labels * 2))
    with pytest.raises(DataError, match=r"split 'test': codes have shape \(8, 29\); expected \(n, 30\)"):
        check(changed(dataset, "test", codes=dataset.test.codes[:, 1:]))
    with pytest.raises(DataError, match=r"6 sequences but labels of shape \(5, 2\); expected \(6, 2\)"):
        check(changed(dataset, "valid", labels=dataset.valid.labels[1:]))
    with pytest.raises(DataError, match=r"ground truth has shape \(2,\); expected \(6, 4, 30\)"):
        check(changed(dataset, "valid", truth=np.zeros(2, np.float32)))
    with pytest.raises(DataError, match="2 ids for 6 sequences"):
        check(changed(dataset, "valid", ids=("a", "b")))


def test_missing_and_empty_splits_and_repeated_tasks_are_refused(dataset):
    with pytest.raises(DataError, match="toy has no split 'test'; it has 'train', 'valid'"):
        check(replace(dataset, splits={k: v for k, v in dataset.splits.items() if k != "test"}))
    with pytest.raises(DataError, match="split 'valid' is empty"):
        check(replace(dataset, splits={**dataset.splits, "valid": dataset.valid.take(np.array([], int))}))
    with pytest.raises(DataError, match="task names repeat: a, a"):
        check(replace(dataset, tasks=("a", "a")))


def test_taking_rows_keeps_codes_labels_ids_and_truth_together(dataset):
    n = len(dataset.train)
    truth = np.arange(n * 4 * 30, dtype=np.float32).reshape(n, 4, 30)
    split = replace(dataset.train, ids=tuple(map(str, range(n))), truth=truth)
    some = split.take(np.arange(n) % 2 == 1)
    assert some.ids == tuple(map(str, range(1, n, 2)))
    assert np.array_equal(some.codes, split.codes[1::2])
    assert np.array_equal(some.labels, split.labels[1::2])
    assert np.array_equal(some.truth, truth[1::2])


def random_split(positives: int, negatives: int, seed: int) -> Split:
    codes = np.random.default_rng(seed).integers(4, size=(positives + negatives, 30)).astype(np.uint8)
    return Split(codes, (np.arange(positives + negatives) < positives).astype(np.uint8)[:, None])


def test_sizes_too_small_for_a_claim_are_named_with_what_they_can_tell() -> None:
    splits = {"train": random_split(300, 20, 0), "valid": random_split(1, 60, 1), "test": random_split(10, 10, 2)}
    few = Dataset("few", ("bound",), splits, "made up").describe()["warnings"]
    assert few[0] == (
        "train has 300 positives and 20 negatives, too few to train a network, which may do no better than chance. "
        "Add sequences, or give this split a larger share of them."
    )
    assert few[1].startswith("valid has 1 positive and 60 negatives, too few to tell trials apart: an AUROC of 0.8 ")
    assert few[2] == (
        "test has 20 sequences, too few to support a result: even if half of them are positives, an AUROC of 0.8 there "
        "has a 95 % interval from about 0.54 to 0.93. Add sequences, or give this split a larger share of them."
    )
    enough = {name: random_split(60, 60, i) for i, name in enumerate(splits)}
    assert Dataset("enough", ("bound",), enough, "made up").describe()["warnings"] == []


def test_copies_that_leave_a_split_without_a_class_are_named_as_the_cause() -> None:
    rng = np.random.default_rng(0)
    positives, one = rng.integers(4, size=(60, 30)).astype(np.uint8), rng.integers(4, size=(1, 30)).astype(np.uint8)
    negatives = np.concatenate([np.repeat(one, 30, axis=0), np.repeat(reverse_complement(one), 30, axis=0)])

    def split(pos: slice, neg: slice) -> Split:
        codes = np.concatenate([positives[pos], negatives[neg]])
        return Split(codes, np.repeat(np.array([1, 0], np.uint8), [len(positives[pos]), len(negatives[neg])])[:, None])

    splits = {
        "train": split(slice(0, 40), slice(0, 60)), "valid": split(slice(40, 50), slice(0, 0)),
        "test": split(slice(50, 60), slice(0, 0)),
    }  # fmt: skip
    with pytest.raises(DataError, match=r"the 60 negatives are copies of 1 distinct sequence, and copies of"):
        check(Dataset("same", ("bound",), splits, "made up"))
