"""What operators deploy: manifests that fit schema and command line, roles that can do no more than work."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import optuna
import pytest
import typer
import yaml
from database_roles import PASSWORDS, psql
from optuna.trial import TrialState
from storage_backends import work

from tuner.cli.app import COMMANDS, app
from tuner.errors import StorageError
from tuner.storage.artifacts import SIZES
from tuner.storage.process import this_process
from tuner.storage.storage import FencedStorage, open_storage

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
KUBERNETES = DEPLOY / "kubernetes"
SCRIPTS = [ROOT / ".ci" / "run", *DEPLOY.rglob("*.sbatch"), *DEPLOY.rglob("*.sh")]
READ = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tuner" / "cli").glob("*.py"))
STUDY = {"TUNER_STUDY": "zbed2", "TUNER_PRESET": "standard", "POD_NAME": "tuner-worker-0"}


def documents(path: Path) -> list[dict[str, Any]]:
    return [d for d in yaml.safe_load_all(path.read_text(encoding="utf-8")) if d]


def manifests() -> list[dict[str, Any]]:
    return [d for path in sorted(KUBERNETES.glob("*.yaml")) if path.stem != "kustomization" for d in documents(path)]


def pods() -> list[tuple[str, dict[str, Any]]]:
    found = [(m["metadata"]["name"], m["spec"]["template"]["spec"]) for m in manifests() if "template" in m["spec"]]
    assert len(found) == 5
    return found


def containers() -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{name}/{c['name']}", c)
        for name, pod in pods()
        for kind in ("initContainers", "containers")
        for c in pod.get(kind, [])
    ]


def parses(words: list[str]) -> None:
    """The command line accepts these words; nothing is run."""
    assert words[0] in COMMANDS, words
    group = typer.main.get_command(app)
    with group.make_context("tuner", [], resilient_parsing=True) as root:
        command = group.get_command(root, words[0])  # type: ignore[attr-defined]
        command.make_context(words[0], words[1:], parent=root).close()


def filled(word: str, environment: dict[str, str]) -> str:
    """Replace $(NAME), ${NAME:-default} and ${NAME} as Kubernetes, compose and bash do."""

    def value(match: re.Match[str]) -> str:
        return environment.get(match[1]) or match[2] or "1"

    return re.sub(r"\$[({](\w+)(?::[-?]([^)}]*))?[)}]", value, word)


# ------------------------------------------------------------------ Kubernetes


@pytest.mark.parametrize("manifest", manifests(), ids=lambda m: f"{m['kind']}-{m['metadata']['name']}")
def test_manifest_fits_the_schema_of_kubernetes(manifest: dict[str, Any]) -> None:
    kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
    assert "namespace" not in manifest["metadata"]


def test_a_misspelt_field_would_be_found() -> None:
    worker = next(m for m in manifests() if m["metadata"]["name"] == "tuner-worker")
    worker["spec"]["template"]["spec"]["terminationGracePeriodSecond"] = 60
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(worker, kubernetes_validate.latest_version(), strict=True)


def test_kustomization_lists_what_is_there_and_everything_referred_to_exists() -> None:
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    assert sorted(kustomization["resources"]) == sorted(
        path.name for path in KUBERNETES.glob("*.yaml") if path.stem != "kustomization"
    )
    maps = {g["name"] for g in kustomization["configMapGenerator"]}
    files = [f for g in kustomization["configMapGenerator"] for f in g.get("files", [])]
    assert sorted(files) == sorted(path.name for path in KUBERNETES.glob("*.sql"))
    claims = {m["metadata"]["name"] for m in manifests() if m["kind"] == "PersistentVolumeClaim"} | {"data"}
    for _, pod in pods():
        for volume in pod["volumes"]:
            assert "configMap" not in volume or volume["configMap"]["name"] in maps
            assert "persistentVolumeClaim" not in volume or volume["persistentVolumeClaim"]["claimName"] in claims
    names = {volume["name"] for _, pod in pods() for volume in pod["volumes"]} | claims
    for label, container in containers():
        assert {mount["name"] for mount in container["volumeMounts"]} <= names, label
        assert {source["configMapRef"]["name"] for source in container.get("envFrom", [])} <= maps
    if shutil.which("kubectl"):  # what it makes of the folder, beside our own reading
        done = subprocess.run(["kubectl", "kustomize", KUBERNETES], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        made = [d["kind"] for d in yaml.safe_load_all(done.stdout)]
        assert sorted(made) == sorted([*(m["kind"] for m in manifests()), "ConfigMap", "ConfigMap"])


def test_pods_have_no_rights_that_they_do_not_need() -> None:
    for name, pod in pods():
        assert pod["securityContext"]["runAsNonRoot"], name
        assert pod["securityContext"]["runAsUser"] > 0
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not pod["automountServiceAccountToken"]
    for label, container in containers():
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]},
        }, label  # fmt: skip
        assert {"cpu", "memory"} <= set(container["resources"]["requests"])
        assert "memory" in container["resources"]["limits"]


def test_images_are_named_by_digest_and_start_nowhere_before_they_are_set() -> None:
    (kustomization,) = documents(KUBERNETES / "kustomization.yaml")
    named = {image["name"]: image for image in kustomization["images"]}
    assert {c["image"] for _, c in containers()} == set(named) == {"tuner", "postgres"}
    assert all(image["digest"].startswith("sha256:") and "newTag" not in image for image in named.values())


def test_every_pod_is_shut_but_for_what_a_policy_opens() -> None:
    policies = {m["metadata"]["name"]: m["spec"] for m in manifests() if m["kind"] == "NetworkPolicy"}
    shut = policies["tuner-nothing"]
    assert shut["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in shut
    assert "egress" not in shut
    assert shut["podSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "tuner"}
    (clients,) = policies["tuner-clients"]["podSelector"]["matchExpressions"]
    names = {m["spec"]["template"]["metadata"]["labels"]["app.kubernetes.io/name"] for m in manifests()
             if "template" in m["spec"]}  # fmt: skip
    assert set(clients["values"]) == names - {"tuner-database"}
    reached = [policies[name] for name in ("tuner-database", "tuner-dashboard", "tuner-metrics")]
    assert [p["ingress"][0]["ports"][0]["port"] for p in reached] == [5432, 8080, 9464]
    (outside,) = policies["tuner-worker-https"]["egress"]
    assert outside["ports"] == [{"port": 443}]
    assert "10.0.0.0/8" in outside["to"][0]["ipBlock"]["except"]


def test_secrets_are_only_referred_to() -> None:
    assert not [m for m in manifests() if m["kind"] == "Secret"]
    keys = set()
    for label, container in containers():
        for variable in container.get("env", []):
            if "PASSWORD" in variable["name"]:
                keys.add(variable["valueFrom"]["secretKeyRef"]["key"])
            elif "value" in variable:
                assert not re.search(r"://[^/@]*:[^/@]*@", variable["value"]), label
    assert keys == {"admin", "owner", "worker", "reader"}
    described = (ROOT / "docs" / "operation.md").read_text(encoding="utf-8")
    assert all(f"--from-file={key}=" in described for key in keys)


def test_a_worker_has_time_to_hand_its_slot_back_and_is_then_replaced() -> None:
    worker = next(m for m in manifests() if m["metadata"]["name"] == "tuner-worker")
    pod = worker["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] >= 30
    assert pod["restartPolicy"] == "Never"  # what a podFailurePolicy demands
    rules = worker["spec"]["podFailurePolicy"]["rules"]
    assert {"DisruptionTarget"} == {c["type"] for rule in rules for c in rule.get("onPodConditions", [])}
    assert [128 + 15] == [v for rule in rules for v in rule.get("onExitCodes", {"values": []})["values"]]


def test_manifests_speak_the_language_of_the_command_line() -> None:
    ours = [(label, c) for label, c in containers() if c["image"] == "tuner"]
    assert len(ours) == 5
    getenv = set(re.findall(r"\\getenv \w+ (\w+)", (KUBERNETES / "roles.sql").read_text()))
    for label, container in containers():
        words = container.get("args", container.get("command", []))
        text = " ".join(words)
        for variable in container.get("env", []):
            name = variable["name"]
            if name.startswith("TUNER_"):
                known = f'"{name}"' in READ or name in getenv or f"$({name})" in text
                assert known, f"{label}: nothing reads {name}"
    for label, container in ours:
        if "args" in container:
            parses([filled(word, STUDY) for word in container["args"]])
        else:
            inner = re.search(r"until tuner (\w+);", container["command"][-1])
            assert inner is not None, label
            parses([inner[1]])


# ------------------------------------------------------------------ compose, scripts, proxy


def test_compose_file_fits_the_schema_of_compose(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*command, ROOT / "compose.yaml"], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    broken = tmp_path / "compose.yaml"
    broken.write_text((ROOT / "compose.yaml").read_text().replace("stop_grace_period", "stop_grace_perod"))
    done = subprocess.run([*command, broken], capture_output=True, text=True, timeout=120)
    assert done.returncode == 1
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        given = re.findall(r"\$\{(\w+):\?", (ROOT / "compose.yaml").read_text())
        environment = {**os.environ, **dict.fromkeys(given, "x")}
        subprocess.run([docker, "compose", "config", "--quiet"], cwd=ROOT, env=environment, check=True, timeout=60)


def test_compose_file_speaks_the_language_of_the_command_line() -> None:
    services = yaml.safe_load((ROOT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    ours = [s for s in services.values() if "command" in s]
    assert len(ours) == 3
    for service in ours:
        parses([filled(word, STUDY) for word in service["command"]])
        assert all(f'"{name}"' in READ for name in service["environment"] if name.startswith("TUNER_"))


def test_there_are_scripts_to_check() -> None:
    assert len(SCRIPTS) >= 2


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: p.name)
def test_script_is_sound_bash(script: Path) -> None:
    subprocess.run(["bash", "-n", script], check=True, timeout=30)
    shellcheck = Path(sys.executable).with_name("shellcheck")
    done = subprocess.run([shellcheck, "--shell=bash", script], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stdout


def test_slurm_array_signals_its_workers_before_the_time_is_over() -> None:
    text = (DEPLOY / "slurm" / "workers.sbatch").read_text(encoding="utf-8")
    options = dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", text, re.MULTILINE))
    assert options["cpus-per-task"] == "1"
    assert re.fullmatch(r"TERM@\d+", options["signal"])  # to the step, not to the batch shell
    assert int(options["signal"].partition("@")[2]) >= 30
    words = shlex.split(text[text.index("exec srun") :].replace("\\\n", " "))
    assert not [word for word in words[: words.index("tuner")] if not word.startswith(("exec", "srun", "--"))]
    parses([filled(word, STUDY) for word in words[words.index("tuner") + 1 :]])
    for name in re.findall(r"\bTUNER_\w+", text):
        assert f'"{name}"' in READ or f"${{{name}:-" in text, name


def test_slurm_array_says_what_is_missing() -> None:
    environment = {"PATH": os.environ["PATH"]}
    script = DEPLOY / "slurm" / "workers.sbatch"
    done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=30)
    assert done.returncode != 0
    assert "TUNER_STORAGE: set the URL of the database" in done.stderr


def test_proxy_asks_for_a_log_in_before_the_dashboard() -> None:
    text = (DEPLOY / "nginx" / "tuner.conf").read_text(encoding="utf-8")
    assert text.count("{") == text.count("}")
    lines = [line.strip() for line in text.splitlines() if not line.lstrip().startswith("#")]
    assert all(line.endswith((";", "{", "}")) or not line for line in lines)
    assert text.index("auth_basic_user_file") < text.index("location /")
    assert "proxy_pass http://127.0.0.1:8080;" in text  # the default of tuner dashboard
    assert "ssl" in text


def test_every_command_of_the_operation_page_parses() -> None:
    blocks = re.findall(r"```(?:sh)?\n(.*?)```", (ROOT / "docs" / "operation.md").read_text(encoding="utf-8"), re.S)
    lines = [line for block in blocks for line in block.splitlines() if re.match(r"(\w+=\S+ )*tuner ", line)]
    assert len(lines) >= 8
    for line in lines:
        words = shlex.split(line.partition(" > ")[0], comments=True)
        parses(words[words.index("tuner") + 1 :])


# ------------------------------------------------------------------ database roles


@pytest.fixture
def worker(roles: str) -> Iterator[FencedStorage]:
    storage = open_storage(roles.replace("USER", "tuner_worker"))
    yield storage
    storage.close()


@pytest.mark.postgres
def test_a_worker_role_runs_a_study(worker: FencedStorage, tmp_path: Path) -> None:
    study_id = worker.create_or_load("s", ["maximize"], user_attrs={"made": "by a worker"})
    worker.set_budget(study_id, 6)
    worker.enqueue(study_id, {"u": 0.5}, {"warm_start": "x"}, once="first")
    worker.ensure_slots(study_id, ahead=2)
    roster = worker.roster(study_id)
    roster.join("token", "w", this_process(), age=0)
    roster.beat("token")
    roster.ask(at_once=False)
    back = worker.claim(study_id, "w")
    assert back is not None
    trial = optuna.trial.Trial(optuna.load_study(study_name="s", storage=worker), back.trial_id)
    trial.suggest_float("u", 0, 1)
    trial.set_user_attr("note", "half-way")
    worker.beat(back, {"epoch": 1})
    worker.hand_back(back, "asked to")
    failing = worker.claim(study_id, "w")
    assert failing is not None
    assert worker.fail_attempt(failing, "its own fault", max_failures=2) == "waiting"
    work(worker.url, "w", str(tmp_path / "log"), 0.0)  # until no slot is left
    roster.leave("token")
    assert worker.counts(study_id)[TrialState.COMPLETE] == 6
    assert roster.members() == []


@pytest.mark.postgres
def test_a_worker_role_can_do_no_more_than_work(worker: FencedStorage, roles: str, postgres: Any) -> None:
    for statement in (
        "DROP TABLE trials", "ALTER TABLE trials ADD COLUMN x int", "CREATE TABLE mine (x int)", "CREATE SCHEMA mine",
        "CREATE ROLE mine", "ALTER ROLE tuner_owner PASSWORD 'x'", "CREATE DATABASE mine", "TRUNCATE trials",
        "DELETE FROM trials", "DELETE FROM studies", "UPDATE alembic_version SET version_num = 'x'",
        "UPDATE tuner_meta SET value = '9'", "DELETE FROM tuner_attempts", "COPY trials TO PROGRAM 'cat'",
        "GRANT SELECT ON trials TO PUBLIC", "SET ROLE tuner_owner",
        "UPDATE studies SET study_name = 'mine'", "DELETE FROM trial_values", "UPDATE trial_values SET value = 1",
        "TRUNCATE trial_values", "TRUNCATE studies CASCADE", "UPDATE trials SET number = 9",
        "UPDATE tuner_attempts SET token = 'x'", "DELETE FROM tuner_identities", "DELETE FROM trial_user_attributes",
        "UPDATE tuner_identities SET identity = 'x'", "UPDATE tuner_rungs SET place = 1", "DELETE FROM tuner_buried",
        "INSERT INTO tuner_buried VALUES ('x', 0)", "DROP POLICY tuner_update ON trials",
        "ALTER TABLE trials DISABLE ROW LEVEL SECURITY", "UPDATE study_directions SET direction = 'MINIMIZE'",
    ):  # fmt: skip
        done = psql(postgres, "roles", "--set", "ON_ERROR_STOP=1", "--command", statement, user="tuner_worker")
        refused = re.search("permission denied|must be owner|no privileges were granted", done.stderr)
        assert refused, f"{statement}: {done.stdout}{done.stderr}"


@pytest.mark.postgres
def test_a_trial_that_has_ended_is_closed_to_a_worker_role(worker: FencedStorage, postgres: Any) -> None:
    study_id = worker.create_or_load("closed", ["maximize"], metric_names=["auroc"], system_attrs={"tuner:source": "x"})
    worker.set_budget(study_id, 2)
    worker.ensure_slots(study_id, ahead=2)
    ended = worker.claim(study_id, "w")
    assert ended is not None
    entries = {"artifacts:0": json.dumps({"artifact_id": "0", "filename": "a"}), SIZES: json.dumps({"0": 5})}
    worker.finish(ended, TrialState.COMPLETE, [0.5], user_attrs={"seed": 1}, system_attrs=entries)
    number = ended.trial_id
    before = [t for t in worker.get_all_trials(study_id) if t.number == 0]
    for statement in (
        f"UPDATE trials SET state = 'WAITING' WHERE trial_id = {number}",
        f"UPDATE trial_user_attributes SET value_json = '2' WHERE trial_id = {number}",
        f"DELETE FROM trial_params WHERE trial_id = {number}",
        f"UPDATE study_system_attributes SET value_json = '2' WHERE key = 'tuner:source' AND study_id = {study_id}",
    ):
        done = psql(postgres, "roles", "--command", f"{statement} RETURNING 1", "--tuples-only", user="tuner_worker")
        assert (done.stdout.strip(), done.stderr) == ("", ""), statement  # no row of that kind to be changed
    for statement in (
        f"INSERT INTO trial_values (trial_id, objective, value, value_type) VALUES ({number}, 1, 0.9, 'FINITE')",
        f"INSERT INTO trial_user_attributes (trial_id, key, value_json) VALUES ({number}, 'k', '1')",
        f"INSERT INTO trials (study_id, number, state) VALUES ({study_id}, 7, 'COMPLETE')",
    ):
        done = psql(postgres, "roles", "--command", statement, user="tuner_worker")
        assert "violates row-level security policy" in done.stderr, f"{statement}: {done.stdout}{done.stderr}"
    worker.drop_files(study_id, 0, ["0"])  # to keep a quota
    fresh = open_storage(worker.url)
    after = [t for t in fresh.get_all_trials(study_id) if t.number == 0]
    assert [t.values for t in after] == [t.values for t in before] == [[0.5]]
    assert [t.user_attrs for t in after] == [{"seed": 1}]
    assert [t.system_attrs for t in after] == [{SIZES: "{}"}]
    crashing = worker.claim(study_id, "w")
    assert crashing is not None
    worker.count_crash(this_process(), "the process crashed", memory=True, max_failures=1)
    assert worker.counts(study_id)[TrialState.PRUNED] == 1
    fresh.close()


@pytest.mark.postgres
def test_a_worker_role_says_whom_to_ask_where_there_are_no_tables(roles: str, postgres: Any) -> None:
    postgres.psql("CREATE DATABASE bare;")
    with pytest.raises(StorageError, match=r"permission denied for schema public.*Ask the owner to run tuner tables"):
        open_storage(roles.replace("USER", "tuner_worker").replace("/roles", "/bare"))
    postgres.psql("DROP DATABASE bare;")


@pytest.mark.postgres
def test_a_reader_role_reads_and_claims_nothing(worker: FencedStorage, roles: str) -> None:
    study_id = worker.create_or_load("r", ["maximize"])
    worker.set_budget(study_id, 1)
    worker.ensure_slots(study_id, ahead=1)
    reader = open_storage(roles.replace("USER", "tuner_reader"))
    assert reader.counts(study_id)[TrialState.WAITING] == 1
    assert reader.roster(study_id).members() == []
    with pytest.raises(StorageError, match="permission denied for table"):
        reader.claim(study_id, "w")
    reader.close()


@pytest.mark.postgres
def test_every_table_is_named_by_the_grants(roles: str, postgres: Any) -> None:
    query = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
    tables = psql(postgres, "roles", "--tuples-only", "--no-align", "--command", query).stdout.split()
    named = set(re.findall(r"\w+", (KUBERNETES / "grants.sql").read_text()))
    assert len(tables) > 15
    assert set(tables) <= named


@pytest.mark.postgres
def test_passwords_of_the_roles_stay_out_of_the_server_log(roles: str, postgres: Any) -> None:
    log = Path(postgres.log).read_text(errors="replace")
    assert not [password for password in PASSWORDS.values() if password in log]


@pytest.mark.postgres
def test_a_restored_dump_goes_on_where_it_was_made(postgres: Any, tmp_path: Path) -> None:
    postgres.psql("CREATE DATABASE before;")
    postgres.psql("CREATE DATABASE after;")
    storage = open_storage(postgres.get_uri(database="before"))
    study_id = storage.create_or_load("s", ["maximize"])
    storage.set_budget(study_id, 2)
    storage.ensure_slots(study_id, ahead=2)
    first = storage.claim(study_id, "w")
    assert first is not None
    storage.finish(first, TrialState.COMPLETE, [0.5])
    storage.close()
    dump = ["pg_dump", "--format=custom", "--file", str(tmp_path / "dump"), postgres.get_uri(database="before")]
    restore = ["pg_restore", "--dbname", postgres.get_uri(database="after"), str(tmp_path / "dump")]
    for command in (dump, restore):
        subprocess.run([postgres.bin_path / command[0], *command[1:]], check=True, timeout=60)
    again = open_storage(postgres.get_uri(database="after"))
    study_id = again.get_study_id_from_name("s")
    assert again.open_slots(study_id) == 1
    second = again.claim(study_id, "w")
    assert second is not None
    assert (second.number, [t.values for t in again.get_all_trials(study_id)]) == (1, [[0.5], None])
    again.close()
    for name in ("before", "after"):
        postgres.psql(f"DROP DATABASE {name};")
