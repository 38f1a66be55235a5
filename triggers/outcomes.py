"""What a handler may answer with instead of a plain value: `Response`, or one of the outcomes.

Outcomes settle an event on any trigger. What does not belong here: how a trigger carries them out.
"""

from collections.abc import Iterable, Mapping

import msgspec


class Ack(msgspec.Struct, frozen=True):
    """The event is done; nothing goes to the sink. HTTP: 204."""


class Retry(msgspec.Struct, frozen=True):
    """The event is to be delivered again.

    Attributes:
        after_s: Seconds to wait first; None leaves it to the trigger's backoff. HTTP: 503 with Retry-After.
        reason: Shown in logs, never to clients.
    """

    after_s: float | None = None
    reason: str = ""


class Reject(msgspec.Struct, frozen=True):
    """The event can never be handled: to the dead letters, or logged, counted and acked. HTTP: 422.

    Attributes:
        reason: Shown in logs, in the dead letter and in the HTTP response's body.
    """

    reason: str = ""


Outcome = Ack | Retry | Reject


class Response:
    """A handler's result with a status and headers of its own.

    On a stream only `body`, `headers` and `content_type` are used: they become the sink's message.

    Args:
        body: bytes-like, str, a JSON-able value, an array, or an (async) generator of any of these.
        status: HTTP status code.
        headers: Header fields; as pairs where a name repeats (`Set-Cookie`).
        content_type: Given when the default for `body`'s type is not wanted.
    """

    __slots__ = ("body", "content_type", "headers", "status")

    def __init__(
        self,
        body: object = b"",
        status: int = 200,
        headers: Mapping[str, str] | Iterable[tuple[str, str]] | None = None,
        content_type: str | None = None,
    ) -> None:
        self.body = body
        self.status = status
        pairs: Iterable[tuple[str, str]] | None = (
            headers.items() if isinstance(headers, Mapping) else headers  # pyright: ignore
        )
        self.headers: list[tuple[str, str]] = list(pairs or ())
        self.content_type = content_type

    def __repr__(self) -> str:
        return f"Response(status={self.status}, content_type={self.content_type!r})"
