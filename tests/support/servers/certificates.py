"""Test certificates, each with its key in the same file; most are valid from 2020 to 2120.

Created by ``openssl ca`` with ``-startdate`` and ``-enddate``.
"""

import ssl
from pathlib import Path

_FOLDER = Path(__file__).with_name("certificates")

LOOPBACK = Path(__file__).with_name("loopback.pem")
"""Self-signed, for 127.0.0.1, ::1 and localhost."""
EXPIRED = _FOLDER / "expired.pem"
"""Like LOOPBACK, valid until 2020-02-01."""
NOT_YET_VALID = _FOLDER / "not-yet-valid.pem"
"""Like LOOPBACK, valid from 2119-01-01."""
WRONG_HOST = _FOLDER / "wrong-host.pem"
"""Self-signed, for provider.invalid."""
SIGNED_BY_AUTHORITY = _FOLDER / "issued.pem"
"""For 127.0.0.1 and localhost, signed by AUTHORITY."""
AUTHORITY = _FOLDER / "authority.pem"
"""The authority that signed SIGNED_BY_AUTHORITY, without its key."""
CHAIN = _FOLDER / "chain.pem"
"""For 127.0.0.1 and localhost, with an intermediate authority, valid until 2100, that ROOT signed."""
CHAIN_WITH_EXPIRED = _FOLDER / "chain-with-expired.pem"
"""CHAIN and the certificate of EXPIRED, which is not needed to verify it."""
ROOT = _FOLDER / "root.pem"
"""The authority above CHAIN, without its key."""

END_OF_CHAIN = 4_102_444_800.0
"""When the intermediate authority of CHAIN expires: 2100-01-01, seconds since the epoch."""
END_OF_2119 = 4_733_510_400.0
"""When the other certificates expire: 2120-01-01."""
END_OF_EXPIRED = 1_580_515_200.0
"""When EXPIRED has expired: 2020-02-01."""


def server_tls_context(pem: Path, *, client_ca: Path | None = None) -> ssl.SSLContext:
    """Return a server context with ``pem``; with ``client_ca``, clients need a certificate signed by it."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    if client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(client_ca)
    return context
