"""What is left beside a committed offset."""

import pytest

from headrace.triggers.kafka.note import MAX_CHARS, Note, read, write


@pytest.mark.parametrize("note", [Note(110, True, {100: 2, 105: 7}), Note(101, False), Note(103, True, {102: 0})])
def test_what_is_written_is_read(note: Note) -> None:
    assert read(write(note, 100), 100) == note


def test_nothing_beyond_the_offset_is_nothing_to_tell() -> None:
    assert write(Note(100, True), 100) == ""


@pytest.mark.parametrize("metadata", [None, "", "somebody else's", "headrace/2 running 5", "headrace/1 running x"])
def test_what_is_not_ours_says_nothing(metadata: str | None) -> None:
    assert read(metadata, 100) == Note()


def test_the_next_delivery_is_counted() -> None:
    note = Note(110, True, {100: 2, 101: 0})
    assert [note.attempt(offset) for offset in (100, 101, 102, 110)] == [3, 1, 2, 1]


def test_what_failed_most_is_kept_where_not_all_fits() -> None:
    note = Note(10_000, False, {offset: offset % 7 for offset in range(5_000)})
    text = write(note, 0)
    assert len(text) <= MAX_CHARS
    kept = read(text, 0).deliveries
    assert 300 < len(kept) < 1000
    assert set(kept.values()) == {6}
