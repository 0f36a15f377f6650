"""Whom a connection trusts, and as whom it shows itself: the TLS context."""

import os
import ssl
from pathlib import Path

import httpx2

from streamcanary.transport.way import Way


class TrustUnusable(Exception):
    """A file of certificates or keys cannot be used; the message names it."""


def open_trust(way: Way) -> ssl.SSLContext:
    """Return the TLS context for ``way``. Reads files, and takes tens of milliseconds.

    Trusted are the authorities in ``ca_file`` and no others; without it those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``,
    or else the system's. ``client_cert`` and ``client_key`` are shown to a server that asks.

    Raises:
        TrustUnusable: if a file is missing, or is not what it should be.
    """
    context = _own_authorities(way.ca_file) if way.ca_file is not None else _common_authorities()
    if way.client_cert is not None:
        _show(context, way.client_cert, way.client_key)
    return context


def _own_authorities(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise TrustUnusable(f"ca_file {file} holds no certificates in PEM") from None
    except OSError as error:
        raise TrustUnusable(f"ca_file {file} cannot be read: {error.strerror}") from None
    return context


def _common_authorities() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except OSError as error:  # an ssl.SSLError is one
        why = "holds no certificates in PEM" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), "the system's store")
        raise TrustUnusable(f"{name} {os.environ.get(name, 'of certificates')} {why}") from None


def _show(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        # Without a password given, OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise TrustUnusable(f"client_key {key or certificate} does not belong to client_cert") from None
        where = f"client_cert {certificate}" + (f" or client_key {key}" if key else " (with its key in it)")
        raise TrustUnusable(f"{where} is not PEM, or is protected by a password") from None
    except OSError as error:
        named = " and ".join(str(file) for file in (certificate, key) if file is not None)
        raise TrustUnusable(f"client_cert and client_key ({named}) cannot be read: {error.strerror}") from None
