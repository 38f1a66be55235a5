"""The parts of aiokafka that are not its public API and that we build on: another aiokafka fails here, by name."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaProducer
from aiokafka.codec import snappy_encode
from aiokafka.consumer.fetcher import Fetcher, FetchError
from aiokafka.consumer.group_coordinator import GroupCoordinator
from aiokafka.protocol import fetch
from aiokafka.record.util import calc_crc32c

PACKAGE = Path(__file__).parents[4] / "triggers/kafka"

PRIVATE: dict[type[Any], set[str]] = {
    Fetcher: {
        "_client", "_default_reset_strategy", "_notify", "_proc_fetch_request", "_records", "_retry_backoff",
        "_set_error", "_wait_consume_future",
    },
    FetchError: {"_error"},
    GroupCoordinator: {"_commit_refresh_task", "_coordination_task", "_do_commit_offsets", "_heartbeat_task"},
    AIOKafkaProducer: {"_sender"},
}  # fmt: skip


@pytest.mark.parametrize(("owner", "name"), [(owner, name) for owner, names in PRIVATE.items() for name in names])
def test_aiokafka_has_the_private_name(owner: type[Any], name: str) -> None:
    source = inspect.getsource(owner)
    assert re.search(rf"self\.{name} =|self\.{name}: |def {name}\(", source), f"{owner.__name__} has no {name} now"


def test_no_other_private_names_are_used() -> None:
    ours, used = {"_make"}, set[str]()  # the first is a NamedTuple's
    for path in PACKAGE.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Attribute) and re.match("_[^_]", node.attr):
                (ours if isinstance(node.ctx, ast.Store) else used).add(node.attr)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                ours.add(node.name)
    assert used - ours <= set().union(*PRIVATE.values()), "name them in PRIVATE, beside whose they are"


def test_a_fetch_is_processed_with_these_arguments() -> None:
    assert list(inspect.signature(Fetcher._proc_fetch_request).parameters) == [
        "self", "assignment", "node_id", "request",
    ]  # fmt: skip


@pytest.mark.parametrize("version", range(4, 12))
def test_where_a_response_has_its_aborted_transactions_and_records(version: int) -> None:
    schema = getattr(fetch, f"FetchResponse_v{version}").SCHEMA
    partitions = dict(zip(schema.names, schema.fields, strict=True))["topics"].array_of.fields[1].array_of
    names = list(partitions.names)
    assert names[:3] == ["partition", "error_code", "highwater_offset"]
    assert names[-1] == "message_set"
    assert (names[3:][2] if version >= 11 else names[-2]) == "aborted_transactions"


def test_the_checksum_and_the_framing_that_twins_and_tests_take_from_it() -> None:
    assert calc_crc32c(b"123456789") == 0xE3069283
    assert snappy_encode(b"x")[:8] == b"\x82SNAPPY\0"
