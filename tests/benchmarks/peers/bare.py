"""The peer of `runtime/http`: uvloop and httptools with no handler, limits or timeouts; argv: port.

It answers each request with the length of its body, which it does not keep.
"""

import asyncio
import sys
from typing import Any

import httptools
import uvloop

_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n%b"


class Bare(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(256 * 1024))
        self._parser = httptools.HttpRequestParser(self)
        self._size = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        self._parser.feed_data(self._buffer[:nbytes])

    def on_body(self, data: bytes) -> None:
        self._size += len(data)

    def on_message_complete(self) -> None:
        body = b"%d" % self._size
        self._size = 0
        self._transport.write(_RESPONSE % (len(body), body))


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server: asyncio.AbstractServer = await loop.create_server(Bare, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
