"""Creates TLS contexts: trusted authorities and client certificates."""

import os
import ssl
import stat
from collections.abc import Hashable, Iterable, Iterator
from pathlib import Path

import httpx2

from streamcanary.model.config_types.config_issue import ConfigIssue
from streamcanary.transport.certificates import ExpiryRecordingObject
from streamcanary.transport.connection_settings import ConnectionSettings


class TlsFileError(Exception):
    """A certificate or key file cannot be used; the message has its path.

    ``setting`` is the key of :class:`ConnectionSettings` that has the path, empty if an environment variable has it.
    """

    def __init__(self, message: str, setting: str = "") -> None:
        super().__init__(message)
        self.setting = setting


def tls_file_errors(settings: ConnectionSettings) -> Iterator[ConfigIssue]:
    """Yield a config error for each file of ``settings`` that cannot be used. Reads the files."""
    found = False
    for setting in ("ca_file", "client_cert", "client_key"):
        if (file := getattr(settings, setting)) is not None and (reason := _unreadable_reason(file)):
            found = True
            yield ConfigIssue((setting,), f"{setting} {file} {reason}; write the path of a PEM file")
    if settings.tls_files and not found:
        try:
            create_tls_context(settings)
        except TlsFileError as error:
            if error.setting:
                yield ConfigIssue((error.setting,), str(error))


def _unreadable_reason(file: Path) -> str | None:
    try:
        if not stat.S_ISREG(file.stat().st_mode):  # opening a pipe would block until something writes to it
            return "is not a regular file"
        with file.open("rb"):
            return None
    except OSError as error:
        return f"cannot be read: {error.strerror}"


def create_tls_context(settings: ConnectionSettings) -> ssl.SSLContext:
    """Return the TLS context for ``settings``. Reads files, which takes tens of milliseconds.

    The context trusts only the authorities in ``ca_file``; without it those of ``SSL_CERT_FILE`` or ``SSL_CERT_DIR``,
    or else those of the system. ``client_cert`` and ``client_key`` are sent to servers that request them.

    Raises:
        TlsFileError: if a file is missing or invalid.
    """
    context = _context_from_ca_file(settings.ca_file) if settings.ca_file is not None else _default_context()
    context.sslobject_class = ExpiryRecordingObject
    if settings.client_cert is not None:
        _load_client_certificate(context, settings.client_cert, settings.client_key)
    return context


def tls_context_for(settings: ConnectionSettings, *, is_encrypted: bool) -> ssl.SSLContext:
    """Return the TLS context for ``settings``; for connections without TLS, one that trusts no authority.

    The authorities of the system take a megabyte in each context, and tens of milliseconds to read. Files of
    ``settings`` are read in any case.

    Raises:
        TlsFileError: if a file is missing or invalid.
    """
    if is_encrypted or settings.tls_files:
        return create_tls_context(settings)
    return ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def file_fingerprint(files: Iterable[Path]) -> Hashable:
    """Return a value that changes when one of ``files`` changes."""
    stamps: list[tuple[int, int, int] | None] = []
    for file in files:
        try:
            status = file.stat()
        except (OSError, ValueError):
            stamps.append(None)
        else:
            stamps.append((status.st_ino, status.st_size, status.st_mtime_ns))
    return tuple(stamps)


def _context_from_ca_file(file: Path) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.load_verify_locations(cafile=file)
    except ssl.SSLError:
        raise TlsFileError(f"ca_file {file} contains no PEM certificates", "ca_file") from None
    except OSError as error:
        raise TlsFileError(f"ca_file {file} cannot be read: {error.strerror}", "ca_file") from None
    return context


def _default_context() -> ssl.SSLContext:
    try:
        return httpx2.create_ssl_context()
    except OSError as error:  # includes ssl.SSLError
        is_invalid = isinstance(error, ssl.SSLError)
        reason = "contains no PEM certificates" if is_invalid else f"cannot be read: {error.strerror}"
        name = next((name for name in ("SSL_CERT_FILE", "SSL_CERT_DIR") if os.environ.get(name)), "the system's store")
        raise TlsFileError(f"{name} {os.environ.get(name, 'of certificates')} {reason}") from None


def _load_client_certificate(context: ssl.SSLContext, certificate: Path, key: Path | None) -> None:
    try:
        # Without a password argument, OpenSSL would prompt for one on the terminal and block.
        context.load_cert_chain(certificate, key, password="")
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            message = f"client_key {key or certificate} does not belong to client_cert"
            raise TlsFileError(message, "client_key" if key else "client_cert") from None
        files = f"client_cert {certificate}" + (f" or client_key {key}" if key else " (with its key)")
        raise TlsFileError(f"{files} is not PEM, or is protected by a password", "client_cert") from None
    except OSError as error:
        paths = " and ".join(str(file) for file in (certificate, key) if file is not None)
        message = f"client_cert and client_key ({paths}) cannot be read: {error.strerror}"
        raise TlsFileError(message, "client_cert") from None
