"""Batches of CloudEvents over HTTP, and events as answers."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
from support.http import Submit, answer, serving, until

from headrace.triggers.events import Attributes, Event
from headrace.triggers.outcomes import Ack, Reject, Response, Retry
from headrace.triggers.protocols import Failure, Settle


def item(id_: str, **members: Any) -> dict[str, Any]:
    return {"specversion": "1.0", "id": id_, "source": "/s", "type": "t"} | members


def request(body: bytes, content_type: str = "application/cloudevents-batch+json") -> bytes:
    head = f"POST / HTTP/1.1\r\nHost: x\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def batch(*items: dict[str, Any]) -> bytes:
    return request(json.dumps(items).encode())


async def ask(submit: Submit, data: bytes) -> tuple[int, dict[str, str], bytes, dict[str, Any]]:
    async with serving(submit) as served:
        client = await served.connect()
        client.send(data)
        status, headers, body = await client.response()
        await client.close()
        counts = served.metrics.triggers["http"]
        return status, headers, body, {"received": counts.received, "ok": counts.ok, "errors": counts.errors}


def by_id(**results: object) -> Submit:
    """Answers each event by its id, in another order than they came."""

    def submit(event: Event, settle: Settle) -> None:
        asyncio.get_running_loop().call_later(0.002 if event.id == "a" else 0, settle, event, results[event.id])

    return submit


async def test_batch_of_events_without_results() -> None:
    status, _, body, counts = await ask(by_id(a=None, b=Ack()), batch(item("a"), item("b")))
    assert (status, body) == (204, b"")
    assert counts == {"received": 2, "ok": 2, "errors": {}}


async def test_empty_batch() -> None:
    assert (await ask(answer(None), batch()))[0] == 204


async def test_events_have_their_own_attributes_and_data() -> None:
    seen: list[tuple[str, bytes]] = []

    def keep(event: Event, settle: Settle) -> None:
        seen.append((event.id, bytes(event.data)))
        settle(event, None)

    await ask(keep, batch(item("a", data={"n": 1}), item("b", data_base64="AAE=")))
    assert seen == [("a", b'{"n": 1}'), ("b", b"\0\1")]


async def test_events_are_answered_as_a_batch() -> None:
    made = Event(b"[1]", Attributes(id="1", source="/f", type="r"))
    status, headers, body, _ = await ask(by_id(a=made, b=None, c=made), batch(item("a"), item("b"), item("c")))
    assert (status, headers["content-type"]) == (200, "application/cloudevents-batch+json; charset=utf-8")
    assert json.loads(body) == [{"specversion": "1.0", "id": "1", "source": "/f", "type": "r", "data": [1]}] * 2


async def generator() -> AsyncIterator[bytes]:
    yield b""


RESULTS = [
    ({"n": 1}, {"status": 200, "data": {"n": 1}}),
    (b"\xff", {"status": 200, "data_base64": "/w=="}),
    (Response("no", 409), {"status": 409, "data": "no"}),
    (Event(b"1", Attributes(id="1", source="/f", type="r")), {"status": 200}),
    (Reject("bad"), {"status": 422, "error": "bad"}),
    (Retry(2), {"status": 503, "error": "try again later"}),
    (Failure(ValueError("secret"), "handler"), {"status": 500, "error": "the function failed"}),
    (object(), {"status": 500, "error": "the function failed"}),
    (generator(), {"status": 500, "error": "the function failed"}),
    (Event(b"", Attributes(id="", source="", type="")), {"status": 500, "error": "the function failed"}),
]


@pytest.mark.parametrize(("result", "row"), RESULTS)
async def test_other_results_are_listed_with_the_worst_status(result: object, row: dict[str, Any]) -> None:
    status, headers, body, _ = await ask(by_id(a=result, b="x", c=None), batch(item("a"), item("b"), item("c")))
    first, second, third = json.loads(body)
    assert status == row["status"]
    assert first.items() >= ({"id": "a", "source": "/s"} | row).items()
    assert second == {"id": "b", "source": "/s", "status": 200, "data": "x"}
    assert third == {"id": "c", "source": "/s", "status": 204}
    assert headers.get("retry-after") == ("2" if isinstance(result, Retry) else None)


@pytest.mark.parametrize("body", [b"{}", b"[1]", b"[", json.dumps([item("a"), {"id": "b"}]).encode()])
async def test_malformed_batches_are_refused_whole(body: bytes) -> None:
    status, _, _, counts = await ask(answer(None), request(body))
    assert (status, counts["errors"], counts["ok"]) == (400, {"client": 1}, 0)


async def test_a_large_batch_is_submitted_bit_by_bit() -> None:
    held: list[tuple[Event, Settle]] = []
    async with serving(lambda event, settle: held.append((event, settle))) as served:
        client = await served.connect()
        client.send(batch(*(item(str(n)) for n in range(1000))))
        await until(lambda: len(held) == 256)
        for event, settle in iter(lambda: held.pop() if held else None, None):  # each lets another in
            settle(event, None)
        assert (await client.response())[0] == 204
        assert served.metrics.triggers["http"].received == 1000
        await client.close()


async def test_an_event_is_answered_in_the_requests_mode() -> None:
    made = Event(b"hi", Attributes(id="1", source="/f", type="r", datacontenttype="text/plain"))
    _, headers, body, _ = await ask(answer(made), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (headers["ce-id"], headers["ce-source"], headers["content-type"], body) == ("1", "/f", "text/plain", b"hi")
    structured = request(json.dumps(item("a")).encode(), "application/cloudevents+json")
    _, headers, body, _ = await ask(answer(made), structured)
    assert headers["content-type"] == "application/cloudevents+json; charset=utf-8"
    assert json.loads(body)["data"] == "hi"


async def test_an_event_that_is_none_fails_the_request() -> None:
    assert (await ask(answer(Event(b"")), b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 500
