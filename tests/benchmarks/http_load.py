"""Load on a server, from the second core: `wrk`, and clients for what wrk cannot do.

Each returns what one run came to. What does not belong here: servers, goals and tables.
"""

import re
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from benchmarks.http_servers import CLIENT_CORE, Server

POST = Path(__file__).parent / "wrk/post.lua"
TENSOR_BYTES = 3 * 224 * 224 * 4


class Run(NamedTuple):
    """What a server did in one run.

    Attributes:
        per_s: Requests a second.
        cpu_us: CPU microseconds of the server for each.
    """

    per_s: float
    cpu_us: float


def wrk(server: Server, seconds: float, connections: int, *arguments: str) -> Run:
    """Requests of `wrk/post.lua` with `arguments`."""
    before = server.cpu_s()
    command = [
        "taskset",
        "-c",
        CLIENT_CORE,
        "wrk",
        "-t1",
        f"-c{connections}",
        f"-d{round(seconds)}s",
        "--timeout",
        "20s",
    ]
    command += ["-s", str(POST), f"http://127.0.0.1:{server.port}/", "--", *arguments]
    text = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    done, bad = re.search(r"(\d+) requests in ([\d.]+)(m?s)", text), re.search(r"Non-2xx.*|Socket errors.*", text)
    if done is None or (bad is not None and "Non-2xx" in bad[0]):
        raise SystemExit(f"bench: {server.name} failed under wrk:\n{text}")
    count = max(1, int(done[1]))
    took = float(done[2]) / (1000 if done[3] == "ms" else 1)
    return Run(count / took, (server.cpu_s() - before) / count * 1e6)


def in_order(server: Server, seconds: float, connections: int) -> Run:
    """Tensors on `connections` at once, each sent whole before the next is begun."""
    before = server.cpu_s()
    command = ["taskset", "-c", CLIENT_CORE, sys.executable, __file__, str(server.port), f"{seconds}", str(connections)]
    count, took = map(float, subprocess.run(command, check=True, capture_output=True, text=True).stdout.split())
    return Run(count / took, (server.cpu_s() - before) / count * 1e6)


def latency_us(server: Server, requests: int) -> float:
    """Median time of 1 KiB requests, one after the other on one connection."""
    request = b"POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: 1024\r\n\r\n" + bytes(1024)
    taken = []
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for _ in range(requests):
            began = time.perf_counter()
            client.sendall(request)
            client.recv(4096)
            taken.append(time.perf_counter() - began)
    return statistics.median(taken) * 1e6


def _send_tensors(port: int, seconds: float, connections: int) -> tuple[int, float]:
    request = b"POST / HTTP/1.1\r\nhost: bench\r\ncontent-length: %d\r\n\r\n" % TENSOR_BYTES + bytes(TENSOR_BYTES)
    clients = [socket.create_connection(("127.0.0.1", port)) for _ in range(connections)]
    count, began = 0, time.perf_counter()
    while time.perf_counter() - began < seconds:
        for client in clients:
            client.sendall(request)
        for client in clients:
            answer = client.recv(4096)
            if b" 200 " not in answer[:16]:
                raise SystemExit(f"bench: expected 200, got {answer[:100]!r}")
        count += connections
    took = time.perf_counter() - began
    for client in clients:
        client.close()
    return count, took


if __name__ == "__main__":
    print(*_send_tensors(int(sys.argv[1]), float(sys.argv[2]), int(sys.argv[3])))
