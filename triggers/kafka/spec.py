"""The sections of func.yaml for `kind: kafka`: the trigger, and the binding that results go to."""

import re
from typing import Literal

import msgspec

from ..errors import SpecError
from ..protocols import Capabilities
from ..references import has_references
from ..units import Seconds

CAPABILITIES = Capabilities(order=True, replay=True, delivery_count=True, backlog=True, wake=True)

_TOPIC = re.compile(r"[a-zA-Z0-9._-]{1,249}")  # org.apache.kafka.common.internals.Topic
_BROKER = re.compile(r"(\[[0-9a-fA-F:.]+\]|[^\s:/]+):\d{1,5}")


class Security(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """How clients speak to the brokers, and as whom.

    Attributes:
        protocol: With `SSL` the connection is encrypted, with `SASL` clients say who they are.
        mechanism: Of SASL.
        username: For PLAIN and SCRAM; for OAUTHBEARER the client's id.
        password: For PLAIN and SCRAM; for OAUTHBEARER the client's secret.
        token_endpoint: Where OAUTHBEARER gets its tokens (RFC 6749 §4.4, client credentials).
        scopes: What the token is asked for.
        ca: Certificates that the brokers' must descend from, in PEM; the system's unless given.
        certificate: The client's own chain in PEM, where brokers ask for one.
        key: Its private key in PEM, without a passphrase.
    """

    protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"] | None = None
    username: str | None = None
    password: str | None = None
    token_endpoint: str | None = None
    scopes: tuple[str, ...] = ()
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


class KafkaTrigger(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="kind",
    tag="kafka",
):
    """A consumer group on one or several topics.

    Attributes:
        name: Unique in the function.
        brokers: Some of the cluster's, as `host:port`; the others are learnt from them.
        topics: What is consumed; or `topicPattern`.
        topic_pattern: A regular expression that a topic's whole name matches, also of topics made later.
        consumer_group: The group's name; the trigger's name unless given.
        offset_reset: Where a partition begins that the group has no position in, or whose position is gone.
        ordering: One event at a time of each `key` (events without one in any order) or of each `partition`;
            or `none`.
        isolation: Whether events of transactions that are open or aborted are seen.
        max_uncommitted: At most this many offsets of a partition are delivered beyond the committed one.
        group_instance_id: Makes this member static: it keeps its partitions over a restart that takes less than
            `sessionTimeout`. Each replica needs its own, such as `{{ env:HOSTNAME }}`.
        assignor: How the group deals out partitions; the same for all members.
        session_timeout: After this long without a heartbeat a member's partitions go to others.
        security: How to connect, where the brokers ask for more than a plain connection.
        sink: The binding that takes the results.
    """

    name: str
    brokers: tuple[str, ...]
    topics: tuple[str, ...] = ()
    topic_pattern: str | None = None
    consumer_group: str | None = None
    offset_reset: Literal["earliest", "latest"] = "earliest"
    ordering: Literal["key", "partition", "none"] = "key"
    isolation: Literal["readUncommitted", "readCommitted"] = "readUncommitted"
    max_uncommitted: int = 10_000
    group_instance_id: str | None = None
    assignor: Literal["range", "roundrobin", "sticky"] = "roundrobin"
    session_timeout: Seconds = Seconds(10)
    security: Security | None = None
    sink: str | None = None

    @property
    def group(self) -> str:
        """The consumer group's name."""
        return self.consumer_group or self.name


class KafkaSink(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="kind",
    tag="kafka",
):
    """A topic that results are published to.

    Attributes:
        brokers: Some of the cluster's, as `host:port`; the others are learnt from them.
        topic: Where results go.
        key: Partitioning key of every result; that of the event unless given.
        acks: `all`: a result counts as published when all in-sync replicas have it, and once; `leader`: when its
            partition's leader has it.
        compression: Of what is sent.
        publish_timeout: How long one publish may wait for the brokers' acknowledgements.
        security: How to connect, where the brokers ask for more than a plain connection.
    """

    brokers: tuple[str, ...]
    topic: str
    key: str | None = None
    acks: Literal["all", "leader"] = "all"
    compression: Literal["none", "gzip", "snappy", "lz4", "zstd"] = "none"
    publish_timeout: Seconds = Seconds(10)
    security: Security | None = None


def check(spec: KafkaTrigger | KafkaSink, at: str) -> None:
    """Raise `SpecError` for what Kafka or its client would only refuse later; references are left alone."""
    _check_brokers(spec.brokers, f"{at}.brokers")
    if spec.security is not None:
        _check_security(spec.security, f"{at}.security")
    if isinstance(spec, KafkaSink):
        _check_topic(spec.topic, f"{at}.topic")
        _check_least(spec.publish_timeout, 0.1, f"{at}.publishTimeout")
        return
    if bool(spec.topics) == (spec.topic_pattern is not None):
        got = "both" if spec.topics else "neither"
        raise SpecError(f"expected either `topics` or `topicPattern`, got {got} - at `{at}`")
    for index, topic in enumerate(spec.topics):
        _check_topic(topic, f"{at}.topics[{index}]")
    if spec.topic_pattern is not None and not has_references(spec.topic_pattern):
        try:
            re.compile(spec.topic_pattern)
        except re.error as exc:
            raise SpecError(f"expected a regular expression, got {exc} - at `{at}.topicPattern`") from exc
    _check_least(spec.max_uncommitted, 1, f"{at}.maxUncommitted")
    _check_least(spec.session_timeout, 1, f"{at}.sessionTimeout")


def _check_brokers(brokers: tuple[str, ...], at: str) -> None:
    if not brokers:
        raise SpecError(f"expected at least one broker, got none - at `{at}`")
    for index, broker in enumerate(brokers):
        if not has_references(broker) and not _BROKER.fullmatch(broker):
            raise SpecError(f"expected `host:port`, got `{broker}` - at `{at}[{index}]`")


def _check_topic(topic: str, at: str) -> None:
    if not has_references(topic) and (not _TOPIC.fullmatch(topic) or topic in (".", "..")):
        raise SpecError(f"expected a name of letters, digits and `._-` (249 at most), got `{topic}` - at `{at}`")


def _check_security(security: Security, at: str) -> None:
    sasl = security.protocol.startswith("SASL")
    if sasl != (security.mechanism is not None):
        want, got = ("a `mechanism`", "none") if sasl else ("a SASL protocol", f"`{security.protocol}`")
        raise SpecError(f"expected {want}, got {got} - at `{at}`")
    if sasl and (security.username is None or security.password is None):
        raise SpecError(f"expected `username` and `password` for SASL, got not both - at `{at}`")
    if (security.mechanism == "OAUTHBEARER") != (security.token_endpoint is not None):
        raise SpecError(f"expected `tokenEndpoint` with the mechanism OAUTHBEARER alone - at `{at}`")
    if (security.certificate is None) != (security.key is None):
        raise SpecError(f"expected `certificate` and `key`, got one of them - at `{at}`")
    pem = {"ca": security.ca, "certificate": security.certificate, "key": security.key}
    for name, value in pem.items():
        if value is not None and not security.protocol.endswith("SSL"):
            raise SpecError(f"expected a protocol with SSL for `{name}`, got `{security.protocol}` - at `{at}`")
        if value is not None and "-----BEGIN " not in value and not has_references(value):
            raise SpecError(
                f"expected PEM text, or a reference such as `{{{{ secret:kafka:{name} }}}}` - at `{at}.{name}`"
            )


def _check_least(value: float, least: float, at: str) -> None:
    if value < least:
        raise SpecError(f"expected >= {least:g}, got {value:g} - at `{at}`")
