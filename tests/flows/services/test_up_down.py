"""`retune up` and `down` with a real PostgreSQL, real servers and real kills."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

pytestmark = pytest.mark.long
SERVERS = ("postgres", "prefect", "mlflow")


@pytest.fixture(scope="module")
def team(make_team):
    return make_team("--no-worker")


def status(address, login=None):
    request = urllib.request.Request(address)
    if login:
        import base64

        request.add_header("Authorization", f"Basic {base64.b64encode(login.encode()).decode()}")
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code


def marked(team):
    """The processes that carry the mark of this clone's services."""
    processes = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("RETUNE_SERVICE", "").startswith(str(team.folder)):
                processes.append(each)
        except psutil.Error:
            continue
    return processes


def test_the_commands_use_the_servers_by_themselves(team):
    done = team.retune("doctor", "--json")
    findings = {each["name"]: each for each in json.loads(done.stdout)}
    assert team.variables()["MLFLOW_TRACKING_URI"] in findings["registry"]["found"]
    assert team.variables()["PREFECT_API_URL"] in findings["prefect"]["found"]


def test_what_the_user_has_set_wins(team, tmp_path):
    elsewhere = type(team.clone)(team.clone.folder, {"MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/other.db"})
    assert f"{tmp_path}/other.db" in elsewhere.retune("models").stderr


def test_nobody_is_let_in_without_a_password(team):
    variables = team.variables()
    mlflow = f"{variables['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/get?experiment_id=0"
    prefect = f"{variables['PREFECT_API_URL']}/admin/version"
    assert status(mlflow) == 401 and status(prefect) == 401
    assert status(mlflow, "admin:password1234") == 401 and status(mlflow, "retune:") == 401
    assert status(mlflow, f"{variables['MLFLOW_TRACKING_USERNAME']}:{variables['MLFLOW_TRACKING_PASSWORD']}") == 200
    assert status(prefect, variables["PREFECT_API_AUTH_STRING"]) == 200


def test_they_listen_on_this_machine_only(team):
    ports = set(team.state()["ports"].values())
    addresses = [
        each.laddr for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port in ports
    ]
    assert {each.port for each in addresses} == ports
    assert {each.ip for each in addresses} <= {"127.0.0.1", "::1"}


def test_passwords_stand_in_their_files_only(team):
    secrets = team.secrets()
    assert len(set(secrets.values())) == 4 and all(len(each) >= 32 for each in secrets.values())
    for name in ("env", "secrets.json", "pgpass", "mlflow-auth.ini"):
        assert stat.S_IMODE((team.folder / name).stat().st_mode) == 0o600, name
    commands = " ".join(" ".join(each.info["cmdline"] or []) for each in psutil.process_iter(["cmdline"]))
    files = {
        path.name: path.read_bytes()
        for path in team.clone.folder.rglob("*")
        if path.is_file() and path.name not in ("env", "secrets.json", "pgpass") and "postgres" not in path.parts
    }
    for secret in secrets.values():
        assert secret not in commands
        assert [name for name, value in files.items() if secret.encode() in value] == []


def test_up_again_starts_nothing(team):
    before = team.state()["processes"]
    done = team.retune("up", "--no-worker")
    assert done.returncode == 0 and done.stdout.count("is already up") == 3
    assert team.state()["processes"] == before


def test_another_port_for_what_is_up_is_refused(team):
    done = team.retune("up", "--no-worker", "--mlflow-port", 4321)
    assert done.returncode == 2 and "retune down" in done.stderr
    done = team.retune("up", "--no-worker", "--database", "sqlite")
    assert done.returncode == 2 and "PostgreSQL" in done.stderr


