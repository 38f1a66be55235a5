"""What stands before an endpoint: `Gate` lets in who has an API key, and speaks CORS with browsers.

Keys are asked for when the head is read, so that strangers get no memory for a body. What does not belong here:
what keys and CORS are (`api_keys`, `cors`).
"""

from typing import TYPE_CHECKING

from headrace.triggers.http.spec import HttpTrigger

from ..metrics import Metrics
from .errors import RequestError
from .exchange import Endpoint, Exchange
from .heads import Head

if TYPE_CHECKING:
    from .api_keys import ApiKeys
    from .cors import CorsPolicy

# Kubernetes' probes have no key
_OPEN = (b"/health/liveness", b"/health/readiness")


class Gate:
    """`exchange.Endpoint` around another.

    Args:
        inner: Answers what is let in.
        keys: Who may call; None: anybody.
        cors: Which web pages may; None: no word about it.
        metrics: Counts requests by key.
    """

    def __init__(self, inner: Endpoint, keys: "ApiKeys | None", cors: "CorsPolicy | None", metrics: Metrics) -> None:
        self._inner = inner
        self._keys = keys
        self._cors = cors
        self._metrics = metrics
        self.streams_body = inner.streams_body
        self.owns_metrics_path = inner.owns_metrics_path
        for name in keys.names if keys is not None else ():
            metrics.http_by_key[name] = 0

    def admit(self, head: Head) -> bytes:
        """Header lines for the response; raises `RequestError` for who may not enter."""
        cors, keys = self._cors, self._keys
        fields = b""
        if cors is not None:
            if cors.is_preflight(head):  # browsers send no key with it
                return fields
            fields = cors.fields(head)
        if keys is None or (head.is_probe and head.raw_path in _OPEN):
            return fields
        token = _token(head)
        if token is None:
            raise _unauthorized("expected an API key: `Authorization: Bearer <key>` or `X-API-Key: <key>`", b"", fields)
        if (owner := keys.owner(token)) is None:
            raise _unauthorized("expected a valid API key", b' error="invalid_token"', fields)
        self._metrics.http_by_key[owner] += 1
        return fields

    def handle(self, exchange: Exchange) -> None:
        """Answer a preflight request here, all else inside."""
        cors = self._cors
        if cors is None or not cors.is_preflight(exchange.head):
            self._inner.handle(exchange)
        elif (fields := cors.preflight(exchange.head)) is None:
            exchange.fail(403, "expected an origin that `cors.allowOrigins` names", b"vary: Origin\r\n")
        else:
            exchange.respond(204, fields)


def guarded(inner: Endpoint, spec: HttpTrigger, metrics: Metrics) -> Endpoint:
    """`inner` behind what the trigger asks for; `inner` itself where that is nothing.

    Args:
        inner: The function's.
        spec: References resolved.
        metrics: Counts requests by key.

    Raises:
        UsageError: The keys are malformed.
    """
    keys = cors = None
    if spec.api_keys is not None:
        from .api_keys import ApiKeys, parse

        keys = ApiKeys(parse(spec.api_keys, f"triggers.{spec.name}.apiKeys"))
    if spec.cors is not None:
        from .cors import CorsPolicy

        cors = CorsPolicy(spec.cors)
    return inner if keys is None and cors is None else Gate(inner, keys, cors, metrics)


def _token(head: Head) -> bytes | None:
    if (given := head.header(b"authorization")) is not None:
        scheme, _, token = given.partition(b" ")
        if scheme.lower() == b"bearer":
            return token.strip()
    return head.header(b"x-api-key")


def _unauthorized(reason: str, challenge: bytes, fields: bytes) -> RequestError:
    """RFC 9110 §15.5.2, RFC 6750 §3."""
    return RequestError(401, reason, "unauthorized", b"www-authenticate: Bearer%b\r\n%b" % (challenge, fields))
