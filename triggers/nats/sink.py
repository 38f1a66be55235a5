"""Results published to a JetStream subject, as a `Sink`.

All messages of a window are in flight at once, their acknowledgements collected at one inbox; what was not
acknowledged is sent again under the same `Nats-Msg-Id`, so that the broker drops duplicates. What does not
belong here: how a result becomes bytes.
"""

import asyncio
import logging
from collections.abc import Sequence

import msgspec
from nats import errors
from nats.aio.msg import Msg

from ..errors import BrokerUnavailable, MessageRefused, StreamMissing, TriggerError
from ..protocols import Message
from .client import Connection, Subscription
from .jetstream import JetStream
from .spec import NatsSink

logger = logging.getLogger(__name__)

WINDOW = 512
"""Messages in flight: one round trip (0.2 ms here) in each is lost to waiting, against 20 ms of sending."""
_RESEND_S = 1.0
"""An acknowledgement later than this was lost on its way, e.g. with a stream's leader."""
_NO_STREAM_RETRY_S = 0.1
_NO_STREAM = "no stream takes it"


class _Error(msgspec.Struct, frozen=True):
    code: int
    description: str = ""


class _PubAck(msgspec.Struct, frozen=True):
    """ADR-22; a duplicate is acknowledged like any other."""

    error: _Error | None = None


class _Window:
    """Messages sent together, those not yet acknowledged, and how the sending went."""

    __slots__ = ("changed", "failure", "left", "refused", "unheard")

    def __init__(self, left: dict[str, Message]) -> None:
        self.left = left
        self.unheard = ""  # why no stream stores at present
        self.failure: TriggerError | None = None
        self.refused: dict[str, str] = {}
        self.changed = asyncio.Event()


class JetStreamSink:
    """Publishes messages and waits until the stream has them.

    Args:
        spec: References resolved.
        url: The broker.
        create: Make a missing stream (the embedded broker) instead of failing.
    """

    def __init__(self, spec: NatsSink, url: str, *, create: bool) -> None:
        self._spec = spec
        self._create = create
        self._connection = Connection(url, f"headrace sink {spec.subject}")
        self._inbox = ""
        self._acks: Subscription | None = None
        self._count = 0
        self._windows: dict[str, _Window] = {}  # by the last token of the reply subject

    async def open(self) -> None:
        """Connect; raises `TriggerError`."""
        await self._connection.open()
        self._connection.on_change.append(self._on_change)
        try:
            await self._ensure_stream()
            self._inbox = self._connection.inbox()
            self._acks = await self._connection.subscribe(f"{self._inbox}.*", self._receive)
        except BaseException:
            await self._connection.aclose()
            raise

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when the stream has all `messages`.

        Raises:
            BrokerUnavailable: The broker was away, or silent, for `publish_timeout`.
            StreamMissing: No stream takes the subject, for as long.
            MessageRefused: Some are too large, or have a header that NATS cannot carry; the rest is stored.
        """
        refused: dict[str, str] = {}
        for first in range(0, len(messages), WINDOW):
            refused |= await self._publish_window(messages[first : first + WINDOW])
        if refused:
            why = next(iter(refused.values()))
            raise MessageRefused(
                f"publish to `{self._spec.subject}`: {len(refused)} of {len(messages)} refused: {why} "
                f"- at `{self._connection.place}`",
                tuple(refused),
            )

    async def aclose(self) -> None:
        """Flush and disconnect."""
        self._connection.on_change.clear()
        await self._connection.aclose()

    async def _publish_window(self, messages: Sequence[Message]) -> dict[str, str]:
        """Why, by id, for each message that was refused."""
        left: dict[str, Message] = {}
        window = _Window(left)
        for message in messages:
            self._count += 1
            left[str(self._count)] = message
        self._windows.update(dict.fromkeys(left, window))
        try:
            async with asyncio.timeout(self._spec.publish_timeout):
                await self._until_acked(window)
        except TimeoutError:
            raise self._late(window, len(messages)) from None
        finally:
            for token in left:
                self._windows.pop(token, None)
        return window.refused

    async def _until_acked(self, window: _Window) -> None:
        while window.left:
            window.changed.clear()
            window.unheard = ""
            if self._connection.connected:
                for token, message in list(window.left.items()):
                    await self._send(window, token, message)
            if not window.left:
                break
            try:
                async with asyncio.timeout(_RESEND_S):
                    await window.changed.wait()
            except TimeoutError:
                continue
            if window.failure is not None:
                raise window.failure
            if window.unheard:  # the stream's leader may just be starting
                await asyncio.sleep(_NO_STREAM_RETRY_S)

    async def _send(self, window: _Window, token: str, message: Message) -> None:
        headers = {"Nats-Msg-Id": message.id, "Content-Type": message.content_type}
        for name, value in message.headers:
            headers[name] = f"{headers[name]}, {value}" if name in headers else value  # RFC 9110 §5.3
        try:
            await self._connection.publish(self._spec.subject, message.data, f"{self._inbox}.{token}", headers)
        except errors.MaxPayloadError:
            most = self._connection.max_payload
            self._refuse(window, token, f"expected at most {most} bytes, got {len(message.data)}")
        except errors.BadHeaderError as exc:
            self._refuse(window, token, f"expected headers named in ASCII letters, got `{exc}`")

    async def _receive(self, message: Msg) -> None:
        token = message.subject.rpartition(".")[2]
        window = self._windows.get(token)
        if window is None:
            return
        if not message.data:  # 503: nobody listens on the subject
            window.unheard = _NO_STREAM
            window.changed.set()
        elif b'"error"' in message.data and (error := msgspec.json.decode(message.data, type=_PubAck).error):
            if error.code == 503:  # it is full, or its storage or leader is not up
                window.unheard = error.description
            elif error.code == 400:
                self._refuse(window, token, error.description)
            else:
                window.failure = TriggerError(
                    f"publish to `{self._spec.subject}`: {error.description} - at `{self._connection.place}`"
                )
            window.changed.set()
        else:
            del self._windows[token], window.left[token]
            if not window.left:
                window.changed.set()

    def _on_change(self, _connected: bool) -> None:
        for window in self._windows.values():
            window.changed.set()

    def _refuse(self, window: _Window, token: str, why: str) -> None:
        self._windows.pop(token, None)
        if (message := window.left.pop(token, None)) is not None:
            window.refused[message.id] = why

    def _late(self, window: _Window, count: int) -> TriggerError:
        kind: type[TriggerError] = BrokerUnavailable
        why = f"{len(window.left)} of {count} not acknowledged"
        if window.unheard and self._connection.connected:
            kind, why = (StreamMissing if window.unheard is _NO_STREAM else TriggerError), window.unheard
        after = f"within {self._spec.publish_timeout:g} s"
        return kind(f"publish to `{self._spec.subject}`: {why} {after} - at `{self._connection.place}`")

    async def _ensure_stream(self) -> None:
        spec, jetstream = self._spec, JetStream(self._connection)
        if spec.stream is not None:
            await (
                jetstream.ensure_stream(spec.stream, (spec.subject,)) if self._create else jetstream.stream(spec.stream)
            )
        elif not await jetstream.streams_of(spec.subject):
            if not self._create:
                raise StreamMissing(f"no stream takes `{spec.subject}` - at `{self._connection.place}`")
            await jetstream.ensure_stream(spec.subject.replace(".", "_"), (spec.subject,))
