"""How Kafka's brokers are reached: security as aiokafka takes it, and its errors in our words.

What does not belong here: groups, records and topics' contents.
"""

import asyncio
import logging
import random
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aiokafka import errors
from aiokafka.client import AIOKafkaClient

from ..errors import BrokerUnavailable, ConsumerConflict, StreamMissing, TriggerError, UsageError
from .spec import Security

if TYPE_CHECKING:
    import ssl

logger = logging.getLogger(__name__)

CONNECT_TIMEOUT_S = 10.0
"""How long the first connection may take: a cluster's DNS, TLS and SASL need a few seconds at worst."""
REQUEST_TIMEOUT_MS = 15_000
"""A broker that has not answered by then is taken for gone: its connection is made anew."""

if logging.getLogger("aiokafka").level == logging.NOTSET:
    # it logs each failed attempt as an error, tens of times in an outage; what that comes to is said by us
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)

_MISSING = (errors.UnknownTopicOrPartitionError, errors.InvalidTopicError)
_CONFLICT = (errors.InconsistentGroupProtocolError, errors.InvalidSessionTimeoutError, errors.InvalidGroupIdError)
_FORBIDDEN = (
    errors.TopicAuthorizationFailedError,
    errors.GroupAuthorizationFailedError,
    errors.ClusterAuthorizationFailedError,
    errors.TransactionalIdAuthorizationFailed,
)


def options(brokers: Sequence[str], security: Security | None, name: str) -> dict[str, Any]:
    """What aiokafka's clients are made with.

    Raises:
        UsageError: Certificates or keys are not what they should be.
    """
    security = security or Security()
    sasl: dict[str, Any] = {}
    if security.mechanism is not None:
        sasl["sasl_mechanism"] = security.mechanism
        if security.mechanism == "OAUTHBEARER":
            from .tokens import TokenProvider

            sasl["sasl_oauth_token_provider"] = TokenProvider(security)
        else:
            sasl |= {"sasl_plain_username": security.username, "sasl_plain_password": security.password}
    return {
        "bootstrap_servers": list(brokers),
        "client_id": name,
        "security_protocol": security.protocol,
        "ssl_context": _tls(security) if security.protocol.endswith("SSL") else None,
        "request_timeout_ms": REQUEST_TIMEOUT_MS,
        "retry_backoff_ms": 100,
        **sasl,
    }


async def connect(
    brokers: Sequence[str], security: Security | None, name: str, timeout_s: float = CONNECT_TIMEOUT_S
) -> AIOKafkaClient:
    """A client that knows the cluster's brokers.

    Raises:
        BrokerUnavailable: None of `brokers` can be reached, or they refuse the credentials.
        UsageError: Certificates or keys are not what they should be.
    """
    client = AIOKafkaClient(**options(brokers, security, name))
    place = ",".join(brokers)
    try:
        with mapped("connect", place):
            async with asyncio.timeout(timeout_s):
                await client.bootstrap()
    except BaseException as exc:
        await client.close()
        if isinstance(exc, BrokerUnavailable) and security is not None and security.mechanism is not None:
            # aiokafka says in its log alone which of them it was
            raise BrokerUnavailable(
                f"connect: not reachable, or the credentials were refused ({security.mechanism}) - at `{place}`"
            ) from exc
        raise
    return client


@contextmanager
def mapped(what: str, place: str) -> Generator[None, None, None]:
    """Turn aiokafka's errors into `TriggerError`s.

    Args:
        what: What was being done.
        place: Brokers, topic or group.
    """
    try:
        yield
    except (errors.KafkaError, OSError, TimeoutError) as exc:
        raise as_trigger_error(exc, what, place) from exc


def as_trigger_error(exc: BaseException, what: str, place: str) -> TriggerError:
    """`exc` of aiokafka in our words; texts of brokers and clients hold no credentials."""
    text = f"{what}: {_text(exc)} - at `{place}`"
    if isinstance(exc, _MISSING):
        return StreamMissing(f"{what}: no such topic - at `{place}`")
    if isinstance(exc, _CONFLICT):
        return ConsumerConflict(text)
    if isinstance(exc, _FORBIDDEN):
        return TriggerError(f"{what}: not authorized - at `{place}`")
    return BrokerUnavailable(text)


def backoff(least_s: float, most_s: float) -> Iterator[float]:
    """Pauses between attempts: doubling, with jitter."""
    pause_s = least_s
    while True:
        yield pause_s * random.uniform(0.75, 1.25)
        pause_s = min(pause_s * 2, most_s)


def _text(exc: BaseException) -> str:
    if isinstance(exc, TimeoutError) and not str(exc):
        return "no answer in time"
    # aiokafka puts a type's name before a text
    said = str(exc).removeprefix(f"{type(exc).__name__}: ") or type(exc).__name__
    return said[:1].lower() + said[1:]


def _tls(security: Security) -> "ssl.SSLContext":
    import ssl
    import tempfile

    try:
        context = ssl.create_default_context(cadata=security.ca)
        if security.certificate is not None:
            with tempfile.NamedTemporaryFile("w", suffix=".pem") as both:  # 0600; ssl reads chains from files alone
                both.write(f"{security.certificate}\n{security.key}\n")
                both.flush()
                context.load_cert_chain(both.name)
    except (ssl.SSLError, ValueError) as exc:
        raise UsageError(f"security: expected certificates and a key in PEM, got {type(exc).__name__}") from exc
    return context
