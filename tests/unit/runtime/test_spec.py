"""The runtime's sections of func.yaml."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

from headrace.runtime.spec import parse, read
from headrace.triggers.errors import SpecError
from headrace.triggers.http.spec import HttpTrigger
from headrace.triggers.nats.spec import NatsSink


def test_defaults() -> None:
    spec = parse({})
    assert spec.triggers == (HttpTrigger(name="http"),)
    assert (spec.name, spec.invoke, spec.handler) == ("function", "http", None)
    assert (spec.batching.max_batch_size, spec.concurrency.in_flight, spec.limits.max_body) == (64, 256, 64 * 2**20)


def test_read(tmp_path: Path) -> None:
    whole = {
        "name": "f",
        "handler": "app:run",
        "triggers": [{"name": "t", "kind": "nats", "stream": "S", "ackWait": "2s", "sink": "out"}],
        "bindings": {"out": {"kind": "nats", "subject": "r"}},
        "deploy": {"anything": "of others"},
    }
    path = tmp_path / "spec.json"
    path.write_bytes(msgspec.json.encode(whole))
    spec = read(path)
    assert spec.handler == "app:run"
    assert spec.bindings == {"out": NatsSink(subject="r")}
    assert spec.triggers[0].ack_wait == 2  # type: ignore[union-attr]


def test_batching() -> None:
    written = {
        "row": {"dtype": "float32", "shape": [3, 224, 224]},
        "priorityLevels": 2,
        "priorityQueuePolicy": {"1": {"maxQueueSize": 8, "defaultTimeout": "20ms", "timeoutAction": "delay"}},
        "adaptive": {"targetLatency": "50ms"},
    }
    batching = parse({"batching": written}).batching
    assert batching.row is not None
    assert batching.row.size_bytes == 602_112
    assert batching.priority_queue_policy["1"].default_timeout == 0.02
    assert batching.adaptive is not None
    assert batching.adaptive.target_latency == 0.05


@pytest.mark.parametrize(
    ("whole", "message"),
    [
        ({"handler": "app"}, "expected `module:attribute`, got `app` - at `$.handler`"),
        ({"batching": {"maxBatchSize": 0}}, "expected >= 1, got 0 - at `$.batching.maxBatchSize`"),
        ({"batching": {"maxQueueDelay": "5"}}, "expected a duration such as `30s` or `100ms`, got `5`"),
        (
            {"batching": {"preferredBatchSize": [4, 128]}},
            "expected at most `maxBatchSize` (64), got 128 - at `$.batching.preferredBatchSize[1]`",
        ),
        ({"batching": {"priorityLevels": -1}}, "expected >= 0, got -1 - at `$.batching.priorityLevels`"),
        (
            {"batching": {"priorityLevels": 2, "defaultPriorityLevel": 3}},
            "expected a level from 1 to `priorityLevels` (2), got 3 - at `$.batching.defaultPriorityLevel`",
        ),
        (
            {"batching": {"priorityQueuePolicy": {"1": {}}}},
            "expected a level from 1 to `priorityLevels` (0), got `1` - at `$.batching.priorityQueuePolicy.1`",
        ),
        (
            {"batching": {"priorityLevels": 1, "priorityQueuePolicy": {"1": {"maxQueueSize": -1}}}},
            "expected >= 0, got -1 - at `$.batching.priorityQueuePolicy.1.maxQueueSize`",
        ),
        (
            {"batching": {"defaultQueuePolicy": {"timeoutAction": "drop"}}},
            "invalid enum value 'drop' - at `$.batching.defaultQueuePolicy.timeoutAction`",
        ),
        (
            {"batching": {"row": {"dtype": "float32", "shape": [3, -1]}}},
            "expected >= 1, got -1 - at `$.batching.row.shape[1]`",
        ),
        ({"batching": {"row": {"dtype": "float33"}}}, "invalid enum value 'float33' - at `$.batching.row.dtype`"),
        (
            {"batching": {"adaptive": {"targetLatency": "10us"}}},
            "expected >= 1ms, got 1e-05s - at `$.batching.adaptive.targetLatency`",
        ),
        (
            {"batching": {"adaptive": {"targetLatency": "50ms"}, "maxQueueDelay": "5ms"}},
            "expected nothing beside `adaptive`, which learns it - at `$.batching.maxQueueDelay`",
        ),
        ({"concurrency": {"threads": 0}}, "expected >= 1, got 0 - at `$.concurrency.threads`"),
        ({"concurrency": {"inFlight": "many"}}, "expected `int`, got `str` - at `$.concurrency.inFlight`"),
        ({"limits": {"maxBody": "64 MB"}}, "expected a size such as `64Mi` or `1G`, got `64 MB`"),
        ({"limits": {"maxHeader": 10}}, "expected >= 1024, got 10 - at `$.limits.maxHeader`"),
        ({"limits": {"maxBoddy": 10}}, "object contains unknown field `maxBoddy` - at `$.limits`"),
        ({"bindings": []}, "expected `object`, got `array` - at `$.bindings`"),
        (
            {"bindings": {"out": {"kind": "redis"}}},
            "expected `nats` or `kafka`, got `redis` - at `$.bindings.out.kind`",
        ),
        (
            {"triggers": [{"name": "t", "kind": "nats", "stream": "S", "sink": "out"}], "bindings": {}},
            "expected the name of a binding (there are: none), got `out` - at `$.triggers[0].sink`",
        ),
    ],
)
def test_refused(whole: dict[str, Any], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse(whole)
    assert message in str(caught.value)
