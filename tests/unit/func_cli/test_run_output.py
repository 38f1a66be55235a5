import io
import json
import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.func_cli.run_log import RunLog, tail
from headrace.func_cli.run_output import RecordHandler, RunOutput


@pytest.fixture
def log(tmp_path: Path) -> Iterator[RunLog]:
    log = RunLog(tmp_path)
    yield log
    log.close()


def test_lines_go_to_the_file_and_readable_to_the_terminal(tmp_path: Path, log: RunLog) -> None:
    shown = io.StringIO()
    output = RunOutput(log, "human", shown)
    output.from_replica(7, "printed")
    output.say("listening", url="http://x")
    first, second = shown.getvalue().splitlines()
    assert first.endswith("INFO  [7] printed")
    assert second.endswith("INFO  listening url=http://x")
    assert [json.loads(line)["message"] for line in tail(tmp_path)] == ["printed", "listening"]


def test_json_is_passed_on(tmp_path: Path, log: RunLog) -> None:
    shown = io.StringIO()
    RunOutput(log, "json", shown).from_replica(7, '{"message":"m","level":"info"}')
    assert json.loads(shown.getvalue()) == {"pid": 7, "message": "m", "level": "info"}


def test_after_hush_only_the_file_has_them(tmp_path: Path, log: RunLog) -> None:
    shown = io.StringIO()
    output = RunOutput(log, "human", shown)
    output.hush()
    output.say("x")
    assert shown.getvalue() == ""
    assert len(tail(tmp_path)) == 1


class Gone(io.StringIO):
    """A pipe whose reader has left."""

    def write(self, text: str) -> int:
        raise BrokenPipeError


def test_a_reader_that_leaves_does_not_end_the_run(tmp_path: Path, log: RunLog) -> None:
    output = RunOutput(log, "human", Gone())
    output.say("x")
    output.say("y")
    assert len(tail(tmp_path)) == 2


def test_the_last_errors_are_kept(log: RunLog) -> None:
    output = RunOutput(log, None)
    for index in range(7):
        output.say(f"failed {index}", "error")
        output.say("fine")
    assert [line.split()[-1] for line in output.errors] == ["2", "3", "4", "5", "6"]


def test_records_become_lines(tmp_path: Path, log: RunLog) -> None:
    handler = RecordHandler(RunOutput(log, None))
    root = logging.getLogger()
    before = root.handlers[:], root.level
    handler.attach(verbose=False)
    try:
        logging.getLogger("headrace.scaler.control").info("scaled %s", 2)
        logging.getLogger("headrace.scaler.control").debug("hidden")
        logging.getLogger("asyncio").info("hidden")
        try:
            raise ValueError("why")
        except ValueError:
            logging.getLogger("asyncio").exception("broken")
    finally:
        handler.detach()
        root.handlers[:], level = before
        root.setLevel(level)
    first, second = (json.loads(line) for line in tail(tmp_path))
    assert (first["message"], first["logger"]) == ("scaled 2", "headrace.scaler.control")
    assert second["message"] == "broken"
    assert second["exception"].endswith("ValueError: why")
