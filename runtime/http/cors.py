"""What web pages of other origins are told: the headers of the CORS protocol (Fetch standard §3.3).

Heads in, header lines out. What does not belong here: sending them (`gate`).
"""

from collections.abc import Sequence

from headrace.triggers.http.spec import Cors

from .heads import Head

_VARY_PREFLIGHT = b"vary: Origin, Access-Control-Request-Method, Access-Control-Request-Headers\r\n"


class CorsPolicy:
    """Header lines by who asks.

    Args:
        cors: The trigger's section, references resolved.
    """

    def __init__(self, cors: Cors) -> None:
        self._any = cors.allow_origins == ("*",)
        self._origins = frozenset(origin.encode("ascii", "replace") for origin in cors.allow_origins)
        self._any_header = "*" in cors.allow_headers
        credentials = b"access-control-allow-credentials: true\r\n" if cors.allow_credentials else b""
        expose = _line(b"access-control-expose-headers", cors.expose_headers)
        self._granted = credentials + expose
        self._preflight = (
            credentials
            + _line(b"access-control-allow-methods", cors.allow_methods)
            + (b"" if self._any_header else _line(b"access-control-allow-headers", cors.allow_headers))
            + b"access-control-max-age: %d\r\n" % cors.max_age
            + _VARY_PREFLIGHT
        )
        # The same for each request, so that caches need not tell origins apart
        self._for_any = b"access-control-allow-origin: *\r\n" + self._granted

    def fields(self, head: Head) -> bytes:
        """For the response to a request that is no preflight."""
        if self._any:
            return self._for_any
        origin = head.header(b"origin")
        if origin is None or origin not in self._origins:
            return b"vary: Origin\r\n"
        return b"access-control-allow-origin: %b\r\nvary: Origin\r\n%b" % (origin, self._granted)

    def is_preflight(self, head: Head) -> bool:
        """Whether a browser asks what it may do, instead of doing it."""
        return (
            head.method == "OPTIONS"
            and head.header(b"origin") is not None
            and head.header(b"access-control-request-method") is not None
        )

    def preflight(self, head: Head) -> bytes | None:
        """For the response to a preflight request; None where its origin may do nothing."""
        origin = head.header(b"origin") or b""
        if not self._any and origin not in self._origins:
            return None
        allowed = b"access-control-allow-origin: %b\r\n" % (b"*" if self._any else origin)
        wanted = head.header(b"access-control-request-headers")
        if self._any_header and wanted:  # named, since `*` covers neither Authorization nor requests with cookies
            allowed += b"access-control-allow-headers: %b\r\n" % wanted
        return allowed + self._preflight


def _line(name: bytes, values: Sequence[str]) -> bytes:
    return b"%b: %b\r\n" % (name, ", ".join(values).encode("ascii")) if values else b""
