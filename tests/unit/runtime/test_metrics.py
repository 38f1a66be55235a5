"""What is scraped, read by prometheus-client's own parser."""

from prometheus_client.parser import text_string_to_metric_families

from headrace.runtime.metrics import Histogram, Metrics


def samples(metrics: Metrics) -> dict[str, float]:
    found = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        for sample in family.samples:
            labels = ",".join(f"{key}={value}" for key, value in sorted(sample.labels.items()))
            found[f"{sample.name}{{{labels}}}"] = sample.value
    return found


def test_render() -> None:
    metrics = Metrics(["http"])
    counts = metrics.triggers["http"]
    counts.received, counts.ok, counts.retried = 5, 3, 1
    counts.failed("timeout")
    counts.failed("timeout")
    counts.duration.observe(0.0007)
    counts.duration.observe(1000)
    metrics.batch_size.observe(3)
    metrics.responded(200)
    metrics.responded(200)
    metrics.refused("malformed")
    metrics.gauge("in_flight", "Now", lambda: 7)
    found = samples(metrics)
    assert found["headrace_events_received_total{trigger=http}"] == 5
    assert found["headrace_events_total{trigger=http}"] == 3
    assert found["headrace_errors_total{fault=timeout,trigger=http}"] == 2
    assert found["headrace_handler_duration_seconds_bucket{le=0.001,trigger=http}"] == 1
    assert found["headrace_handler_duration_seconds_bucket{le=+Inf,trigger=http}"] == 2
    assert found["headrace_handler_duration_seconds_count{trigger=http}"] == 2
    assert found["headrace_batch_size_sum{}"] == 3
    assert found["headrace_http_responses_total{code=200}"] == 2
    assert found["headrace_http_refused_total{reason=malformed}"] == 1
    assert found["headrace_in_flight{}"] == 7
    assert counts.settled == 5


def test_histogram_bounds_are_inclusive() -> None:
    histogram = Histogram((1, 2))
    for value in (0, 1, 1.5, 2, 3):
        histogram.observe(value)
    assert histogram.cumulative() == [("1", 2), ("2", 4), ("+Inf", 5)]
    assert histogram.total == 7.5
