"""What a replica counts: plain ints and bucket lists, written by the hot path, read when scraped.

`render` hands them to prometheus-client, which is imported on the first scrape. Names carry the prefix
`headrace_` and base units; labels are bounded by func.yaml.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from prometheus_client.core import Metric

# 50 µs to 60 s: from a handler that only returns to the default handlerTimeout
DURATION_BOUNDS_S = (
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60,
)  # fmt: skip
SIZE_BOUNDS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)


class Histogram:
    """Cumulative-on-read buckets.

    Args:
        bounds: Upper bounds, ascending; +Inf is implied.
    """

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float] = DURATION_BOUNDS_S) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def cumulative(self) -> list[tuple[str, float]]:
        """(le, count of observations at most that), as the exposition format wants them."""
        running, rows = 0, []
        for bound, count in zip([*map(str, self.bounds), "+Inf"], self.counts, strict=True):
            running += count
            rows.append((bound, float(running)))
        return rows


class TriggerMetrics:
    """Counts of one trigger.

    Attributes:
        received: Events taken off the wire, redeliveries included.
        ok: Settled with a result or `Ack`.
        errors: Settled with a failure, by fault: `handler`, `timeout`, `rejected`, `retry`, `sink`, `client`,
            `shutdown`, `overload` (a full queue), `queue_timeout`.
        retried: Handed back to be delivered again.
        duration: Seconds from invocation to result.
        queue_delay: Seconds from receipt to invocation.
    """

    __slots__ = ("duration", "errors", "ok", "queue_delay", "received", "retried")

    def __init__(self) -> None:
        self.received = 0
        self.ok = 0
        self.retried = 0
        self.errors: dict[str, int] = {}
        self.duration = Histogram()
        self.queue_delay = Histogram()

    def failed(self, fault: str) -> None:
        self.errors[fault] = self.errors.get(fault, 0) + 1

    @property
    def settled(self) -> int:
        """Deliveries that came to an end, whatever became of them: the throughput."""
        return self.ok + sum(self.errors.values())


class Metrics:
    """All that a replica counts."""

    def __init__(self, triggers: Iterable[str]) -> None:
        self.triggers: dict[str, TriggerMetrics] = {name: TriggerMetrics() for name in triggers}
        self.batch_size = Histogram(SIZE_BOUNDS)
        self.batch_bisections = 0
        self.out_of_memory = 0
        self.http_responses: dict[int, int] = {}
        self.http_refused: dict[str, int] = {}
        self.http_by_key: dict[str, int] = {}
        self.abandoned_threads = 0
        self.gauges: dict[str, tuple[str, Callable[[], float]]] = {}
        self.counters: dict[str, tuple[str, Callable[[], float]]] = {}

    def responded(self, status: int) -> None:
        """An HTTP response of `status` was begun."""
        self.http_responses[status] = self.http_responses.get(status, 0) + 1

    def refused(self, reason: str) -> None:
        """A request never reached the handler: `malformed`, `too_large`, `timeout`, `overload`, `unauthorized`,
        `handshake`."""
        self.http_refused[reason] = self.http_refused.get(reason, 0) + 1

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Let `headrace_<name>` be what `read` gives at each scrape."""
        self.gauges[name] = (text, read)

    def counter(self, name: str, text: str, read: Callable[[], float]) -> None:
        """Let `headrace_<name>_total` be what `read` gives at each scrape."""
        self.counters[name] = (text, read)

    def render(self) -> bytes:
        """The Prometheus text exposition format, version 0.0.4."""
        from prometheus_client import CollectorRegistry, generate_latest

        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry)

    def collect(self) -> "Iterator[Metric]":
        """prometheus-client's Collector protocol."""
        from prometheus_client import core

        received = core.CounterMetricFamily("headrace_events_received", "Events taken off the wire", labels=["trigger"])
        settled = core.CounterMetricFamily("headrace_events", "Events settled well", labels=["trigger"])
        retried = core.CounterMetricFamily("headrace_events_retried", "Events handed back", labels=["trigger"])
        errors = core.CounterMetricFamily("headrace_errors", "Events settled badly", labels=["trigger", "fault"])
        duration = core.HistogramMetricFamily(
            "headrace_handler_duration_seconds", "Invocation to result", labels=["trigger"]
        )
        delay = core.HistogramMetricFamily("headrace_queue_delay_seconds", "Receipt to invocation", labels=["trigger"])
        for name, counts in self.triggers.items():
            received.add_metric([name], counts.received)
            settled.add_metric([name], counts.ok)
            retried.add_metric([name], counts.retried)
            for fault, count in counts.errors.items():
                errors.add_metric([name, fault], count)
            duration.add_metric([name], counts.duration.cumulative(), counts.duration.total)
            delay.add_metric([name], counts.queue_delay.cumulative(), counts.queue_delay.total)
        yield from (received, settled, retried, errors, duration, delay)
        size = core.HistogramMetricFamily("headrace_batch_size", "Events in a batch")
        size.add_metric([], self.batch_size.cumulative(), self.batch_size.total)
        yield size
        yield core.CounterMetricFamily(
            "headrace_batch_bisections", "Batches halved and run again: the handler raised", self.batch_bisections
        )
        yield core.CounterMetricFamily(
            "headrace_batch_out_of_memory", "Batches that the device had no memory for", self.out_of_memory
        )
        yield from self._collect_http()
        yield core.CounterMetricFamily(
            "headrace_abandoned_threads",
            "Threads given up on: their handler timed out",
            self.abandoned_threads,
        )
        for name, (text, read) in self.counters.items():
            yield core.CounterMetricFamily(f"headrace_{name}", text, read())
        for name, (text, read) in self.gauges.items():
            yield core.GaugeMetricFamily(f"headrace_{name}", text, read())

    def _collect_http(self) -> "Iterator[Metric]":
        from prometheus_client import core

        responses = core.CounterMetricFamily("headrace_http_responses", "Responses begun", labels=["code"])
        for status, count in sorted(self.http_responses.items()):
            responses.add_metric([str(status)], count)
        refused = core.CounterMetricFamily("headrace_http_refused", "Requests refused unhandled", labels=["reason"])
        for reason, count in self.http_refused.items():
            refused.add_metric([reason], count)
        yield from (responses, refused)
        if self.http_by_key:
            by_key = core.CounterMetricFamily("headrace_http_requests", "Requests let in, by API key", labels=["key"])
            for name, count in self.http_by_key.items():
                by_key.add_metric([name], count)
            yield by_key
