"""The few calls of the JetStream API that we use, typed, and the making of streams and consumers.

Requests and answers are JSON over NATS (nats-server `server/jetstream_api.go`, ADR-1, ADR-13). What does
not belong here: messages themselves, which the source and the sink move.
"""

from typing import Any, TypeVar

import msgspec

from ..errors import BrokerUnavailable, ConsumerConflict, StreamMissing, TriggerError
from .client import Connection
from .spec import NatsTrigger

T = TypeVar("T")

API_TIMEOUT_S = 5.0  # nats-py's and nats.go's default for API calls
_CONSUMER_NOT_FOUND, _STREAM_NOT_FOUND = 10014, 10059  # server/errors.json
_CONSUMER_EXISTS, _STREAM_EXISTS = 10148, 10058


class StreamState(msgspec.Struct, frozen=True):
    """How much a stream holds; `subjects` where it was asked for."""

    messages: int = 0
    last_seq: int = 0
    subjects: dict[str, int] = {}


class StreamInfo(msgspec.Struct, frozen=True):
    """`STREAM.INFO`; `config` is kept whole, since an update has to send it back."""

    config: dict[str, Any]
    state: StreamState


class Sequence(msgspec.Struct, frozen=True):
    """A position: deliveries counted by the consumer, and the stream's own sequence."""

    consumer_seq: int = 0
    stream_seq: int = 0


class ConsumerInfo(msgspec.Struct, frozen=True):
    """`CONSUMER.INFO`; `config` is kept whole, since an update has to send it back."""

    name: str
    config: dict[str, Any]
    delivered: Sequence = Sequence()
    num_ack_pending: int = 0
    num_pending: int = 0


class _Names(msgspec.Struct, frozen=True):
    streams: list[str] | None = None


class _Done(msgspec.Struct, frozen=True):
    success: bool = True


class _Error(msgspec.Struct, frozen=True):
    code: int
    err_code: int = 0
    description: str = ""


class _Answer(msgspec.Struct, frozen=True):
    error: _Error | None = None


class Refused(TriggerError):
    """The API answered with an error.

    Attributes:
        code: HTTP-like status.
        err_code: nats-server's own number (server/errors.json).
    """

    def __init__(self, text: str, code: int, err_code: int) -> None:
        super().__init__(text)
        self.code = code
        self.err_code = err_code


