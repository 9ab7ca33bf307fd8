"""Drawing a slot's parameters in one transaction, and reading trials, on every database: what Optuna would do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import optuna
import pytest
from optuna.samplers import TPESampler
from optuna.search_space.group_decomposed import _GroupDecomposedSearchSpace
from optuna.storages import RDBStorage
from optuna.trial import FixedTrial, FrozenTrial, TrialState, create_trial
from sqlalchemy import event

from tuner.errors import AttemptSuperseded
from tuner.search.sampler import RepeatableTPESampler
from tuner.storage import drawing, groups
from tuner.storage.attempts import Attempt
from tuner.storage.storage import FencedStorage, open_storage
from tuner.study.space import SearchSpace, read_space

pytestmark = pytest.mark.slow

SPACE = """
[architecture]
choices = ["residualbind", "cnn"]
[filters]
choices = [32, 48]
[dropout_first]
low = 0.0
high = 0.2
step = 0.1
[learning_rate]
low = 1e-3
high = 6e-3
log = true
[n_blocks]
low = 2
high = 4
when = { architecture = ["cnn"] }
[pool_size]
choices = [2, 4]
when = { architecture = ["cnn"] }
[dense_units]
fixed = 64
"""
PLAIN = {"a": "maximize", "b": "maximize"}


@pytest.fixture(scope="module")
def space(tmp_path_factory: pytest.TempPathFactory) -> SearchSpace:
    path = tmp_path_factory.mktemp("space") / "some.toml"
    path.write_text(SPACE)
    return read_space(path)


def make_study(storage: FencedStorage, name: str, budget: int) -> int:
    study_id = storage.create_or_load(name, list(PLAIN.values()), metric_names=list(PLAIN))
    storage.set_budget(study_id, budget)
    storage.ensure_slots(study_id, ahead=budget)
    return study_id


def claimed(storage: FencedStorage, study_id: int) -> Attempt:
    attempt = storage.claim(study_id, "w")
    assert attempt is not None
    return attempt


def study_of(storage: FencedStorage, name: str, seed: int) -> optuna.Study:
    return optuna.load_study(study_name=name, storage=storage, sampler=RepeatableTPESampler(seed=seed, startup=3))


def drawn_together(storage: FencedStorage, space: SearchSpace, name: str, attempt: Attempt) -> optuna.Trial:
    with storage.drawing(attempt):
        trial = optuna.trial.Trial(study_of(storage, name, attempt.number), attempt.trial_id)
        space.suggest(trial)
    return trial


def drawn_singly(storage: FencedStorage, space: SearchSpace, name: str, attempt: Attempt) -> optuna.Trial:
    """As Optuna does it: each parameter in a transaction of its own, the study read whenever TPE asks."""
    trial = optuna.trial.Trial(study_of(storage, name, attempt.number), attempt.trial_id)
    space.suggest(trial)
    return trial


def run(storage: FencedStorage, space: SearchSpace, name: str, how: Callable[..., optuna.Trial], n: int) -> int:
    """A search whose values depend on the parameters, so that one different draw changes all later ones; its id."""
    study_id = make_study(storage, name, n)
    for _ in range(n):
        attempt = claimed(storage, study_id)
        params = how(storage, space, name, attempt).params
        rate, size = params["learning_rate"] * 1000, params["filters"] + params.get("n_blocks", 0)
        storage.finish(attempt, TrialState.COMPLETE, [rate, size / (1 + rate)], user_attrs={"size": size})
    return study_id


def stored(storage: FencedStorage, name: str) -> list[FrozenTrial]:
    return storage.get_all_trials(storage.get_study_id_from_name(name), deepcopy=False)


def test_parameters_are_those_that_optuna_draws_and_stores(storage: FencedStorage, space: SearchSpace) -> None:
    run(storage, space, "singly", drawn_singly, 12)
    run(storage, space, "together", drawn_together, 12)
    pairs = list(zip(stored(storage, "singly"), stored(storage, "together"), strict=True))
    assert len({str(one.params) for one, _ in pairs}) > 8
    for one, other in pairs:
        assert list(other.params.items()) == list(one.params.items())
        assert (other.distributions, other.values, other.system_attrs) == (
            one.distributions,
            one.values,
            one.system_attrs,
        )


def test_a_draw_is_one_transaction_that_writes(storage: FencedStorage, space: SearchSpace) -> None:
    study_id = run(storage, space, "s", drawn_together, 5)
    storage.set_budget(study_id, 6)
    storage.ensure_slots(study_id, ahead=1)
    attempt = claimed(storage, study_id)
    tables: list[str] = []
    engine = storage._backend.engine

    def note(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.split()[0] in ("INSERT", "UPDATE", "DELETE"):
            tables.append(statement.split()[0])

    commits: list[int] = []
    event.listen(engine, "before_cursor_execute", note)
    event.listen(engine, "commit", lambda connection: commits.append(len(tables)))
    drawn_together(storage, space, "s", attempt)
    assert len({at for at in commits if at}) == 1  # every write before one commit
    assert commits[-1] == len(tables)


def test_a_draw_that_is_interrupted_leaves_nothing(storage: FencedStorage, space: SearchSpace) -> None:
    study_id = make_study(storage, "s", 1)
    attempt = claimed(storage, study_id)

    def interrupted() -> None:
        with storage.drawing(attempt):
            space.suggest(optuna.trial.Trial(study_of(storage, "s", 0), attempt.trial_id))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert stored(storage, "s")[0].params == {}
    storage.hand_back(attempt, "asked to")
    again = claimed(storage, study_id)
    assert not again.suggested
    drawn_together(storage, space, "s", again)
    assert stored(storage, "s")[0].params["dense_units"] == 64


def test_a_superseded_attempt_stores_no_draw(storage: FencedStorage, space: SearchSpace, where: str) -> None:
    study_id = make_study(storage, "s", 1)
    attempt = claimed(storage, study_id)
    other = open_storage(where)
    other.hand_back(attempt, "on its behalf")
    winner = claimed(other, study_id)
    with pytest.raises(AttemptSuperseded):
        drawn_together(storage, space, "s", attempt)
    assert stored(other, "s")[0].params == {}
    drawn_together(other, space, "s", winner)
    assert stored(storage, "s")[0].params["dense_units"] == 64
    other.close()


def test_a_draw_whose_answer_was_lost_is_stored_once(
    storage: FencedStorage, space: SearchSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection breaks after the commit: the same draw is written again."""
    study_id = make_study(storage, "s", 1)
    attempt = claimed(storage, study_id)
    backend, calls = storage._backend, []
    real = backend.write

    def twice(work: Any, patience: float | None = None) -> Any:
        calls.append(work)
        real(work, patience)
        return real(work, patience)

    monkeypatch.setattr(backend, "write", twice)
    trial = drawn_together(storage, space, "s", attempt)
    assert len(calls) == 1
    assert stored(storage, "s")[0].params == trial.params


