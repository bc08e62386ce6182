"""How many requests a second `retune serve` answers, beside LitServe and `mlflow models serve`, with one version.

    python bench/serving.py [NAME@ALIAS] [--seconds 8] [--rounds 2] [--json FILE]

One machine, one version of this project's registry, one client for all: a process of its own with 64 connections, each
of which sends the next text once it has its answer. Client and server share the cores. No text comes twice in a
round and Retune's cache is off, so that every answer is computed. The servers take turns, round by round:

    Retune          as `retune serve` starts it, cache off
    LitServe        as its documentation begins, one text at a time
    LitServe, 64    with max_batch_size=64 and batch_timeout=0.01
    MLflow          `mlflow models serve --env-manager local`
    offline         the same model reads the same texts in one call, with nobody else on the machine

Then overload: 128 connections to a server whose queue holds 64 texts, so twice as many as it takes. Each request must
get an answer or a 503, and the p99 of the answers must be at most twice that at capacity.

LitServe (Apache-2.0) is installed by uv into a virtual environment of its own below the system's folder for temporary
files, and is left out with a word where that fails. Ends with 1 where a goal is missed: 3 times LitServe's requests a
second, 8 times MLflow's, a p99 below both, 0.8 of the offline rate.
"""

import argparse
import asyncio
import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

CLIENTS, OVERLOAD, QUEUE = 64, 128, 64
GOALS = {"LitServe": 3.0, "MLflow": 8.0}
OFFLINE_SHARE, P99_FACTOR = 0.8, 2.0
STARTING = 120  # seconds
LITSERVE = """
import sys, litserve
sys.path.insert(0, sys.argv[1])
from retune.models import loading
from retune.models.routing import read

class Api(litserve.LitAPI):
    def setup(self, device):
        self.model = loading.load(__import__("pathlib").Path(sys.argv[2]), "cpu")

    def decode_request(self, request):
        return request["text"]

    def predict(self, texts):
        one = isinstance(texts, str)
        answers = self.model.predict([texts] if one else texts)
        rows = list(zip(answers.labels, answers.confidence.tolist()))
        return rows[0] if one else rows

    def encode_response(self, row):
        return {"label": row[0], "confidence": row[1]}

if __name__ == "__main__":
    size = int(sys.argv[4])
    api = Api(max_batch_size=size, batch_timeout=0.01) if size > 1 else Api()
    litserve.LitServer(api, accelerator="cpu", timeout=60).run(
        host="127.0.0.1", port=int(sys.argv[3]), generate_client_file=False, log_level="warning")
"""


@dataclass
class Load:
    """What one client saw."""

    server: str
    requests: int  # answered
    refused: int  # 503
    lost: int  # anything else
    rate: float  # answers a second
    p50: float  # of the answers, in milliseconds
    p99: float


def texts(count: int) -> list[str]:
    """Of the sample, each with a number of its own, so that none comes twice."""
    with (ROOT / "tests/samples/tickets.csv").open(encoding="utf-8", newline="") as file:
        bodies = [row["body"] for row in csv.DictReader(file)]
    return [f"{bodies[place % len(bodies)]} {place}" for place in range(count)]


def body(server: str, text: str) -> tuple[str, dict[str, Any]]:
    if server.startswith("LitServe"):
        return "/predict", {"text": text}
    return ("/invocations", {"inputs": [text]}) if server == "MLflow" else ("/v1/predict", {"texts": [text]})


async def drive(server: str, port: int, clients: int, seconds: float) -> Load:
    """Closed loop: each client sends its next text once it has an answer."""
    waiting = iter(texts(200_000))
    latencies: list[float] = []
    counts = {"refused": 0, "lost": 0}
    end = time.perf_counter() + seconds

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while time.perf_counter() < end:
            path, content = body(server, next(waiting))
            data = json.dumps(content).encode()
            head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
            begin = time.perf_counter()
            writer.write(f"{head}Content-Length: {len(data)}\r\n\r\n".encode() + data)
            head_lines = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head_lines.split(b"content-length:")[1].split(b"\r\n")[0])
            await reader.readexactly(length)
            status = int(head_lines.split(b" ", 2)[1])
            if status == 200:
                latencies.append(time.perf_counter() - begin)
            else:
                counts["refused" if status == 503 else "lost"] += 1
                await asyncio.sleep(0.05 if status == 503 else 0)
        writer.close()

    begin = time.perf_counter()
    results = await asyncio.gather(*(client() for _ in range(clients)), return_exceptions=True)
    counts["lost"] += sum(isinstance(result, BaseException) for result in results)
    spent = time.perf_counter() - begin
    latencies.sort()
    quantile = lambda share: 1000 * latencies[min(int(share * len(latencies)), len(latencies) - 1)]  # noqa: E731
    return Load(server, len(latencies), counts["refused"], counts["lost"], len(latencies) / spent,
                quantile(0.5), quantile(0.99))  # fmt: skip


