"""HTTP/1.1 on one connection: `Connection`, from bytes to exchanges and back (RFC 9112).

Heads are read out of one buffer that all connections of the loop share (`Edge.view`); it is never held over
a turn. A body of known length gets one buffer of its own: what came with its head is copied in, the rest is
received in place. Where the slab has none, the connection reads nothing until it has. One request of a
connection is handled at a time, later ones wait as bytes; what is answered within one wake-up leaves in one
write. What does not belong here: listening, events, ASGI.
"""

import asyncio
import logging
from typing import Any

from ..buffers.slab import SMALL_BYTES
from .bodies import BodyStream, ChunkedBody, Receiver, StreamedBody
from .channel import Channel, Phase
from .chunks import ChunkDecoder
from .edge import Edge
from .errors import RequestError
from .exchange import Exchange
from .heads import CHUNKED, check_partial
from .responses import CONTINUE, JSON_TYPE, error_body

logger = logging.getLogger(__name__)

# Pipelined bytes kept while a request is handled; beyond, the client's own socket holds them
_PIPELINE_BYTES = 64 * 1024
# So many responses, each below 16 KiB, wait for the end of a wake-up
_JOIN_RESPONSES = 64
# How long a client may go on sending after its last response before it is cut off (RFC 9112 §9.6)
LINGER_S = 2.0


_HEAD, _BODY, _FEED, _WAIT, _LINGER = Phase


