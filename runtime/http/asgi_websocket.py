"""WebSocket requests for ASGI 3.0 apps: the handshake (RFC 6455 §4.2), and `receive` and `send`.

What does not belong here: frames (`websocket`), and plain requests (`asgi`).
"""

import asyncio
import binascii
import hashlib
import logging
from typing import TYPE_CHECKING, Any

from .errors import ClientDisconnected, RequestError
from .heads import Head
from .responses import header_lines
from .websocket import INTERNAL_ERROR, WebSocket

if TYPE_CHECKING:
    from .asgi import App, Message, Send
    from .exchange import Exchange

logger = logging.getLogger(__name__)

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_NORMAL = 1000


def accept_key(head: Head) -> bytes:
    """`Sec-WebSocket-Accept` for a client's handshake.

    Raises:
        RequestError: It is none (400), or of another version (426).
    """
    connection = b",".join(value for name, value in head.headers if name == b"connection")
    if b"upgrade" not in {option.strip() for option in connection.lower().split(b",")}:
        raise RequestError(400, "WebSocket: expected `Connection: Upgrade`")
    if head.method != "GET" or not head.http_1_1 or head.length != 0:
        raise RequestError(400, "WebSocket: expected a GET of HTTP/1.1 without a body")
    if head.header(b"sec-websocket-version") != b"13":
        raise RequestError(426, "WebSocket: expected version 13", headers=b"sec-websocket-version: 13\r\n")
    key = head.header(b"sec-websocket-key") or b""
    try:
        valid = len(binascii.a2b_base64(key, strict_mode=True)) == 16
    except ValueError:
        valid = False
    if not valid:
        raise RequestError(400, "WebSocket: expected `Sec-WebSocket-Key` of 16 bytes in Base64")
    return binascii.b2a_base64(hashlib.sha1(key + _GUID).digest(), newline=False)


def scope_of(http: dict[str, Any], head: Head) -> dict[str, Any]:
    """The ASGI scope, made out of a plain request's."""
    offered = b",".join(value for name, value in head.headers if name == b"sec-websocket-protocol")
    scope = http | {
        "type": "websocket",
        "scheme": "wss" if http["scheme"] == "https" else "ws",
        "subprotocols": [name.strip().decode("latin-1") for name in offered.split(b",") if name.strip()],
        "extensions": {"websocket.http.response": {}},
    }
    del scope["method"]
    return scope


class WebSocketCycle:
    """One WebSocket's `receive` and `send`.

    Args:
        exchange: The request that asks for it.
        accept: `Sec-WebSocket-Accept`.
        respond: `send` of a plain response, for apps that refuse with one.
    """

    def __init__(self, exchange: "Exchange", accept: bytes, respond: "Send") -> None:
        self._exchange = exchange
        self._accept = accept
        self._respond = respond
        self._connected = False  # `websocket.connect` was received
        self._socket: WebSocket | None = None  # once accepted
        self._told = False  # `websocket.disconnect` was received, after which an app just ends

    async def run(self, app: "App", scope: dict[str, Any]) -> None:
        """Run the app; what it leaves open is closed."""
        failed = False
        await asyncio.sleep(0)  # the read that brought the request is over: the connection can be given away
        try:
            await app(scope, self.receive, self.send)
        except ClientDisconnected:
            pass
        except Exception as exc:
            failed = True
            logger.error("app failed path=%s", self._exchange.head.path, exc_info=exc)
        finally:
            if self._socket is not None:
                self._socket.close(INTERNAL_ERROR if failed else _NORMAL, "")
            elif not self._exchange.answered:
                self._exchange.fail(500, "the function failed")

    async def receive(self) -> "Message":
        if not self._connected:
            self._connected = True
            return {"type": "websocket.connect"}
        if self._socket is None:  # neither accepted nor refused: nothing comes but the client's leave
            assert self._exchange.stream is not None
            await self._exchange.stream.gone()
            return {"type": "websocket.disconnect", "code": 1006, "reason": ""}
        message = await self._socket.receive()
        if message is None:
            assert self._socket.closed is not None
            code, reason = self._socket.closed
            return {"type": "websocket.disconnect", "code": code, "reason": reason}
        if isinstance(message, str):
            return {"type": "websocket.receive", "text": message}
        return {"type": "websocket.receive", "bytes": message}

    async def send(self, message: "Message") -> None:
        kind = message["type"]
        if self._socket is not None:
            await self._send_open(self._socket, kind, message)
        elif kind == "websocket.accept":
            self._open(message)
        elif kind == "websocket.close":
            self._exchange.fail(403, "the function refused the WebSocket")
        elif kind.startswith("websocket.http.response."):
            await self._respond({**message, "type": kind.removeprefix("websocket.")})
        else:
            raise RuntimeError(f"expected `websocket.accept`, `websocket.close` or a response, got `{kind}`")

    async def _send_open(self, websocket: WebSocket, kind: str, message: "Message") -> None:
        if kind == "websocket.send":
            data: bytes | str | None = message.get("bytes")
            data = message.get("text") if data is None else data
            if data is None:
                raise RuntimeError("`websocket.send`: expected `bytes` or `text`")
            await websocket.send(data)
        elif kind == "websocket.close":
            code = int(message.get("code", _NORMAL))
            if not 1000 <= code <= 4999:
                raise RuntimeError(f"`websocket.close`: expected a code from 1000 to 4999, got {code}")
            websocket.close(code, message.get("reason") or "")
        else:
            raise RuntimeError(f"expected `websocket.send` or `websocket.close`, got `{kind}`")

    def _open(self, message: "Message") -> None:
        exchange = self._exchange
        pairs = [(bytes(name), bytes(value)) for name, value in message.get("headers", ())]
        if (chosen := message.get("subprotocol")) is not None:
            pairs.append((b"sec-websocket-protocol", chosen.encode("latin-1")))
        fields = header_lines(pairs)
        if exchange.answered or exchange.stream is None or exchange.stream.lost:
            raise ClientDisconnected("WebSocket: the client is gone")
        handshake = b"connection: Upgrade\r\nupgrade: websocket\r\nsec-websocket-accept: %b\r\n" % self._accept
        self._socket = exchange.upgrade(handshake + fields)