def measure(server: str, port: int, clients: int, seconds: float) -> Load:
    """By a process of its own."""
    words = [sys.executable, __file__, "--drive", server, str(port), str(clients), str(seconds)]
    return Load(**json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout))


@contextmanager
def running(words: list[str], port: int, path: str) -> Iterator[None]:
    """A server in a process group of its own, once it answers."""
    with tempfile.TemporaryFile() as log:
        paths = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"  # where MLflow finds its uvicorn
        environment = {**os.environ, "PATH": paths}
        process = subprocess.Popen(words, stdout=log, stderr=log, start_new_session=True, env=environment)
        try:
            if not _answers(process, port, path):
                log.seek(0)
                raise RuntimeError(f"{words[:4]} did not start: {log.read()[-2000:].decode(errors='replace')}")
            yield
        finally:
            _end(process)


def _end(process: subprocess.Popen[bytes]) -> None:
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):  # it ended by itself
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)


def _answers(process: subprocess.Popen[bytes], port: int, path: str) -> bool:
    import urllib.request

    end = time.monotonic() + STARTING
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as response:
                if response.status == 200:
                    return True
        except OSError:
            time.sleep(0.2)
    return False


def free_port() -> int:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as place:
        return place.getsockname()[1]


def litserve_python() -> str | None:
    """The Python of an environment with LitServe and, behind it, the packages of this one; None where there is none."""
    folder = Path(tempfile.gettempdir()) / "retune-bench-litserve"
    python = folder / "bin/python"
    if not (folder / "ready").exists():
        uv = [sys.executable, "-m", "uv"]
        try:
            subprocess.run([*uv, "venv", "-q", "--clear", "--python", sys.executable, folder], check=True)
            subprocess.run([*uv, "pip", "install", "-q", "--python", python, "litserve"], check=True)
        except (OSError, subprocess.CalledProcessError) as error:
            print(f"LitServe is left out: {error}")
            return None
        site = next((folder / "lib").glob("python3*/site-packages"))
        packages = next((Path(sys.prefix) / "lib").glob("python3*/site-packages"))
        (site / "retune.pth").write_text(f"{packages}\n")  # torch and transformers: not twice
        (folder / "ready").touch()
    return str(python)


def serve_retune(reference: str, port: int, queue: int) -> None:
    """`retune serve` with the cache off."""
    from dataclasses import replace

    from flows.project import environment
    from retune.config import params
    from tasks.serve import server

    environment.activate_project()
    config = params.load()
    config = replace(config, serve=replace(config.serve, cache_texts=0, queue_texts=queue))
    server.serve([reference], "127.0.0.1", port, config, lambda address, _: print(address, flush=True))


def offline_rate(folder: Path, seconds: float) -> float:
    """Texts a second of one call after another, 1,000 texts each, in batches of 64."""
    from retune.models import loading

    model, rows = loading.load(folder, "cpu"), texts(1000)
    model.predict(rows[:64])
    count, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        model.predict(rows, 64)
        count += len(rows)
    return count / (time.perf_counter() - begin)


