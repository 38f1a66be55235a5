"""A raw WebSocket client for a served app, made with wsproto."""

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

from support.http import DEADLINE_S, Client, Served, serving
from wsproto import ConnectionType, WSConnection
from wsproto.events import Event, Request

from headrace.runtime.http.asgi import AsgiEndpoint

HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: x\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


class WsClient:
    """One connection; wsproto at our end too, or raw frames."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.frames = WSConnection(ConnectionType.CLIENT)
        self._events: list[Event] = []

    async def open(self, **request: Any) -> Event:
        """Shake hands; the server's answer."""
        self.send(Request(host="x", target="/ws?a=b", **request))
        return await self.event()

    def send(self, event: Event) -> None:
        self.client.send(self.frames.send(event))

    def raw(self, opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True) -> None:
        """A frame of any kind, right or wrong."""
        self.client.send(frame(opcode, payload, fin=fin, rsv=rsv, mask=mask))

    async def event(self) -> Event:
        """The next thing that the server says."""
        async with asyncio.timeout(DEADLINE_S):
            while not self._events:
                data = await self.client.reader.read(65536)
                self.frames.receive_data(data or None)
                self._events += self.frames.events()
        return self._events.pop(0)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0, mask: bool = True) -> bytes:
    """One frame (RFC 6455 §5.2), masked with zeros, which leave the payload as it is."""
    size = len(payload)
    length = bytes([size]) if size < 126 else b"\x7e" + size.to_bytes(2, "big") if size < 65536 else b""
    length = length or b"\x7f" + size.to_bytes(8, "big")
    first = bytes([fin << 7 | rsv << 4 | opcode, length[0] | mask << 7])
    return first + length[1:] + (bytes(4) if mask else b"") + payload


@asynccontextmanager
async def websocket(app: Any, **options: Any) -> AsyncGenerator[tuple[WsClient, Served]]:
    """A served app and a connected client that has not spoken."""
    endpoint = AsgiEndpoint(app)
    async with serving(endpoint, **options) as served:
        client = WsClient(await served.connect())
        yield client, served
        client.client.writer.transport.abort()
        await client.client.close()
        await endpoint.aclose()
