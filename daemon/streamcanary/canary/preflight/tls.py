"""The TLS handshake, and the certificate that the endpoint shows: in plain words, also when it is refused."""

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
_EXPIRY_WARNING_DAYS = 14  # days before its end from which a certificate is worth a word
_ALERT_WAIT = 0.5  # seconds that an endpoint gets to object
_MAX_NAMES = 10
_MAX_NAME_LENGTH = 100
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for

# Of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SELF_SIGNED = 18
_UNKNOWN_AUTHORITY = frozenset({2, 19, 20, 21})
_WRONG_HOST = frozenset({62, 64})


async def do_tls_handshake(context: DiagnosisContext) -> StepResult:
    """Do the handshake on the open connection, and read the certificate."""
    begun = asyncio.get_running_loop().time()
    try:
        context.tls_context = await asyncio.to_thread(
            create_tls_context, context.target
        )  # reads files, in tens of milliseconds
    except TlsFileError as error:
        return failed(FaultKind.TLS_FAILED, str(error), "correct the path, or mount the file")
    if not context.uses_tls:
        return skipped("the address is http://: nothing is encrypted, not even the key")
    if context.connection is None:
        raise RuntimeError("there is no connection to shake hands on")
    context.tls_context.set_alpn_protocols(["http/1.1"])
    try:
        await context.connection.writer.start_tls(context.tls_context, server_hostname=context.host)
    except ssl.SSLCertVerificationError as refusal:
        left = context.timeout - (asyncio.get_running_loop().time() - begun)
        context.certificate = await _fetch_rejected_certificate(context, left / 2)
        return failed(FaultKind.TLS_FAILED, *_explain_certificate_error(refusal, context.certificate, context.host))
    except ssl.SSLError as error:
        return failed(FaultKind.TLS_FAILED, *explain_tls_error(error))
    except (OSError, EOFError):
        says = "the connection was closed in the middle of the handshake"
        return failed(FaultKind.TLS_FAILED, says, "see whether this port speaks TLS, and what is on the way to it")
    context.certificate = _parse_certificate(context.connection.writer.get_extra_info("peercert"), context.clock.time())
    version = context.connection.writer.get_extra_info("ssl_object").version()
    return _handshake_result(context.certificate, version)


def on_tls_timeout(context: DiagnosisContext) -> StepResult:
    """Return that the other side kept silent."""
    message = f"no answer to the handshake within {context.timeout:g} s"
    return failed(FaultKind.TLS_FAILED, message, "see whether this port speaks TLS, and what is on the way to it")


def explain_tls_error(error: ssl.SSLError) -> tuple[str, str]:
    """Return in plain words why TLS failed, and what would help."""
    reason = error.reason or "unknown error"
    if reason in ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE", "PACKET_LENGTH_TOO_LONG"):
        return "what answers there does not speak TLS", "check the port, or write http:// if it is meant to be plain"
    if "CERTIFICATE_REQUIRED" in reason:
        return "the endpoint wants a client certificate", "set client_cert and client_key"
    if "ALERT" in reason and ("CERTIFICATE" in reason or "UNKNOWN_CA" in reason):
        return f"the endpoint refuses our client certificate ({reason})", "see which authorities it takes one from"
    if "ALERT" in reason or "PROTOCOL" in reason or "CIPHER" in reason:
        return (
            f"no TLS version or cipher in common ({reason})",
            "have it speak TLS 1.2 or later; or does it want a client_cert?",
        )
    return f"the handshake failed ({reason})", "see what is on the way to the endpoint"


async def find_tls_alert(context: DiagnosisContext) -> ssl.SSLError | None:
    """Return what the endpoint objects to after the handshake, if it does.

    With TLS 1.3 it refuses our certificate, or the lack of one, only then; and what it says is lost in a reset when we
    have sent a request meanwhile. So this sends none, and listens.
    """
    if context.tls_context is None or not context.uses_tls:
        return None
    connection = None
    try:
        async with asyncio.timeout(_ALERT_WAIT):
            connection = await open_connection(context)
            await connection.writer.start_tls(context.tls_context, server_hostname=context.host)
            await connection.reader.read(1)
    except ssl.SSLError as objection:
        return objection
    except (OSError, EOFError, ProxyRefused):  # TimeoutError is one: no objection
        return None
    finally:
        if connection is not None:
            connection.abort()
    return None