def test_a_later_attempt_reads_the_draw_back(storage: FencedStorage, space: SearchSpace) -> None:
    study_id = make_study(storage, "s", 1)
    attempt = claimed(storage, study_id)
    first = drawn_together(storage, space, "s", attempt).params
    storage.hand_back(attempt, "asked to")
    again = claimed(storage, study_id)
    assert again.suggested
    assert drawn_together(storage, space, "s", again._replace(number=0)).params == first


def test_fixed_parameters_are_taken(storage: FencedStorage, space: SearchSpace) -> None:
    study_id = storage.create_or_load("s", list(PLAIN.values()))
    storage.enqueue(study_id, {"architecture": "cnn", "n_blocks": 4, "filters": 48}, once="warm", grow=True)
    params = drawn_together(storage, space, "s", claimed(storage, study_id)).params
    assert (params["architecture"], params["n_blocks"], params["filters"]) == ("cnn", 4, 48)
    assert stored(storage, "s")[0].params == params


def test_another_distribution_of_a_parameter_is_refused(storage: FencedStorage, space: SearchSpace) -> None:
    study_id = run(storage, space, "s", drawn_together, 1)
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=1)
    attempt = claimed(storage, study_id)
    with pytest.raises(ValueError, match="CategoricalDistribution does not support dynamic value space"), (
        storage.drawing(attempt)
    ):  # fmt: skip
        optuna.trial.Trial(study_of(storage, "s", 1), attempt.trial_id).suggest_categorical("filters", [8, 16])
    assert stored(storage, "s")[1].params == {}


def test_trials_are_read_as_optuna_reads_them(storage: FencedStorage, space: SearchSpace) -> None:
    study_id = run(storage, space, "s", drawn_together, 4)
    storage.set_budget(study_id, 9)
    storage.ensure_slots(study_id, ahead=5)
    running, pruned, failed = (claimed(storage, study_id) for _ in range(3))
    first = running.trial_id - 4  # ids of one study follow each other here
    trial = drawn_together(storage, space, "s", running)
    trial.set_user_attr("text", "ä\n")
    for step, value in enumerate([0.5, float("inf"), float("-inf"), float("nan")]):
        storage.set_trial_intermediate_value(running.trial_id, step, value)
    storage.finish(pruned, TrialState.PRUNED, user_attrs={"reason": "slow"}, system_attrs={"constraints:memory": 1.0})
    storage.finish(failed, TrialState.FAIL, user_attrs={"reason": "bug"})
    backend = storage._backend
    for states, included, after in (
        (None, set(), -1),
        ((TrialState.COMPLETE, TrialState.RUNNING), set(), -1),
        (None, {first, first + 1, first + 6, first + 99}, first + 3),
        (None, {first, first + 99}, first + 1000),
        (None, set(), first + 1000),
    ):
        ours = backend._get_trials(study_id, states, included, after)
        theirs = RDBStorage._get_trials(backend, study_id, states, included, after)
        assert repr(ours) == repr(theirs)  # NaN equals itself
        assert [t.params for t in ours] == [t.params for t in theirs]
    with pytest.raises(KeyError, match="Record does not exist"):
        backend._get_trials(study_id + 77, None, set(), -1)


