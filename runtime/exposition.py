"""Metrics of several processes as one: counts as they cross the control socket, their sums, and the text format.

What does not belong here: what is counted (`metrics`), and asking for it (`supervisor`).
"""

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from headrace.triggers import wire

from .metrics import Metrics

if TYPE_CHECKING:
    from prometheus_client.core import Metric

# Of some 100 bytes each: far below `wire.MAX_LINE`
_SAMPLES_A_LINE = 200
# What each process sees of the same thing: the largest is no less true than the others, a sum would be false
_SHARED = ("headrace_gpu_memory_used_bytes", "headrace_gpu_memory_total_bytes", "headrace_batch_size_limit")
_CUMULATIVE = ("counter", "histogram")


def families_of(metrics: Metrics) -> list[wire.Family]:
    """All that a process counts, now."""
    return [
        wire.Family(
            name=family.name,
            kind=family.type,
            text=family.documentation,
            samples=[wire.Sample(name=s.name, labels=s.labels, value=s.value) for s in family.samples],
        )
        for family in metrics.collect()
    ]


def lines_of(families: Iterable[wire.Family]) -> Iterator[wire.Samples]:
    """The messages that carry `families`; the last says so."""
    pieces = [
        wire.Family(
            name=family.name, kind=family.kind, text=family.text, samples=family.samples[at : at + _SAMPLES_A_LINE]
        )
        for family in families
        for at in range(0, max(1, len(family.samples)), _SAMPLES_A_LINE)
    ]
    line: list[wire.Family] = []
    held = 0
    for piece in pieces:
        if line and held + len(piece.samples) > _SAMPLES_A_LINE:
            yield wire.Samples(families=line, more=True)
            line, held = [], 0
        line.append(piece)
        held += len(piece.samples)
    yield wire.Samples(families=line)


def merged(groups: Iterable[Iterable[wire.Family]]) -> list[wire.Family]:
    """Families of all `groups`, samples of the same name and labels added up (of shared things: the largest)."""
    kinds: dict[str, wire.Family] = {}
    sums: dict[str, dict[tuple[str, tuple[tuple[str, str], ...]], float]] = {}
    for group in groups:
        for family in group:
            kinds.setdefault(family.name, family)
            of_family = sums.setdefault(family.name, {})
            for sample in family.samples:
                key = (sample.name, tuple(sample.labels.items()))
                if family.name in _SHARED:
                    of_family[key] = max(of_family.get(key, sample.value), sample.value)
                else:
                    of_family[key] = of_family.get(key, 0.0) + sample.value
    return [
        wire.Family(
            name=name,
            kind=family.kind,
            text=family.text,
            samples=[
                wire.Sample(name=sample, labels=dict(labels), value=value)
                for (sample, labels), value in sums[name].items()
            ],
        )
        for name, family in kinds.items()
    ]


def cumulative(families: Iterable[wire.Family]) -> list[wire.Family]:
    """Those that go on counting when the process that counted is gone."""
    return [family for family in families if family.kind in _CUMULATIVE]


def render(families: Iterable[wire.Family]) -> bytes:
    """The Prometheus text exposition format, version 0.0.4."""
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    registry.register(_Collector(families))
    return generate_latest(registry)


class _Collector:
    """prometheus-client's Collector protocol."""

    def __init__(self, families: Iterable[wire.Family]) -> None:
        self._families = families

    def collect(self) -> "Iterator[Metric]":
        from prometheus_client.core import Metric

        for family in self._families:
            metric = Metric(family.name, family.text, family.kind)
            for sample in family.samples:
                metric.add_sample(sample.name, dict(sample.labels), sample.value)
            yield metric
