"""infra/compose.yaml cannot be run here: what can be checked without Docker is."""

import configparser
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

INFRA = Path(__file__).resolve().parent.parent / "infra"
COMPOSE = yaml.safe_load((INFRA / "compose.yaml").read_text("utf-8"))
SERVICES = COMPOSE["services"]
OPERATE = INFRA.parent / "docs/how-to/operate"
CONTAINERS = (OPERATE / "containers.md").read_text("utf-8")


def test_the_same_four_as_on_one_machine():
    from flows.services.state import ORDER

    assert set(SERVICES) == set(ORDER)


def test_every_variable_is_required_and_explained():
    variables = set(re.findall(r"\$\{(\w+)([^}]*)\}", (INFRA / "compose.yaml").read_text("utf-8")))
    assert variables and {rest for _, rest in variables} == {":?"}
    assert [name for name, _ in variables if f"`{name}`" not in CONTAINERS] == []


def test_no_port_is_open_to_others():
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert len(published) == 3 and all(port.startswith("127.0.0.1:") for port in published)


def test_no_password_is_written_down():
    for service in SERVICES.values():
        for name, value in service["environment"].items():
            if re.search("PASSWORD|SECRET|AUTH_STRING", name):
                assert re.fullmatch(r"(retune:)?\$\{\w+:\?\}", str(value)), name


def test_the_worker_alone_is_given_a_file_of_secrets_that_need_not_be_there_and_that_git_does_not_see():
    assert [name for name, service in SERVICES.items() if "env_file" in service] == ["worker"]
    assert SERVICES["worker"]["env_file"] == [{"path": "${RETUNE_CLONE:?}/.retune/secrets.env", "required": False}]
    ignored = subprocess.run(["git", "check-ignore", "-q", ".retune/secrets.env"], cwd=INFRA.parent)
    assert ignored.returncode == 0
    schedule = (OPERATE / "schedule.md").read_text("utf-8")
    assert ". .retune/secrets.env && .venv/bin/retune schedule health --notify" in schedule, "cron reads the same file"


def test_what_the_page_on_containers_gives_the_worker_is_not_overridden_and_a_shell_reads_it_too(tmp_path):
    env_file = re.search(r"<<'END'\n(.*?)END\n", CONTAINERS, re.DOTALL)[1]
    (file := tmp_path / "secrets.env").write_text(env_file)
    names = re.findall(r"^(\w+)='.*'$", env_file, re.MULTILINE)
    assert len(names) == len(env_file.splitlines()) and not set(names) & set(SERVICES["worker"]["environment"])
    shell = subprocess.run(["sh", "-c", f"set -a && . {file} && env"], env={}, capture_output=True, text=True)
    assert {line.partition("=")[0] for line in shell.stdout.splitlines()} >= set(names)


def test_the_page_on_containers_backs_up_and_restores_services_and_volumes_that_there_are():
    blocks = [block for block in re.findall(r"```sh\n(.*?)```", CONTAINERS, re.DOTALL) if "\n  dc exec" in block]
    assert len(blocks) == 2
    for block in blocks:
        assert subprocess.run(["sh", "-n"], input=block, text=True).returncode == 0
        lines = [line.split() for line in block.splitlines() if re.match(r" *dc (?!up --build)", line)]
        volumes = [next(word for word in line[2:] if not word.startswith("-")) for line in lines]
        assert set(volumes) <= set(SERVICES) and {"postgres", "mlflow"} <= set(volumes)
        assert "artifacts:/artifacts" in SERVICES["mlflow"]["volumes"] and "--directory=/artifacts" in block
    assert set(COMPOSE["volumes"]) == {"database", "artifacts", "prefect"}, "a new one is backed up too"


def test_each_is_restarted_and_tells_whether_it_is_well():
    for name, service in SERVICES.items():
        assert service["restart"] == "unless-stopped", name
        assert service["healthcheck"]["test"][0] == "CMD", name


def test_whom_a_service_waits_for_exists():
    for service in SERVICES.values():
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        for volume in service["volumes"]:
            source = volume.partition(":")[0] if not volume.startswith("$") else None
            assert source is None or source in COMPOSE["volumes"] or (INFRA / source).exists(), volume


