"""API keys and CORS before an endpoint, over real connections."""

from typing import Any

import pytest
from support.http import TRIGGER, FakeIntake, Served, echo, serving

from headrace.runtime.http.api_keys import ApiKeys, line_of, new_token, parse
from headrace.runtime.http.events import EventEndpoint
from headrace.runtime.http.gate import Gate, guarded
from headrace.runtime.metrics import Metrics
from headrace.triggers.errors import UsageError
from headrace.triggers.http.spec import Cors, HttpTrigger

ADA, BOB = new_token(), new_token()
KEYS = f"# who may call\n{line_of('ada', ADA)}\n\n{line_of('bob', BOB)}\n"
PAGE = "https://app.example.com"
METRICS = Metrics(["http"])


def endpoint(cors: Cors | None = None, api_keys: str | None = None) -> Any:
    metrics = METRICS
    inner = EventEndpoint(FakeIntake(echo), TRIGGER, metrics)
    return guarded(inner, HttpTrigger(name="http", cors=cors, api_keys=api_keys), metrics)


async def ask(
    served: Served, method: str = "GET", path: str = "/a", **headers: str
) -> tuple[int, dict[str, str], bytes]:
    client = await served.connect()
    lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    client.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n{lines}\r\n".encode())
    try:
        return await client.response()
    finally:
        await client.close()


def cors_of(headers: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.startswith("access-control-")}


# -- API keys ----------------------------------------------------------------------------------------------


async def test_keys_let_in() -> None:
    async with serving(endpoint(api_keys=KEYS)) as served:
        before = dict(METRICS.http_by_key)
        for headers in ({"Authorization": f"Bearer {ADA}"}, {"Authorization": f"bEARER  {ADA} "}, {"X_API_Key": BOB}):
            assert (await ask(served, **headers))[0] == 200
        assert METRICS.http_by_key["ada"] - before["ada"] == 2
        assert METRICS.http_by_key["bob"] - before["bob"] == 1
        assert b'headrace_http_requests_total{key="bob"}' in METRICS.render()


@pytest.mark.parametrize(
    ("headers", "challenge"),
    [
        ({}, "Bearer"),
        ({"Authorization": f"Basic {ADA}"}, "Bearer"),
        ({"Authorization": "Bearer "}, 'Bearer error="invalid_token"'),
        ({"Authorization": f"Bearer {ADA}x"}, 'Bearer error="invalid_token"'),
        ({"X_API_Key": "nonsense"}, 'Bearer error="invalid_token"'),
    ],
)
async def test_strangers_are_refused(headers: dict[str, str], challenge: str) -> None:
    async with serving(endpoint(api_keys=KEYS)) as served:
        status, got, body = await ask(served, **headers)
        assert (status, got["www-authenticate"], got["connection"]) == (401, challenge, "close")
        assert b"API key" in body
        assert served.metrics.http_refused == {"unauthorized": 1}
        assert served.in_flight.count == 0


async def test_strangers_get_no_memory_for_a_body() -> None:
    async with serving(endpoint(api_keys=KEYS)) as served:
        client = await served.connect()
        client.send(b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 50000000\r\n\r\n")
        assert (await client.response())[0] == 401
        await client.close()


async def test_health_needs_no_key_and_metrics_do() -> None:
    async with serving(endpoint(api_keys=KEYS)) as served:
        for path in ("/health/liveness", "/health/readiness"):
            assert (await ask(served, path=path))[0] == 200
        for path in ("/metrics", "/health/metrics"):
            assert (await ask(served, path=path))[0] == 401
            assert (await ask(served, path=path, X_API_Key=ADA))[0] == 200


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "expected at least one key, got none - at `x`"),
        ("ada", "in line 1"),
        (f"\nAda:{'0' * 64}", "in line 2"),
        (f"ada:{'0' * 63}", "in line 1"),
        (f"a:{'0' * 64}\na:{'1' * 64}", "one key named `a`, got two"),
    ],
)
def test_stored_keys_that_are_none(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says) as caught:
        parse(text, "x")
    assert "000" not in str(caught.value)


