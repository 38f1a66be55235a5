"""`/health/*` and `/metrics`: answered by the protocol itself, before the endpoint and outside in-flight counts.

They answer while the function is at its limit, and tell the platform so. What does not belong here: what
healthy means.
"""

from collections.abc import Callable

import msgspec

from .responses import JSON_TYPE

PREFIXES = (b"/health/", b"/metrics")
"""Every probed path begins with one of these."""

# prometheus-client's CONTENT_TYPE_PLAIN_0_0_4, without importing it
_FRESH = b"cache-control: no-store\r\n"
EXPOSITION = b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n" + _FRESH


class Probes(msgspec.Struct, frozen=True, kw_only=True):
    """What the probes ask.

    Attributes:
        alive: (whether the process can still work, why not); not so: it is to be replaced.
        ready: (whether it takes requests, why not); not so: it is to be left alone.
        metrics: The Prometheus exposition; None: it is not here.
    """

    alive: Callable[[], tuple[bool, str]]
    ready: Callable[[], tuple[bool, str]]
    metrics: Callable[[], bytes] | None

    def answer(self, path: bytes, owns_metrics_path: bool) -> tuple[int, bytes, bytes] | None:
        """(status, header lines, body) where `path` is a probe's.

        Args:
            path: The request's path.
            owns_metrics_path: `/metrics` is the function's own.
        """
        if path == b"/health/liveness":
            return _health("alive", self.alive())
        if path == b"/health/readiness":
            return _health("ready", self.ready())
        if self.metrics is not None and (path == b"/health/metrics" or (path == b"/metrics" and not owns_metrics_path)):
            return 200, EXPOSITION, self.metrics()
        return None


def _health(what: str, state: tuple[bool, str]) -> tuple[int, bytes, bytes]:
    """func-python answers 500; 503 is what load balancers and kubelets call unavailable."""
    well, reason = state
    body = {what: well} if well else {what: well, "reason": reason}
    return 200 if well else 503, JSON_TYPE + _FRESH, msgspec.json.encode(body)