def test_what_the_image_copies_exists():
    copied = re.findall(r"^COPY (.*) \S+$", (INFRA / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    assert copied and all((INFRA.parent / name).exists() for line in copied for name in line.split())


def test_the_image_copies_every_package_that_is_installed():
    copied = re.findall(r"^COPY (\S+) \S+$", (INFRA / "Dockerfile").read_text("utf-8"), re.MULTILINE)
    setup = tomllib.loads((INFRA.parent / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    packages = {pattern.rstrip("*") for pattern in setup["packages"]["find"]["include"]}
    assert packages <= set(copied)


def test_mlflow_reads_the_file_that_it_is_given():
    ini = configparser.ConfigParser()
    ini.read(INFRA / "mlflow-auth.ini")
    assert ini["mlflow"]["authorization_function"] == "mlflow.server.auth:authenticate_request_basic_auth"
    assert "password" not in ini["mlflow"]["database_uri"]


@pytest.mark.parametrize("name", ["back_up.sh", "restore.sh"])
def test_a_script_is_one(name):
    assert subprocess.run([shutil.which("sh"), "-n", INFRA / name]).returncode == 0


def script(name, *words, cwd=INFRA.parent):
    """What a script says that cannot do what it is asked: one line."""
    command = ["sh", INFRA / name, *map(str, words)]
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PYTHON": sys.executable}, capture_output=True, text=True
    )
    assert done.returncode == 2 and done.stdout == "" and len(done.stderr.splitlines()) == 1, done.stderr
    return done.stderr


def test_a_backup_that_is_there_is_not_overwritten(tmp_path):
    (tmp_path / "whole").touch()
    assert "holds something already" in script("back_up.sh", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["whole"]


def test_a_backup_is_of_a_clone_and_stands_outside_it(own_clone, tmp_path_factory):
    assert "is no Retune clone" in script("back_up.sh", "there", cwd=tmp_path_factory.mktemp("nothing"))
    (elsewhere := tmp_path_factory.mktemp("link") / "clone").symlink_to(own_clone.folder)
    for destination in ("there", own_clone.folder / "there/deep", elsewhere / "there"):
        assert "is in the clone itself" in script("back_up.sh", destination, cwd=own_clone.folder)
    assert not (own_clone.folder / "there").exists()


def test_what_is_no_whole_backup_is_not_restored(tmp_path):
    assert f"there is no folder {tmp_path}/none" in script("restore.sh", f"{tmp_path}/none", tmp_path / "new")
    (tmp_path / "half").mkdir()
    assert "is no backup that ended well" in script("restore.sh", tmp_path / "half", tmp_path / "new")
    (tmp_path / "half/whole").touch()
    assert "is there already" in script("restore.sh", tmp_path / "half", tmp_path)
    assert not (tmp_path / "new").exists()


@pytest.mark.long
@pytest.mark.parametrize("name", ["prefect", "mlflow", "worker"])
def test_a_command_takes_the_words_that_it_is_given(name):
    """Each option stands in the command's own help."""
    words = SERVICES[name]["command"].split()
    module = {"prefect": "prefect", "mlflow": "mlflow", "retune": "flows.cli"}[words[0]]
    assert importlib.util.find_spec(module.partition(".")[0])
    commands = [word for word in words[1:3] if not word.startswith("-") and words[0] != "mlflow"] or words[1:2]
    helped = subprocess.run(
        [sys.executable, "-m", module, *commands, "--help"], capture_output=True, text=True, timeout=120
    )
    assert helped.returncode == 0, helped.stderr
    assert [word for word in words if word.startswith("--") and word not in helped.stdout] == []


KUBERNETES = INFRA / "kubernetes"
SERVING = list(yaml.safe_load_all((KUBERNETES / "serving.yaml").read_text("utf-8")))
KSERVE = yaml.safe_load((KUBERNETES / "kserve.yaml").read_text("utf-8"))
BY_KIND = {each["kind"]: each for each in SERVING}
# Of KServe's v1beta1 API, the fields of a predictor that are not those of a pod.
OF_PREDICTOR = {"minReplicas", "maxReplicas", "scaleMetric", "scaleTarget", "timeout"}


@pytest.mark.parametrize("kind", BY_KIND)
def test_each_object_is_one_of_kubernetes(kind):
    kubernetes_validate.validate(BY_KIND[kind], "1.37", strict=True)


def test_an_unknown_field_would_be_seen():
    wrong = {**BY_KIND["Service"], "spec": {**BY_KIND["Service"]["spec"], "selectors": {}}}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.37", strict=True)


def test_an_inference_service_has_the_fields_of_a_pod_and_of_kserve():
    assert set(KSERVE) == {"apiVersion", "kind", "metadata", "spec"} and set(KSERVE["spec"]) == {"predictor"}
    pod = {name: value for name, value in KSERVE["spec"]["predictor"].items() if name not in OF_PREDICTOR}
    kubernetes_validate.validate(
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "retune"}, "spec": pod}, "1.37", strict=True
    )


def test_all_objects_mean_the_same_pods_and_port():
    deployment = BY_KIND["Deployment"]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    assert BY_KIND["Service"]["spec"]["selector"] == labels == deployment["spec"]["selector"]["matchLabels"]
    assert BY_KIND["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"] == labels
    assert BY_KIND["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"] == labels
    assert BY_KIND["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    (port,) = [each["port"] for each in BY_KIND["NetworkPolicy"]["spec"]["ingress"][0]["ports"]]
    assert [port] == [each["containerPort"] for each in container_of(deployment)["ports"]]


def container_of(deployment):
    return deployment["spec"]["template"]["spec"]["containers"][0]


@pytest.mark.parametrize(
    "container", [container_of(BY_KIND["Deployment"]), KSERVE["spec"]["predictor"]["containers"][0]]
)
def test_a_pod_runs_a_command_that_there_is_and_asks_routes_that_there_are(container):
    from flows.cli.serving import serve
    from retune.serving import api_keys

    program, command, *words = container["command"]
    assert (program, command) == ("retune", "serve")
    options = serve.make_context("serve", words).params
    assert options["port"] == container["ports"][0]["containerPort"] and options["host"] == "0.0.0.0"
    paths = {probe["httpGet"]["path"] for name, probe in container.items() if name.endswith("Probe")}
    routes = (INFRA.parent / "tasks/serve/operation_routes.py").read_text("utf-8")
    assert all(f'"{path}"' in routes for path in paths) and "/ready" in paths
    assert any(mount["mountPath"].endswith(f".retune/{api_keys.FILE}") for mount in container["volumeMounts"])


RULES = INFRA / "prometheus/alerts.yaml"
DASHBOARD = json.loads((INFRA / "grafana/serving.json").read_text("utf-8"))


@pytest.mark.slow  # seconds, in which promtool lives through weeks
@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: prometheus)")
@pytest.mark.parametrize("words", [("check", "rules", "alerts.yaml"), ("test", "rules", "alerts_test.yaml")])
def test_the_alerts_fire_when_they_must_and_only_then(words):
    done = subprocess.run(["promtool", *words], cwd=RULES.parent, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_each_alert_has_a_test():
    alerts = {rule["alert"] for group in yaml.safe_load(RULES.read_text("utf-8"))["groups"] for rule in group["rules"]}
    tests = yaml.safe_load((RULES.parent / "alerts_test.yaml").read_text("utf-8"))["tests"]
    fired = {case["alertname"] for test in tests for case in test["alert_rule_test"] if case["exp_alerts"]}
    assert fired == alerts


def test_alerts_and_dashboard_ask_for_metrics_that_there_are():
    code = (INFRA.parent / "tasks/serve/metrics.py").read_text("utf-8")
    names = set(re.findall(r'"(retune_\w+)"', code))
    queries = RULES.read_text("utf-8") + json.dumps(DASHBOARD["panels"])
    for name in set(re.findall(r"retune_\w+", queries)):
        assert re.sub("_(total|bucket)$", "", name) in names, name
    assert all(panel["targets"] for panel in DASHBOARD["panels"])
