"""What a JetStream message says about itself, as an `Event`.

Attributes come from CloudEvents headers in binary mode (NATS protocol binding, `ce-*`), else from the
position in the stream. They are read when asked for. What does not belong here: acks, which the source sends.
"""

from datetime import UTC, datetime
from urllib.parse import unquote

from nats.aio.msg import Msg

from ..events import Attributes, Event, Trigger
from ..headers import Headers

ACK_PREFIX = "$JS.ACK."
TYPE = "dev.headrace.nats"
_KNOWN = ("id", "source", "type", "subject", "time", "datacontenttype", "dataschema", "specversion")


class NatsEvent(Event):
    """A message of a stream.

    Attributes:
        reply: The subject that its acks go to.
        stream: The stream's name.
        message_subject: The subject that it was published to.
    """

    __slots__ = ("_stored_ns", "message_subject", "reply", "stream")

    def __init__(self, message: Msg, trigger: Trigger) -> None:
        # one event per message on the hot path: the slots are set here, not through Event.__init__
        self.data = memoryview(message.data)
        self._attributes = None
        self.headers = Headers.of(message.headers) if message.headers else Headers()
        self.key = None
        self.partition = None
        self.trigger = trigger
        self.reply = message.reply
        self.message_subject = message.subject
        # $JS.ACK.[<domain>.<account>.]<stream>.<consumer>.<delivered>.<stream seq>.<consumer seq>.<time>.<pending>
        tokens = message.reply.split(".")
        at = 2 if len(tokens) == 9 else 4  # ADR-15: 9 tokens, or 11 and more with a domain
        self.stream = tokens[at]
        self.attempt = int(tokens[at + 2])
        self.offset = int(tokens[at + 3])
        self._stored_ns = int(tokens[at + 5])

    def _read_attributes(self) -> Attributes:
        said = {
            name[3:]: unquote(value) for name, value in self.headers.items() if name.startswith("ce-") and len(name) > 3
        }
        return Attributes(
            id=said.get("id") or f"{self.stream}/{self.offset}",
            source=said.get("source") or f"nats:{self.stream}",
            type=said.get("type") or TYPE,
            subject=said.get("subject") or self.message_subject,
            time=said.get("time") or self._stored_at(),
            datacontenttype=said.get("datacontenttype") or self.headers.get("content-type"),
            dataschema=said.get("dataschema"),
            extensions={name: value for name, value in said.items() if name not in _KNOWN},
        )

    def _stored_at(self) -> str:
        seconds, rest_ns = divmod(self._stored_ns, 10**9)
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest_ns:09d}Z"
