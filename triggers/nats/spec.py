"""The sections of func.yaml for `kind: nats`: the trigger, and the binding that results go to."""

import msgspec

from ..protocols import Capabilities
from ..units import Seconds

CAPABILITIES = Capabilities(replay=True, delayed_retry=True, delivery_count=True, backlog=True, wake=True)


class NatsTrigger(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="kind",
    tag="nats",
):
    """A durable JetStream pull consumer.

    Attributes:
        name: Unique in the function.
        stream: The stream's name.
        subjects: What the consumer filters by; with the embedded broker also what a missing stream takes.
            Empty: all of the stream.
        durable: The consumer's name; the trigger's name unless given.
        url: The broker; None is the embedded one.
        ack_wait: After this long without an ack or a sign of progress the broker delivers again.
        max_ack_pending: At most this many events delivered and not acked, over all replicas.
        sink: The binding that takes the results.
    """

    name: str
    stream: str
    subjects: tuple[str, ...] = ()
    durable: str | None = None
    url: str | None = None
    ack_wait: Seconds = Seconds(30)
    max_ack_pending: int = 10_000
    sink: str | None = None

    @property
    def consumer(self) -> str:
        """The durable consumer's name."""
        return self.durable or self.name


class NatsSink(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="kind",
    tag="nats",
):
    """A JetStream subject that results are published to.

    Attributes:
        subject: Where results go.
        stream: Made (for `subject`) if missing, with the embedded broker; with `url` a missing one is an error.
        url: The broker; None is the embedded one.
        publish_timeout: How long one publish may wait for the broker's acknowledgement.
    """

    subject: str
    stream: str | None = None
    url: str | None = None
    publish_timeout: Seconds = Seconds(5)
