"""Whom a connection trusts, and as whom it shows itself: the TLS context."""

import os
import ssl
import stat
from collections.abc import Iterator
from pathlib import Path

import httpx2

from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.transport.connection_settings import ConnectionSettings


class TlsFileError(Exception):
    """A file of certificates or keys cannot be used; the message names it.

    ``setting`` is the key of the :class:`Way` that names the file, empty if the environment does.
    """

    def __init__(self, message: str, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


def tls_file_errors(settings: ConnectionSettings) -> Iterator[ConfigIssue]:
    """Yield why a file that ``way`` names cannot be used, by its key; nothing if it names none. Reads files."""
    found = False
    for setting in ("ca_file", "client_cert", "client_key"):
        if (file := getattr(settings, setting)) is not None and (why := _unreadable_reason(file)):
            found = True
            yield ConfigIssue((setting,), f"{setting} {file} {why}; give the path of a file in PEM")
    if settings.tls_files and not found:
        try:
            create_tls_context(settings)
        except TlsFileError as error:
            if error.setting:
                yield ConfigIssue((error.setting,), str(error))


def _unreadable_reason(file: Path) -> str | None:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # to open a pipe would wait for somebody to write into it
            return "is not a regular file"
        with file.open("rb"):
            return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def create_tls_context(settings: ConnectionSettings) -> ssl.SSLContext:
    """Return the TLS context for ``way``. Reads files, and takes tens of milliseconds.

    Trusted are the authorities in ``ca_file`` and no others; without it those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``,
    or else the system's. ``client_cert`` and ``client_key`` are shown to a server that asks.

    Raises:
        TrustUnusable: if a file is missing, or is not what it should be.
    """
    context = _context_from_ca_file(settings.ca_file) if settings.ca_file is not None else _default_context()
    if settings.client_cert is not None:
        _load_client_certificate(context, settings.client_cert, settings.client_key)
    return context


def _context_from_ca_file(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise TlsFileError(f"ca_file {file} holds no certificates in PEM", "ca_file") from None
    except OSError as error:
        raise TlsFileError(f"ca_file {file} cannot be read: {error.strerror}", "ca_file") from None
    return context


def _default_context() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except OSError as error:  # an ssl.SSLError is one
        why = "holds no certificates in PEM" if isinstance(error, ssl.SSLError) else f"cannot be read: {error.strerror}"
        name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), "the system's store")
        raise TlsFileError(f"{name} {os.environ.get(name, 'of certificates')} {why}") from None


def _load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        # Without a password given, OpenSSL would ask for one on the terminal, and wait.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"client_key {key or certificate} does not belong to client_cert"
            raise TlsFileError(message, "client_key" if key else "client_cert") from None
        where = f"client_cert {certificate}" + (f" or client_key {key}" if key else " (with its key in it)")
        raise TlsFileError(f"{where} is not PEM, or is protected by a password", "client_cert") from None
    except OSError as error:
        named = " and ".join(str(file) for file in (certificate, key) if file is not None)
        message = f"client_cert and client_key ({named}) cannot be read: {error.strerror}"
        raise TlsFileError(message, "client_cert") from None
