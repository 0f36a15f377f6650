"""The TLS handshake, and the certificate that the endpoint shows: in plain words, also when it is refused."""

import asyncio
import ssl
from collections.abc import Iterator
from datetime import UTC, datetime
from ipaddress import ip_address
from typing import Any

from streamcanary.canary.preflight.connection import ProxyRefused, open_wire
from streamcanary.canary.preflight.context import Walk
from streamcanary.canary.preflight.step_result import Finding, broken, good, skipped
from streamcanary.model.diagnosis import Certificate
from streamcanary.model.faults import FaultKind
from streamcanary.transport.tls import TrustUnusable, open_trust

_DAY = 86400.0
_SOON = 14  # days before its end from which a certificate is worth a word
_LISTEN = 0.5  # seconds that an endpoint gets to object
_MOST_NAMES = 10
_LONGEST_NAME = 100
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME, which the ssl module has no name for

# Of OpenSSL's x509_vfy.h.
_NOT_YET_VALID, _EXPIRED = 9, 10
_SIGNED_BY_ITSELF = 18
_UNKNOWN_AUTHORITY = frozenset({2, 19, 20, 21})
_WRONG_HOST = frozenset({62, 64})


async def shake_hands(walk: Walk) -> Finding:
    """Do the handshake on the open connection, and read the certificate."""
    begun = asyncio.get_running_loop().time()
    try:
        walk.trust = await asyncio.to_thread(open_trust, walk.target)  # reads files, in tens of milliseconds
    except TrustUnusable as error:
        return broken(FaultKind.TLS_FAILED, str(error), "correct the path, or mount the file")
    if not walk.encrypted:
        return skipped("the address is http://: nothing is encrypted, not even the key")
    if walk.wire is None:
        raise RuntimeError("there is no connection to shake hands on")
    walk.trust.set_alpn_protocols(["http/1.1"])
    try:
        await walk.wire.writer.start_tls(walk.trust, server_hostname=walk.host)
    except ssl.SSLCertVerificationError as refusal:
        left = walk.timeout - (asyncio.get_running_loop().time() - begun)
        walk.certificate = await _look_at_refused(walk, left / 2)
        return broken(FaultKind.TLS_FAILED, *_explain(refusal, walk.certificate, walk.host))
    except ssl.SSLError as error:
        return broken(FaultKind.TLS_FAILED, *explain_tls(error))
    except (OSError, EOFError):
        says = "the connection was closed in the middle of the handshake"
        return broken(FaultKind.TLS_FAILED, says, "see whether this port speaks TLS, and what is on the way to it")
    walk.certificate = _read(walk.wire.writer.get_extra_info("peercert"), walk.clock.time())
    version = walk.wire.writer.get_extra_info("ssl_object").version()
    return _describe(walk.certificate, version)


def late_handshake(walk: Walk) -> Finding:
    """Return that the other side kept silent."""
    says = f"no answer to the handshake within {walk.timeout:g} s"
    return broken(FaultKind.TLS_FAILED, says, "see whether this port speaks TLS, and what is on the way to it")


def explain_tls(error: ssl.SSLError) -> tuple[str, str]:
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


async def find_objection(walk: Walk) -> ssl.SSLError | None:
    """Return what the endpoint objects to after the handshake, if it does.

    With TLS 1.3 it refuses our certificate, or the lack of one, only then; and what it says is lost in a reset when we
    have sent a request meanwhile. So this sends none, and listens.
    """
    if walk.trust is None or not walk.encrypted:
        return None
    wire = None
    try:
        async with asyncio.timeout(_LISTEN):
            wire = await open_wire(walk)
            await wire.writer.start_tls(walk.trust, server_hostname=walk.host)
            await wire.reader.read(1)
    except ssl.SSLError as objection:
        return objection
    except (OSError, EOFError, ProxyRefused):  # TimeoutError is one: no objection
        return None
    finally:
        if wire is not None:
            wire.drop()
    return None


