"""Metrics of several processes as one."""

import msgspec

from headrace.runtime.exposition import cumulative, families_of, lines_of, merged, render
from headrace.runtime.metrics import Metrics
from headrace.triggers import wire


def counted(ok: int, triggers: int = 1, in_flight: int = 0) -> list[wire.Family]:
    metrics = Metrics([f"t{n}" for n in range(triggers)])
    for counts in metrics.triggers.values():
        counts.ok = ok
        counts.duration.observe(0.01)
    metrics.gauge("in_flight", "now", lambda: in_flight)
    return families_of(metrics)


def test_one_process_reads_as_its_own_exposition() -> None:
    metrics = Metrics(["t"])
    metrics.triggers["t"].ok = 3
    assert render(families_of(metrics)) == metrics.render()


def test_sums() -> None:
    text = render(merged([counted(3, in_flight=1), counted(4, triggers=2, in_flight=2), []])).decode()
    assert 'headrace_events_total{trigger="t0"} 7.0' in text
    assert 'headrace_events_total{trigger="t1"} 4.0' in text
    assert 'headrace_handler_duration_seconds_bucket{le="+Inf",trigger="t0"} 2.0' in text
    assert "headrace_in_flight 3.0" in text
    assert text.count("# TYPE headrace_in_flight gauge") == 1


def test_what_all_processes_share_is_not_added_up() -> None:
    def seen(used: float) -> list[wire.Family]:
        metrics = Metrics(())
        metrics.gauge("gpu_memory_used_bytes", "of the GPU", lambda: used)
        return families_of(metrics)

    assert b"headrace_gpu_memory_used_bytes 7.0" in render(merged([seen(5), seen(7), seen(6)]))


def test_only_counts_outlive_their_process() -> None:
    kept = {family.name for family in cumulative(counted(1))}
    assert "headrace_events" in kept
    assert "headrace_in_flight" not in kept


def test_many_samples_go_in_lines_that_fit() -> None:
    families = counted(1, triggers=100)
    lines = list(lines_of(families))
    assert [line.more for line in lines] == [True] * (len(lines) - 1) + [False]
    assert all(len(msgspec.json.encode(line)) < wire.MAX_LINE for line in lines)
    assert render(merged([[family for line in lines for family in line.families]])) == render(merged([families]))


def test_nothing_counted_is_one_line() -> None:
    assert list(lines_of([])) == [wire.Samples(families=[])]
