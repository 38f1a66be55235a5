"""The root of Headrace's errors, and those of triggers.

    HeadraceError
    ├── UsageError                 the user's own input: func.yaml, arguments, references
    │   ├── SpecError              a section of func.yaml is not what its schema says
    │   ├── ReferenceMissing       `{{ env:X }}`, `{{ secret:n:k }}` or `{{ configMap:n:k }}` has no value
    │   └── ShapeError             bytes do not fit the dtype and shape asked for
    ├── TriggerError               a broker, or its client (retriable)
    │   ├── BrokerUnavailable      it cannot be reached at present
    │   ├── StreamMissing          it answers, but has no such stream or topic (not retriable)
    │   ├── ConsumerConflict       a consumer of that name is there, but of another sort (not retriable)
    │   ├── CorruptRecords         fetched bytes are not what Kafka writes
    │   └── MessageRefused         it can never take this message: too large, a bad header (not retriable)
    ├── HandlerError               runtime/errors.py: the function's code
    └── PlatformError              scaler/errors.py: processes or the cluster

Messages read *what failed: expected X, got Y - at place*, without secrets, capital or full stop.
"""

from typing import ClassVar


class HeadraceError(Exception):
    """Root of every error that Headrace raises on purpose."""

    retriable: ClassVar[bool] = False


class UsageError(HeadraceError):
    """What the user wrote cannot be meant: trying again without a change is no use."""


class SpecError(UsageError):
    """A section of func.yaml is not what its schema says."""


class ReferenceMissing(UsageError):
    """A `{{ ... }}` reference has no value in this process."""


class ShapeError(UsageError):
    """Bytes do not fit the dtype and shape asked for."""


class TriggerError(HeadraceError):
    """A broker or its client failed."""

    retriable: ClassVar[bool] = True


class BrokerUnavailable(TriggerError):
    """The broker cannot be reached at present."""


class StreamMissing(TriggerError):
    """The broker has no such stream, topic or consumer, and this function may not create it."""

    retriable: ClassVar[bool] = False


class ConsumerConflict(TriggerError):
    """The broker has a consumer of this name that cannot be made what func.yaml says."""

    retriable: ClassVar[bool] = False


class CorruptRecords(TriggerError):
    """Fetched bytes are not what Kafka writes; every record before `offset` is good.

    Retriable: another replica, or another fetch, may have sound bytes.

    Attributes:
        topic: Where they were fetched from.
        partition: Of the topic.
        offset: Of the first record that can't be read.
    """

    def __init__(self, text: str, *, topic: str, partition: int, offset: int) -> None:
        super().__init__(f"fetched records: {text} - at {topic}/{partition}/{offset}")
        self.topic = topic
        self.partition = partition
        self.offset = offset


class MessageRefused(TriggerError):
    """The broker can never take these messages; the others of the same call are durable.

    Attributes:
        ids: `Message.id` of each.
    """

    retriable: ClassVar[bool] = False

    def __init__(self, text: str, ids: tuple[str, ...] = ()) -> None:
        super().__init__(text)
        self.ids = ids