class Connection(Channel):
    """One client's connection."""

    __slots__ = (
        "_body", "_counted", "_exchange", "_filled", "_held", "_incoming", "_pending", "_receiver", "_started_at",
        "_starved",
    )  # fmt: skip

    def __init__(self, edge: Edge) -> None:
        super().__init__(edge)
        self._pending = b""  # received and not yet looked at, or the part of a head
        self._incoming: Exchange | None = None  # its body is being received, before it is handled
        self._exchange: Exchange | None = None  # it is handled, or held
        self._body: memoryview | None = None  # received in place
        self._filled = 0
        self._receiver: Receiver | None = None  # takes what is received in phase FEED
        self._counted = False  # the exchange is in flight
        self._held = False  # the exchange waits for room
        self._starved = False  # memory is waited for
        self._started_at = 0.0  # when the first byte of the request that is being received came

    # -- called by the transport ---------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The first call."""
        self.transport = transport
        self._edge.joined(self)
        self._idle_since = self._edge.now

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to receive into: never empty, which would be fatal to the connection."""
        body = self._body
        return self._edge.view if body is None else body[self._filled :]

    def buffer_updated(self, nbytes: int) -> None:
        """`nbytes` were received into what `get_buffer` returned."""
        body = self._body
        edge = self._edge
        if body is not None:
            self._filled += nbytes
            if self._filled == len(body):
                self._end_body(body)
        elif not self._pending:
            self._run(edge.raw, edge.view, 0, nbytes)
        elif self._phase is _WAIT or self.blocked:
            self._pending += edge.view[:nbytes]
            if len(self._pending) > _PIPELINE_BYTES:
                self.transport.pause_reading()
        else:
            self._run_pending(edge.view[:nbytes])

    def eof_received(self) -> bool:
        """The client sends no more; it may still read: what it asked for is answered."""
        self._eof = True
        if isinstance(self._receiver, StreamedBody):
            self._receiver.stream.lose()
        return not self._edge.secure and (self._phase is _WAIT or self.blocked or self._exchange is not None)

    def resume_writing(self) -> None:
        """It has caught up."""
        self.blocked = False
        self._wake_writers()
        self._go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        """The last call."""
        self.lost = True
        self._pending = b""
        self._out.clear()
        self._incoming = self._body = self._receiver = None
        self._sate()
        if self._held:
            self._held = False
            self._edge.in_flight.forget(self._admit)
        self._wake_writers()
        self._edge.left(self)
        if self._exchange is not None:
            self._exchange.lose()

    # -- called by exchanges -------------------------------------------------------------------------------

    def start_of(self, status: int, exchange: Exchange) -> bytes:
        """Status line and the server's own fields; decides whether the connection will be kept."""
        edge = self._edge
        start = edge.starts[status]
        edge.responses[status] += 1
        if exchange.fields:
            start += exchange.fields
        stream = exchange.stream
        # A client that waits for `100 Continue` may send its body or not: nothing can follow it (RFC 9110 §10.1.1)
        if (stream is not None and stream.decline()) or edge.closing or not exchange.keep_alive:
            exchange.keep_alive = False
            return start + b"connection: close\r\n"
        return start if exchange.head.http_1_1 else start + b"connection: keep-alive\r\n"

    def finish(self, exchange: Exchange, parts: tuple[bytes | memoryview, ...]) -> None:
        """Write the end of `exchange`'s response, and go on to the next request."""
        self._exchange = None
        if self.lost or not exchange.keep_alive or exchange.stream is not None:
            self._settle_body(exchange)
        elif self._phase is _WAIT:
            self._phase = _HEAD
        self._out += parts
        self._idle_since = self._edge.now
        looping = self._looping
        # What is big, or much, is written at once, so that `blocked` can stop the pipeline
        if not looping or len(parts) > 1 or len(self._out) >= _JOIN_RESPONSES:
            self._flush()
        if self._counted:
            self._counted = False
            self._edge.in_flight.leave()
        if len(exchange.body) > SMALL_BYTES:
            self._edge.buffers.settled(exchange.body, self.transport.get_write_buffer_size)
        if not looping:
            self._go_on()

    def give_away(self, exchange: Exchange, headers: bytes) -> bytes:
        """Answer 101 and part with the transport (RFC 9110 §7.8); what was received on it and not read."""
        self._edge.responses[101] = self._edge.responses.get(101, 0) + 1
        self.send((b"%b%b\r\n" % (self._edge.starts[101], headers),))
        self._exchange = None
        self._counted = False  # in flight is what the connection has become
        received, self._pending = self._pending, b""
        return received

    def _settle_body(self, exchange: Exchange) -> None:
        """After the response: what becomes of the rest of the request, and of the connection."""
        if exchange.stream is not None:
            exchange.stream.lose()
        if self._held:
            self._held = False
            self._edge.in_flight.forget(self._admit)
        if not exchange.keep_alive:
            self._phase = _LINGER
            self._pending = b""
            self._receiver = None
        elif self._phase is _WAIT:
            self._phase = _HEAD
        else:  # the rest of the body is read into nowhere
            self._started_at = self._edge.now
            self._resume_reading()

    def cut(self, exchange: Exchange) -> None:
        """End the connection in the middle of `exchange`'s response."""
        self._exchange = None
        if not self.lost:
            self._phase = _LINGER
            self._hung_up = True
            self.transport.abort()
        if exchange.stream is not None:
            exchange.stream.lose()
        if len(exchange.body) > SMALL_BYTES:
            self._edge.buffers.settled(exchange.body, self.transport.get_write_buffer_size)
        self._leave()

    # -- called by the listener ----------------------------------------------------------------------------

    @property
    def idle(self) -> bool:
        """Nothing is received, handled or still to be written."""
        return (
            self._phase is _HEAD
            and not self._pending
            and self._exchange is None
            and not self._out
            and not self.transport.get_write_buffer_size()
        )

    def check_deadlines(self, now: float) -> None:
        """Called by each sweep: 408, or the end, for a client that is too slow."""
        edge = self._edge
        if self._phase is _LINGER or self.blocked:
            unsent = self.transport.get_write_buffer_size()
            if unsent != self._unsent:
                self._unsent, self._idle_since = unsent, now
            elif now - self._idle_since > (edge.idle_s if unsent else LINGER_S):
                self.transport.abort()
        elif self._started_at:
            if now - self._started_at > edge.read_s:
                self._time_out()
        elif self._phase is _HEAD and now - self._idle_since > edge.idle_s:
            self.transport.close()

    # -- receiving -----------------------------------------------------------------------------------------

    def _run(self, raw: bytearray, view: memoryview, at: int, end: int) -> None:
        """Read `raw[at:end]` (which `view` shows) as far as it goes, and keep the rest."""
        self._looping = True
        try:
            while at < end:
                phase = self._phase
                if phase is _HEAD and not self.blocked:
                    done = self._read_head(raw, view, at, end)
                    if done < 0:
                        break
                    at = done
                elif phase is _FEED:
                    at += self._feed(view[at:end])
                elif phase is _LINGER:
                    at = end
                else:
                    break
        except RequestError as exc:
            self._refuse(exc)
            at = end
        self._looping = False
        if at < end:
            self._pending = bytes(view[at:end])
        if self._out or self._phase is _LINGER:
            self._flush()

    def _run_pending(self, more: memoryview | bytes = b"") -> None:
        data = bytearray(self._pending)
        data += more
        self._pending = b""
        self._run(data, memoryview(data), 0, len(data))

    def _read_head(self, raw: bytearray, view: memoryview, at: int, end: int) -> int:
        """Read a head and what there is of its body; the place behind, or -1 where it is not all there."""
        edge = self._edge
        stop = raw.find(b"\r\n\r\n", at, end)
        if raw[at] == 13:  # RFC 9112 §2.2: ignore an empty line before the request line
            if end - at == 1:
                return -1
            if raw[at + 1] == 10:
                return at + 2
        size = (stop + 4 if stop >= 0 else end) - at
        if size > edge.max_header:
            raise RequestError(431, f"expected at most {edge.max_header} bytes of header", "too_large")
        if stop < 0:
            check_partial(raw[at:end])
            self._started_at = self._started_at or edge.now
            return -1
        stop += 4
        exchange = Exchange(edge.heads[bytes(view[at:stop])], self)
        if edge.admit is not None:
            exchange.fields = edge.admit(exchange.head)
        if edge.streams_body:
            return self._begin_stream(exchange, view, stop, end)
        length = exchange.head.length
        if length == 0:
            self._dispatch(exchange)
            return stop
        if length == CHUNKED:
            decoder = ChunkDecoder(edge.max_body, edge.max_header)
            self._begin_feed(exchange, ChunkedBody(decoder, edge.buffers, edge.max_body))
            if exchange.head.expects_continue and stop == end:
                self._out.append(CONTINUE)
            return stop
        if length <= edge.small_bytes and end - stop >= length:
            end = stop + length
            exchange.body = memoryview(raw[stop:end])
            self._dispatch(exchange)
            return end
        if length > edge.max_body:
            raise _too_large(edge.max_body)
        try:
            body = edge.allocate(length)
        except MemoryError:
            self._incoming = exchange
            self._starve(length)
            return stop
        return stop + self._begin_body(exchange, body, view[stop:end])

    def _begin_body(self, exchange: Exchange, body: memoryview, begun: memoryview) -> int:
        """Receive a body of which `begun` has come already, with bytes behind it perhaps; how many were its own."""
        size = min(len(begun), len(body))
        body[:size] = begun[:size]
        if size == len(body):
            exchange.body = body
            self._dispatch(exchange)
            return size
        self._started_at = self._started_at or self._edge.now
        self._incoming, self._body, self._filled, self._phase = exchange, body, size, _BODY
        if exchange.head.expects_continue and not size:
            self._out.append(CONTINUE)
        return size

    def _end_body(self, body: memoryview) -> None:
        exchange, self._incoming, self._body = self._incoming, None, None
        assert exchange is not None
        exchange.body = body
        self._phase = _HEAD
        self._looping = True
        self._dispatch(exchange)
        self._end_turn()

    def _end_turn(self) -> None:
        self._looping = False
        if self._out or self._phase is _LINGER:
            self._flush()

    def _begin_feed(self, exchange: Exchange, receiver: Receiver) -> None:
        self._started_at = self._started_at or self._edge.now
        self._receiver = receiver
        self._phase = _FEED
        self._incoming = exchange

    def _feed(self, data: memoryview) -> int:
        receiver = self._receiver
        assert receiver is not None
        used = receiver.feed(data)
        if type(receiver) is ChunkedBody:
            self._fed(receiver)
        elif receiver.done:
            self._receiver = None
            self._started_at = 0.0
            self._phase = _HEAD if self._exchange is None else _WAIT
        return used

    def _fed(self, receiver: ChunkedBody) -> None:
        if receiver.wanted_bytes:
            slab = self._edge.buffers
            # Two that wait with slots in hand could wait for each other; alone it would wait for itself
            if receiver.has_slot and (slab.waiting or slab.slots == 1):
                raise _no_memory()
            self._starve(receiver.wanted_bytes, receiver.buffer, receiver.filled)
        elif receiver.done:
            exchange, self._incoming, self._receiver = self._incoming, None, None
            assert exchange is not None
            exchange.body = receiver.body
            self._dispatch(exchange)
        else:
            self._phase = _FEED

    # -- waiting for memory --------------------------------------------------------------------------------

    def _starve(self, size_bytes: int, *grown: Any) -> None:
        """The slab is full: read nothing until there is a buffer of `size_bytes`."""
        self._started_at = self._started_at or self._edge.now
        self._phase = _WAIT
        self._starved = True
        self.transport.pause_reading()
        self._edge.buffers.when_room(size_bytes, self._supply, *grown)

    def _sate(self) -> bool:
        """Wait for memory no more; whether it was waited for."""
        starved, self._starved = self._starved, False
        if starved:
            self._edge.buffers.forget(self._supply)
        return starved

    def _supply(self, buffer: memoryview) -> None:
        """Here is what was waited for."""
        if not self._starved:
            return
        self._starved = False
        self._phase = _HEAD
        self._looping = True
        receiver = self._receiver
        try:
            if isinstance(receiver, ChunkedBody):
                receiver.supply(buffer)
                self._fed(receiver)
            else:
                exchange, self._incoming = self._incoming, None
                assert exchange is not None
                begun, self._pending = memoryview(self._pending), b""
                used = self._begin_body(exchange, buffer, begun)
                self._pending = bytes(begun[used:])
        except RequestError as exc:
            self._refuse(exc)
        self._end_turn()
        if not self._held and not self._starved and self._phase is not _LINGER:
            self._resume_reading()
            self._go_on()

    def _begin_stream(self, exchange: Exchange, view: memoryview, at: int, end: int) -> int:
        edge = self._edge
        length = exchange.head.length
        if length > edge.max_body:
            raise _too_large(edge.max_body)
        if 0 <= length <= end - at:  # all there: nothing is left to receive, and so to stop and go on with
            stream = exchange.stream = BodyStream(_no_flow, None)
            if length:
                stream.feed(view[at : at + length])
            stream.end()
            self._dispatch(exchange)
            return at + length
        awaits = exchange.head.expects_continue and at == end
        stream = exchange.stream = BodyStream(self._flow, self._continue if awaits else None)
        self._begin_feed(exchange, StreamedBody(stream, length, ChunkDecoder(edge.max_body, edge.max_header)))
        if at < end:
            at += self._feed(view[at:end])
        self._incoming = None
        self._dispatch(exchange)
        return at

    def _flow(self, wanted: bool) -> None:
        """Stop or go on receiving a streamed body; the time that its reader takes does not count."""
        if self.lost or self._receiver is None:
            return
        if wanted:
            self._started_at = self._edge.now
            self._resume_reading()
        else:
            self._started_at = 0.0
            self.transport.pause_reading()

    def _continue(self) -> None:
        self.send((CONTINUE,))

    # -- handling ------------------------------------------------------------------------------------------

    def _dispatch(self, exchange: Exchange) -> None:
        """`exchange` is complete (or its stream has begun): have it answered, now or when there is room."""
        self._exchange = exchange
        if self._receiver is None:
            self._started_at = 0.0
            self._phase = _WAIT
        if exchange.head.is_probe and self._probe(exchange):
            return
        in_flight = self._edge.in_flight
        if in_flight.count < in_flight.limit:
            self._counted = True
            in_flight.enter()
            try:  # as `_handle` does
                self._edge.handle(exchange)
            except Exception as exc:
                self._fail(exchange, exc)
            return
        self._held = True
        self._started_at = 0.0
        self.transport.pause_reading()
        in_flight.when_room(self._admit)

    def _admit(self) -> None:
        """There is room for the request that is held. It is taken now and used in the next turn: answering
        here would call the next one's `_admit`, as deep as there are requests held."""
        self._held = False
        self._counted = True
        self._edge.in_flight.enter()
        asyncio.get_running_loop().call_soon(self._handle_held)

    def _handle_held(self) -> None:
        exchange = self._exchange
        if self.lost or exchange is None:
            self._exchange = None
            self._leave()
            return
        receiver = self._receiver
        if isinstance(receiver, StreamedBody):
            self._flow(receiver.stream.wants_more)
        else:
            self._resume_reading()
        self._handle(exchange)

    def _handle(self, exchange: Exchange) -> None:
        try:
            self._edge.handle(exchange)
        except Exception as exc:
            self._fail(exchange, exc)

    def _fail(self, exchange: Exchange, error: Exception) -> None:
        logger.error("request failed outside the handler path=%s", exchange.head.path, exc_info=error)
        exchange.fail(500, "internal error")

    def _probe(self, exchange: Exchange) -> bool:
        if exchange.head.method not in ("GET", "HEAD"):
            return False
        edge = self._edge
        answer = edge.probes.answer(exchange.head.raw_path, edge.endpoint.owns_metrics_path)
        if answer is None:
            return False
        exchange.respond(*answer)
        return True

    def _refuse(self, error: RequestError) -> None:
        """Say why, and close; a response that has begun is cut off instead."""
        edge = self._edge
        edge.metrics.refused(error.kind)
        exchange, receiver = self._exchange, self._receiver
        self._incoming = self._body = self._receiver = None
        self._pending = b""
        self._started_at = 0.0
        self._idle_since = edge.now
        answered = False
        if isinstance(receiver, StreamedBody):
            answered = receiver.stream.lost
            receiver.stream.lose()
        if exchange is not None:
            exchange.keep_alive = False
            exchange.fail(error.status, error.reason)
            return
        self._phase = _LINGER
        if answered:
            return
        start = edge.starts[error.status]
        edge.responses[error.status] += 1
        body = error_body(error.reason)
        head = b"%b%b%bconnection: close\r\ncontent-length: %d\r\n\r\n" % (
            start, JSON_TYPE, error.headers, len(body),
        )  # fmt: skip
        self._out.append(head + body)

    def _time_out(self) -> None:
        if self._sate():
            self._refuse(_no_memory())
        else:
            self._refuse(RequestError(408, "expected the whole request in time", "timeout"))
        self._flush()

    def _leave(self) -> None:
        if self._counted:
            self._counted = False
            self._edge.in_flight.leave()

    def _go_on(self) -> None:
        """After a response, or when the client reads again: look at what was kept."""
        if self._pending and self._phase is not _WAIT and not self.blocked:
            self._run_pending()
        if self._phase is _WAIT or self.blocked or self.lost:
            return
        if self._eof:
            self.transport.close()
        else:
            self.transport.resume_reading()


def _too_large(max_body: int) -> RequestError:
    return RequestError(413, f"expected at most {max_body} bytes of body", "too_large")


def _no_flow(wanted: bool) -> None:
    """A body that is there needs none."""


def _no_memory() -> RequestError:
    return RequestError(503, "no memory for the request body", "overload")
