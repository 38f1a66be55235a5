import json
import re
from pathlib import Path

import click
import pytest

import headrace
from headrace.func_cli.log_lines import own_frames, platform_line, readable, replica_line


def plain(line: bytes) -> str:
    return click.unstyle(readable(line))


def test_a_replicas_line_gets_its_pid() -> None:
    line = replica_line(b'{"time":"2026-01-02T03:04:05.678+00:00","level":"warning","message":"slow","took_s":2}', 42)
    assert json.loads(line)["pid"] == 42
    assert re.fullmatch(r"\d\d:04:05 WARNING \[42\] slow took_s=2", plain(line))


@pytest.mark.parametrize("printed", [b"hello", b"[1, 2]", b'{"a": 1}', b"42", b"\xff\xfe", b""])
def test_what_a_function_prints_is_wrapped(printed: bytes) -> None:
    fields = json.loads(replica_line(printed, 7))
    assert fields["message"] == printed.decode("utf-8", "replace")
    assert fields["level"] == "info"
    assert plain(replica_line(printed, 7)).endswith(f"INFO  [7] {fields['message']}")


def test_a_line_of_the_platform() -> None:
    line = platform_line("scaled", replicas=2, reason="backlog of 20")
    assert plain(line).endswith('INFO  scaled replicas=2 reason="backlog of 20"')


def test_an_exception_stands_below() -> None:
    line = b'{"level":"error","message":"handler failed","logger":"x","function":"f","exception":"Traceback\\n  ..."}'
    head, *rest = plain(line).splitlines()
    assert head.endswith("ERROR handler failed")
    assert rest == ["Traceback", "  ..."]


def test_what_is_no_log_line_is_shown_as_it_is() -> None:
    assert readable(b"Fatal Python error") == "Fatal Python error"


def test_a_time_that_is_none_becomes_now() -> None:
    assert re.match(r"\d\d:\d\d:\d\d INFO  x", plain(b'{"time":"yesterday","message":"x"}'))


def test_of_a_traceback_the_functions_own_code_is_shown() -> None:
    package = Path(headrace.__file__).parent
    traceback = f"""Traceback (most recent call last):
  File "{package}/runtime/invoker.py", line 9, in run
    result = call(event)
             ^^^^^^^^^^^
  File "/project/function/__init__.py", line 3, in handle
    return 1 / 0
           ~~^~~
  File "<frozen importlib._bootstrap>", line 1, in _find
  File "{(package / "triggers").resolve()}/events.py", line 5, in json
    decode()
ZeroDivisionError: division by zero"""
    assert own_frames(traceback).splitlines() == [
        "Traceback (most recent call last):",
        '  File "/project/function/__init__.py", line 3, in handle',
        "    return 1 / 0",
        "           ~~^~~",
        "ZeroDivisionError: division by zero",
    ]
