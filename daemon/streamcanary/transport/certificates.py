"""When the certificates of a TLS connection expire.

Every certificate from the server's to the authority is needed, and the first that expires breaks the connection. The
verified chain counts, not the one that the server sent: that may have certificates that no client needs, such as an
expired authority for old clients. If the verification failed, it is the chain that the server sent.

Python has a public function for chains from 3.13 on, which returns only bytes; the one of ``_ssl`` below it decodes
certificates, since 3.10. Without it, the server's own certificate is used.
"""

import ssl
from collections.abc import Iterable
from contextlib import suppress
from functools import lru_cache
from typing import Any, Final

_MAX_CERTIFICATES: Final = 20
_EXPIRY_ATTRIBUTE: Final = "streamcanary_certificate_expiry"


class ExpiryRecordingObject(ssl.SSLObject):
    """A TLS object whose verification error has the expiry of the rejected certificates.

    Set it as the ``sslobject_class`` of a context. A rejected certificate is not accessible in another way.
    """

    def do_handshake(self) -> None:
        """Do the handshake, as the base class does."""
        try:
            super().do_handshake()
        except ssl.SSLCertVerificationError as error:
            setattr(error, _EXPIRY_ATTRIBUTE, earliest_expiry(self))
            raise


def earliest_expiry(connection: object) -> float | None:
    """Return when the first certificate of ``connection`` expires, in seconds since the epoch.

    ``connection`` is an ``ssl.SSLObject`` or ``ssl.SSLSocket``. ``None`` if there is no certificate that can be read.
    """
    try:
        internal: Any = connection._sslobj  # type: ignore[attr-defined] # of the ssl module
        chain = () if internal is None else internal.get_verified_chain() or internal.get_unverified_chain() or ()
        expiries = [_expiry_of(certificate) for certificate in chain[:_MAX_CERTIFICATES]]
    except (AttributeError, TypeError):  # another version of Python, or another TLS library
        expiries = [_expiry_of_leaf(connection)]
    return min((expiry for expiry in expiries if expiry is not None), default=None)


def known_expiry(connection: object) -> float | None:
    """Return :func:`earliest_expiry` of an open ``connection``; it is determined once, however often it is reused."""
    expiry: float | None = getattr(connection, _EXPIRY_ATTRIBUTE, None)
    if expiry is None:
        expiry = earliest_expiry(connection)
        with suppress(AttributeError):  # a connection of another TLS library
            setattr(connection, _EXPIRY_ATTRIBUTE, expiry)
    return expiry


def expiry_of_rejected(error: BaseException | None) -> float | None:
    """Return :func:`earliest_expiry` of the certificates whose rejection caused ``error``, if it is known."""
    for link in _causes(error):
        expiry = getattr(link, _EXPIRY_ATTRIBUTE, None)
        if isinstance(expiry, float):
            return expiry
    return None


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


@lru_cache(maxsize=1024)  # by the certificate itself, so that a handshake costs microseconds
def _expiry_of(certificate: Any) -> float | None:
    """Return the end of the validity of a certificate of ``_ssl``; ``None`` if it cannot be decoded."""
    try:
        return float(ssl.cert_time_to_seconds(certificate.get_info()["notAfter"]))
    except (KeyError, ValueError, ssl.SSLError):
        return None


def _expiry_of_leaf(connection: Any) -> float | None:
    """Return when the server's own certificate expires; ``None`` if it was not verified, and so is not decoded."""
    try:
        certificate = connection.getpeercert()
        return float(ssl.cert_time_to_seconds(certificate["notAfter"])) if certificate else None
    except (AttributeError, KeyError, TypeError, ValueError):
        return None
