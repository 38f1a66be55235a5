"""A bare uvloop `BufferedProtocol` that receives each body into one buffer, used again and again; argv: port.

It knows one kind of head only, and answers with the body's length.
"""

import asyncio
import re
import sys
from typing import Any

import uvloop

_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE).search
_RESPONSE = b"HTTP/1.1 200 OK\r\ncontent-type: application/octet-stream\r\ncontent-length: %d\r\n\r\n%b"


class BareBody(asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self) -> None:
        self._buffer = memoryview(bytearray(64 * 1024))
        self._body = memoryview(bytearray(8 * 2**20))
        self._size = 0
        self._left = 0

    def connection_made(self, transport: Any) -> None:
        self._transport = transport

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._body[self._size - self._left : self._size] if self._left else self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._left:
            self._left -= nbytes
        else:
            data = bytes(self._buffer[:nbytes])
            end = data.find(b"\r\n\r\n") + 4
            length = _LENGTH(data)
            self._size = int(length[1]) if length else 0
            self._body[: nbytes - end] = data[end:]
            self._left = self._size - (nbytes - end)
        if not self._left:
            answer = b"%d" % self._size
            self._transport.write(_RESPONSE % (len(answer), answer))


async def serve(port: int) -> None:
    loop = asyncio.get_running_loop()
    server: asyncio.AbstractServer = await loop.create_server(BareBody, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(serve(int(sys.argv[1])))
