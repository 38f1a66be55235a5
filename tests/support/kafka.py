"""A real Kafka broker for tests: one node (KRaft), started from the jars that scripts/kafka fetches."""

import asyncio
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from itertools import count
from pathlib import Path

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError

ROOT = Path(__file__).parents[2]
START_TIMEOUT_S = 60.0
USER, PASSWORD = "alice", "wonder-land"

_names = count()

_PROPERTIES = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port},SASL_PLAINTEXT://127.0.0.1:{sasl}
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SASL_PLAINTEXT:SASL_PLAINTEXT
sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER
listener.name.sasl_plaintext.plain.sasl.jaas.config=org.apache.kafka.common.security.plain.PlainLoginModule required \
 user_{user}="{password}";
listener.name.sasl_plaintext.scram-sha-256.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.scram-sha-512.sasl.jaas.config=\
org.apache.kafka.common.security.scram.ScramLoginModule required;
listener.name.sasl_plaintext.oauthbearer.sasl.jaas.config=\
org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="{user}";
log.dirs={data}
auto.create.topics.enable=false
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
group.min.session.timeout.ms=500
log.cleaner.enable=false
"""


class RunningKafka:
    """A broker that can be stopped and started again on the same ports and data.

    Args:
        folder: For its configuration, data and log.

    Attributes:
        address: `host:port` of the listener without authentication.
        sasl_address: That of the one with SASL, where `USER` has `PASSWORD`.
    """

    def __init__(self, folder: Path) -> None:
        jars = subprocess.run([ROOT / "scripts/kafka"], check=True, capture_output=True, text=True).stdout.strip()
        port, sasl, controller = _free_ports(3)
        self.address, self.sasl_address = f"127.0.0.1:{port}", f"127.0.0.1:{sasl}"
        self._log = folder / "kafka.log"
        self._properties = folder / "server.properties"
        self._java = ["java", "-Xmx512m", "-Xms256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", f"{jars}/*"]
        self._java.append(f"-Dlog4j2.configurationFile={ROOT / 'tests/fixtures/kafka/log4j2.properties'}")
        text = _PROPERTIES.format(
            port=port, sasl=sasl, controller=controller, user=USER, password=PASSWORD, data=folder / "data"
        )
        self._properties.write_text(text)
        scram = [
            part
            for mechanism in ("SCRAM-SHA-256", "SCRAM-SHA-512")
            for part in ("--add-scram", f"{mechanism}=[name={USER},password={PASSWORD}]")
        ]
        storage = ["kafka.tools.StorageTool", "format", "-t", "MkU3OEVBNTcwNTJENDM2Qg", "-c", str(self._properties)]
        subprocess.run([*self._java, *storage, *scram], check=True, capture_output=True)
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start it, and return when it serves."""
        begun = self._log.stat().st_size if self._log.exists() else 0
        with self._log.open("ab") as log:
            command = [*self._java, "kafka.Kafka", str(self._properties)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        until = time.monotonic() + START_TIMEOUT_S
        while b"Kafka Server started" not in self._log.read_bytes()[begun:]:
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"kafka did not start:\n{self._log.read_text()[-4000:]}")
            threading.Event().wait(0.05)

    def stop(self, sig: signal.Signals = signal.SIGTERM) -> None:
        """Stop it; what it has stays."""
        if self._process is not None:
            self._process.send_signal(sig)
            self._process.wait(30)
            self._process = None


@contextmanager
def running_kafka(folder: Path) -> Generator[RunningKafka, None, None]:
    """A broker on 127.0.0.1, its files in `folder`."""
    broker = RunningKafka(folder)
    try:
        yield broker
    finally:
        broker.stop(signal.SIGKILL)


@pytest.fixture(scope="session")
def kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningKafka]:
    """One broker for all tests; each takes topics and groups of its own names."""
    with running_kafka(tmp_path_factory.mktemp("kafka")) as running:
        yield running


@asynccontextmanager
async def admin(broker: RunningKafka) -> AsyncGenerator[AIOKafkaAdminClient]:
    """A connected admin client."""
    client = AIOKafkaAdminClient(bootstrap_servers=broker.address)
    async with asyncio.timeout(20):
        while True:
            try:
                await client.start()
                break
            except KafkaError:
                await asyncio.sleep(0.1)
    try:
        yield client
    finally:
        await client.close()


async def make_topic(broker: RunningKafka, partitions: int = 1, name: str | None = None) -> str:
    """A fresh topic; returns its name when its partitions have a leader."""
    name = name or f"topic-{os.getpid()}-{next(_names)}"
    async with admin(broker) as client:
        await client.create_topics([NewTopic(name, partitions, 1)])
        async with asyncio.timeout(20):
            while True:
                (found,) = await client.describe_topics([name])
                if len(found["partitions"]) == partitions and all(p["leader"] >= 0 for p in found["partitions"]):
                    return name
                await asyncio.sleep(0.02)


async def produce(
    broker: RunningKafka,
    topic: str,
    values: Sequence[bytes],
    *,
    key: bytes | None = None,
    partition: int | None = None,
    headers: Sequence[tuple[str, bytes]] = (),
    compression: str | None = None,
) -> None:
    """Append `values` to a topic."""
    producer = AIOKafkaProducer(bootstrap_servers=broker.address, compression_type=compression)
    await producer.start()
    try:
        sent = [
            await producer.send(topic, value, key=key, partition=partition, headers=list(headers)) for value in values
        ]
        await asyncio.gather(*sent)
    finally:
        await producer.stop()


def _free_ports(number: int) -> list[int]:
    sockets = [socket.socket() for _ in range(number)]
    try:
        for sock in sockets:
            sock.bind(("127.0.0.1", 0))
        return [int(sock.getsockname()[1]) for sock in sockets]
    finally:
        for sock in sockets:
            sock.close()