def test_keys_are_stored_as_hashes() -> None:
    line = line_of("ada", ADA)
    assert ADA not in line
    assert ApiKeys(parse(line, "x")).owner(ADA.encode()) == "ada"
    with pytest.raises(UsageError, match="got `a b`"):
        line_of("a b", ADA)


# -- CORS --------------------------------------------------------------------------------------------------

NAMED = Cors(allow_origins=(PAGE,), expose_headers=("x-a",), allow_credentials=True)
ANY = Cors(allow_origins=("*",), allow_headers=("content-type",), allow_methods=("POST",))


async def test_named_origin() -> None:
    async with serving(endpoint(NAMED)) as served:
        _, headers, _ = await ask(served, Origin=PAGE)
        assert headers["vary"] == "Origin"
        assert headers["access-control-allow-origin"] == PAGE
        assert headers["access-control-allow-credentials"] == "true"
        assert headers["access-control-expose-headers"] == "x-a"


@pytest.mark.parametrize("headers", [{}, {"Origin": "https://evil.example.com"}, {"Origin": PAGE + ".evil.com"}])
async def test_other_origins_are_told_nothing(headers: dict[str, str]) -> None:
    async with serving(endpoint(NAMED)) as served:
        status, got, _ = await ask(served, **headers)
        assert (status, got["vary"], cors_of(got)) == (200, "Origin", {})


async def test_any_origin() -> None:
    async with serving(endpoint(ANY)) as served:
        _, headers, _ = await ask(served)
        assert headers["access-control-allow-origin"] == "*"
        assert "vary" not in headers


async def test_preflight_of_a_named_origin() -> None:
    asked = {"Origin": PAGE, "Access_Control_Request_Method": "PUT", "Access_Control_Request_Headers": "x-b,y"}
    async with serving(endpoint(NAMED)) as served:
        status, headers, _ = await ask(served, "OPTIONS", **asked)
        assert status == 204
        assert headers["access-control-allow-origin"] == PAGE
        assert headers["access-control-allow-headers"] == "x-b,y"
        assert headers["access-control-allow-methods"] == "GET, HEAD, POST, PUT, PATCH, DELETE"
        assert headers["access-control-max-age"] == "600"
        assert headers["vary"] == "Origin, Access-Control-Request-Method, Access-Control-Request-Headers"
        refused = asked | {"Origin": "https://evil.example.com"}
        status, headers, _ = await ask(served, "OPTIONS", **refused)
        assert (status, cors_of(headers)) == (403, {})


async def test_preflight_for_any_origin() -> None:
    asked = {"Origin": "null", "Access_Control_Request_Method": "POST"}
    async with serving(endpoint(ANY)) as served:
        _, headers, _ = await ask(served, "OPTIONS", **asked)
        assert headers["access-control-allow-origin"] == "*"
        assert headers["access-control-allow-headers"] == "content-type"
        assert headers["access-control-allow-methods"] == "POST"


async def test_options_that_are_no_preflight_reach_the_function() -> None:
    async with serving(endpoint(NAMED)) as served:
        assert (await ask(served, "OPTIONS", Origin=PAGE))[2].startswith(b"OPTIONS /a")


async def test_browsers_with_keys() -> None:
    asked = {"Origin": PAGE, "Access_Control_Request_Method": "POST", "Access_Control_Request_Headers": "authorization"}
    async with serving(endpoint(NAMED, KEYS)) as served:
        assert (await ask(served, "OPTIONS", **asked))[0] == 204
        status, headers, _ = await ask(served, Origin=PAGE)
        assert (status, headers["access-control-allow-origin"]) == (401, PAGE)  # the page may read why
        assert (await ask(served, Origin=PAGE, Authorization=f"Bearer {ADA}"))[0] == 200


def test_without_either_there_is_no_gate() -> None:
    assert not isinstance(endpoint(), Gate)
