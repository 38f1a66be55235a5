"""The seams between triggers and the rest: what a kind is given, and what it gives.

A kind's `source` runs in the replica and is given `Buffers` and a `Device`; its `backlog` runs in the
scaler. The runtime pulls (`Source.fetch`), so that memory is bounded by what it asks for.
What does not belong here: any implementation.
"""

from collections.abc import Callable, Sequence
from typing import Any, Protocol

import msgspec

from .events import Event
from .outcomes import Outcome


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What a kind of trigger can do; asking for more is an error when func.yaml is read.

    Attributes:
        order: It can deliver in order (per key, partition or subject).
        replay: Events can be read again from an earlier position.
        delayed_retry: `Retry(after_s)` is kept by the broker and survives a crash.
        delivery_count: `Event.attempt` survives a crash.
        backlog: What waits can be counted.
        wake: The broker tells of a new event without being polled.
        transactional: Results and position can be committed together.
        at_least_once: False: an event may be lost with the replica that held it.
    """

    order: bool = False
    replay: bool = False
    delayed_retry: bool = False
    delivery_count: bool = False
    backlog: bool = False
    wake: bool = False
    transactional: bool = False
    at_least_once: bool = True


class Failure(msgspec.Struct, frozen=True):
    """Why an event has no result: what `settle` is given instead of a value.

    Attributes:
        error: The exception; its text is for logs, never for clients.
        fault: `handler` (it raised or answered nonsense), `timeout`; or, never run: `shutdown`, `overload`
            (its queue is full), `queue_timeout` (it waited too long).
    """

    error: BaseException
    fault: str = "handler"


Settle = Callable[[Event, object], None]
"""Called once per submitted event, on the loop, with the handler's result, an `Outcome` or a `Failure`.

A generator's result comes as an `AsyncIterator`; whoever settles iterates it to the end or calls `aclose`.
"""


class Intake(Protocol):
    """Where every trigger hands its events to: batching and invoking lie behind it."""

    def submit(self, event: Event, settle: Settle, /) -> None:
        """Take `event`; `settle(event, result)` follows exactly once, perhaps before this returns."""
        ...


class Buffers(Protocol):
    """Memory that received bodies lie in."""

    def allocate(self, size_bytes: int) -> memoryview:
        """A writable, contiguous buffer of exactly `size_bytes`, held while anything refers to it.

        Raises:
            MemoryError: There is no room now.
        """
        ...


class Upload(Protocol):
    """A batch's bytes on their way to the device; it keeps them until they are there."""

    def array(self, dtype: str, shape: Sequence[int]) -> Any:
        """As `Device.stack`. What computes with it waits for the copy; the caller does not."""
        ...


class Download(Protocol):
    """A result on its way back to the host; it keeps what is copied until it is there.

    Attributes:
        value: The result with host arrays in place of the device's. Their contents are right once `done`.
    """

    @property
    def value(self) -> Any: ...

    @property
    def done(self) -> bool:
        """Whether it has arrived; never waits."""
        ...

    def wait(self) -> Any:
        """Block until it has arrived, and return `value`; raises what the device's computation raised."""
        ...

    def on_done(self, callback: Callable[[BaseException | None], None]) -> None:
        """Call `callback(error)` once, when it has arrived or failed: in another thread, or now."""
        ...


class DeviceMemory(msgspec.Struct, frozen=True):
    """A GPU's memory in bytes, whoever uses it."""

    used_bytes: int
    total_bytes: int


