import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from headrace.func_cli.errors import CommandError, MisuseError
from headrace.func_cli.invocation import CloudEvent, Head, Request, send


class Echo(BaseHTTPRequestHandler):
    """Answers with what it was sent; the path is the status."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(int(self.path.strip("/?x=1") or 200))
        for name in ("content-type", "ce-id", "ce-type", "ce-source", "ce-specversion", "ce-tenant"):
            if name in self.headers:
                self.send_header(f"got-{name}", self.headers[name])
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Tests are quiet."""


@pytest.fixture
def url() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Echo) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def post(request: Request) -> tuple[Head, bytes]:
    heads: list[Head] = []
    parts: list[bytes] = []
    head = send(request, heads.append, parts.append)
    assert heads == [head]
    return head, b"".join(parts)


def test_a_body_comes_back(url: str) -> None:
    head, body = post(Request(url=f"{url}/?x=1", headers=[("Content-Type", "image/png")], body=b"\x00\xff"))
    assert (head.status, head.ok, body) == (200, True, b"\x00\xff")
    assert ("got-content-type", "image/png") in head.headers


def test_a_cloudevent_has_its_attributes(url: str) -> None:
    event = CloudEvent(id="1", type="order", extensions={"tenant": "blue"})
    head, _ = post(Request(url=url, headers=event.headers()))
    got = {name: value for name, value in head.headers if name.startswith("got-")}
    assert got == {
        "got-ce-id": "1",
        "got-ce-type": "order",
        "got-ce-source": "/headrace/invoke",
        "got-ce-specversion": "1.0",
        "got-ce-tenant": "blue",
    }


def test_events_differ_in_their_ids() -> None:
    assert CloudEvent().id != CloudEvent().id


def test_an_error_status_is_no_success(url: str) -> None:
    head, body = post(Request(url=f"{url}/500", body=b"why"))
    assert (head.status, head.ok, body) == (500, False, b"why")


def test_nobody_listens() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        place = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(CommandError, match="invoke: nothing listens - at `http") as caught:
            post(Request(url=place))
    assert caught.value.hint == "func run"


def test_no_answer_in_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        place = f"http://127.0.0.1:{sock.getsockname()[1]}"
        with pytest.raises(CommandError, match=r"no answer within 0\.05s"):
            post(Request(url=place, timeout_s=0.05))


def test_an_answer_that_is_no_http() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"SSH-2.0-OpenSSH\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(CommandError, match=r"invoke: .*SH-2\.0"):
            post(Request(url=f"http://127.0.0.1:{server.getsockname()[1]}"))
        thread.join()


@pytest.mark.parametrize("text", ["ftp://x", "http://", "http://x:0", "http://x:port", "nonsense"])
def test_what_is_no_url_is_refused(text: str) -> None:
    with pytest.raises(MisuseError, match="expected a URL such as"):
        post(Request(url=text))


def test_a_header_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(MisuseError, match="invoke: invalid header"):
        post(Request(url=url, headers=[("x", "a\r\nb: c")]))


def test_authorities_that_are_none(tmp_path: Path) -> None:
    for file in (tmp_path / "missing", Path(__file__)):
        with pytest.raises(MisuseError, match="--cacert: expected a file of PEM certificates"):
            post(Request(url="https://127.0.0.1:1", authorities=str(file)))


def test_a_server_without_tls(url: str) -> None:
    with pytest.raises(CommandError, match="invoke: "):
        post(Request(url=url.replace("http:", "https:"), verify=False))
