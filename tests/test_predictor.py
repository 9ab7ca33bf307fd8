"""The winner in use: the study's own predictions, a folder that stands alone, and what a score means."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from predictor_models import untrained
from sklearn.metrics import roc_curve

import tuner
from tuner.errors import ModelError, StudyError, UsageError
from tuner.genome.sequence import decode, one_hot, reverse_complement
from tuner.models.calibration import fit_calibration
from tuner.motifs.meme import parse_meme
from tuner.predictor.folder import CARD, CONFIG, load_model
from tuner.predictor.predictor import Predictor
from tuner.predictor.reference import KEPT, RATES, Reference
from tuner.predictor.windows import starts_of
from tuner.results.leaderboard import stage_trials
from tuner.results.test_split import declared_models
from tuner.results.trial_files import read_matches, stored_network

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
RNG = np.random.default_rng(7)


def random_codes(n: int, length: int = 60) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 4, (n, length)).astype(np.uint8)


# ------------------------------------------------------------------ the study's own predictions


def test_the_ensemble_is_that_of_the_study_on_the_test_split(
    used_study: tuner.Study, predictor: Predictor, tmp_path: Path
) -> None:
    from tuner.data.registry import load_dataset
    from tuner.models.prediction import predict
    from tuner.search.restore import restore_study

    storage, artifacts = used_study._storage, used_study._artifacts()
    dataset = load_dataset(restore_study(storage, "tiny").plan.data_spec)
    runs = declared_models(storage, "tiny", used_study.primary.number)
    assert len(runs) == len(predictor.members) == 2
    logits = [
        predict(network, dataset.test.codes, average_strands=both)
        for network, both in (stored_network(artifacts, run) for run in runs)
    ]
    mean = np.mean(logits, axis=0, dtype=np.float64)[:, 0]
    table = predictor.predict(decode(dataset.test.codes))
    assert np.abs(table["logit"] - mean).max() < 1e-6
    assert np.abs(table["sd"] - np.std(logits, axis=0, ddof=1, dtype=np.float64)[:, 0]).max() < 1e-6
    with torch.no_grad():
        by_module = predictor.module(one_hot(dataset.test.codes))[:, 0].numpy()
    assert np.abs(by_module - mean).max() < 1e-6
    whole = load_model(predictor.save(tmp_path / "copy"))
    assert np.abs(whole.predict(dataset.test.codes)["logit"] - mean).max() < 1e-6


def test_calibration_and_percentiles_are_those_of_validation(used_study: tuner.Study, predictor: Predictor) -> None:
    from tuner.data.registry import load_dataset
    from tuner.search.restore import restore_study

    valid = load_dataset(restore_study(used_study._storage, "tiny").plan.data_spec).valid
    logits = predictor.logits(valid.codes).mean(axis=0, dtype=np.float64)
    assert predictor.calibration == fit_calibration(valid.labels, logits)
    table = predictor.predict(valid.codes)
    for side, label in (("negatives", 0), ("positives", 1)):
        own = logits[valid.labels[:, 0] == label, 0]
        by_hand = [100 * np.mean(own < score) for score in logits[:, 0]]
        assert table[f"{side}_percentile"].tolist() == pytest.approx(by_hand, abs=1e-9)
    assert table["probability"].tolist() == pytest.approx(predictor.calibration.probability(logits)[:, 0].tolist())


def test_networks_of_a_cross_validation_are_calibrated_on_what_each_has_not_seen() -> None:
    from types import SimpleNamespace

    from tuner.data.dataset import Dataset, Split
    from tuner.predictor.stored import _validation
    from tuner.search.trial import fold_dataset
    from tuner.study.plan import mix

    codes, labels = random_codes(90, 50), np.arange(90, dtype=np.uint8)[:, None] % 2
    splits = {"train": Split(codes[:60], labels[:60]), "valid": Split(codes[60:], labels[60:])}
    dataset = Dataset("folds", ("bound",), splits, "made here", sealed="0" * 64)
    made = untrained({"architecture": "hw4"}, length=50, n=3)
    runs = [SimpleNamespace(user_attrs={"replicate": i, "folds": 3}) for i in range(3)]
    found, logits = _validation(made.members, runs, dataset, SimpleNamespace(seed=4), {}, 3, "cpu")  # type: ignore[arg-type]
    assert len(found) == 90  # every sequence once, by the network that was not trained on it
    start = 0
    for fold, member in enumerate(made.members):
        seen = fold_dataset(dataset, 3, fold, mix(4, "folds", 0)).train.codes
        held_out = np.array([row for row in codes if not (row == seen).all(axis=1).any()])
        own = untrained({"architecture": "hw4"}, length=50, n=3).logits(held_out)[fold, :, 0]
        assert np.sort(logits[start : start + len(own), 0]) == pytest.approx(np.sort(own), abs=1e-6)
        assert member.name == f"seed {fold}"
        start += len(own)
    assert start == 90


def test_a_named_trial_gives_its_own_models(used_study: tuner.Study) -> None:
    other = 1 - used_study.primary.number
    own = used_study.predictor(other, device="cpu")
    assert [m.name for m in own.members] == [f"trial {other}"]
    model = used_study.trial(other).model()
    codes = random_codes(5)
    table = own.predict(codes)
    assert np.abs(table["logit"] - model.predict(codes)[:, 0]).max() < 1e-6
    assert table["sd"].isna().all()
    with pytest.raises(StudyError, match="trial 99 is not there"):
        used_study.predictor(99)


def test_both_strands_have_one_score(predictor: Predictor) -> None:
    assert all(m.average_strands for m in predictor.members)
    codes = random_codes(20)
    forward, reverse = predictor.predict(codes), predictor.predict(reverse_complement(codes))
    assert forward["logit"].tolist() == pytest.approx(reverse["logit"].tolist(), abs=1e-6)
    with torch.no_grad():
        one, other = (predictor.module(one_hot(c)) for c in (codes, reverse_complement(codes)))
    assert (one - other).abs().max() < 1e-6


# ------------------------------------------------------------------ what a score means


def test_thresholds_keep_their_false_positive_rate_and_are_the_lowest_that_do() -> None:
    labels, logits = RNG.integers(0, 2, 3000), np.round(RNG.normal(size=3000), 2)  # with ties
    logits[labels == 1] += 1
    found = Reference.of(labels, logits)
    fpr, tpr, limits = roc_curve(labels, logits, drop_intermediate=False)  # scikit-learn calls score >= limit positive
    for threshold, rate in zip(found.thresholds, RATES, strict=True):
        at = int(np.flatnonzero(fpr <= rate)[-1])
        assert (logits[labels == 0] >= threshold.logit).mean() <= rate
        lowest = np.sort(np.unique(logits[labels == 0]))
        below = lowest[np.flatnonzero(lowest == threshold.logit)[0] - 1]
        assert (logits[labels == 0] >= below).mean() > rate
        assert limits[at] <= threshold.logit
        assert threshold.recall == tpr[np.flatnonzero(limits == threshold.logit)[0]]


def test_few_negatives_have_no_threshold_for_a_small_rate() -> None:
    found = Reference.of(np.array([0] * 50 + [1] * 3), np.arange(53.0))
    assert found.thresholds[0].logit is None
    assert found.thresholds[1].logit == 48.0  # 2 of 50 reach it; 3 would be 6 %
    assert Reference.of(np.ones(5), np.arange(5.0)).percentiles(np.array([3.0]))[0].tolist() == pytest.approx(
        [np.nan], nan_ok=True
    )


def test_percentiles_of_many_scores_are_right_to_a_tenth_of_a_percent() -> None:
    scores = RNG.normal(size=20_000)
    found = Reference.of(np.zeros(20_000), scores)
    assert len(found.negatives) == KEPT
    asked = np.linspace(-3, 3, 50)
    exact = np.array([100 * (scores < x).mean() for x in asked])
    assert np.abs(found.percentiles(asked)[0] - exact).max() < 0.11
    back = Reference.from_json(json.loads(json.dumps(found.to_json())), [])
    assert np.array_equal(back.negatives, found.negatives)


# ------------------------------------------------------------------ sequences of any length


def test_windows_cover_a_longer_sequence_and_its_end() -> None:
    for sequence, length, stride in ((60, 60, 15), (61, 60, 15), (90, 60, 15), (1000, 60, 60), (7, 60, 15)):
        starts = starts_of(sequence, length, stride)
        covered = {at for start in starts for at in range(start, min(start + length, sequence))}
        assert covered == set(range(sequence))
        assert starts == sorted(set(starts))
        assert max(starts) + length <= max(sequence, length)


def test_a_longer_sequence_has_maximum_mean_and_place_of_its_windows(predictor: Predictor) -> None:
    text = decode(random_codes(1, 137))[0]
    starts = starts_of(137, 60, 15)
    alone = predictor.predict([text[s : s + 60] for s in starts])["logit"].to_numpy()
    row = predictor.predict([text]).iloc[0]
    assert row["windows"] == len(starts) == 7
    assert row["logit"] == pytest.approx(alone.max(), abs=1e-6)
    assert row["mean_logit"] == pytest.approx(alone.mean(), abs=1e-6)
    assert row["start"] == starts[int(alone.argmax())]
    dense = predictor.predict([text], stride=1).iloc[0]
    assert dense["windows"] == 78
    assert dense["logit"] >= row["logit"] - 1e-6
    with pytest.raises(UsageError, match="stride of 61 bp; expected 1 to 60"):
        predictor.predict([text], stride=61)


def test_a_shorter_sequence_is_padded_as_a_data_set_is(predictor: Predictor) -> None:
    text = decode(random_codes(1, 31))[0]
    short, padded = predictor.predict([text, "N" * 14 + text + "N" * 15])["logit"]
    assert short == pytest.approx(padded, abs=1e-6)


def test_batches_and_lengths_do_not_change_a_score(predictor: Predictor) -> None:
    from tuner.data.stream import Sequence
    from tuner.genome.sequence import encode_one

    texts = [decode(random_codes(1, n))[0] for n in (60, 200, 5, 61, 60, 300, 60)]
    records = [Sequence(str(i), encode_one(text)) for i, text in enumerate(texts)]
    many = predictor._frame(predictor.blocks(records, batch=4))
    assert many["id"].tolist() == [str(i) for i in range(7)]
    assert many["length"].tolist() == [len(text) for text in texts]
    pd.testing.assert_frame_equal(many.drop(columns="id"), predictor.predict(texts), atol=1e-5)


def test_forms_of_sequences(predictor: Predictor) -> None:
    codes = random_codes(3)
    texts = decode(codes)
    expected = predictor.predict(codes)
    pd.testing.assert_frame_equal(predictor.predict(texts), expected)
    pd.testing.assert_frame_equal(predictor.predict(np.array(texts)), expected)
    series = predictor.predict(pd.Series(texts, index=["a", "b", "c"]))
    assert series.index.tolist() == ["a", "b", "c"]
    assert predictor.predict(texts[0]).shape == (1, 9)
    assert predictor.predict([]).columns.tolist() == expected.columns.tolist()
    for wrong, words in (([1, 2], "type int"), (np.zeros((2, 4, 60)), "codes of shape"), ([""], "empty"), (3, "text")):
        with pytest.raises(tuner.TunerError, match=words):
            predictor.predict(wrong)


# ------------------------------------------------------------------ the folder


def test_a_loaded_model_needs_no_study_and_reproduces_the_expected_scores(exported: Path, tmp_path: Path) -> None:
    alone = shutil.copytree(exported, tmp_path / "elsewhere")
    script = (
        "import sys, tuner\n"
        f"table = tuner.load_model({str(alone)!r}).predict_fasta({str(alone / 'example.fa')!r})\n"
        "table.to_csv(sys.stdout, sep='\\t', index=False)\n"
        "print(*(name for name in ('optuna', 'sqlalchemy') if name in sys.modules), file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=True,
        env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1", "TUNER_STORAGE": "/nowhere/s.db"},
    )  # fmt: skip
    (tmp_path / "found.tsv").write_text(done.stdout)
    found, expected = pd.read_csv(tmp_path / "found.tsv", sep="\t"), pd.read_csv(alone / "expected.tsv", sep="\t")
    assert len(expected) == 8
    pd.testing.assert_frame_equal(found, expected, atol=1e-4, check_dtype=False)
    assert expected["logit"].is_monotonic_increasing
    assert done.stderr.strip() == ""


BLOCKED = """
import sys, sysconfig
class Only:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        needed = ("numpy", "onnxruntime", "flatbuffers", "google", "packaging")
        if top not in sys.stdlib_module_names and top not in needed:
            raise ModuleNotFoundError(f"{name} is not here", name=name)