class Device(Protocol):
    """Where arrays are made and computed with: the CPU by NumPy, or a GPU by CuPy.

    On a GPU a batch's bytes are copied in by `upload` while the batch before is computed with; the handler
    gets the array by `stack` or `Upload.array` in a thread that called `enter_thread`, where everything that
    it starts runs on the compute stream; and `download` copies its result out behind it. None of them waits.
    """

    @property
    def name(self) -> str:
        """`cpu`, `cuda` or `simulated`."""
        ...

    @property
    def xp(self) -> Any:
        """The array module: `numpy` or `cupy`."""
        ...

    @property
    def gathered_bytes(self) -> int:
        """Bytes copied on the host so far because a batch's rows were not consecutive."""
        ...

    def view(self, data: memoryview, dtype: str, shape: Sequence[int]) -> Any:
        """One event's bytes as an array; raises `ShapeError` where they do not fit."""
        ...

    def stack(self, rows: Sequence[memoryview], dtype: str, shape: Sequence[int]) -> Any:
        """A batch's bytes as one array (rows, *shape); raises `ShapeError` where they do not fit."""
        ...

    def to_host(self, array: Any) -> memoryview:
        """An array's bytes in C order, in host memory; waits for them."""
        ...

    def from_dlpack(self, value: Any) -> Any:
        """What any DLPack producer on this device gives (`torch.Tensor`, ...), without a copy."""
        ...

    def upload(self, rows: Sequence[memoryview]) -> Upload | None:
        """Begin to copy a batch that is to run next; never waits and never raises for lack of memory.

        None: there is nothing to begin early, and `stack` does all when asked.
        """
        ...

    def download(self, value: Any) -> Download | None:
        """Begin to copy the device's arrays in a handler's result (one, or in a list) to the host.

        None: nothing of it lies on the device, and it can be used as it is.
        """
        ...

    def enter_thread(self) -> None:
        """Make what this thread computes run on the device's compute stream; cheap when it does already."""
        ...

    def graphed(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """`function` of arrays to an array, captured as a CUDA graph for each shape that it is called with.

        It must only start work on the device, always the same for one shape. On the CPU it is left as it is.
        """
        ...

    def allocate_host(self, size_bytes: int) -> memoryview:
        """Memory for the slab: writable, page-aligned, pinned on a GPU; it lives as long as the device."""
        ...

    def is_out_of_memory(self, error: BaseException) -> bool:
        """Whether `error`, raised by a handler or this device, says that device memory ran out."""
        ...

    def is_lost(self, error: BaseException) -> bool:
        """Whether `error` says that this process can't use the device any more (a kernel's bad access, ...)."""
        ...

    def memory(self) -> DeviceMemory | None:
        """The GPU's memory now; None on the CPU."""
        ...

    def synchronize(self) -> None:
        """Block until all is done that any thread has begun."""
        ...

    def close(self) -> None:
        """Wait for what runs, and free what is held."""
        ...


class Message(msgspec.Struct, frozen=True, kw_only=True):
    """One message for a sink.

    Attributes:
        id: Stable over redeliveries of its event, so that the broker can drop a duplicate:
            `<trigger>/<source>/<id>`, with `/<n>` for a generator's n-th item (from 0).
        data: The body.
        content_type: Media type of the body.
        headers: Further headers, `ce-*` and `traceparent` among them.
        key: Partitioning key, where the kind has one.
    """

    id: str
    data: bytes | memoryview
    content_type: str
    headers: Sequence[tuple[str, str]] = ()
    key: bytes | None = None


class Sink(Protocol):
    """Where results go: a binding whose kind is a trigger kind."""

    async def open(self) -> None:
        """Connect; raises `TriggerError`."""
        ...

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when all are durable at the broker; raises `TriggerError` if any may not be."""
        ...

    async def aclose(self) -> None:
        """Flush and disconnect."""
        ...


class Source(Protocol):
    """A kind's way of bringing events to the replica."""

    capabilities: Capabilities

    async def open(self, buffers: Buffers, device: Device | None) -> None:
        """Connect and make the consumer ready; raises `TriggerError` where it cannot be."""
        ...

    async def fetch(self, limit: int) -> Sequence[Event]:
        """Wait for events: at least one, at most `limit`. Outages are ridden out inside, with backoff.

        Cancelling it loses nothing: what had been delivered comes again.
        """
        ...

    def settle(self, event: Event, outcome: Outcome) -> None:
        """Carry out `outcome` for an event that `fetch` returned: the last that it hears of it.

        Until then the source keeps the broker from delivering the event elsewhere.
        """
        ...

    async def hand_back(self, events: Sequence[Event]) -> None:
        """Return events that were fetched and never run, for another replica to take at once."""
        ...

    async def aclose(self) -> None:
        """Send what is still to be told to the broker, and disconnect."""
        ...


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One look at a trigger's queue.

    Attributes:
        pending: Events waiting to be delivered.
        unsettled: Events delivered and not yet settled (JetStream: ack pending).
        arrived_total: Events ever put in, to tell the arrival rate by.
        partitions: The most replicas that can work side by side; None is any number.
    """

    pending: int
    unsettled: int
    arrived_total: int
    partitions: int | None = None

    @property
    def backlog(self) -> int:
        """All that is not settled."""
        return self.pending + self.unsettled


class Backlog(Protocol):
    """A kind's way of telling the scaler what waits."""

    async def open(self) -> None:
        """Connect; the consumer need not exist yet. Raises `TriggerError`."""
        ...

    async def read(self) -> Reading:
        """What waits now; raises `TriggerError`, on which the scaler holds its last decision."""
        ...

    def watch(self, wake: Callable[[], None]) -> None:
        """Call `wake` soon after an event arrives, until `unwatch`. A hint: it may come without cause."""
        ...

    def unwatch(self) -> None:
        """End `watch`; costs nothing when not watching."""
        ...

    async def aclose(self) -> None:
        """Disconnect."""
        ...
