"""Events and batches as handlers see them."""

from typing import get_args, get_type_hints

import msgspec
import numpy as np
import pytest

from headrace.runtime.device.cpu import CpuDevice
from headrace.triggers.arrays import Row, stack
from headrace.triggers.errors import ShapeError
from headrace.triggers.events import Attributes, Batch, Event, Trigger
from headrace.triggers.headers import Headers

TICKS = Trigger("ticks", "nats")


def test_data_is_held_not_copied() -> None:
    body = bytearray(b"abc")
    event = Event(body)
    body[0] = ord("x")
    assert event.copy() == b"xbc"
    assert event.text() == "xbc"
    assert Event(memoryview(body)).data.nbytes == 3


def test_attributes_given() -> None:
    event = Event(
        b"", Attributes(id="1", source="s", type="t", subject="u", time="2026-01-01T00:00:00Z", dataschema="d")
    )
    assert (event.id, event.source, event.type, event.subject) == ("1", "s", "t", "u")
    assert (event.time, event.dataschema, event.datacontenttype) == ("2026-01-01T00:00:00Z", "d", None)
    assert event.extensions == {}
    assert event.specversion == "1.0"


def test_attributes_made_when_asked_for() -> None:
    event = Event(b"", headers=Headers.of({"Content-Type": "text/plain"}), trigger=TICKS)
    assert event.id == event.id
    assert len(event.id) == 36
    assert (event.source, event.type, event.datacontenttype) == ("nats/ticks", "dev.headrace.nats", "text/plain")
    assert repr(event) == f"Event(id={event.id!r}, trigger='ticks', 0 bytes)"
    assert repr(TICKS) == "Trigger(name='ticks', kind='nats')"


def test_json() -> None:
    assert Event(b'{"a": 1}').json() == {"a": 1}
    assert Event(b"[1, 2]").json(list[int]) == [1, 2]
    with pytest.raises(msgspec.DecodeError, match="truncated"):
        Event(b"{").json()
    with pytest.raises(msgspec.ValidationError, match="Expected `int`"):
        Event(b'"x"').json(int)


def test_batch_is_a_sequence() -> None:
    batch = Batch([Event(b"a", trigger=TICKS), Event(b"b", trigger=TICKS), Event(b"c", trigger=TICKS)])
    assert len(batch) == 3
    assert batch[0].copy() == b"a"
    assert [event.copy() for event in batch[1:]] == [b"b", b"c"]
    assert [bytes(value) for value in batch.values] == [b"a", b"b", b"c"]
    assert [event.copy() for event in batch] == [b"a", b"b", b"c"]
    assert batch.trigger is TICKS
    assert repr(batch) == "Batch(3 events, trigger='ticks')"


def test_tensor_is_a_view() -> None:
    event = Event(bytearray(range(12)))
    tensor = event.tensor("uint8", (3, 4))
    tensor[0, 0] = 99
    assert event.data[0] == 99
    assert event.tensor("uint16", (-1, 2)).shape == (3, 2)
    assert event.tensor(">u2", (6,))[1] == 0x0203


@pytest.mark.parametrize(
    ("shape", "said"), [((5,), "expected 20 bytes, got 12"), ((-1, 2), "expected a multiple of 8 bytes, got 12")]
)
def test_tensor_of_the_wrong_size(shape: tuple[int, ...], said: str) -> None:
    with pytest.raises(ShapeError, match=said):
        Event(bytes(12)).tensor("float32", shape)


def test_tensor_of_an_unknown_dtype() -> None:
    with pytest.raises(ShapeError, match="expected a NumPy dtype, got 'floaty'"):
        Event(bytes(12)).tensor("floaty", (3,))


def test_batch_tensor_joins_rows() -> None:
    batch = Batch([Event(bytes([1, 2])), Event(bytes([3, 4, 5, 6]))])
    assert batch.tensor("uint8", (2,)).tolist() == [[1, 2], [3, 4], [5, 6]]
    assert batch.tensor("uint8", ()).tolist() == [1, 2, 3, 4, 5, 6]


def test_batch_tensor_names_the_event_that_does_not_fit() -> None:
    with pytest.raises(ShapeError, match="expected a multiple of 2 bytes, got 3 - at event 1 of the batch"):
        stack([memoryview(b"ab"), memoryview(b"abc")], "uint8", (2,))
    with pytest.raises(ShapeError, match="expected a multiple of 0 bytes"):
        stack([memoryview(b"ab")], "uint8", (0,))


def test_declared_row_is_the_default() -> None:
    trigger = Trigger("t", "memory", row=Row(dtype="uint16", shape=(2,)))
    batch = Batch([Event(bytes(4), trigger=trigger), Event(bytes(8), trigger=trigger)])
    assert (len(batch), batch.rows) == (2, 3)
    assert (batch.tensor().shape, batch.tensor().dtype.name) == ((3, 2), "uint16")
    assert batch.tensor("int8").shape == (6, 2)
    assert batch.tensor(shape=(1,)).shape == (6, 1)
    assert batch[1:].rows == 2


def test_without_a_declared_row() -> None:
    batch = Batch([Event(bytes(4)), Event(bytes(8))])
    assert batch.rows == 2
    with pytest.raises(
        ShapeError, match=r"expected a dtype and a shape, or `batching\.row` in func\.yaml, got neither"
    ):
        batch.tensor()


def test_sizes_of_declared_dtypes_are_numpys() -> None:
    for dtype in get_args(get_type_hints(Row)["dtype"]):
        assert Row(dtype=dtype, shape=(3, 2)).size_bytes == 6 * np.dtype(dtype).itemsize


class Recorder(CpuDevice):
    """A device that says what it was asked for."""

    def view(self, data: memoryview, dtype: str, shape: object) -> object:
        return ("view", data.nbytes, dtype, shape)

    def stack(self, rows: object, dtype: str, shape: object) -> object:
        return ("stack", dtype, shape)


def test_tensors_are_made_on_the_triggers_device() -> None:
    event = Event(b"abcd", trigger=Trigger("t", "nats", Recorder()))
    assert event.tensor("uint8", (4,)) == ("view", 4, "uint8", (4,))
    assert Batch([event]).tensor("uint8", (4,)) == ("stack", "uint8", (4,))
