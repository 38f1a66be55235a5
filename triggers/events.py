"""`Event` and `Batch`: what every trigger makes and every handler takes.

An event has the attributes of CloudEvents 1.0 and the bytes as they were received. A kind of trigger
subclasses `Event` where reading the attributes costs something, and then reads them when asked.
What does not belong here: how events are received or settled.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, overload

import msgspec

from .arrays import Row, stack, view
from .errors import ShapeError
from .headers import Headers

if TYPE_CHECKING:
    from .protocols import Device, Upload


class Attributes(msgspec.Struct, frozen=True, kw_only=True):
    """The context attributes of CloudEvents 1.0 (spec §"Context Attributes")."""

    id: str
    source: str
    type: str
    subject: str | None = None
    time: str | None = None  # RFC 3339
    datacontenttype: str | None = None
    dataschema: str | None = None
    extensions: Mapping[str, str] = {}


class Trigger:
    """The trigger that an event came by, as handlers see it.

    Attributes:
        name: Its name in func.yaml.
        kind: `http`, `nats`, ...
        device: Where its events' tensors are made; None is NumPy in this process.
        row: What func.yaml declares a row of its events to be (`batching.row`), if it does.
    """

    __slots__ = ("device", "kind", "name", "row")

    def __init__(self, name: str, kind: str, device: "Device | None" = None, row: Row | None = None) -> None:
        self.name = name
        self.kind = kind
        self.device = device
        self.row = row

    def __repr__(self) -> str:
        return f"Trigger(name={self.name!r}, kind={self.kind!r})"


_UNKNOWN = Trigger("test", "memory")


class Event:
    """One event: CloudEvents attributes and its data.

    Args:
        data: The payload; held, not copied.
        attributes: CloudEvents context attributes.
        headers: As received.
        key: Partitioning key, where the kind has one.
        partition: Partition it came from, where the kind has them.
        offset: Position in its partition or stream.
        attempt: 1 on first delivery.
        trigger: Where it came by.

    Attributes:
        data: memoryview of bytes ("B", one-dimensional).
    """

    __slots__ = (
        "__weakref__", "_attributes", "attempt", "data", "headers", "key", "offset", "partition", "trigger",
    )  # fmt: skip
    specversion: ClassVar[str] = "1.0"

    def __init__(
        self,
        data: bytes | bytearray | memoryview = b"",
        attributes: Attributes | None = None,
        *,
        headers: Headers | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        offset: int | None = None,
        attempt: int = 1,
        trigger: Trigger = _UNKNOWN,
    ) -> None:
        self.data = data if type(data) is memoryview else memoryview(data)
        self._attributes = attributes
        self.headers = headers if headers is not None else Headers()
        self.key = key
        self.partition = partition
        self.offset = offset
        self.attempt = attempt
        self.trigger = trigger

    @property
    def attributes(self) -> Attributes:
        """All context attributes."""
        if self._attributes is None:
            self._attributes = self._read_attributes()
        return self._attributes

    @property
    def id(self) -> str:
        """Unique within `source`; without CloudEvents headers: the kind's own position, or a UUID."""
        return self.attributes.id

    @property
    def source(self) -> str:
        """URI reference of the context in which the event happened."""
        return self.attributes.source

    @property
    def type(self) -> str:
        """What happened, e.g. `com.example.object.deleted`."""
        return self.attributes.type

    @property
    def subject(self) -> str | None:
        """What it happened to; on NATS the message's subject unless the event says otherwise."""
        return self.attributes.subject

    @property
    def time(self) -> str | None:
        """When it happened, RFC 3339."""
        return self.attributes.time

    @property
    def datacontenttype(self) -> str | None:
        """Media type of `data`."""
        return self.attributes.datacontenttype

    @property
    def dataschema(self) -> str | None:
        """URI of the schema of `data`."""
        return self.attributes.dataschema

    @property
    def extensions(self) -> Mapping[str, str]:
        """CloudEvents extension attributes."""
        return self.attributes.extensions

    def json(self, type: Any = Any) -> Any:
        """`data` decoded as JSON into `type` (any that msgspec knows).

        Raises:
            msgspec.DecodeError: Not JSON, or not of that type (ValidationError).
        """
        return msgspec.json.decode(self.data, type=type)

    def text(self) -> str:
        """`data` decoded as UTF-8."""
        return str(self.data, "utf-8")

    def tensor(self, dtype: str, shape: Sequence[int]) -> Any:
        """`data` as an array of `shape` on the trigger's device; on the CPU a view, without a copy.

        Raises:
            ShapeError: The number of bytes does not fit.
        """
        device = self.trigger.device
        return view(self.data, dtype, shape) if device is None else device.view(self.data, dtype, shape)

    def copy(self) -> bytes:
        """The payload as bytes of its own, which outlive the event."""
        return bytes(self.data)

    def _read_attributes(self) -> Attributes:
        """Attributes made when first asked for; kinds override it."""
        import uuid

        return Attributes(
            id=str(uuid.uuid4()),
            source=f"{self.trigger.kind}/{self.trigger.name}",
            type=f"dev.headrace.{self.trigger.kind}",
            datacontenttype=self.headers.get("content-type"),
        )

    def __repr__(self) -> str:
        return f"{type(self).__name__}(id={self.id!r}, trigger={self.trigger.name!r}, {self.data.nbytes} bytes)"


