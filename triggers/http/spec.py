"""The section of func.yaml for `kind: http`."""

import re

import msgspec

from ..errors import SpecError
from ..protocols import Capabilities
from ..references import References, has_references
from ..units import Seconds

CAPABILITIES = Capabilities(backlog=True, wake=True)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # RFC 9110 §5.6.2
# RFC 6454 §6.2: scheme, host and port as a browser sends them in `Origin`: lower case, no path
_ORIGIN = re.compile(r"null|[a-z][a-z0-9+.-]*://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(:\d+)?")


class Tls(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """TLS on the function's listener, 1.2 or later.

    Attributes:
        certificate: The chain in PEM, the function's own certificate first.
        key: Its private key in PEM, without a passphrase.
    """

    certificate: str
    key: str


class Cors(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="camel"):
    """Which web pages of other origins may call the function (Fetch standard, "CORS protocol").

    Attributes:
        allow_origins: Origins such as `https://app.example.com`, or `*` alone for any.
        allow_methods: Methods that they may use.
        allow_headers: Request headers that they may set; `*` alone for any.
        expose_headers: Response headers that they may read.
        allow_credentials: They may send cookies; not together with `*` origins.
        max_age: How long a browser may remember the answer to its preflight request.
    """

    allow_origins: tuple[str, ...]
    allow_methods: tuple[str, ...] = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")
    allow_headers: tuple[str, ...] = ("*",)
    expose_headers: tuple[str, ...] = ()
    allow_credentials: bool = False
    max_age: Seconds = Seconds(600)


class HttpTrigger(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    rename="camel",
    tag_field="kind",
    tag="http",
):
    """Requests on the function's one listener.

    Attributes:
        name: Unique in the function.
        tls: Certificate and key; without it the listener speaks plain HTTP.
        cors: For calls from web pages of other origins; without it the runtime adds no CORS headers.
        api_keys: Who may call: a line `name:<SHA-256 of the key, in hex>` for each key, from a secret. Requests
            need one of the keys then; `func config keys create` makes them.
    """

    name: str
    tls: Tls | None = None
    cors: Cors | None = None
    api_keys: str | None = None


def resolve(spec: HttpTrigger, references: References) -> HttpTrigger:
    """`spec` with every reference in its strings replaced, checked again with the values in.

    Raises:
        ReferenceMissing: Naming each place that was looked in.
        SpecError: A value is not what its place asks for.
    """
    at = f"triggers.{spec.name}"
    tls, cors, keys = spec.tls, spec.cors, spec.api_keys
    if tls is not None:
        tls = Tls(
            certificate=references.resolve(tls.certificate, f"{at}.tls.certificate"),
            key=references.resolve(tls.key, f"{at}.tls.key"),
        )
    if cors is not None:
        origins = references.resolve(cors.allow_origins, f"{at}.cors.allowOrigins")
        cors = msgspec.structs.replace(cors, allow_origins=tuple(origins))
    if keys is not None:
        keys = references.resolve(keys, f"{at}.apiKeys")
    resolved = msgspec.structs.replace(spec, tls=tls, cors=cors, api_keys=keys)
    check(resolved, at)
    return resolved


def check(spec: HttpTrigger, at: str) -> None:
    """Raise `SpecError` where browsers or Python's TLS would only fail later; strings with references pass."""
    if spec.cors is not None:
        _check_cors(spec.cors, f"{at}.cors")
    if spec.tls is not None:
        for name, value in (("certificate", spec.tls.certificate), ("key", spec.tls.key)):
            if "-----BEGIN " not in value and not has_references(value):
                raise SpecError(
                    f"expected PEM text, or a reference such as `{{{{ secret:tls:{name} }}}}`, got neither "
                    f"- at `{at}.tls.{name}`"
                )
    if spec.api_keys is not None and not spec.api_keys.strip():
        raise SpecError(f"expected a reference such as `{{{{ secret:http:keys }}}}`, got nothing - at `{at}.apiKeys`")


def _check_cors(cors: Cors, at: str) -> None:
    if not cors.allow_origins:
        raise SpecError(f"expected at least one origin, got none - at `{at}.allowOrigins`")
    for index, origin in enumerate(cors.allow_origins):
        if origin == "*":
            if cors.allow_credentials:
                raise SpecError(
                    "expected origins by name, since browsers take no `*` with `allowCredentials`, got `*` "
                    f"- at `{at}.allowOrigins[{index}]`"
                )
            if len(cors.allow_origins) > 1:
                raise SpecError(f"expected `*` alone, got other origins beside it - at `{at}.allowOrigins[{index}]`")
        elif not _ORIGIN.fullmatch(origin) and not has_references(origin):
            raise SpecError(
                f"expected an origin such as `https://app.example.com`, got `{origin}` "
                f"- at `{at}.allowOrigins[{index}]`"
            )
    for key, names in (
        ("allowMethods", cors.allow_methods),
        ("allowHeaders", cors.allow_headers),
        ("exposeHeaders", cors.expose_headers),
    ):
        for index, name in enumerate(names):
            if not _TOKEN.fullmatch(name):
                raise SpecError(f"expected a name without blanks, got `{name}` - at `{at}.{key}[{index}]`")
