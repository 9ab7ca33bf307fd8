"""Which processes are known to be dead: those that were shown to be, on hosts that hide processes too."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from machines import AS_NOBODY, in_namespace, python

from tuner.storage.process import UNKNOWN, Process, host_name, this_process
from tuner.storage.storage import open_storage

ASK = (
    "import sys; from tuner.storage.process import Process;"
    "print(Process(sys.argv[1], int(sys.argv[2]), float(sys.argv[3])).is_dead)"
)


@pytest.mark.parametrize("hide", [0, 1, 2])
def test_a_process_of_another_user_is_not_dead_whether_proc_shows_it_or_not(hide: int) -> None:
    alive, free = this_process(), this_process()._replace(pid=2**22 + 1)
    asked = [python(ASK, *process, prefix=AS_NOBODY) for process in (alive, free)]
    assert in_namespace(f"mount -t proc -o hidepid={hide} proc /proc; {asked[0]}; {asked[1]}").split() == [
        "False",
        "True",
    ]


def test_two_users_on_a_host_that_hides_processes_leave_each_others_trials_alone(tmp_path: Path) -> None:
    """One looks for dead workers twenty times while the other one trains and beats."""
    database = tmp_path / "shared" / "tuner.db"
    storage = open_storage(database)
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 1)
    storage.ensure_slots(study_id, ahead=1)
    attempt = storage.claim(study_id, "root's")
    assert attempt is not None
    storage.close()
    for path in (*database.parent.glob("*"), database.parent):
        path.chmod(0o777)
    tmp_path.chmod(0o755)
    look = (
        "import sys; from tuner.storage.storage import open_storage; s = open_storage(sys.argv[1]);"
        "print([n for _ in range(20) for n in s.reap(1, grace=60)])"
    )
    parents = [p for p in tmp_path.parents if str(p).startswith("/tmp/")]
    modes = [(p, p.stat().st_mode) for p in parents]
    try:
        for parent in parents:
            parent.chmod(0o755)
        seen = in_namespace(f"mount -t proc -o hidepid=2 proc /proc; {python(look, database, prefix=AS_NOBODY)}")
    finally:
        for parent, mode in modes:
            parent.chmod(mode)
    assert seen.strip() == "[]"
    storage.beat(attempt)  # still its slot
    storage.close()


def test_without_a_proc_of_its_own_namespace_a_process_judges_nobody() -> None:
    """`unshare --pid` alone leaves the outer /proc, in which its ids are those of others."""
    code = (
        "from tuner.storage.process import this_process as me; p = me(); q = p._replace(pid=2**22 + 1);"
        "print(p.host, p.is_dead, q.is_dead)"
    )
    host, boot, namespace, *dead = in_namespace(python(code), flags="-p").split()
    assert [host, boot] == host_name().split()[:2]
    assert (namespace, dead) == (UNKNOWN, ["False", "False"])


def test_a_process_in_another_time_namespace_is_not_judged_by_its_start() -> None:
    """Starts are told in the clock of who reads them: there this process started a day later."""
    inner = f"unshare -T --boottime 86400 --fork {python(ASK, *this_process())}"
    assert in_namespace(inner).split() == ["False"]


def test_a_reused_id_is_another_process_and_an_unknown_start_is_no_proof() -> None:
    me = this_process()
    assert me._replace(start=me.start + 100).is_dead
    assert not me._replace(start=0.0).is_dead
    for pid in (-1, 0, 2**31, 2**63):
        assert not me._replace(pid=pid).is_dead


def test_processes_of_one_boot_share_a_clock() -> None:
    me = this_process()
    assert me.shares_clock
    host, boot, *namespaces = me.host.split()
    assert me._replace(host=" ".join([f"not-{host}", boot, *namespaces])).shares_clock  # a container
    assert not Process(f"{host} {'0' * 36} pid:[1]", os.getpid(), time.monotonic()).shares_clock
    assert not Process(f"{host} {UNKNOWN} {UNKNOWN}", os.getpid(), 1.0).shares_clock