sys.meta_path.insert(0, Only())
sys.path.append(sys.argv[1])
script = sys.argv[2]
sys.argv = [script, *sys.argv[3:]]
exec(compile(open(script).read(), script, "exec"), {"__name__": "__main__", "__file__": script})
"""


def by_script(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Run predict.py where numpy and onnxruntime, with what it needs itself, are all that can be imported."""
    site = str(Path(np.__file__).parents[1])
    return subprocess.run(
        [sys.executable, "-I", "-S", "-c", BLOCKED, site, str(folder / "predict.py"), *words], capture_output=True,
        text=True,
    )  # fmt: skip


def test_the_script_needs_numpy_and_onnxruntime_only(exported: Path, tmp_path: Path) -> None:
    done = by_script(exported)
    assert done.returncode == 0, done.stderr
    (tmp_path / "found.tsv").write_text(done.stdout)
    found, expected = pd.read_csv(tmp_path / "found.tsv", sep="\t"), pd.read_csv(exported / "expected.tsv", sep="\t")
    pd.testing.assert_frame_equal(
        found[["id", "logit", "sd", "probability"]], expected[["id", "logit", "sd", "probability"]], atol=1e-4
    )
    assert np.abs(found["negatives_percentile"] - expected["negatives_percentile"]).max() < 20  # of 6 negatives, one
    short, long = tmp_path / "short.fa", tmp_path / "long.fa"
    short.write_text(">a first\nacgtu\nACGTN\n")
    long.write_text(">a\n" + "A" * 61 + "\n")
    row = by_script(exported, str(short)).stdout.splitlines()[1].split("\t")
    assert row[0] == "a"
    assert float(row[1]) == pytest.approx(load_model(exported).predict(["ACGTTACGTN"])["logit"][0], abs=1e-4)
    refused = by_script(exported, str(long))
    assert refused.returncode == 1
    assert "61 bp; this script takes up to 60" in refused.stderr
    assert len((exported / "predict.py").read_text().splitlines()) <= 42


