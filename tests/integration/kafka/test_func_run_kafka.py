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


POISONED = """
import os

LEDGER = os.open({ledger!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT)

def handle(event):
    os.write(LEDGER, b"%s %d\\n" % (event.data, event.attempt))
    if event.data == b"poison" and event.attempt < 3:
        os.abort()
"""


async def test_what_kills_its_process_is_counted(kafka: RunningKafka, tmp_path: Path) -> None:
    topic, ledger = await make_topic(kafka), tmp_path / "ledger"
    spec = (
        f"triggers: [{{name: in, kind: kafka, brokers: ['{kafka.address}'], topics: [{topic}], sessionTimeout: 1s}}]\n"
        "scale: {cooldownPeriod: 60s, maxReplicaCount: 1}\n"
    )
    values = [b"%d" % index for index in range(20)]
    await produce(kafka, topic, [*values[:10], b"poison", *values[10:]])
    machine = Machine(tmp_path)

    with machine.run(machine.project("killed", POISONED.format(ledger=str(ledger)), spec)) as run:
        await asyncio.to_thread(run.wait_for, "listening")
        await asyncio.to_thread(
            eventually, lambda: ledger.exists() and {*values, b"poison"} <= set(ledger.read_bytes().split()), "all"
        )
        await asyncio.to_thread(eventually, lambda: b"poison 3" in ledger.read_bytes(), "the third attempt")
        await asyncio.to_thread(eventually, lambda: b"19 " in ledger.read_bytes(), "what follows it")
    lines = [line.split() for line in ledger.read_bytes().splitlines()]
    assert [attempt for value, attempt in lines if value == b"poison"] == [b"1", b"2", b"3"]
    assert max(int(attempt) for value, attempt in lines if value != b"poison") == 2
