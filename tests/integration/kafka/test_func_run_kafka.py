"""`func run` of a function on Kafka, from zero replicas and back."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from support.func_process import Machine, eventually
from support.kafka import RunningKafka, make_topic, produce

pytestmark = pytest.mark.integration

FUNCTION = """
def handle(event, context):
    return b"<" + event.copy() + b">"
"""


def described(machine: Machine) -> dict[str, Any]:
    told: dict[str, Any] = json.loads(machine.func("describe", "shout", "-o", "json").stdout)
    return told


async def test_events_wake_it_and_their_results_are_published(kafka: RunningKafka, tmp_path: Path) -> None:
    topic, results = await make_topic(kafka, 2), await make_topic(kafka)
    machine = Machine(tmp_path)
    spec = (
        f"triggers: [{{name: in, kind: kafka, brokers: ['{kafka.address}'], topics: [{topic}], sink: out}}]\n"
        f"bindings: {{out: {{kind: kafka, brokers: ['{kafka.address}'], topic: {results}}}}}\n"
        "scale: {cooldownPeriod: 1s, maxReplicaCount: 5}\n"
    )
    values = [b"%d" % index for index in range(200)]
    with machine.run(machine.project("shout", FUNCTION, spec)) as run:
        await asyncio.to_thread(run.ready)
        await asyncio.to_thread(eventually, lambda: described(machine)["replicas"] == [], "zero")
        await produce(kafka, topic, values)
        consumer = AIOKafkaConsumer(results, bootstrap_servers=kafka.address, auto_offset_reset="earliest")
        await consumer.start()
        got = [(await asyncio.wait_for(consumer.getone(), 30)).value or b"" for _ in values]
        await consumer.stop()
        assert sorted(got) == sorted(b"<" + value + b">" for value in values)
        assert len(described(machine)["replicas"]) <= 2  # as many as there are partitions
        await asyncio.to_thread(eventually, lambda: described(machine)["replicas"] == [], "zero")