def test_every_changed_byte_is_found_and_the_file_is_named(exported: Path, tmp_path: Path) -> None:
    files = sorted(file.name for file in exported.iterdir())
    assert files == [
        "card.md", "config.json", "example.fa", "expected.tsv", "matches.tsv", "model.onnx", "model.safetensors",
        "motifs.meme", "predict.py",
    ]  # fmt: skip
    assert set(json.loads((exported / CONFIG).read_text())["files"]) == set(files) - {CONFIG}
    for name in files:
        spoiled = shutil.copytree(exported, tmp_path / name)
        content = bytearray((spoiled / name).read_bytes())
        at = len(content) // 2
        content[at] ^= 1
        (spoiled / name).write_bytes(content)
        if name == CARD:  # people choose a licence in it
            assert load_model(spoiled).tasks == ("bound",)
            continue
        with pytest.raises(ModelError, match=rf"{name}: .*(has changed|damaged)"):
            load_model(spoiled)
        (spoiled / name).unlink()
        with pytest.raises(ModelError, match=f"{name}: no such file"):
            load_model(spoiled)


def test_files_that_do_not_belong_together_are_refused(exported: Path, tmp_path: Path) -> None:
    from tuner.predictor.folder import config_digest

    def changed(name: str, **changes: object) -> Path:
        folder = shutil.copytree(exported, tmp_path / name)
        config = json.loads((folder / CONFIG).read_text()) | changes
        config["sha256"] = config_digest(config)
        (folder / CONFIG).write_text(json.dumps(config))
        return folder

    config = json.loads((exported / CONFIG).read_text())
    other = [{**one, "hyperparameters": {**one["hyperparameters"], "filters": 9}} for one in config["members"]]
    huge = [{**one, "hyperparameters": {**one["hyperparameters"], "dense_units": 2**20}} for one in config["members"]]
    for name, change, words in (
        ("other", {"members": other}, "model.safetensors: it does not hold the networks"),
        ("huge", {"members": huge}, "model.safetensors: it does not hold the networks"),
        ("format", {"format": "tuner-predictor-99"}, "does not describe a model of the format tuner-predictor-1"),
        ("calibration", {"calibration": {"format": "x"}}, "a calibration of format 'x'"),
        ("tasks", {"tasks": ["a", "b"]}, "config.json"),
        ("validation", {"validation": {"bound": {}}}, "config.json: it describes no model"),
        ("path", {"files": {"../model.safetensors": "0"}}, "config.json: it has changed"),
    ):
        with pytest.raises(ModelError, match=words):
            load_model(changed(name, **change))
    with pytest.raises(ModelError, match=r"nothing: no such folder; expected a folder that tuner export wrote"):
        load_model(tmp_path / "nothing")
    with pytest.raises(ModelError, match="it is a file"):
        load_model(exported / CONFIG)


