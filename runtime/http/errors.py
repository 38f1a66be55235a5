"""What goes wrong between the bytes of a connection and an answer; none of it ever leaves `runtime/http`.

Exception
├── RequestError         the request cannot be answered as asked: carries the status that says so
└── ClientDisconnected   the client is gone; whoever writes to or reads from it stops
"""


class RequestError(Exception):
    """A request that is refused, and whose connection is closed after saying so.

    Args:
        status: HTTP status code of the refusal.
        reason: For the client; says what was expected.
        kind: `runtime.metrics.Metrics.refused`'s reason.
        headers: Header lines of the refusal.
    """

    def __init__(self, status: int, reason: str, kind: str = "malformed", headers: bytes = b"") -> None:
        super().__init__(reason)
        self.status = status
        self.reason = reason
        self.kind = kind
        self.headers = headers


class ClientDisconnected(ConnectionError):
    """The client closed the connection, or was cut off."""
