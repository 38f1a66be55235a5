"""The sections of func.yaml for `kind: nats`: the trigger, and the binding that results go to."""

import re

import msgspec

from ..errors import SpecError
from ..protocols import Capabilities
from ..references import has_references
from ..units import Seconds

CAPABILITIES = Capabilities(replay=True, delayed_retry=True, delivery_count=True, backlog=True, wake=True)


_NAME = re.compile(r"[^\s.*>/\\]+")  # ADR-6
_SUBJECT = re.compile(r"[^\s.]+(\.[^\s.]+)*")


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
        url: The broker; the embedded one unless given.
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
        url: The broker; the embedded one unless given.
        publish_timeout: How long one publish may wait for the broker's acknowledgement.
    """

    subject: str
    stream: str | None = None
    url: str | None = None
    publish_timeout: Seconds = Seconds(5)


def check(spec: NatsTrigger | NatsSink, at: str) -> None:
    """Raise `SpecError` for a name, subject or number that NATS does not take; references are left alone."""
    if spec.stream is not None:
        _check_name(spec.stream, f"{at}.stream")
    if isinstance(spec, NatsSink):
        _check_subject(spec.subject, f"{at}.subject", wildcards=False)
        _check_least(spec.publish_timeout, 0.001, f"{at}.publishTimeout")
        return
    _check_name(spec.consumer, f"{at}.durable")
    for index, subject in enumerate(spec.subjects):
        _check_subject(subject, f"{at}.subjects[{index}]", wildcards=True)
    _check_least(spec.ack_wait, 0.1, f"{at}.ackWait")  # three signs of progress have to fit into it
    _check_least(spec.max_ack_pending, 1, f"{at}.maxAckPending")


def valid_subject(subject: str, *, wildcards: bool) -> bool:
    """Whether `subject` is one; with `wildcards`, `*` and a last `>` may be among its tokens."""
    if not _SUBJECT.fullmatch(subject):
        return False
    *first, last = subject.split(".")
    plain = [token for token in first if token != "*"] + ([] if last in ("*", ">") else [last])
    tokens = plain if wildcards else [*first, last]
    return not any("*" in token or ">" in token for token in tokens)


def _check_name(name: str, at: str) -> None:
    if not has_references(name) and not _NAME.fullmatch(name):
        raise SpecError(f"expected a name without blanks and `.*>/\\`, got `{name}` - at `{at}`")


def _check_subject(subject: str, at: str, *, wildcards: bool) -> None:
    if not has_references(subject) and not valid_subject(subject, wildcards=wildcards):
        kind = "a subject" if wildcards else "a subject without wildcards"
        raise SpecError(f"expected {kind}, got `{subject}` - at `{at}`")


def _check_least(value: float, least: float, at: str) -> None:
    if value < least:
        raise SpecError(f"expected >= {least:g}, got {value:g} - at `{at}`")
