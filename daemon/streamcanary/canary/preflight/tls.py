"""The step TLS: does the handshake, and describes the certificate of the endpoint, also if it is rejected."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from streamcanary.canary.preflight.connection import ProxyRefused, open_connection
from streamcanary.canary.preflight.context import DiagnosisContext
from streamcanary.canary.preflight.step_result import StepResult, failed, ok, skipped
from streamcanary.model.diagnosis import Certificate
from streamcanary.model.faults import FaultKind
from streamcanary.transport.tls import TlsFileError, create_tls_context

_DAY = 86400.0
_EXPIRY_WARNING_DAYS = 14  # days before expiry from which the step has a remedy
_ALERT_WAIT = 0.5  # seconds to wait for a TLS alert
_MAX_NAMES = 10
_MAX_NAME_LENGTH = 100
_NO_TLS_REMEDY = "check that this port uses TLS, and that no gateway or firewall closes the connection"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the ssl module does not define

# Of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED = 18
_UNKNOWN_AUTHORITY = frozenset({2, 19, 20, 21})
_WRONG_HOST = frozenset({62, 64})


async def do_tls_handshake(context: DiagnosisContext) -> StepResult:
    """Do the handshake on the open connection, and read the certificate."""
    started = asyncio.get_running_loop().time()
    try:
        # In a thread: it reads files, which takes tens of milliseconds.
        context.tls_context = await asyncio.to_thread(create_tls_context, context.target)
    except TlsFileError as error:
        return failed(FaultKind.TLS_FAILED, str(error), "correct the path, or mount the file")
    if not context.uses_tls:
        return skipped("base_url is http://: requests and the key are not encrypted")
    if context.connection is None:
        raise RuntimeError("no connection")
    context.tls_context.set_alpn_protocols(["http/1.1"])
    try:
        await context.connection.writer.start_tls(context.tls_context, server_hostname=context.host)
    except ssl.SSLCertVerificationError as error:
        remaining = context.timeout - (asyncio.get_running_loop().time() - started)
        context.certificate = await _fetch_rejected_certificate(context, remaining / 2)
        return failed(FaultKind.TLS_FAILED, *_explain_certificate_error(error, context.certificate, context.host))
    except ssl.SSLError as error:
        return failed(FaultKind.TLS_FAILED, *explain_tls_error(error))
    except (OSError, EOFError):
        message = "the connection was closed during the handshake"
        return failed(FaultKind.TLS_FAILED, message, _NO_TLS_REMEDY)
    context.certificate = _parse_certificate(context.connection.writer.get_extra_info("peercert"), context.clock.time())
    version = context.connection.writer.get_extra_info("ssl_object").version()
    return _handshake_result(context.certificate, version)


def on_tls_timeout(context: DiagnosisContext) -> StepResult:
    """Return the result for a server that does not answer the handshake in time."""
    message = f"no answer to the handshake within {context.timeout:g} s"
    return failed(FaultKind.TLS_FAILED, message, _NO_TLS_REMEDY)


def explain_tls_error(error: ssl.SSLError) -> tuple[str, str]:
    """Return why TLS failed, and the remedy."""
    reason = error.reason or "unknown error"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "the server does not use TLS on this port", "check the port, or use http:// if TLS is not intended"
    if "CERTIFICATE_REQUIRED" in reason:
        return "the endpoint requires a client certificate", "set client_cert and client_key"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return f"the endpoint rejects the client certificate ({reason})", "check which authorities the endpoint accepts"
    if "ALERT" in reason or "PROTOCOL" in reason or "CIPHER" in reason:
        return (
            f"no TLS version or cipher in common ({reason})",
            "enable TLS 1.2 or later on the endpoint; or set client_cert if it requires one",
        )
    return f"the handshake failed ({reason})", "check gateways and firewalls between this machine and the endpoint"


async def find_tls_alert(context: DiagnosisContext) -> ssl.SSLError | None:
    """Return the TLS alert that the endpoint sends after the handshake, if any.

    With TLS 1.3 a server rejects a client certificate, or a missing one, only after the handshake. If the client sends
    a request in the meantime, a reset discards the alert. So this sends no request, and waits for the alert.
    """
    if context.tls_context is None or not context.uses_tls:
        return None
    connection = None
    try:
        async with asyncio.timeout(_ALERT_WAIT):
            connection = await open_connection(context)
            await connection.writer.start_tls(context.tls_context, server_hostname=context.host)
            await connection.reader.read(1)
    except ssl.SSLError as alert:
        return alert
    except (OSError, EOFError, ProxyRefused):  # includes TimeoutError: there is no alert
        return None
    finally:
        if connection is not None:
            connection.abort()
    return None


def _explain_certificate_error(
    error: ssl.SSLCertVerificationError, certificate: Certificate | None, host: str
) -> tuple[str, str]:
    """Return why a certificate is rejected, and the remedy."""
    code = error.verify_code
    if code == _EXPIRED:
        when = (
            f" on {_date(certificate.expires)}, {_days(-certificate.days_left)} ago"
            if certificate and certificate.days_left < 0
            else ""
        )
        return (
            f"a certificate has expired{when}{_subject_and_issuer(certificate)}",
            "renew it, or correct the clock of this machine",
        )
    if code == _NOT_YET_VALID:
        return (
            f"the certificate is not valid yet{_subject_and_issuer(certificate)}",
            "check the clock of this machine",
        )
    if code == _SELF_SIGNED:
        return (
            f"the certificate is self-signed{_subject_and_issuer(certificate)}",
            "if you trust it, set it as the target's ca_file",
        )
    if code in _UNKNOWN_AUTHORITY:
        remedy = "if you trust the authority, such as that of a TLS-inspecting proxy, set it as the target's ca_file"
        return (
            f"the certificate is signed by an untrusted authority{_subject_and_issuer(certificate)}",
            remedy,
        )
    if code in _WRONG_HOST:
        names = f"for {', '.join(certificate.names)}, " if certificate and certificate.names else ""
        return f"the certificate is {names}not for {host}", "use a name of the certificate in base_url"
    return f"the certificate is rejected: {error.verify_message}{_subject_and_issuer(certificate)}", "replace it"


def _subject_and_issuer(certificate: Certificate | None) -> str:
    return f" (subject {certificate.subject}, issuer {certificate.issuer})" if certificate else ""


def _handshake_result(certificate: Certificate | None, version: str) -> StepResult:
    if certificate is None:
        return ok(version)
    message = (
        f"{version}, certificate of {certificate.subject}, issued by {certificate.issuer}, "
        f"valid until {_date(certificate.expires)} ({_days(certificate.days_left)} left)"
    )
    return ok(message, "renew the certificate" if certificate.days_left < _EXPIRY_WARNING_DAYS else "")


async def _fetch_rejected_certificate(context: DiagnosisContext, seconds: float) -> Certificate | None:
    """Return the certificate that was rejected, or ``None`` if it cannot be fetched within ``seconds``.

    The ssl module parses only certificates that it trusts. So one further handshake fetches the bytes, and a second one
    trusts exactly these, without regard to time and host. No data is sent on either connection.
    """
    unverified_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified_context.check_hostname = False
    unverified_context.verify_mode = ssl.CERT_NONE
    pinned_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pinned_context.check_hostname = False
    pinned_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        async with asyncio.timeout(seconds):
            unverified = await _handshake_with(context, unverified_context)
            pinned_context.load_verify_locations(cadata=unverified.getpeercert(binary_form=True) or b"")
            pinned = await _handshake_with(context, pinned_context)
            return _parse_certificate(pinned.getpeercert(), context.clock.time())
    except (OSError, EOFError, ValueError, ProxyRefused):  # the step fails in any case, without these details
        return None


async def _handshake_with(context: DiagnosisContext, tls_context: ssl.SSLContext) -> ssl.SSLObject:
    connection = await open_connection(context)
    try:
        await connection.writer.start_tls(tls_context, server_hostname=context.host)
        peer: ssl.SSLObject = connection.writer.get_extra_info("ssl_object")
        return peer
    finally:
        connection.abort()


def _parse_certificate(peercert: Any, now: float) -> Certificate | None:
    """Return the certificate from :meth:`ssl.SSLSocket.getpeercert`, ``None`` if that is empty."""
    if not peercert:
        return None
    expires = float(ssl.cert_time_to_seconds(peercert["notAfter"]))
    return Certificate(
        subject=_common_name(peercert.get("subject", ())),
        issuer=_common_name(peercert.get("issuer", ())),
        expires=expires,
        days_left=(expires - now) / _DAY,
        names=tuple(_subject_alt_names(peercert.get("subjectAltName", ()))),
    )


def _common_name(parts: Any) -> str:
    """Return the common name, with the organisation where there is one."""
    known = {key: value for part in parts for key, value in part}
    name = known.get("commonName") or known.get("organizationalUnitName") or ""
    organisation = known.get("organizationName") or ""
    text = f"{name} ({organisation})" if name and organisation else name or organisation or "unknown"
    return text[:_MAX_NAME_LENGTH]


def _subject_alt_names(entries: Any) -> Iterator[str]:
    for kind, value in entries[:_MAX_NAMES]:
        if kind == "IP Address":
            yield str(ip_address(value.strip()))
        else:
            yield value[:_MAX_NAME_LENGTH]


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _days(count: float) -> str:
    return f"{count:.0f} days" if round(count) != 1 else "1 day"
