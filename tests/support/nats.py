"""A real `nats-server` for tests, on a port of its own, run by the product's own `EmbeddedBroker`."""

import asyncio
import threading
from collections.abc import Coroutine, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import pytest

from headrace.triggers.nats.server import EmbeddedBroker

T = TypeVar("T")


class RunningBroker:
    """A broker that can be stopped and started again on the same port and files.

    It lives on a loop and thread of its own, so that it outlasts the loops of the tests that use it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="broker", daemon=True)
        self._thread.start()
        self._broker = EmbeddedBroker(folder)
        self.url = self._run(self._broker.start())

    @property
    def port(self) -> int:
        port = urlsplit(self.url).port
        assert port is not None
        return port

    def stop(self) -> None:
        """Stop the server; its streams stay."""
        self._run(self._broker.stop())

    def start(self) -> None:
        """Start it again where it was."""
        self._broker = EmbeddedBroker(self._folder, self.port)
        self._run(self._broker.start())

    def close(self) -> None:
        """Stop it for good."""
        self.stop()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(30)


@contextmanager
def running_broker(folder: Path) -> Generator[RunningBroker, None, None]:
    """A broker with JetStream on 127.0.0.1, its files in `folder`."""
    broker = RunningBroker(folder)
    try:
        yield broker
    finally:
        broker.close()


@pytest.fixture(scope="session")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """One broker for all tests; each takes streams of its own names."""
    with running_broker(tmp_path_factory.mktemp("broker")) as running:
        yield running
