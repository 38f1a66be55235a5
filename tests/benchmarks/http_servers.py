"""Servers under test: Headrace's replicas, and peers in environments of their own; all on the first core.

A peer's environment is made once from its requirements, by hash, under the user's cache.
What does not belong here: load and figures.
"""

import hashlib
import http.client
import json
import os
import platform
import socket
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from headrace.triggers import wire

HERE = Path(__file__).parent
PEERS = HERE / "peers"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "headrace/peers"
SERVER_CORE, CLIENT_CORE = "0", "1"
TICKS_PER_S = os.sysconf("SC_CLK_TCK")


# Compiled imports are what people have, where some test environments forbid to write them
_NOT_PASSED = ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")


class Server:
    """A running server.

    Attributes:
        name: As in the table.
        port: On 127.0.0.1.
    """

    def __init__(self, name: str, process: "subprocess.Popen[bytes]", port: int) -> None:
        self.name = name
        self.port = port
        self._process = process

    def cpu_s(self) -> float:
        """CPU seconds that it and its children have used."""
        return sum(_cpu_s(pid) for pid in _tree(self._process.pid))

    def memory_mb(self, what: str) -> float:
        """`VmRSS` or `VmHWM` of its first process, in MB (10^6 bytes)."""
        for line in Path(f"/proc/{self._process.pid}/status").read_text().splitlines():
            if line.startswith(f"{what}:"):
                return int(line.split()[1]) * 1024 / 1e6
        raise SystemExit(f"bench: process {self._process.pid} has no {what}")

    def ask(self, body: bytes, method: str = "POST", path: str = "/") -> bytes:
        """The answer to a request."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request(method, path, body, {"content-type": "application/json"})
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        if response.status != 200:
            raise ConnectionError(f"{self.name}: expected 200, got {response.status} {answer[:200]!r}")
        return answer


@contextmanager
def headrace(function: str, work: Path, **sections: Any) -> Generator[Server]:
    """A replica with its defaults (metrics, limits and deadlines on) but for `sections` of func.yaml."""
    name = "headrace" if not sections else f"headrace {function}"
    spec = work / f"{function}-{abs(hash(json.dumps(sections, sort_keys=True)))}.json"
    spec.write_text(json.dumps({"name": function, **sections}))
    port = _free_port()
    environ = {
        wire.PROJECT: str(HERE / "functions" / function), wire.SPEC: str(spec), wire.ADDRESS: f"127.0.0.1:{port}",
    }  # fmt: skip
    with _running(name, [sys.executable, "-m", "headrace.runtime.main"], environ, port, "/health/readiness") as server:
        yield server


@contextmanager
def peer(name: str, work: Path) -> Generator[Server]:
    """One of `COMMANDS`."""
    requirements, command, variables = COMMANDS[name]
    port = _free_port()
    binaries = environment(requirements) / "bin" if requirements else Path(sys.executable).parent
    filled = [part.format(bin=binaries, port=port) for part in command]
    environ = {key: value.format(port=port) for key, value in variables.items()}
    with _running(name, filled, {"BENTOML_HOME": str(work / "bentoml"), **environ}, port) as server:
        yield server


_UVICORN = ["--host", "127.0.0.1", "--port", "{port}", "--no-access-log", "--log-level", "warning"]
_GRANIAN = ["--host", "127.0.0.1", "--port", "{port}", "--workers", "1", "--loop", "uvloop", "--no-ws"]
_BENTO_OFF = {"BENTOML_DO_NOT_TRACK": "True", "LITSERVE_TELEMETRY": "0"}
COMMANDS: dict[str, tuple[str, list[str], dict[str, str]]] = {
    "bare": ("", ["{bin}/python", "bare.py", "{port}"], {}),
    "bare body": ("", ["{bin}/python", "bare_body.py", "{port}"], {}),
    "uvicorn+Starlette": ("uvicorn", ["{bin}/python", "-m", "uvicorn", *_UVICORN, "starlette_app:app"], {}),
    "Granian RSGI": ("granian", ["{bin}/granian", "--interface", "rsgi", *_GRANIAN, "granian_app:app"], {}),
    "LitServe": ("litserve", ["{bin}/python", "litserve_app.py", "{port}"], _BENTO_OFF),
    "BentoML": (
        "bentoml",
        ["{bin}/bentoml", "serve", "bentoml_app:Echo", "--host", "127.0.0.1", "--port", "{port}"],
        _BENTO_OFF,
    ),
    "func-python": ("func_python", ["{bin}/python", "func_python_app.py"], {"LISTEN_ADDRESS": "127.0.0.1:{port}"}),
}
"""By name: (requirements, command, environment variables)."""


def environment(requirements: str) -> Path:
    """The environment that `peers/<requirements>.txt` pins, made if it is not there."""
    pins = PEERS / f"{requirements}.txt"
    version = platform.python_version()
    digest = hashlib.sha256(pins.read_bytes() + version.encode()).hexdigest()[:16]
    place = CACHE / f"{requirements}-{digest}"
    if (place / ".complete").exists():
        return place
    print(f"bench: making the environment of {requirements}", file=sys.stderr)
    uv = str(Path(sys.executable).with_name("uv"))
    subprocess.run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(place)], check=True)
    install = [uv, "pip", "install", "--quiet", "--require-hashes", "--python", str(place / "bin/python")]
    subprocess.run([*install, "-r", str(pins)], check=True)
    (place / ".complete").touch()
    return place


def versions(names: set[str]) -> dict[str, str]:
    """What is pinned of each peer, and what Headrace runs on."""
    from importlib.metadata import version

    found = {package: version(package) for package in ("headrace", "uvloop", "httptools", "msgspec", "numpy")}
    for name in names:
        for line in (PEERS / f"{COMMANDS[name][0]}.txt").read_text().splitlines() if COMMANDS[name][0] else []:
            package, equal, rest = line.partition("==")
            if equal and package in ("uvicorn", "starlette", "granian", "litserve", "bentoml", "func-python"):
                found[package] = rest.split()[0]
    return dict(sorted(found.items()))


@contextmanager
def _running(
    name: str, command: list[str], variables: dict[str, str], port: int, probe: str | None = None
) -> Generator[Server]:
    environ = {key: value for key, value in os.environ.items() if key not in _NOT_PASSED} | variables
    log = (HERE.parents[1] / "build/bench").joinpath(f"{name.replace(' ', '-')}.log")
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", SERVER_CORE, *command], env=environ, cwd=PEERS, stdout=out, stderr=out,
            start_new_session=True,
        )  # fmt: skip
    server = Server(name, process, port)
    try:
        _wait(server, process, log, probe)
        yield server
    finally:
        family = _tree(process.pid)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(10)
        for pid in family:
            with suppress(ProcessLookupError):
                os.kill(pid, 9)
        process.wait()


def _wait(server: Server, process: "subprocess.Popen[bytes]", log: Path, probe: str | None) -> None:
    until = time.monotonic() + 90
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError, http.client.HTTPException):
            if probe is None:
                server.ask(b'{"n": 5}')
            else:
                server.ask(b"", "GET", probe)
            return
        time.sleep(0.1)
    raise SystemExit(f"bench: {server.name} did not start:\n{log.read_text()[-2000:]}")


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port: int = sock.getsockname()[1]
        return port


def _tree(pid: int) -> list[int]:
    """A process and its descendants."""
    found = [pid]
    for parent in found:
        with suppress(OSError):
            for task in Path(f"/proc/{parent}/task").iterdir():
                found += map(int, (task / "children").read_text().split())
    return found


def _cpu_s(pid: int) -> float:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / TICKS_PER_S