@pytest.mark.parametrize("name", SERVERS)
def test_what_was_killed_is_started_again_and_nothing_else(team, name):
    before = team.state()["processes"]
    os.kill(team.pid(name), signal.SIGKILL)
    done = team.retune("up", "--no-worker", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.count("is already up") == 2
    after = team.state()["processes"]
    assert {each for each in SERVERS if before[each] != after[each]} == {name}
    assert team.retune("models").returncode == 1  # the registry answers: it is empty


def test_new_passwords_count_and_the_old_ones_do_not(team):
    old, variables = team.secrets(), team.variables()
    done = team.retune("rotate-passwords", timeout=400)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not set(old.values()) & set(team.secrets().values())
    mlflow = f"{variables['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/experiments/get?experiment_id=0"
    assert status(mlflow, f"retune:{old['mlflow']}") == 401
    assert status(f"{variables['PREFECT_API_URL']}/admin/version", f"retune:{old['prefect']}") == 401
    assert status(mlflow, f"retune:{team.secrets()['mlflow']}") == 200
    assert not psycopg_lets_in(team, old["database"]) and psycopg_lets_in(team, team.secrets()["database"])
    assert team.retune("doctor").stdout.count("BAD  registry") == 0


def psycopg_lets_in(team, password):
    import psycopg

    port = team.state()["ports"]["postgres"]
    words = {"host": "127.0.0.1", "port": port, "user": "retune", "dbname": "mlflow", "password": password}
    try:
        psycopg.connect(**words).close()
    except psycopg.OperationalError:
        return False
    return True


def test_down_stops_exactly_those(team):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)", "mlflow", "server", "postgres"])
    try:
        processes = [*marked(team), psutil.Process(team.pid("postgres"))]
        done = team.down()
        assert done.returncode == 0, done.stderr
        assert [line.split()[0] for line in done.stdout.splitlines()] == ["mlflow", "prefect", "postgres"]
        assert marked(team) == [] and not any(each.is_running() and each.status() != "zombie" for each in processes)
        assert bystander.poll() is None
        again = team.down()
        assert again.returncode == 0 and "no service of this clone is up" in again.stdout
    finally:
        bystander.kill()
        bystander.wait()


def test_while_they_are_down_the_registry_is_not_another_one(team):
    done = team.retune("models")
    assert done.returncode == 3 and "retune up" in done.stderr and "Traceback" not in done.stderr
    findings = {each["name"]: each["ok"] for each in json.loads(team.retune("doctor", "--json").stdout)}
    assert not findings["services"] and not findings["registry"] and not findings["schedule"]


def test_a_port_in_use_by_another_is_named(team):
    import socket

    port = team.state()["ports"]["mlflow"]
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", port))
        other.listen()
        done = team.retune("up", "--no-worker")
    assert done.returncode == 2
    assert f"port {port}" in done.stderr and "--mlflow-port" in done.stderr


def test_of_two_at_once_one_says_that_the_other_is_at_work(team):
    first, second = (team.clone.start("up", "--no-worker") for _ in range(2))
    outputs = [each.communicate(timeout=400)[0] for each in (first, second)]
    assert sorted((first.returncode, second.returncode)) == [0, 3], outputs
    assert any("is running here" in each for each in outputs)
    assert len({each.pid for each in marked(team) if each.ppid() == 1 or each.pid == os.getsid(each.pid)}) == 3


def test_after_a_reboot_stale_numbers_stop_nobody(team):
    """All is killed, and the numbers that were written down belong to others now."""
    for each in [*marked(team), psutil.Process(team.pid("postgres"))]:
        each.kill()
    stranger = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
    try:
        state = team.state()
        state["processes"] = {
            name: f"{each.split()[0]} {stranger.pid}@00000000:1" for name, each in state["processes"].items()
        }
        (team.folder / "state.json").write_text(json.dumps(state), "utf-8")
        lock = team.folder / "postgres/postmaster.pid"
        lines = lock.read_text("ascii").splitlines()
        lock.write_text("\n".join([str(stranger.pid), lines[1], "1000000000", *lines[3:]]) + "\n", "ascii")
        done = team.retune("up", "--no-worker", timeout=400)
        assert done.returncode == 0, done.stdout + done.stderr
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def test_down_stops_what_a_killed_up_had_begun(team):
    assert team.down().returncode == 0
    up = team.clone.start("up", "--no-worker")
    until = time.monotonic() + 60
    while not any("prefect" in " ".join(each.cmdline()) for each in marked(team)) and time.monotonic() < until:
        time.sleep(0.05)
    up.kill()
    up.wait()
    up.stdout.close()
    done = team.down()
    assert done.returncode == 0 and "prefect" in done.stdout
    assert marked(team) == []


