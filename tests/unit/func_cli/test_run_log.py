import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.func_cli.run_log import RunLog, follow, tail


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    log = RunLog(tmp_path, max_bytes=64)
    yield log
    log.close()


def test_tail_gives_the_last_lines_in_order(tmp_path: Path, log: RunLog) -> None:
    for index in range(5):
        log.write(b"line %d" % index)
    assert tail(tmp_path, 2) == [b"line 3", b"line 4"]
    assert len(tail(tmp_path)) == 5


def test_a_full_log_is_begun_anew_and_one_before_is_kept(tmp_path: Path, log: RunLog) -> None:
    for index in range(100):
        log.write(b"line %02d" % index)
    kept = tail(tmp_path)
    assert kept[-1] == b"line 99"
    assert 8 <= len(kept) <= 16
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 128


def test_a_line_longer_than_the_bound_is_written_whole(tmp_path: Path, log: RunLog) -> None:
    log.write(b"x" * 100)
    log.write(b"y")
    assert tail(tmp_path) == [b"x" * 100, b"y"]


def test_tail_of_nothing(tmp_path: Path) -> None:
    assert tail(tmp_path) == []
    assert list(follow(tmp_path, None, lambda: True)) == []


def test_follow_ends_with_the_run_and_misses_nothing(tmp_path: Path, log: RunLog) -> None:
    log.write(b"first")
    log.write(b"second")
    ended = threading.Event()
    lines = follow(tmp_path, 1, lambda: not ended.is_set())
    assert next(lines) == b"second"
    log.write(b"third")
    assert next(lines) == b"third"
    ended.set()
    log.write(b"last")
    assert list(lines) == [b"last"]


def test_follow_goes_on_in_the_new_file(tmp_path: Path, log: RunLog) -> None:
    log.write(b"a" * 40)
    lines = follow(tmp_path, 1, lambda: True)
    assert next(lines) == b"a" * 40
    log.write(b"d" * 10)
    log.write(b"b" * 40)  # begins the file anew
    assert [next(lines), next(lines)] == [b"d" * 10, b"b" * 40]
    log.write(b"c" * 10)
    assert next(lines) == b"c" * 10


def test_follow_starts_with_what_was_rotated_out(tmp_path: Path, log: RunLog) -> None:
    log.write(b"a" * 40)
    log.write(b"b" * 40)
    lines = follow(tmp_path, None, lambda: False)
    assert list(lines) == [b"a" * 40, b"b" * 40]
