"""Request heads: bytes in, `Head` out. No sockets, no bodies.

`httptools` (llhttp, strict) checks the grammar, without callbacks: once a head is known to be well formed,
request line and framing fields are found by one regular expression, and all other fields are split only
when somebody asks for them (0.6 µs a head instead of 1.1 with a Python callback per field).
"""

import re

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from .errors import RequestError
from .probes import PREFIXES

CHUNKED = -1
"""`Head.length` of a body whose length is not known before its end."""

TELLING = frozenset((b"host", b"content-length", b"content-type", b"transfer-encoding", b"connection", b"expect"))
"""Names of fields that `Head` reads, with those that begin with `ce-`: those that decide where a request ends and
whether another may follow (RFC 9112 §6, §9.3), and those by which a CloudEvent is known (HTTP binding §3)."""

_telling = re.compile(
    rb"\r\n(?:(host|content-length|content-type|transfer-encoding|connection|expect):[ \t]*([^\r]*)|(ce-))",
    re.IGNORECASE,
).findall
_METHOD = re.compile(rb"[A-Z-]{1,24}( |\Z)")  # the longest that llhttp knows is MKCALENDAR


class Head:
    """A request's head; immutable, so that exchanges of equal heads share one.

    Attributes:
        raw: Its bytes, the empty line included.
        method: As sent: `GET`.
        target: The request target as sent: origin, absolute or asterisk form (RFC 9112 §3.2).
        http_1_1: False: HTTP/1.0.
        keep_alive: The client wants to use the connection again.
        length: Bytes in the body, or `CHUNKED`.
        expects_continue: The client waits for `100 Continue` before it sends the body.
        is_probe: The path may be a health check's.
        is_cloudevent: Fields speak of CloudEvents, perhaps.
    """

    __slots__ = (
        "_headers", "_parts", "expects_continue", "http_1_1", "is_cloudevent", "is_probe", "keep_alive", "length",
        "method", "raw", "target",
    )  # fmt: skip

    def __init__(self, raw: bytes) -> None:
        self.raw = raw
        self.expects_continue = False
        self.length = 0
        self._headers: list[tuple[bytes, bytes]] | None = None
        self._parts: tuple[bytes, bytes] | None = None
        if raw[0] < 65:  # llhttp would skip line breaks, which belong to no head here
            raise RequestError(400, "expected a request line")
        try:
            HttpRequestParser(None).feed_data(raw)
        except HttpParserUpgrade:
            # An upgrade is the server's choice (RFC 9110 §7.8): the request is answered as it is
            if raw.startswith(b"CONNECT"):
                raise RequestError(501, "CONNECT is not supported") from None
        except HttpParserError as exc:
            raise RequestError(400, str(exc)) from None
        try:
            method, self.target, rest = raw.split(b" ", 2)
        except ValueError:  # HTTP/0.9
            raise RequestError(400, "expected `method target HTTP/1.1`") from None
        self.method = method.decode("ascii")
        if b"\r" in self.target:  # HTTP/0.9 again, with fields
            raise RequestError(400, "expected `method target HTTP/1.1`")
        if rest.startswith(b"HTTP/1.1\r"):
            self.http_1_1 = self.keep_alive = True
        else:
            self._read_version(rest)
        hosts = 0
        codings: bytes | None = None
        cloudevent = False
        for name, value, prefix in _telling(raw):
            kind = len(name)  # all differ in length, and nothing is cheaper to compare
            if prefix:
                cloudevent = True
            elif kind == 12:  # content-type
                cloudevent = cloudevent or b"cloudevents" in value.lower()
            elif kind == 4:  # host
                hosts += 1
            elif kind == 14:  # content-length; llhttp lets one through, of digits
                self.length = int(value)
            elif kind == 10:  # connection
                self._read_connection(value)
            elif kind == 17:  # transfer-encoding
                codings = value if codings is None else codings + b"," + value
            elif self.http_1_1:  # expect; a 1.0 client cannot (RFC 9110 §10.1.1)
                self._read_expect(value)
        if hosts != 1 and (self.http_1_1 or hosts):  # RFC 9112 §3.2
            raise RequestError(400, f"expected one Host field, got {hosts}")
        if codings is not None:
            self._read_codings(codings)
        self.is_probe = self.target.startswith(PREFIXES)
        self.is_cloudevent = cloudevent

    def alike(self, raw: bytes) -> "Head":
        """A head of other bytes that differs from this one in fields alone that are not `TELLING`."""
        head = object.__new__(Head)
        head.raw = raw
        head.expects_continue = self.expects_continue
        head.http_1_1 = self.http_1_1
        head.is_cloudevent = self.is_cloudevent
        head.is_probe = self.is_probe
        head.keep_alive = self.keep_alive
        head.length = self.length
        head.method = self.method
        head.target = self.target
        head._headers = None
        head._parts = self._parts
        return head

    def _read_version(self, rest: bytes) -> None:
        version = rest.partition(b"\r\n")[0]
        if version.startswith((b"HTTP/2", b"HTTP/3", b"HTTP/0")):
            raise RequestError(505, "expected HTTP/1.1 or HTTP/1.0")
        if version != b"HTTP/1.0":
            raise RequestError(400, "expected `method target HTTP/1.1`")
        self.http_1_1 = self.keep_alive = False

    def _read_connection(self, value: bytes) -> None:
        options = [option.strip() for option in value.lower().split(b",")]
        if b"close" in options:
            self.keep_alive = False
        elif b"keep-alive" in options and not self.http_1_1:
            self.keep_alive = True

    def _read_expect(self, value: bytes) -> None:
        if value.strip().lower() != b"100-continue":
            raise RequestError(417, "expected `Expect: 100-continue` or none")
        self.expects_continue = True

    def _read_codings(self, value: bytes) -> None:
        if not self.http_1_1:  # RFC 9112 §6.1: "MUST treat the message as if the framing is faulty"
            raise RequestError(400, "expected no Transfer-Encoding in HTTP/1.0")
        codings = [coding.strip().lower() for coding in value.split(b",")]
        if codings.count(b"chunked") != 1:
            raise RequestError(400, "expected `chunked` once in Transfer-Encoding")
        if codings != [b"chunked"]:
            raise RequestError(501, "expected no transfer coding but `chunked`")
        self.length = CHUNKED

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """(lower-case name, value) pairs in order; made when first asked for."""
        if self._headers is None:
            self._headers = [
                (name.lower(), value.strip(b" \t"))
                for name, _, value in (line.partition(b":") for line in self.raw[:-4].split(b"\r\n")[1:])
            ]
        return self._headers

    def header(self, name: bytes) -> bytes | None:
        """The first value of `name` (lower-case)."""
        for key, value in self.headers:
            if key == name:
                return value
        return None

    @property
    def raw_path(self) -> bytes:
        """The target's path as sent, without the query."""
        return self._split()[0]

    @property
    def path(self) -> str:
        """The target's path, percent-decoded."""
        path = self.raw_path
        if b"%" not in path:
            return path.decode("ascii")
        from urllib.parse import unquote

        return unquote(path.decode("ascii"))

    @property
    def query(self) -> bytes:
        """The target's query as sent, without the question mark."""
        return self._split()[1]

    def _split(self) -> tuple[bytes, bytes]:
        if self._parts is None:
            path, _, query = _origin(self.target).partition(b"?")
            self._parts = (path, query)
        return self._parts


def check_partial(data: bytes | bytearray) -> None:
    """Refuse the beginning of a head that no further byte can make well formed.

    Raises:
        RequestError: It does not begin with a method (TLS, other protocols), or has bare line feeds.
    """
    method = _METHOD.match(data)
    if method is None or (method[1] != b" " and method.end() != len(data)):
        raise RequestError(400, "expected a request line")
    if data.count(b"\n") != data.count(b"\r\n"):
        raise RequestError(400, "expected lines to end in CRLF")


def _origin(target: bytes) -> bytes:
    """`target` in origin form, without a fragment; a server takes the absolute form too (RFC 9112 §3.2.2)."""
    target = target.partition(b"#")[0]
    if target.startswith(b"/"):
        return target
    _, scheme, rest = target.partition(b"://")
    if not scheme:
        return target
    slash = rest.find(b"/")
    if slash >= 0 and b"?" not in rest[:slash]:
        return rest[slash:]
    query = rest.find(b"?")
    return b"/" + (rest[query:] if query >= 0 else b"")