class Batch(Sequence[Event]):
    """Events of one trigger, handed to a batch handler together, in order.

    Args:
        events: At least one; all of the same trigger.
    """

    __slots__ = ("_upload", "events")

    def __init__(self, events: Sequence[Event]) -> None:
        self.events = events
        self._upload: Upload | None = None

    @property
    def trigger(self) -> Trigger:
        """The trigger that all events came by."""
        return self.events[0].trigger

    @property
    def values(self) -> list[memoryview]:
        """Each event's data, in order."""
        return [event.data for event in self.events]

    @property
    def rows(self) -> int:
        """Rows of all events together; without a declared row, each event is one."""
        row = self.trigger.row
        if row is None:
            return len(self.events)
        return sum(event.data.nbytes for event in self.events) // row.size_bytes

    def tensor(self, dtype: str | None = None, shape: Sequence[int] | None = None) -> Any:
        """All events' data as one array (rows, *shape); an event may hold several rows.

        Args:
            dtype: Of the items; the declared row's (`batching.row`) unless given.
            shape: Of one row; the declared row's unless given.

        Raises:
            ShapeError: An event's data is not a whole number of rows; or no row is declared, and none is given.
        """
        if dtype is None or shape is None:
            row = self.trigger.row
            if row is None:
                raise ShapeError("tensor: expected a dtype and a shape, or `batching.row` in func.yaml, got neither")
            dtype, shape = dtype or row.dtype, row.shape if shape is None else shape
        if self._upload is not None:
            return self._upload.array(dtype, shape)
        device = self.trigger.device
        make = stack if device is None else device.stack
        return make(self.values, dtype, shape)

    def prefetch(self) -> None:
        """Begin to copy all data to the device, if it is a GPU, ahead of the handler that will ask for it."""
        device = self.trigger.device
        if device is not None and device.name != "cpu" and self._upload is None:
            self._upload = device.upload(self.values)

    @overload
    def __getitem__(self, index: int) -> Event: ...
    @overload
    def __getitem__(self, index: slice) -> "Batch": ...
    def __getitem__(self, index: int | slice) -> "Event | Batch":
        return Batch(self.events[index]) if isinstance(index, slice) else self.events[index]

    def __iter__(self) -> Iterator[Event]:
        return iter(self.events)

    def __len__(self) -> int:
        return len(self.events)

    def __repr__(self) -> str:
        return f"Batch({len(self)} events, trigger={self.trigger.name!r})"