def test_a_full_disk_is_said(team, tmp_path):
    """The folder of the services on a disk that is full."""
    if os.geteuid() != 0:
        pytest.skip("only root can mount a small disk")
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", small], capture_output=True, text=True)
    if mounted.returncode:
        pytest.skip(f"no small disk can be mounted here: {mounted.stderr.strip()}")
    services = team.clone.folder / ".retune/services"
    renamed_folder = services.rename(services.with_name("services.kept"))
    try:
        services.symlink_to(small)
        (small / "fill").write_bytes(b"x" * 60_000)
        done = team.retune("up", "--no-worker", "--database", "sqlite")
        assert done.returncode == 3, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert "No space left" in done.stdout + done.stderr
    finally:
        team.down()
        services.unlink()
        renamed_folder.rename(services)
        subprocess.run(["umount", small], check=True)


def test_without_postgresql_it_is_sqlite(make_team):
    team = make_team("--no-worker", "--database", "sqlite")
    assert "postgres" not in team.state()["processes"]
    assert team.retune("models").returncode == 1
    assert team.down().stdout.split()[::3] == ["mlflow", "prefect"]
    assert team.retune("models").returncode == 1  # the same file, without its server
    assert Path(team.clone.folder / ".retune/mlflow.db").exists()


REGISTER = """
import os, sys
from pathlib import Path
from flows.project import environment
environment.activate_project()
from retune.registry import versions, runs
folder = Path("some"); folder.mkdir(); (folder / "weights").write_text("bytes of the model")
with runs.run("classifier", "first", {}) as run_id:
    runs.log_metrics(run_id, {"accuracy": 0.75})
version = versions.add_version("classifier", run_id, folder, {"fingerprint": "f" * 64})
versions.set_alias(version, "champion")
"""


def test_versions_of_a_file_are_brought_along_and_a_backup_of_them_restores(make_team, passable_folder):
    def register(clone):
        done = clone.python("-c", REGISTER)
        assert done.returncode == 0, done.stderr

    team = make_team("--no-worker", before=register)
    models = json.loads(team.retune("models", "--json").stdout)
    assert [(each["version"], each["aliases"], each["metrics"]["accuracy"]) for each in models] == [
        (1, ["champion"], 0.75)
    ]
    assert not (team.clone.folder / ".retune/mlflow.db").exists()
    assert read(team.clone) == "bytes of the model"
    assert team.clone.python("-c", REGISTER.replace("some", "more")).returncode == 0  # and the numbers go on
    before = team.retune("models", "--json").stdout

    backup, into = passable_folder() / "backup", passable_folder() / "restored"
    env = {**team.clone.environment(), "PYTHON": sys.executable}

    def script(name, *words):
        command = ["sh", f"infra/{name}", *words]
        done = subprocess.run(command, cwd=team.clone.folder, env=env, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    script("back_up.sh", backup)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o700
    assert team.down().returncode == 0
    restored = type(team.clone)(into)
    try:
        script("restore.sh", backup, into)
        assert restored.retune("models", "--json").stdout == before
        assert read(restored) == "bytes of the model"
    finally:
        restored.retune("down", timeout=180)


def read(clone):
    asks = (
        "from flows.project import environment; environment.activate_project()\nfrom retune.registry import versions\n"
    )
    asks += "print((registry.version_folder(registry.resolve('classifier/1')) / 'weights').read_text())"
    return clone.python("-c", asks).stdout.strip()