def test_the_folder_appears_whole_or_not_at_all(
    predictor: Predictor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tuner.predictor import folder as written

    def fail(*_: object, **__: object) -> bytes:
        raise OSError(28, "No space left on device")

    target = tmp_path / "new" / "model"
    monkeypatch.setattr(written, "config_bytes", fail)
    with pytest.raises(OSError, match="No space left") as error:
        predictor.save(target)
    assert error.value.filename == str(target)
    assert list(target.parent.iterdir()) == []
    monkeypatch.undo()
    assert predictor.save(target) == target
    before = (target / CONFIG).read_bytes()
    with pytest.raises(UsageError, match="there is a model already"):
        predictor.save(target)
    monkeypatch.setattr(written, "config_bytes", fail)
    with pytest.raises(OSError, match="No space left"):
        predictor.save(target, force=True)
    assert (target / CONFIG).read_bytes() == before
    monkeypatch.undo()
    (target / "left.txt").write_text("of the old one")
    predictor.save(target, force=True)
    assert not (target / "left.txt").exists()
    assert list(target.parent.iterdir()) == [target]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("!")
    with pytest.raises(UsageError, match="something else than a model"):
        predictor.save(tmp_path / "mine", force=True)


def test_a_model_of_several_tasks_has_columns_of_each(tmp_path: Path) -> None:
    made = untrained({"architecture": "hw4"}, length=50, tasks=("GATA1", "a task"))
    loaded = load_model(made.save(tmp_path / "model"))
    table = loaded.predict(random_codes(6, 80))
    assert table.columns.tolist()[:4] == ["length", "windows", "logit_GATA1", "sd_GATA1"]
    assert table.columns.tolist()[-1] == "start_a task"
    pd.testing.assert_frame_equal(table, made.predict(random_codes(6, 80)))
    assert loaded.thresholds.loc["GATA1"].index.tolist() == list(RATES)


# ------------------------------------------------------------------ motifs and the card


def test_motifs_are_the_matching_filters_of_every_network(
    used_study: tuner.Study, predictor: Predictor, exported: Path
) -> None:
    runs = declared_models(used_study._storage, "tiny", used_study.primary.number)
    expected = {
        f"model{i}_filter{row.filter}": row.target
        for i, run in enumerate(sorted(runs, key=lambda t: t.user_attrs["replicate"]), start=1)
        for row in read_matches(used_study._artifacts(), run)
        if row.significant
    }
    table = load_model(exported).motifs()
    assert dict(zip(table["motif"], table["target"], strict=True)) == expected
    assert set(table["strand"]) <= {"+", "-"}
    text = (exported / "motifs.meme").read_text()
    assert text.startswith("MEME version 4")
    if expected:
        assert {motif.id for motif in parse_meme(text, "motifs.meme")} == set(expected)


def front_matter(card: str) -> dict[str, object]:
    return dict(yaml.safe_load(card.split("---\n")[1]))


def test_the_card_says_what_the_model_was_made_from(used_study: tuner.Study, exported: Path) -> None:
    card = (exported / CARD).read_text()
    head = front_matter(card)
    assert head["metrics"] == ["roc_auc", "average_precision"]
    assert head["datasets"] == ["positives.fa"]
    assert "license" not in head
    assert "# license: choose one" in card
    assert str(Path(used_study.storage).parent.parent) not in card + (exported / CONFIG).read_text()
    best = used_study.candidates().loc[used_study.primary.number]
    assert f"| auroc | {best['auroc']:.4f}" in card
    for name in ("GC content", "6-mer logistic regression", "label-shuffled"):
        assert name in card
    baselines = used_study.baselines().drop(index="label-shuffled")["auroc"]
    assert ("A baseline reaches more than the primary trial" in card) == (baselines.max() > best["auroc"])
    assert "The test split of this study has not been opened." in card
    config = json.loads((exported / CONFIG).read_text())
    assert config["about"]["data"]["fingerprint"] in card
    assert config["about"]["recipe"]["epochs"] > 0
    assert {"tuner", "torch"} <= set(config["versions"])


def test_the_card_has_test_scores_once_the_split_was_opened(used_study: tuner.Study, tmp_path: Path) -> None:
    openings = len(stage_trials(used_study._storage, "tiny"))
    result = used_study.evaluate(device="cpu")
    card = (used_study.predictor(device="cpu").save(tmp_path / "model") / CARD).read_text()
    assert openings == 2
    assert f"AUROC {result.auroc.estimate:.4f} ({result.auroc.low:.3f} to {result.auroc.high:.3f})" in card
    assert "opened once" in card
    other = 1 - used_study.primary.number
    unscored = (used_study.predictor(other, device="cpu").save(tmp_path / "other") / CARD).read_text()
    assert "no result of this trial is kept" in unscored
    assert f"AUROC {result.auroc.estimate:.4f}" not in unscored
