"""Kafka's errors in our words, and how clients are made."""

import ssl
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from aiokafka import errors

from headrace.triggers.errors import BrokerUnavailable, ConsumerConflict, StreamMissing, TriggerError, UsageError
from headrace.triggers.kafka.client import as_trigger_error, backoff, options
from headrace.triggers.kafka.spec import Security
from headrace.triggers.kafka.tokens import TokenProvider


@pytest.mark.parametrize(
    ("error", "kind", "said"),
    [
        (errors.UnknownTopicOrPartitionError(), StreamMissing, "look: no such topic - at `k:1`"),
        (errors.InvalidSessionTimeoutError(), ConsumerConflict, "look: .*InvalidSessionTimeout"),
        (errors.TopicAuthorizationFailedError("t"), TriggerError, "look: not authorized - at `k:1`"),
        (TimeoutError(), BrokerUnavailable, "look: no answer in time - at `k:1`"),
        (errors.KafkaConnectionError("Gone"), BrokerUnavailable, "gone - at `k:1`"),
    ],
)
def test_errors(error: Exception, kind: type[TriggerError], said: str) -> None:
    mapped = as_trigger_error(error, "look", "k:1")
    assert type(mapped) is kind
    with pytest.raises(kind, match=said):
        raise mapped


def test_bad_certificates_are_named() -> None:
    with pytest.raises(UsageError, match="expected certificates and a key in PEM, got"):
        options(["k:1"], Security(protocol="SSL", ca="-----BEGIN CERTIFICATE-----\nx\n-----END CERTIFICATE-----"), "n")


def test_tls_checks_the_brokers_name() -> None:
    context = options(["k:1"], Security(protocol="SSL"), "n")["ssl_context"]
    assert isinstance(context, ssl.SSLContext)
    assert context.check_hostname


def test_backoff_doubles_up_to_its_bound() -> None:
    pauses = backoff(0.1, 0.4)
    given = [next(pauses) for _ in range(5)]
    assert all(0.75 * want <= got <= 1.25 * want for want, got in zip([0.1, 0.2, 0.4, 0.4, 0.4], given, strict=True))


class Endpoint(BaseHTTPRequestHandler):
    """Gives tokens, numbered."""

    asked: list[tuple[str, bytes]] = []  # noqa: RUF012 - one for all requests
    answer = b'{"access_token": "token-%d", "expires_in": %d}'
    expires_in = 60

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.asked.append((str(self.headers["authorization"]), body))
        text = self.answer % (len(self.asked), self.expires_in) if b"%d" in self.answer else self.answer
        self.send_response(200)
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), type("Fresh", (Endpoint,), {"asked": []}))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def oauth(endpoint: str) -> Security:
    return Security(
        protocol="SASL_PLAINTEXT", mechanism="OAUTHBEARER", username="me", password="p w", token_endpoint=endpoint,
        scopes=("a", "b"),
    )  # fmt: skip


async def test_tokens_are_kept_while_they_are_good(endpoint: str) -> None:
    provider = options(["k:1"], oauth(endpoint), "n")["sasl_oauth_token_provider"]
    assert isinstance(provider, TokenProvider)
    assert [await provider.token(), await provider.token()] == ["token-1", "token-1"]


async def test_tokens_are_renewed(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "expires_in", 0)
    provider = TokenProvider(oauth(endpoint))
    assert [await provider.token(), await provider.token()] == ["token-1", "token-2"]


async def test_no_token_is_an_error(endpoint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Endpoint, "answer", b"{}")
    with pytest.raises(OSError, match="expected a token in JSON, got none"):
        await TokenProvider(oauth(endpoint)).token()
