"""A replica that speaks the wire protocol and answers HTTP, small enough to be certain of.

Run as `python replica.py`. What it does wrong is asked for by the environment:
FAIL=<reason> | EXIT=<code> | DEAF (never ready) | SLOW=<seconds until ready> | NAME=<what it answers>.
By path: /pid, /name, /slow (50 ms), /hang (blocks the loop), /exit, and anything else: `ok`.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from typing import Any

from headrace.triggers.channel import Channel
from headrace.triggers.wire import (
    CONTROL_FD,
    LISTEN_FD,
    Adopt,
    Connections,
    Drain,
    Draining,
    Failed,
    FromPlatform,
    Hello,
    Ping,
    Ready,
    Status,
)


class Replica:
    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.listener = socket.socket(fileno=int(os.environ[LISTEN_FD]))
        self.listener.setblocking(False)
        control = socket.socket(fileno=int(os.environ[CONTROL_FD]))
        self.channel = Channel(control, FromPlatform, self.on_message, self.begin_drain)
        self.draining = asyncio.Event()
        self.idle: set[socket.socket] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self.in_flight = 0
        self.done = 0
        self.first_s = 0.0

    def on_message(self, message: Any, sockets: list[socket.socket]) -> None:
        if isinstance(message, Adopt):
            for sock in sockets:
                self.serve(sock)
        elif isinstance(message, Drain):
            self.begin_drain()
        elif isinstance(message, Ping):
            self.tell()

    def begin_drain(self) -> None:
        if not self.draining.is_set():
            self.draining.set()
            self.loop.remove_reader(self.listener.fileno())

    def tell(self) -> None:
        self.channel.send(
            Status(
                in_flight=self.in_flight,
                completed={"http": self.done},
                first_event_s=self.first_s,
                connections=len(self.tasks),
            )
        )

    def accept(self) -> None:
        try:
            sock, _ = self.listener.accept()
        except OSError:
            return
        sock.setblocking(False)
        self.serve(sock)

    def serve(self, sock: socket.socket) -> None:
        task = self.loop.create_task(self.connection(sock))
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def connection(self, sock: socket.socket) -> None:
        """Answer requests until the client closes, or the connection is idle while draining."""
        while True:
            self.idle.add(sock)
            if not await self.readable(sock):
                return  # stays in `idle`: it is passed on, with nothing read of it
            self.idle.discard(sock)
            try:
                data = sock.recv(65536)
            except OSError:
                data = b""
            if not data:
                sock.close()
                return
            await self.answer(sock, data.split(b" ")[1].decode())

    async def readable(self, sock: socket.socket) -> bool:
        """Wait until `sock` has something; False if the drain comes first."""
        spoken = asyncio.Event()
        self.loop.add_reader(sock, spoken.set)
        waits = [self.loop.create_task(event.wait()) for event in (spoken, self.draining)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        self.loop.remove_reader(sock)
        return spoken.is_set()

    async def answer(self, sock: socket.socket, path: str) -> None:
        self.first_s = self.first_s or time.time()
        self.in_flight += 1
        self.tell()
        body = b"ok"
        if path == "/pid":
            body = str(os.getpid()).encode()
        elif path == "/name":
            body = os.environ.get("NAME", "").encode()
        elif path == "/slow":
            await asyncio.sleep(0.05)
        elif path == "/hang":
            time.sleep(3600)  # noqa: ASYNC251 - a handler that blocks the loop for ever
        elif path == "/exit":
            os._exit(3)
        await self.loop.sock_sendall(sock, b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
        self.in_flight -= 1
        self.done += 1
        self.tell()

    async def run(self) -> None:
        self.channel.start()
        self.channel.send(Hello(pid=os.getpid()))
        print("started", flush=True)
        if "FAIL" in os.environ:
            self.channel.send(Failed(reason=os.environ["FAIL"]))
            await self.channel.flush(1)
            sys.exit(1)
        if "EXIT" in os.environ:
            sys.exit(int(os.environ["EXIT"]))
        if "DEAF" in os.environ:
            await asyncio.sleep(3600)
        await asyncio.sleep(float(os.environ.get("SLOW", "0")))
        self.loop.add_signal_handler(signal.SIGTERM, self.begin_drain)
        self.loop.add_reader(self.listener.fileno(), self.accept)
        self.channel.send(Ready())
        await self.draining.wait()
        self.channel.send(Draining())
        if self.tasks:
            await asyncio.wait(self.tasks)
        passed = list(self.idle)
        for at in range(0, len(passed), 64):
            self.channel.send(Connections(count=len(passed[at : at + 64])), passed[at : at + 64])
        self.tell()
        await self.channel.flush(5)


async def main() -> None:
    await Replica().run()


if __name__ == "__main__":
    asyncio.run(main())