def servers(reference: str, folder: Path) -> dict[str, tuple[list[str], int, str]]:
    """name -> command, port and path of its health."""
    ports = [free_port() for _ in range(4)]
    program = [sys.executable, __file__, reference]
    commands = {"Retune": ([*program, "--serve", str(ports[0]), "--queue", "512"], ports[0], "/ready")}
    if python := litserve_python():
        script = Path(tempfile.gettempdir()) / "retune-bench-litserve.py"
        script.write_text(LITSERVE)
        for place, (name, size) in enumerate({"LitServe": 1, "LitServe, 64": 64}.items(), start=1):
            words = [python, str(script), str(ROOT), str(folder), str(ports[place]), str(size)]
            commands[name] = (words, ports[place], "/health")
    mlflow = str(Path(sys.executable).with_name("mlflow"))
    whole = str(folder.parent.parent)
    words = [mlflow, "models", "serve", "-m", whole, "--env-manager", "local", "-p", str(ports[3])]
    commands["MLflow"] = (words, ports[3], "/health")
    return commands


def compare(reference: str, rounds: int, seconds: float) -> dict[str, Any]:
    from flows.project import environment
    from retune.registry import versions

    environment.activate_project()
    folder = versions.model_folder(versions.resolve(reference))
    best: dict[str, Load] = {}
    offline = 0.0
    for _ in range(rounds):
        for name, (words, port, path) in servers(reference, folder).items():
            with running(words, port, path):
                measure(name, port, CLIENTS, 1.0)  # warm
                load = measure(name, port, CLIENTS, seconds)
            print(f"  {load}", file=sys.stderr)
            if name not in best or load.rate > best[name].rate:
                best[name] = load
        offline = max(offline, offline_rate(folder, seconds / 2))
    port = free_port()
    words = [sys.executable, __file__, reference, "--serve", str(port), "--queue", str(QUEUE)]
    with running(words, port, "/ready"):
        capacity, overload = (measure("Retune", port, clients, seconds) for clients in (CLIENTS, OVERLOAD))
    return {"loads": best, "offline": offline, "capacity": capacity, "overload": overload}


def report(result: dict[str, Any]) -> list[str]:
    """Prints the table. Returns the goals that are missed."""
    loads, offline = result["loads"], result["offline"]
    print(f"{'server':16}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'lost':>6}")
    for load in loads.values():
        print(f"{load.server:16}{load.rate:12.1f}{load.p50:9.0f}{load.p99:9.0f}{load.lost:6}")
    print(f"{'offline':16}{offline:12.1f}")
    capacity, overload = result["capacity"], result["overload"]
    print(f"\ntwice the clients that the queue holds: {overload.rate:.1f} answers/s, {overload.refused} refused, "
          f"{overload.lost} lost, p99 {overload.p99:.0f} ms (at capacity {capacity.p99:.0f} ms)")  # fmt: skip
    ours = loads["Retune"]
    missed = [f"{factor:g} times {name}: {ours.rate / loads[name].rate:.1f}"
              for name, factor in GOALS.items() if name in loads and ours.rate < factor * loads[name].rate]  # fmt: skip
    missed += [f"p99 below {load.server}" for load in loads.values() if load.p99 < ours.p99]
    if ours.rate < OFFLINE_SHARE * offline:
        missed.append(f"{OFFLINE_SHARE} of the offline rate: {ours.rate / offline:.2f}")
    if overload.lost or capacity.lost or ours.lost:
        missed.append("no request is lost")
    if overload.p99 > P99_FACTOR * capacity.p99:
        missed.append(f"p99 under overload: {overload.p99 / capacity.p99:.1f} times that at capacity")
    for goal in missed:
        print(f"missed: {goal}")
    return missed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("reference", nargs="?", default="classifier@champion")
    parser.add_argument("--seconds", type=float, default=8.0)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--serve", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--queue", type=int, default=512, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.serve:
        serve_retune(arguments.reference, arguments.serve, arguments.queue)
        return
    result = compare(arguments.reference, arguments.rounds, arguments.seconds)
    missed = report(result)
    if arguments.json:
        arguments.json.write_text(json.dumps({**result, "missed": missed}, default=asdict, indent=2) + "\n", "utf-8")
    sys.exit(bool(missed))


if __name__ == "__main__":
    if sys.argv[1:2] == ["--drive"]:
        import uvloop

        name, port_, clients_, seconds_ = sys.argv[2:]
        print(json.dumps(asdict(uvloop.run(drive(name, int(port_), int(clients_), float(seconds_))))))
    else:
        main()