class JetStream:
    """The JetStream API over a connection.

    Raises (all calls):
        BrokerUnavailable: No answer: the server is away, or JetStream is not (yet) up on it.
        Refused: It answered with an error that the call does not expect.
    """

    def __init__(self, connection: Connection) -> None:
        self.connection = connection

    async def stream(self, name: str, subjects_filter: str | None = None) -> StreamInfo:
        """A stream's configuration and state; raises `StreamMissing`."""
        body = {"subjects_filter": subjects_filter} if subjects_filter else None
        try:
            return await self._call(f"STREAM.INFO.{name}", body, StreamInfo)
        except Refused as exc:
            if exc.err_code == _STREAM_NOT_FOUND:
                raise StreamMissing(f"no stream named `{name}` - at `{self.connection.place}`") from exc
            raise

    async def streams_of(self, subject: str) -> list[str]:
        """Names of the streams that take `subject`."""
        return (await self._call("STREAM.NAMES", {"subject": subject}, _Names)).streams or []

    async def ensure_stream(self, name: str, subjects: tuple[str, ...]) -> None:
        """Make a stream, or have the one that is there take `subjects` too."""
        try:
            info = await self.stream(name)
        except StreamMissing:
            config = {"name": name, "subjects": list(subjects) or [name], "retention": "limits", "storage": "file"}
            try:
                await self._call(f"STREAM.CREATE.{name}", config, StreamInfo)
            except Refused as exc:
                if exc.err_code != _STREAM_EXISTS:  # another process was quicker
                    raise
            return
        taken: list[str] = info.config.get("subjects") or []
        lacking = [subject for subject in subjects if not any(covers(pattern, subject) for pattern in taken)]
        if lacking:
            kept = [pattern for pattern in taken if not any(covers(subject, pattern) for subject in lacking)]
            await self._call(f"STREAM.UPDATE.{name}", info.config | {"subjects": kept + lacking}, StreamInfo)

    async def consumer(self, stream: str, name: str) -> ConsumerInfo | None:
        """A consumer's state; None where there is none; raises `StreamMissing`."""
        try:
            return await self._call(f"CONSUMER.INFO.{stream}.{name}", None, ConsumerInfo)
        except Refused as exc:
            if exc.err_code == _CONSUMER_NOT_FOUND:
                return None
            if exc.err_code == _STREAM_NOT_FOUND:
                raise StreamMissing(f"no stream named `{stream}` - at `{self.connection.place}`") from exc
            raise

    async def put_consumer(self, stream: str, config: dict[str, Any], action: str) -> ConsumerInfo:
        """Create or update a consumer; `action` is `create` or `update` (ADR-42)."""
        name = config.get("durable_name") or config["name"]
        body = {"stream_name": stream, "config": config, "action": action}
        return await self._call(f"CONSUMER.CREATE.{stream}.{name}", body, ConsumerInfo)

    async def drop_consumer(self, stream: str, name: str) -> None:
        """Delete a consumer."""
        await self._call(f"CONSUMER.DELETE.{stream}.{name}", None, _Done)

    async def ensure_consumer(self, spec: NatsTrigger) -> ConsumerInfo:
        """Make the trigger's durable pull consumer, or bring the one that is there up to date.

        Raises:
            StreamMissing: There is no such stream.
            ConsumerConflict: It is there, and cannot be made what `spec` says.
        """
        wanted = consumer_config(spec)
        info = await self.consumer(spec.stream, spec.consumer)
        if info is None:
            try:
                return await self.put_consumer(spec.stream, wanted, "create")
            except Refused as exc:
                info = await self.consumer(spec.stream, spec.consumer)  # another replica was quicker
                if info is None:
                    raise self._conflict(spec, str(exc)) from exc
        have = info.config
        if have.get("deliver_subject") or have.get("ack_policy") != "explicit":
            kind = "a push consumer" if have.get("deliver_subject") else f"ack policy `{have.get('ack_policy')}`"
            raise self._conflict(spec, f"expected a pull consumer with explicit acks, got {kind}")
        if all(_same(have.get(key), value) for key, value in wanted.items()) and _filters(have) == _filters(wanted):
            return info
        unfiltered = {key: value for key, value in have.items() if not key.startswith("filter_")}
        updated = unfiltered | {key: value for key, value in wanted.items() if key != "deliver_policy"}
        try:
            return await self.put_consumer(spec.stream, updated, "update")
        except Refused as exc:
            raise self._conflict(spec, f"it differs from func.yaml and cannot be updated: {exc}") from exc

    def _conflict(self, spec: NatsTrigger, why: str) -> ConsumerConflict:
        return ConsumerConflict(
            f"trigger `{spec.name}`: consumer `{spec.consumer}` of stream `{spec.stream}`: {why} "
            f"- at `{self.connection.place}`"
        )

    async def _call(self, subject: str, body: dict[str, Any] | None, type_: type[T]) -> T:
        payload = b"" if body is None else msgspec.json.encode(body)
        message = await self.connection.request(f"$JS.API.{subject}", payload, API_TIMEOUT_S)
        if not message.data:
            raise BrokerUnavailable(f"jetstream does not answer - at `{self.connection.place}`")
        if (error := msgspec.json.decode(message.data, type=_Answer).error) is not None:
            raise Refused(f"{error.description} (err_code {error.err_code})", error.code, error.err_code)
        return msgspec.json.decode(message.data, type=type_)


def consumer_config(spec: NatsTrigger) -> dict[str, Any]:
    """The durable pull consumer that a trigger asks for (ADR-13: ConsumerConfig)."""
    config: dict[str, Any] = {
        "durable_name": spec.consumer,
        "deliver_policy": "all",
        "ack_policy": "explicit",
        "ack_wait": round(spec.ack_wait * 1e9),
        "max_ack_pending": spec.max_ack_pending,
        "max_deliver": -1,
    }
    # `filter_subjects` needs nats-server 2.10; one filter works with any
    if len(spec.subjects) == 1:
        config["filter_subject"] = spec.subjects[0]
    elif spec.subjects:
        config["filter_subjects"] = list(spec.subjects)
    return config


def covers(pattern: str, subject: str) -> bool:
    """Whether all that `subject` matches is matched by `pattern`; both may hold wildcards."""
    theirs, ours = pattern.split("."), subject.split(".")
    for index, token in enumerate(theirs):
        if token == ">":
            return len(ours) > index
        if index >= len(ours) or ours[index] == ">" or (token not in ("*", ours[index])):
            return False
    return len(theirs) == len(ours)


def _filters(config: dict[str, Any]) -> set[str]:
    one = config.get("filter_subject")
    return {*(config.get("filter_subjects") or ()), *((one,) if one else ())}


def _same(have: object, wanted: object) -> bool:
    return have == wanted or isinstance(wanted, str | list)  # names and filters are compared apart
