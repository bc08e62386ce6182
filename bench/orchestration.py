"""What the orchestration costs: `retune run` against the same stages run one by one, on the shipped sample.

    python bench/orchestration.py [--json FILE]

Works in a clone of its own in a temporary folder, method probe. Prints seconds of: `retune --help`, `retune plan`,
the stages alone, the first run with Prefect's temporary server and with a running one, and an unchanged run of
each kind. The cost is the run's wall time less the stages' own.
"""

import argparse
import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
RETUNE = [sys.executable, "-m", "flows.cli"]
SHIPPED = (
    ".gitignore",
    "data/suppressed.json",
    "data/label_verdicts.json",
    "models/start.json",
)  # what data/ and models/ hold in every clone
SAMPLE = ["tests/samples/tickets.csv", "--text=body", "--label=queue", "--id=ticket_id", "--group=customer_id"]
PORT = 4311


def clone(target: Path) -> None:
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in filter(None, names.stdout.split("\0")):
        is_output = name == "dvc.lock" or (name.startswith(("data/", "models/")) and not name.endswith(SHIPPED))
        if (ROOT / name).is_file() and not is_output:  # what a run made here stays here
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    author = ["-c", "user.name=bench", "-c", "user.email=bench@localhost"]
    for command in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "bench"]):
        subprocess.run(["git", *author, *command], cwd=target, check=True)


def seconds(command: list[str], folder: Path, environment: dict[str, str]) -> float:
    began = time.monotonic()
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{shlex.join(command)} failed:\n{done.stdout}{done.stderr}")
    return time.monotonic() - began


def stages_alone(folder: Path, environment: dict[str, str]) -> float:
    stages = yaml.safe_load((folder / "dvc.yaml").read_text("utf-8"))["stages"].values()
    return sum(seconds(shlex.split(stage["cmd"]), folder, environment) for stage in stages)


@contextmanager
def prefect_server(environment: dict[str, str]) -> Iterator[dict[str, str]]:
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(PORT)]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(240):
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{PORT}/api/health", timeout=2)
                break
            except OSError:
                time.sleep(0.5)
        yield {**environment, "PREFECT_API_URL": f"http://127.0.0.1:{PORT}/api"}
    finally:
        server.terminate()
        server.wait()


def measure(folder: Path) -> dict[str, float]:
    state = {"PREFECT_HOME": str(folder / ".retune/prefect"), "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    drop = ("MLFLOW_TRACKING_URI", "PREFECT_API_URL")
    plain = {name: value for name, value in os.environ.items() if name not in drop}
    plain |= {**state, "PATH": f"{Path(sys.executable).parent}:{plain['PATH']}"}
    timings = {"help": seconds([*RETUNE, "--help"], folder, plain)}
    seconds([*RETUNE, "ingest", *SAMPLE], folder, plain)
    # A run that fails to change params: written once, so that both ways read the same file.
    seconds(
        [sys.executable, "-c", "from flows.project.params_editor import write; write(['train.method=probe'])"],
        folder,
        plain,
    )
    timings["stages"] = stages_alone(folder, plain)
    shutil.rmtree(folder / "models/candidate")
    timings["run, temporary server"] = seconds([*RETUNE, "run"], folder, plain)
    timings["unchanged, temporary server"] = seconds([*RETUNE, "run"], folder, plain)
    timings["plan"] = seconds([*RETUNE, "plan"], folder, plain)
    with prefect_server(plain) as served:
        timings["unchanged, running server"] = seconds([*RETUNE, "run"], folder, served)
        for leftover in (".dvc/cache", ".dvc/tmp", ".retune/mlflow.db", ".retune/artifacts", "dvc.lock"):
            path = folder / leftover
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        seconds([*RETUNE, "ingest", *SAMPLE], folder, served)
        timings["run, running server"] = seconds([*RETUNE, "run"], folder, served)
    for kind in ("temporary", "running"):
        timings[f"cost, {kind} server"] = timings[f"run, {kind} server"] - timings["stages"]
    return timings


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, help="write the figures here too")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        clone(Path(folder))
        timings = {name: round(value, 2) for name, value in measure(Path(folder)).items()}
    for name, value in timings.items():
        print(f"{name:30}{value:8.2f} s")
    if options.json:
        options.json.write_text(json.dumps(timings, indent=2) + "\n", "utf-8")


if __name__ == "__main__":
    main()
