"""Tokens for SASL/OAUTHBEARER (KIP-768): the client-credentials grant of RFC 6749 §4.4, renewed in time."""

import asyncio
import time
import urllib.parse
import urllib.request
from base64 import b64encode

import msgspec
from aiokafka.abc import AbstractTokenProvider

from .spec import Security

_TIMEOUT_S = 10.0
_RENEW_AT = 0.8
"""Part of its life after which a token is replaced, as librdkafka does."""


class _Answer(msgspec.Struct, frozen=True):
    """RFC 6749 §5.1."""

    access_token: str
    expires_in: float = 60.0


class TokenProvider(AbstractTokenProvider):  # type: ignore[misc]
    """Gives aiokafka a token for each connection that it makes."""

    def __init__(self, security: Security) -> None:
        self._security = security
        self._token = ""
        self._good_until = 0.0
        self._lock = asyncio.Lock()

    async def token(self) -> str:  # pyright: ignore
        """A token that is good for a while; raises `OSError` where the endpoint gives none."""
        async with self._lock:
            if time.monotonic() >= self._good_until:
                answer = await asyncio.to_thread(self._ask)
                self._token = answer.access_token
                self._good_until = time.monotonic() + answer.expires_in * _RENEW_AT
            return self._token

    def _ask(self) -> _Answer:
        security = self._security
        fields = {"grant_type": "client_credentials"}
        if security.scopes:
            fields["scope"] = " ".join(security.scopes)
        user, secret = (urllib.parse.quote(part or "", safe="") for part in (security.username, security.password))
        request = urllib.request.Request(
            security.token_endpoint or "",
            urllib.parse.urlencode(fields).encode(),
            {"Authorization": "Basic " + b64encode(f"{user}:{secret}".encode()).decode()},
        )
        with urllib.request.urlopen(request, timeout=_TIMEOUT_S) as response:
            try:
                return msgspec.json.decode(response.read(), type=_Answer)
            except msgspec.DecodeError as exc:
                raise OSError("token endpoint: expected a token in JSON, got none") from exc