def _explain(refusal: ssl.SSLCertVerificationError, shown: Certificate | None, host: str) -> tuple[str, str]:
    """Return in plain words why a certificate is refused, and what would help."""
    code = refusal.verify_code
    if code == _EXPIRED:
        when = f" on {_date(shown.expires)}, {_days(-shown.days_left)} ago" if shown and shown.days_left < 0 else ""
        return f"a certificate has expired{when}{_whose(shown)}", "have it renewed; or is the clock here wrong?"
    if code == _NOT_YET_VALID:
        return f"the certificate is not valid yet{_whose(shown)}", "see whether the clock of this machine is right"
    if code == _SIGNED_BY_ITSELF:
        return (
            f"the certificate is signed by itself{_whose(shown)}",
            "if it is your own, give it as the target's ca_file",
        )
    if code in _UNKNOWN_AUTHORITY:
        remedy = "if the authority is your own, or that of a proxy which opens TLS, give it as the target's ca_file"
        return f"the certificate is signed by an authority that is not trusted here{_whose(shown)}", remedy
    if code in _WRONG_HOST:
        names = f"for {', '.join(shown.names)}, " if shown and shown.names else ""
        return f"the certificate is {names}not for {host}", "put a name into base_url that the certificate has"
    return f"the certificate is refused: {refusal.verify_message}{_whose(shown)}", "have it replaced"


def _whose(shown: Certificate | None) -> str:
    return f" (subject {shown.subject}, issuer {shown.issuer})" if shown else ""


def _describe(shown: Certificate | None, version: str) -> Finding:
    if shown is None:
        return good(version)
    says = (
        f"{version}, certificate of {shown.subject}, issued by {shown.issuer}, "
        f"good until {_date(shown.expires)} ({_days(shown.days_left)} left)"
    )
    return good(says, "have the certificate renewed" if shown.days_left < _SOON else "")


async def _look_at_refused(walk: Walk, seconds: float) -> Certificate | None:
    """Return the certificate that was refused, or ``None`` if it cannot be had again in that many ``seconds``.

    The ssl module takes certificates apart only once they are trusted. So the first further handshake fetches the
    bytes, and a second one trusts exactly these, whatever their time and host. Nothing is sent on either.
    """
    blind = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    blind.check_hostname = False
    blind.verify_mode = ssl.CERT_NONE
    lenient = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    lenient.check_hostname = False
    lenient.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        async with asyncio.timeout(seconds):
            seen = await _peer(walk, blind)
            lenient.load_verify_locations(cadata=seen.getpeercert(binary_form=True) or b"")
            known = await _peer(walk, lenient)
            return _read(known.getpeercert(), walk.clock.time())
    except (OSError, EOFError, ValueError, ProxyRefused):  # the refusal is told all the same, without the details
        return None


async def _peer(walk: Walk, context: ssl.SSLContext) -> ssl.SSLObject:
    wire = await open_wire(walk)
    try:
        await wire.writer.start_tls(context, server_hostname=walk.host)
        peer: ssl.SSLObject = wire.writer.get_extra_info("ssl_object")
        return peer
    finally:
        wire.drop()


def _read(shown: Any, now: float) -> Certificate | None:
    """Return what :meth:`ssl.SSLSocket.getpeercert` tells of a certificate."""
    if not shown:
        return None
    expires = float(ssl.cert_time_to_seconds(shown["notAfter"]))
    return Certificate(
        subject=_name(shown.get("subject", ())),
        issuer=_name(shown.get("issuer", ())),
        expires=expires,
        days_left=(expires - now) / _DAY,
        names=tuple(_alternatives(shown.get("subjectAltName", ()))),
    )


def _name(parts: Any) -> str:
    """Return the common name, with the organisation where there is one."""
    known = {key: value for part in parts for key, value in part}
    name = known.get("commonName") or known.get("organizationalUnitName") or ""
    organisation = known.get("organizationName") or ""
    told = f"{name} ({organisation})" if name and organisation else name or organisation or "nobody"
    return told[:_LONGEST_NAME]


def _alternatives(pairs: Any) -> Iterator[str]:
    for kind, value in pairs[:_MOST_NAMES]:
        if kind == "IP Address":
            yield str(ip_address(value.strip()))
        else:
            yield value[:_LONGEST_NAME]


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")


def _days(count: float) -> str:
    return f"{count:.0f} days" if round(count) != 1 else "1 day"