def test_more_trials_than_one_query_takes_are_read(storage: FencedStorage, monkeypatch: pytest.MonkeyPatch) -> None:
    study_id = make_study(storage, "s", 7)
    ids = [t._trial_id for t in stored(storage, "s")]
    monkeypatch.setattr("tuner.storage.trials.AT_ONCE", 3)
    for included, after, numbers in ((set(), -1, [0, 1, 2, 3, 4, 5, 6]), (set(ids[:5]), ids[5], [0, 1, 2, 3, 4, 6])):
        assert [t.number for t in storage._backend._get_trials(study_id, None, included, after)] == numbers


def test_the_model_sees_the_numbers_that_optuna_makes_of_parameters(tmp_path: Path, space: SearchSpace) -> None:
    storage = open_storage(tmp_path / "tuner.db")
    study_id = run(storage, space, "s", drawn_together, 8)
    storage.set_budget(study_id, 9)
    storage.ensure_slots(study_id, ahead=1)
    drawn_together(storage, space, "s", claimed(storage, study_id))  # a running trial shares its parameters
    study, trials = study_of(storage, "s", 0), stored(storage, "s")
    sampler = RepeatableTPESampler(seed=0, startup=3)
    distributions = {name: d for trial in trials for name, d in trial.distributions.items()}
    mixed = optuna.distributions.CategoricalDistribution([True, 1, "1", None])
    odd = [create_trial(state=TrialState.PRUNED, params={"x": x}, distributions={"x": mixed}) for x in mixed.choices]
    conditional = {"n_blocks", "pool_size"}
    for chosen, part in ((distributions.keys() - conditional, trials), (conditional, trials), ({"x"}, odd)):
        wanted = {name: {**distributions, "x": mixed}[name] for name in chosen}
        ours = sampler._get_internal_repr(part, wanted, study)
        theirs = TPESampler._get_internal_repr(sampler, part, wanted, study)
        assert ours.keys() == theirs.keys()
        for name, column in theirs.items():
            assert len(column)
            np.testing.assert_array_equal(ours[name], column)
            assert ours[name].dtype == column.dtype
    storage.close()


def test_groups_are_those_of_optuna(space: SearchSpace) -> None:
    rng = np.random.default_rng(0)
    study = optuna.create_study()
    for _ in range(40):
        names = [name for name in "abcdefgh" if rng.random() < 0.5]
        distributions = {name: optuna.distributions.FloatDistribution(0, 1) for name in names}
        point = FixedTrial(dict.fromkeys(names, 0.5))
        state = TrialState.COMPLETE if rng.random() < 0.7 else TrialState.PRUNED
        study.add_trial(
            create_trial(
                state=state, value=0.0, params={n: point.suggest_float(n, 0, 1) for n in names},
                distributions=distributions,
            )
        )  # fmt: skip
        ours, theirs = (found.calculate(study) for found in (groups.DistinctGroups(True), _groups()))
        assert sorted(map(sorted, ours.search_spaces)) == sorted(map(sorted, theirs.search_spaces))


def _groups() -> _GroupDecomposedSearchSpace:
    return _GroupDecomposedSearchSpace(True)


def test_another_thread_sees_the_database_while_a_slot_is_drawn(tmp_path: Path, space: SearchSpace) -> None:
    from concurrent.futures import ThreadPoolExecutor

    storage = open_storage(tmp_path / "tuner.db")
    study_id = make_study(storage, "s", 2)
    attempt = claimed(storage, study_id)
    other = open_storage(tmp_path / "tuner.db")
    with storage.drawing(attempt), ThreadPoolExecutor(1) as pool:
        claimed(other, study_id)
        assert [t.state.name for t in stored(storage, "s")] == ["RUNNING", "WAITING"]
        assert [t.state.name for t in pool.submit(stored, storage, "s").result()] == ["RUNNING", "RUNNING"]
        assert drawing.DrawingStorage._draw.fget(storage) is not None
    storage.close()
    other.close()
