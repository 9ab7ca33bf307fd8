"""A study of which no trial completed: exit 1, the reasons with their counts, and nothing recommended."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from command_line import SPACE, STUDY, Terminal, write_tiny_study

from tuner.results.leaderboard import TrialState
from tuner.storage.keys import CONFIRMATION, CONTROLS
from tuner.storage.storage import FencedStorage, open_storage

pytestmark = pytest.mark.slow

DIVERGES = "\n[learning_rate]\nfixed = 1e30\n"
GRID = STUDY.replace("trials = 2", 'sampler = "grid"\nreplicates = 1')
RANDOM = STUDY.replace("trials = 2", 'trials = 2\nsampler = "random"')


def recommends(text: str) -> bool:
    return any(words in text for words in ("next:", "tuner best", "tuner evaluate", "Primary trial"))


@pytest.mark.parametrize(
    ("study", "space"),
    [(RANDOM, SPACE), (GRID, SPACE.replace("low = 7\nhigh = 11\nstep = 2", "fixed = 7"))],
    ids=["search", "grid"],
)
def test_a_run_whose_trials_all_diverge_fails_with_the_reason_and_its_count(
    study: str, space: str, terminal: Terminal
) -> None:
    write_tiny_study(terminal.folder).write_text(study)
    (terminal.folder / "tiny_space.toml").write_text(space + DIVERGES)
    answer = terminal("run", "--study", "./tiny.toml", "--workers", "1")
    last = answer.err.strip().splitlines()[-1]
    assert answer.code == 1
    assert last.startswith("error: tiny: none of 2 trials completed (2 pruned): 2 x training diverged at epoch 1")
    assert "(first: trial 0)" in last
    assert last.endswith(
        "Lower learning_rate in the search space. Then use a new study name (--name), or remove this study first "
        "(tuner delete)."
    )
    assert not recommends(answer.err)
    for words in (["best"], ["best", "--json"], ["evaluate"], ["evaluate", "--trial", "0"], ["report"]):
        code, text = terminal.refuses(*words)
        assert (code, text) == (1, last.removeprefix("error: "))
    status = terminal("status")
    assert (status.code, last.removeprefix("error: ") in status.err) == (0, True)
    assert terminal("status", "--json").json["no_result"] == [last.removeprefix("error: ")]
    table = terminal("table", "--out", "trials.tsv")
    assert (table.code, "2 x training diverged" in " ".join(table.err.split())) == (0, True)
    assert len((terminal.folder / "trials.tsv").read_text().splitlines()) == 3
    assert terminal.refuses("table", "--figure", "boxes.png")[0] == 1
    assert not (terminal.folder / "boxes.png").exists()
    shown = terminal("show", "--trial", "1")
    assert (shown.code, "none of 2 trials completed" in shown.err) == (0, True)


def ended(storage: FencedStorage, name: str, number: int, reason: str, state: TrialState = TrialState.FAIL) -> None:
    """End the next waiting slot of a stage without a result, as a worker does."""
    attempt = storage.claim(storage.get_study_id_from_name(name), "worker-0")
    assert attempt is not None
    assert attempt.number == number
    storage.finish(attempt, state, None, user_attrs={"reason": reason})


def complete(storage: FencedStorage, name: str, values: list[float]) -> None:
    attempt = storage.claim(storage.get_study_id_from_name(name), "worker-0")
    assert attempt is not None
    watched = {"average_precision": 0.5, "target_fraction": 0.0, "parameters": 9}
    storage.finish(attempt, TrialState.COMPLETE, values, user_attrs={**watched, "candidate": 0, "replicate": 0})


@pytest.fixture
def stored(terminal: Terminal) -> Callable[..., FencedStorage]:
    """Make the study `tiny` with a search of some slots, and open its storage."""

    def make(slots: int) -> FencedStorage:
        (terminal.folder / "runs").mkdir()
        storage = open_storage(terminal.folder / "runs" / "tuner.db")
        study_id = storage.create_or_load(
            "tiny", ["maximize", "maximize"], metric_names=["auroc", "match_fraction"], system_attrs={}
        )
        storage.set_budget(study_id, slots)
        storage.ensure_slots(study_id, ahead=slots)
        return storage

    return make


def test_reasons_are_counted_and_numbers_in_them_do_not_make_two_of_one(
    terminal: Terminal, stored: Callable[..., FencedStorage]
) -> None:
    storage = stored(7)
    for i, reason in enumerate(
        ["diverged at epoch 3, step 12", "no space left", "diverged at epoch 1, step 9", "a", "diverged at epoch 2"]
    ):
        ended(storage, "tiny", i, reason)
    ended(storage, "tiny", 5, "b", TrialState.PRUNED)
    ended(storage, "tiny", 6, "diverged at epoch 7, step 1.5e-3")
    code, text = terminal.refuses("best")
    assert code == 1
    assert text.startswith(
        "tiny: none of 7 trials completed (6 failed and 1 pruned): 3 x diverged at epoch 3, step 12 (first: trial 0); "
        "1 x no space left (first: trial 1); 1 x a (first: trial 3); 2 with other reasons. "
        "tuner show --name tiny --trial 0 shows one."
    )
    storage.close()


MEMORY = (
    "Lower what takes memory (batch_size, filters and other sizes in the search space, length in [data], --workers), "
    "or allow more of it. "
)
ERROR = "Correct what the error names; the logs of the workers have more. "


@pytest.mark.parametrize(
    ("ends", "remedy"),
    [
        ([("out of memory on cpu", TrialState.PRUNED, {"constraints:memory": 1.0})] * 2, MEMORY),
        ([("the process was killed by the kernel", TrialState.PRUNED, {"constraints:memory": 1.0})] * 2, MEMORY),
        ([("ValueError: out of memory, as it says", TrialState.FAIL, {})] * 2, ERROR),
        (
            [("ValueError: no", TrialState.FAIL, {}), ("no room", TrialState.PRUNED, {"constraints:memory": 1.0})],
            ERROR + MEMORY,
        ),
    ],
    ids=["memory", "killed", "error", "two causes"],
)
def test_what_to_do_follows_from_what_is_stored_of_the_trials_not_from_the_words_of_their_reasons(
    ends: list[tuple[str, TrialState, dict[str, float]]],
    remedy: str,
    terminal: Terminal,
    stored: Callable[..., FencedStorage],
) -> None:
    storage = stored(2)
    for number, (reason, state, attributes) in enumerate(ends):
        attempt = storage.claim(storage.get_study_id_from_name("tiny"), "worker-0")
        assert attempt is not None
        assert attempt.number == number
        storage.finish(attempt, state, None, user_attrs={"reason": reason}, system_attrs=attributes)
    text = terminal.refuses("best")[1]
    assert text.endswith(
        f"--trial 0 shows one. {remedy}Then use a new study name (--name), or remove this study first (tuner delete)."
    )
    storage.close()


def test_a_study_that_goes_on_says_how_many_trials_are_left(
    terminal: Terminal, stored: Callable[..., FencedStorage]
) -> None:
    storage = stored(3)
    assert terminal("best").code == 0, "nothing has ended yet: no reason to fail"
    ended(storage, "tiny", 0, "diverged")
    assert "the only trial that has ended did not complete" in terminal.refuses("best")[1]
    ended(storage, "tiny", 1, "diverged")
    assert (
        "none of 2 trials that have ended completed (2 failed): 2 x diverged (first: trial 0). 1 more has not ended"
        in terminal.refuses("best")[1]
    )
    complete(storage, "tiny", [0.9, 0.5])
    assert terminal("best").code == 0
    storage.close()


def test_candidates_that_all_fail_are_no_missing_confirmation(
    terminal: Terminal, stored: Callable[..., FencedStorage]
) -> None:
    storage = stored(1)
    complete(storage, "tiny", [0.9, 0.5])
    names = ["auroc", "match_fraction"]
    for suffix, n in ((CONFIRMATION, 2), (CONTROLS, 1)):
        study_id = storage.create_or_load(
            "tiny" + suffix, ["maximize"] * (n if n > 1 else 1), metric_names=names[: n if n > 1 else 1]
        )
        for i in range(n):
            storage.enqueue(study_id, {}, {"candidate": 0, "replicate": i}, once=str(i), grow=True)
            ended(storage, "tiny" + suffix, i, "out of memory on cpu", TrialState.PRUNED)
    best = terminal("best")
    said = " ".join(best.err.split())
    assert best.code == 0
    assert "tiny: its confirmation: none of 2 retrainings completed (2 pruned): 2 x out of memory on cpu" in said
    assert "tiny: its controls: the only control did not complete (1 pruned): 1 x out of memory" in said
    assert len(terminal("best", "--json").json["no_result"]) == 2
    code, text = terminal.refuses("evaluate")
    assert code == 1
    assert text.startswith("tiny: its confirmation: none of 2 retrainings completed")
    assert "tuner show --name tiny --stage confirmation --trial 0" in text
    storage.close()