def _explain_certificate_error(
    error: ssl.SSLCertVerificationError, certificate: Certificate | None, host: str
) -> tuple[str, str]:
    """Return in plain words why a certificate is refused, and what would help."""
    code = error.verify_code
    if code == _EXPIRED:
        when = (
            f" on {_date(certificate.expires)}, {_days(-certificate.days_left)} ago"
            if certificate and certificate.days_left < 0
            else ""
        )
        return (
            f"a certificate has expired{when}{_subject_and_issuer(certificate)}",
            "have it renewed; or is the clock here wrong?",
        )
    if code == _NOT_YET_VALID:
        return (
            f"the certificate is not valid yet{_subject_and_issuer(certificate)}",
            "see whether the clock of this machine is right",
        )
    if code == _SELF_SIGNED:
        return (
            f"the certificate is signed by itself{_subject_and_issuer(certificate)}",
            "if it is your own, give it as the target's ca_file",
        )
    if code in _UNKNOWN_AUTHORITY:
        remedy = "if the authority is your own, or that of a proxy which opens TLS, give it as the target's ca_file"
        return (
            f"the certificate is signed by an authority that is not trusted here{_subject_and_issuer(certificate)}",
            remedy,
        )
    if code in _WRONG_HOST:
        names = f"for {', '.join(certificate.names)}, " if certificate and certificate.names else ""
        return f"the certificate is {names}not for {host}", "put a name into base_url that the certificate has"
    return f"the certificate is refused: {error.verify_message}{_subject_and_issuer(certificate)}", "have it replaced"


def _subject_and_issuer(certificate: Certificate | None) -> str:
    return f" (subject {certificate.subject}, issuer {certificate.issuer})" if certificate else ""


def _handshake_result(certificate: Certificate | None, version: str) -> StepResult:
    if certificate is None:
        return ok(version)
    says = (
        f"{version}, certificate of {certificate.subject}, issued by {certificate.issuer}, "
        f"good until {_date(certificate.expires)} ({_days(certificate.days_left)} left)"
    )
    return ok(says, "have the certificate renewed" if certificate.days_left < _EXPIRY_WARNING_DAYS else "")


async def _fetch_rejected_certificate(context: DiagnosisContext, seconds: float) -> Certificate | None:
    """Return the certificate that was refused, or ``None`` if it cannot be had again in that many ``seconds``.

    The ssl module takes certificates apart only once they are trusted. So the first further handshake fetches the
    bytes, and a second one trusts exactly these, whatever their time and host. Nothing is sent on either.
    """
    unverified_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified_context.check_hostname = False
    unverified_context.verify_mode = ssl.CERT_NONE
    pinned_context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    pinned_context.check_hostname = False
    pinned_context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        async with asyncio.timeout(seconds):
            seen = await _handshake_with(context, unverified_context)
            pinned_context.load_verify_locations(cadata=seen.getpeercert(binary_form=True) or b"")
            known = await _handshake_with(context, pinned_context)
            return _parse_certificate(known.getpeercert(), context.clock.time())
    except (OSError, EOFError, ValueError, ProxyRefused):  # the refusal is told all the same, without the details
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
    """Return what :meth:`ssl.SSLSocket.getpeercert` tells of a certificate."""
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
    text = f"{name} ({organisation})" if name and organisation else name or organisation or "nobody"
    return text[:_MAX_NAME_LENGTH]


def _subject_alt_names(pairs: Any) -> Iterator[str]:
    for kind, value in pairs[:_MAX_NAMES]:
        if kind == "IP Address":
            yield str(ip_address(value.strip()))
        else:
            yield value[:_MAX_NAME_LENGTH]


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _days(count: float) -> str:
    return f"{count:.0f} days" if round(count) != 1 else "1 day"
