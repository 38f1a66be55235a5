"""The connection to a NATS server: made once, kept through outages, its errors put into our words.

`connect` gives a `Connection`, on which the JetStream calls (`jetstream`), the source, the sink and the
backlog stand. Credentials are taken out of the URL before anything can print it. What does not belong
here: streams and consumers.
"""

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from nats import errors
from nats.aio.client import Client, Server
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription as ClientSubscription

from ..errors import BrokerUnavailable, UsageError

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 5.0
"""How long the first connection may take: an embedded broker needs 0.1 s, a cluster's DNS a few."""
RECONNECT_MIN_S, RECONNECT_MAX_S = 0.05, 2.0
PENDING_BYTES = 8 * 2**20
"""Acks and publishes kept for the broker while it is away; what is beyond comes again by redelivery."""

Receive = Callable[[Msg], Awaitable[None]]


async def connect(url: str, name: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> "Connection":
    """Connect to `url` (several may be given, separated by commas).

    Args:
        url: `nats://[user:password@ | token@]host:port`, or `tls://`, `ws://`, `wss://`.
        name: Shown in the server's monitoring.
        timeout_s: How long the server may be away before this gives up.

    Raises:
        BrokerUnavailable: It cannot be reached, or refuses the credentials.
        UsageError: `url` is not one.
    """
    connection = Connection(url, name)
    await connection.open(timeout_s)
    return connection


def masked(url: str) -> str:
    """`url` with credentials replaced by `***`."""
    return ",".join(_mask(part) for part in url.split(","))


class Subscription:
    """Interest in a subject, kept over reconnects and replaced clients.

    Attributes:
        subject: What is subscribed to.
    """

    def __init__(self, connection: "Connection", subject: str, receive: Receive) -> None:
        self.subject = subject
        self._connection = connection
        self._receive = receive
        self._inner: ClientSubscription | None = None

    async def start(self, client: Client) -> None:
        """Subscribe on `client`."""
        self._inner = await client.subscribe(self.subject, cb=self._receive)

    async def drain(self) -> None:
        """End it; what the server had sent before it heard of this has been received on return."""
        self._connection.forget(self)
        inner, self._inner = self._inner, None
        if inner is None:
            return
        try:
            await (inner.drain() if self._connection.connected else inner.unsubscribe())  # type: ignore[no-untyped-call]
        except (errors.Error, OSError, TimeoutError) as exc:
            logger.debug("unsubscribe failed subject=%s error=%s", self.subject, exc)


class Connection:
    """One connection to a NATS server, re-made for as long as it is open.

    Args:
        url: As `connect` takes it.
        name: Shown in the server's monitoring.

    Attributes:
        client: The nats-py client; replaced when the server closed it for good.
        on_change: Called with True after a reconnect and with False when the connection is lost.
    """

    def __init__(self, url: str, name: str) -> None:
        self.place = masked(url)
        self.on_change: list[Callable[[bool], None]] = []
        self.client = Client()
        self._servers, self._credentials = _split(url)
        self._name = name
        self._subscriptions: list[Subscription] = []
        self._refused: asyncio.Future[str] | None = None
        self._last_error: Exception | None = None
        self._reopening: asyncio.Task[None] | None = None
        self._closing = False
        self._limits: set[asyncio.Timeout] = set()

    @property
    def connected(self) -> bool:
        """Whether what is sent now goes out at once."""
        return self.client.is_connected

    @property
    def max_payload(self) -> int:
        """Bytes in a message that the server takes, headers included."""
        return self.client.max_payload

    async def open(self, timeout_s: float = CONNECT_TIMEOUT_S) -> None:
        """Connect; raises `BrokerUnavailable`."""
        self.client, self._closing = Client(), False
        try:
            await self._open(timeout_s)
        except BaseException:
            await self.aclose()
            raise

    def inbox(self) -> str:
        """A subject that nobody else has."""
        return str(self.client.new_inbox())

    async def subscribe(self, subject: str, receive: Receive) -> Subscription:
        """Have `receive` awaited with each message on `subject`, in order."""
        subscription = Subscription(self, subject, receive)
        with self.mapped("subscribe"):
            await subscription.start(self.client)
        self._subscriptions.append(subscription)
        return subscription

    def forget(self, subscription: Subscription) -> None:
        """Do not renew `subscription` any more."""
        if subscription in self._subscriptions:
            self._subscriptions.remove(subscription)

    async def publish(
        self, subject: str, data: bytes | memoryview = b"", reply: str = "", headers: Mapping[str, str] | None = None
    ) -> None:
        """Send; while the server is away it is kept for later, up to `PENDING_BYTES`.

        Raises:
            BrokerUnavailable: No more can be kept, or the connection is closed.
        """
        try:
            # nats-py joins bytes-like payloads as they are; its annotation is narrower
            await self.client.publish(subject, data, reply, headers)  # type: ignore[arg-type]  # pyright: ignore
        except (errors.OutboundBufferLimitError, errors.ConnectionClosedError, errors.ConnectionDrainingError) as exc:
            raise BrokerUnavailable(f"publish: {_text(exc)} - at `{self.place}`") from exc

    async def request(self, subject: str, data: bytes, timeout_s: float) -> Msg:
        """Ask, and wait for the one answer.

        Raises:
            BrokerUnavailable: None came in time, or nobody listens.
        """
        if not self.connected:
            raise BrokerUnavailable(f"request: the connection is down - at `{self.place}`")
        with self.mapped("request"):
            async with self._while_connected(timeout_s):
                return await self.client.request(subject, data, timeout=timeout_s)

    async def flush(self, timeout_s: float = 2.0) -> None:
        """Return when the server has taken all that was sent; raises `BrokerUnavailable`."""
        if not self.connected:
            raise BrokerUnavailable(f"flush: the connection is down - at `{self.place}`")
        with self.mapped("flush"):
            async with self._while_connected(timeout_s):
                await self.client.flush()

    async def aclose(self) -> None:
        """Disconnect; what waits to be sent is sent if the server is there."""
        self._closing = True
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.gather(self._reopening, return_exceptions=True)
        try:
            await self.client.close()
        except (errors.Error, OSError, AssertionError) as exc:  # never connected, or the server just left
            logger.debug("close failed error=%s", exc)

    @contextmanager
    def mapped(self, what: str) -> Generator[None, None, None]:
        """Turn the client's errors into `BrokerUnavailable`."""
        try:
            yield
        except (errors.Error, OSError, TimeoutError) as exc:
            raise BrokerUnavailable(f"{what}: {_text(exc)} - at `{self.place}`") from exc

    @asynccontextmanager
    async def _while_connected(self, timeout_s: float) -> AsyncGenerator[None, None]:
        """As `asyncio.timeout`, which ends at once when the connection is lost: no answer can come any more."""
        async with asyncio.timeout(timeout_s) as limit:
            self._limits.add(limit)
            try:
                yield
            finally:
                self._limits.discard(limit)

    async def _open(self, timeout_s: float) -> None:
        self._refused = asyncio.get_running_loop().create_future()
        attempt = asyncio.create_task(self._connect())
        either: tuple[asyncio.Future[Any], ...] = (attempt, self._refused)
        done, _ = await asyncio.wait(either, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if attempt in done:
            with self.mapped("connect"):
                attempt.result()
            self._refused.cancel()
            return
        attempt.cancel()
        await asyncio.gather(attempt, return_exceptions=True)
        reason = self._refused.result() if self._refused in done else f"no answer within {timeout_s:g} s"
        if self._last_error is not None and self._refused not in done:
            reason += f" (last: {_text(self._last_error)})"
        raise BrokerUnavailable(f"connect: {reason} - at `{self.place}`") from self._last_error

    async def _connect(self) -> None:
        await self.client.connect(
            self._servers,
            name=self._name,
            error_cb=self._on_error,
            disconnected_cb=self._on_disconnected,
            reconnected_cb=self._on_reconnected,
            closed_cb=self._on_closed,
            max_reconnect_attempts=-1,
            reconnect_time_wait=0.1,  # type: ignore[arg-type]  # pyright: ignore
            reconnect_to_server_handler=_next_server,
            pending_size=PENDING_BYTES,
            skip_subject_validation=True,  # subjects come from the server or were checked with the spec
            **self._credentials,
        )

    async def _on_error(self, exc: Exception) -> None:
        self._last_error = exc
        if self._refused is not None and not self._refused.done() and "authorization" in str(exc).lower():
            self._refused.set_result("the credentials were refused")
        if not self.client.is_connected and self.client._transport is not None:
            # nats-py 2.16 drops it unclosed when the handshake after it fails
            self.client._transport.close()  # type: ignore[no-untyped-call]
        if not isinstance(exc, errors.Error | OSError | TimeoutError):
            logger.error("receiving failed server=%s", self.place, exc_info=exc)
        elif "permissions violation" in str(exc).lower() or isinstance(exc, errors.SlowConsumerError):
            logger.warning("broker refuses server=%s error=%s", self.place, _text(exc))
        else:
            logger.debug("nats client error server=%s error=%s", self.place, _text(exc))

    async def _on_disconnected(self) -> None:
        if not self._closing:
            logger.warning("broker lost server=%s", self.place)
            for limit in list(self._limits):
                limit.reschedule(0.0)
            self._tell(False)

    async def _on_reconnected(self) -> None:
        logger.info("broker is back server=%s", self.place)
        self._tell(True)

    async def _on_closed(self) -> None:
        """The server ended it for good (too many connections, credentials expired): start over."""
        if not self._closing and self._reopening is None:
            self._reopening = asyncio.create_task(self._reopen())

    async def _reopen(self) -> None:
        for delay_s in backoff(RECONNECT_MIN_S, RECONNECT_MAX_S):
            await asyncio.sleep(delay_s)
            self.client = Client()
            try:
                await self._open(CONNECT_TIMEOUT_S)
                for subscription in self._subscriptions:
                    await subscription.start(self.client)
            except (BrokerUnavailable, errors.Error) as exc:
                logger.debug("reopen failed server=%s error=%s", self.place, exc)
                continue
            break
        self._reopening = None
        await self._on_reconnected()

    def _tell(self, connected: bool) -> None:
        for listener in list(self.on_change):
            listener(connected)


def backoff(first_s: float, most_s: float) -> Iterator[float]:
    """Delays that double from `first_s` up to `most_s`, each shortened by up to half at random."""
    delay_s = first_s
    while True:
        yield delay_s * random.uniform(0.5, 1.0)
        delay_s = min(most_s, delay_s * 2)


def _next_server(servers: list[Server], _info: dict[str, Any]) -> tuple[Server, float]:
    """The server tried least; the wait doubles with its failures."""
    server = min(servers, key=lambda candidate: candidate.reconnects)
    wait_s = min(RECONNECT_MAX_S, RECONNECT_MIN_S * 2 ** min(server.reconnects, 10))
    return server, wait_s * random.uniform(0.5, 1.0)


def _split(url: str) -> tuple[list[str], dict[str, Any]]:
    """Server URLs without credentials, and the credentials as the client's options."""
    credentials: dict[str, Any] = {}
    servers: list[str] = []
    for part in url.split(","):
        parts = _parsed(part.strip())
        if parts.username and parts.password is not None:
            credentials = {"user": unquote(parts.username), "password": unquote(parts.password)}
        elif parts.username:
            credentials = {"token": unquote(parts.username)}
        servers.append(parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl())
    return servers, credentials


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url if "://" in url else f"nats://{url}")
        if parts.hostname and parts.scheme in ("nats", "tls", "ws", "wss") and (parts.port is None or parts.port):
            return parts
    except ValueError:
        pass
    raise UsageError(f"broker: expected a URL such as `nats://host:4222`, got `{_mask(url)}`")


def _mask(url: str) -> str:
    scheme, separator, rest = url.rpartition("://")
    credentials, at, host = rest.rpartition("@")
    return f"{scheme}{separator}{'***' if credentials else ''}{at}{host}"


def _text(exc: BaseException) -> str:
    said = str(exc).removeprefix("nats: ").strip()
    if isinstance(exc, TimeoutError) and said in ("", "timeout"):
        return "no answer"
    return said[:1].lower() + said[1:] if said else type(exc).__name__
