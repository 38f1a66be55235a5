import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from support.local_runs import LocalRun

from headrace.func_cli.group import func
from headrace.func_cli.runs import RunState


class Function(HTTPServer):
    """Answers 200 and remembers what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.seen: list[tuple[str, dict[str, str], bytes]] = []
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        assert isinstance(self.server, Function)
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.server.seen.append((self.command, {k.lower(): v for k, v in self.headers.items()}, body))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"answer")

    do_GET = do_POST

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def function() -> Iterator[Function]:
    with Function() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def state_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))


def invoke(*arguments: str, stdin: bytes | None = None) -> Result:
    return CliRunner().invoke(func, ["invoke", *arguments], input=stdin)


def test_a_url(function: Function) -> None:
    assert invoke(function.url).stdout == "answer"
    assert function.seen[0][2] == b'{"message":"Hello World"}'
    assert function.seen[0][1]["content-type"] == "application/json"
    assert "ce-id" not in function.seen[0][1]


def test_host_and_port_will_do(function: Function) -> None:
    assert invoke("--target", f"127.0.0.1:{function.server_port}", "--method", "get").stdout == "answer"
    assert function.seen[0][0] == "GET"
    assert function.seen[0][2] == b""


@pytest.mark.parametrize(
    ("data", "media_type"),
    [('{"a": 1}', "application/json"), ("42", "application/json"), ("a b", "text/plain; charset=utf-8")],
)
def test_the_media_type_follows_the_data(function: Function, data: str, media_type: str) -> None:
    invoke(function.url, "--data", data)
    assert function.seen[0][1]["content-type"] == media_type


def test_a_body_from_stdin(function: Function) -> None:
    invoke(function.url, "--file", "-", stdin=b"\x00\xff")
    assert function.seen[0][2] == b"\x00\xff"
    assert function.seen[0][1]["content-type"] == "application/octet-stream"


def test_attributes_make_a_cloudevent(function: Function) -> None:
    invoke(function.url, "--type", "order", "-e", "tenant=blue", "-H", "X-A: b", "--content-type", "a/b")
    headers = function.seen[0][1]
    assert (headers["ce-type"], headers["ce-tenant"], headers["x-a"], headers["content-type"]) == (
        "order",
        "blue",
        "b",
        "a/b",
    )
    assert headers["ce-id"]


def test_the_functions_own_form_is_the_default(function: Function, tmp_path: Path) -> None:
    state = RunState(name="detect", project=str(tmp_path), pid=1, started_s=0.0, url=function.url, invoke="cloudevent")
    with LocalRun(state):
        assert invoke("detect").exit_code == 0
        assert invoke("detect", "--format", "http").exit_code == 0
    assert ["ce-id" in headers for _, headers, _ in function.seen] == [True, False]


def test_a_function_that_starts_is_not_sent_anything(tmp_path: Path) -> None:
    with LocalRun.of("detect", tmp_path, url=None):
        result = invoke("detect")
    assert result.exit_code == 1
    assert "`detect` is still starting" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["http://x", "--target", "http://y"], "expected one target"),
        (["http://x", "--data", "a", "--file", "-"], "expected --data or --file, got both"),
        (["http://x", "-H", "nonsense"], "--header: expected `NAME:VALUE`, got `nonsense`"),
        (["http://x", "-e", "=x"], "--extension: expected `NAME=VALUE`, got `=x`"),
        (["http://x", "--trigger", "t"], "--trigger: expected a function that runs here, got a URL"),
    ],
)
def test_misuse(arguments: list[str], message: str) -> None:
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
