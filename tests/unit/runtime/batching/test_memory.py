"""The batch size that fits."""

from headrace.runtime.batching import MemoryLimit


def test_halves_where_nothing_is_known_to_fit() -> None:
    memory = MemoryLimit(64)
    memory.ran_out(64)
    assert (memory.size, memory.exhausted) == (32, 1)
    memory.ran_out(32)
    memory.ran_out(16)
    assert memory.size == 8


def test_never_below_one() -> None:
    memory = MemoryLimit(4)
    for _ in range(5):
        memory.ran_out(1)
    assert memory.size == 1


def test_falls_to_what_fitted() -> None:
    memory = MemoryLimit(64)
    memory.fitted(48)
    memory.ran_out(64)
    assert memory.size == 48
    memory.ran_out(48)  # it no longer does
    assert memory.size == 24


def test_recovers_slowly() -> None:
    memory = MemoryLimit(64)
    memory.ran_out(64)
    for _ in range(1000):
        memory.fitted(31)  # below the limit: says nothing of more
    assert memory.size == 32
    for _ in range(100):
        memory.fitted(32)
    assert memory.size == 36
    memory.ran_out(36)
    assert memory.size == 32


def test_recovers_to_the_maximum_and_no_further() -> None:
    memory = MemoryLimit(8)
    memory.ran_out(8)
    for _ in range(1000):
        memory.fitted(memory.size)
    assert memory.size == 8
