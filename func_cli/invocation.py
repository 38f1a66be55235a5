"""One HTTP request to a function, as `func invoke` makes it, and its response as it comes.

What does not belong here: which function is meant (selection) and stream triggers (publishing).
"""

import http.client
import socket
import ssl
import uuid
from collections.abc import Callable, Mapping, Sequence
from urllib.parse import SplitResult, urlsplit

import msgspec

from .errors import CommandError, MisuseError

_READ_BYTES = 65536


class CloudEvent(msgspec.Struct, frozen=True, kw_only=True):
    """Context attributes of an event to send; Knative's func has the same defaults but for the names.

    Attributes:
        id: A UUID unless given.
        extensions: Further attributes.
    """

    id: str = msgspec.field(default_factory=lambda: str(uuid.uuid4()))
    source: str = "/headrace/invoke"
    type: str = "dev.headrace.invoke"
    extensions: Mapping[str, str] = {}

    def headers(self) -> list[tuple[str, str]]:
        """Binary content mode (CloudEvents HTTP Protocol Binding §3.1); NATS has the same names (§3.1)."""
        own = {"specversion": "1.0", "id": self.id, "source": self.source, "type": self.type}
        attributes = {**own, **self.extensions}
        return [(f"ce-{name}", value) for name, value in attributes.items()]


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """A request to make.

    Attributes:
        url: `http://` or `https://`.
        headers: Beside Host and Content-Length; a later one of the same name wins.
        body: None sends none.
        timeout_s: For each wait: connecting, and each part of the response.
        verify: Refuse a certificate that nobody known vouches for.
        authorities: PEM file of those who may vouch, instead of the system's.
    """

    url: str
    method: str = "POST"
    headers: Sequence[tuple[str, str]] = ()
    body: bytes | None = None
    timeout_s: float = 60.0
    verify: bool = True
    authorities: str | None = None


class Head(msgspec.Struct, frozen=True):
    """The head of a response."""

    status: int
    reason: str
    headers: Sequence[tuple[str, str]]

    @property
    def ok(self) -> bool:
        """Whether the function did what it was asked."""
        return self.status < 300


def send(request: Request, on_head: Callable[[Head], None], on_data: Callable[[bytes], None]) -> Head:
    """Make the request, handing the response on as it comes.

    Raises:
        CommandError: Nobody answers at that place, or not in time, or not HTTP.
        MisuseError: The URL or a header is none.
    """
    parts = _parsed(request.url)
    connection = _connection(request, parts)
    path = f"{parts.path or '/'}{'?' if parts.query else ''}{parts.query}"
    try:
        headers = {name.lower(): value for name, value in request.headers}
        connection.request(request.method, path, body=request.body, headers=headers)
        response = connection.getresponse()
        head = Head(response.status, response.reason, response.getheaders())
        on_head(head)
        while data := response.read1(_READ_BYTES):
            on_data(data)
        return head
    except ConnectionRefusedError as exc:
        raise CommandError(f"invoke: nothing listens - at `{request.url}`", "func run") from exc
    except socket.gaierror as exc:
        raise CommandError(f"invoke: no such host - at `{request.url}`") from exc
    except TimeoutError as exc:
        raise CommandError(f"invoke: no answer within {request.timeout_s:g}s - at `{request.url}`") from exc
    except ssl.SSLCertVerificationError as exc:
        why = exc.verify_message or "it is not valid"
        hint = "func invoke --cacert certificate.pem   # or --insecure"
        raise CommandError(f"invoke: the certificate is refused: {why} - at `{request.url}`", hint) from exc
    except (OSError, http.client.HTTPException) as exc:
        raise CommandError(f"invoke: {_said(exc)} - at `{request.url}`") from exc
    except ValueError as exc:  # http.client on a header that is none
        raise MisuseError(f"invoke: {_said(exc)}") from exc
    finally:
        connection.close()


def _connection(request: Request, parts: SplitResult) -> http.client.HTTPConnection:
    host, timeout_s = parts.hostname or "", request.timeout_s
    if parts.scheme != "https":
        return http.client.HTTPConnection(host, parts.port, timeout=timeout_s)
    try:
        context = ssl.create_default_context(cafile=request.authorities)
    except (OSError, ssl.SSLError) as exc:
        raise MisuseError(
            f"--cacert: expected a file of PEM certificates, got none - at `{request.authorities}`"
        ) from exc
    if not request.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return http.client.HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)


def _said(exc: Exception) -> str:
    text = getattr(exc, "strerror", None) or str(exc) or type(exc).__name__
    return text[:1].lower() + text[1:]


def _parsed(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        if parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port):
            return parts
    except ValueError:
        pass
    raise MisuseError(f"expected a URL such as `http://localhost:8080`, got `{url}`")
