"""The bytes of response heads. No sockets; bodies and framing are the exchange's."""

import re
import time
from collections.abc import Iterable

import msgspec

REASONS = {
    100: "Continue", 101: "Switching Protocols",
    200: "OK", 201: "Created", 202: "Accepted", 203: "Non-Authoritative Information", 204: "No Content",
    205: "Reset Content", 206: "Partial Content", 207: "Multi-Status", 208: "Already Reported",
    300: "Multiple Choices", 301: "Moved Permanently", 302: "Found", 303: "See Other", 304: "Not Modified",
    307: "Temporary Redirect", 308: "Permanent Redirect",
    400: "Bad Request", 401: "Unauthorized", 402: "Payment Required", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 406: "Not Acceptable", 407: "Proxy Authentication Required", 408: "Request Timeout",
    409: "Conflict", 410: "Gone", 411: "Length Required", 412: "Precondition Failed", 413: "Content Too Large",
    414: "URI Too Long", 415: "Unsupported Media Type", 416: "Range Not Satisfiable", 417: "Expectation Failed",
    418: "I'm a teapot", 421: "Misdirected Request", 422: "Unprocessable Content", 423: "Locked",
    424: "Failed Dependency", 425: "Too Early", 426: "Upgrade Required", 428: "Precondition Required",
    429: "Too Many Requests", 431: "Request Header Fields Too Large", 451: "Unavailable For Legal Reasons",
    500: "Internal Server Error", 501: "Not Implemented", 502: "Bad Gateway", 503: "Service Unavailable",
    504: "Gateway Timeout", 505: "HTTP Version Not Supported", 507: "Insufficient Storage", 508: "Loop Detected",
    511: "Network Authentication Required",
}  # fmt: skip
"""RFC 9110 §15 and the IANA registry; `http.HTTPStatus` costs 3 ms of a cold start."""

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
JSON_TYPE = b"content-type: application/json\r\n"

_DAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_NAME = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_VALUE = re.compile(rb"[\t\x20-\x7e\x80-\xff]*")
# Most fields of responses are the same again and again, and checking one costs 0.8 µs
_known_lines: dict[tuple[bytes, bytes], bytes] = {}
_MAX_KNOWN_LINES, _MAX_KNOWN_LINE_BYTES = 256, 256
# The server's own: what it says of the connection and of the body's length must be true
OWN_FIELDS = frozenset(
    (b"connection", b"content-length", b"date", b"keep-alive", b"transfer-encoding", b"upgrade", b"trailer")
)


class ResponseStarts(dict[int, bytes]):
    """`HTTP/1.1 200 OK` and the `Date` field by status; a clock clears it each second.

    Args:
        counts: Where statuses are counted; each that is asked for is put in.
    """

    def __init__(self, counts: dict[int, int]) -> None:
        super().__init__()
        self._counts = counts

    def __missing__(self, status: int) -> bytes:
        """Status line and `Date`, each with its CRLF."""
        line = f"HTTP/1.1 {status} {REASONS.get(status, '')}\r\ndate: {http_date(time.time())}\r\n"
        start = self[status] = line.encode("ascii")
        self._counts.setdefault(status, 0)
        return start


def http_date(unix_s: float) -> str:
    """An IMF-fixdate (RFC 9110 §5.6.7), whatever the locale."""
    at = time.gmtime(unix_s)
    return (
        f"{_DAYS[at.tm_wday]}, {at.tm_mday:02} {_MONTHS[at.tm_mon - 1]} {at.tm_year} "
        f"{at.tm_hour:02}:{at.tm_min:02}:{at.tm_sec:02} GMT"
    )


def header_lines(pairs: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Header fields as they go on the wire, those that are the server's own left out.

    Raises:
        ValueError: A name is no token, or a value holds a line break or another control character.
    """
    lines: list[bytes] = []
    for pair in pairs:
        line = _known_lines.get(pair)
        if line is None:
            line = _line(*pair)
            if len(line) <= _MAX_KNOWN_LINE_BYTES:
                if len(_known_lines) >= _MAX_KNOWN_LINES:
                    _known_lines.clear()
                _known_lines[pair] = line
        lines.append(line)
    return b"".join(lines)


def _line(name: bytes, value: bytes) -> bytes:
    """A field's line; empty where it is the server's own."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"header name: expected a token, got {name!r}")
    if _VALUE.fullmatch(value) is None:
        raise ValueError(f"header {name.decode('latin-1')!r}: expected a value without control characters")
    return b"" if name.lower() in OWN_FIELDS else b"%b: %b\r\n" % (name, value)


def error_body(reason: str) -> bytes:
    """`{"error": reason}`."""
    return msgspec.json.encode({"error": reason})
