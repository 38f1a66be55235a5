"""TLS on the listener: a certificate and key as text become what `ssl` wants.

Imported by functions that have a certificate alone: `ssl` costs 10 ms of a cold start. What does not belong here:
connections (`listener`).
"""

import os
import ssl

from headrace.triggers.errors import UsageError
from headrace.triggers.http.spec import Tls


def server_context(tls: Tls, at: str) -> ssl.SSLContext:
    """TLS 1.2 or later for the server's side.

    Args:
        tls: References resolved.
        at: Where it stands in func.yaml, for errors.

    Raises:
        UsageError: Certificate and key are none, or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    # `load_cert_chain` takes paths alone; these files are in memory, so that no key comes to lie on a disk
    files = [_in_memory(name, text) for name, text in (("certificate", tls.certificate), ("key", tls.key))]
    try:
        certificate, key = (f"/proc/self/fd/{file}" for file in files)
        context.load_cert_chain(certificate, key, password=_no_passphrase)
    except (ssl.SSLError, ValueError) as exc:
        reason = getattr(exc, "reason", None) or exc
        raise UsageError(
            "TLS: expected a certificate chain and its key in PEM, without a passphrase, got neither "
            f"({reason}) - at `{at}`"
        ) from None
    finally:
        for file in files:
            os.close(file)
    return context


def _in_memory(name: str, text: str) -> int:
    file = os.memfd_create(name)
    data = text.encode()
    while data:
        data = data[os.write(file, data) :]
    return file


def _no_passphrase() -> bytes:
    """Instead of asking on the terminal."""
    return b""
