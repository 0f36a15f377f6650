"""The state of a diagnosis, which each step extends for the next ones."""

import asyncio
import ssl
from typing import NamedTuple

import httpx2

from streamcanary.canary.run_redaction import TargetSecrets
from streamcanary.canary.targets.target import BaseTarget
from streamcanary.model.clock import Clock
from streamcanary.model.diagnosis import Certificate
from streamcanary.model.redaction.redactor import Redactor, redactor_for
from streamcanary.transport.proxy import Proxy

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Connection(NamedTuple):
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def abort(self) -> None:
        """Close it at once, without sending buffered data."""
        self.writer.transport.abort()


class DiagnosisContext:
    """The state of one diagnosis. ``timeout`` is the time limit of each step, in seconds.

    ``secrets`` are redacted in all messages, as servers may repeat them; host, provider and model are public.
    ``connected_address`` is the address that accepted a connection, ``connect_results`` has the result for each tried
    address. ``listed_models`` are the models of the endpoint, ``None`` without a complete list. ``is_aborted`` is set
    after an internal error of a step: the steps after it are skipped.
    """

    def __init__(self, target: BaseTarget, model: str, clock: Clock, timeout: float) -> None:
        self.target = target
        self.model = target.requested_model(model)
        self.clock = clock
        self.timeout = timeout
        self.headers = httpx2.Headers()
        self.secrets = TargetSecrets(target)
        self.url = httpx2.URL()
        self.proxy: Proxy | None = None
        self.addresses: tuple[str, ...] = ()
        self.connected_address: str | None = None
        self.connect_results: dict[str, str] = {}
        self.connection: Connection | None = None
        self.tls_context: ssl.SSLContext | None = None
        self.certificate: Certificate | None = None
        self.listed_models: tuple[str, ...] | None = None
        self.is_aborted = False

    @property
    def redactor(self) -> Redactor:
        """The redactor of the current secrets."""
        return redactor_for(self.secrets(), (*self.target.public, self.model))

    @property
    def host(self) -> str:
        """The endpoint's host in ASCII, as in DNS and certificates."""
        return self.url.raw_host.decode("ascii")

    @property
    def port(self) -> int:
        """The endpoint's port."""
        return self.url.port or _DEFAULT_PORTS[self.url.scheme]

    @property
    def uses_tls(self) -> bool:
        """Whether the endpoint uses TLS."""
        return self.url.scheme == "https"

    @property
    def next_hop(self) -> tuple[str, int]:
        """Host and port of the connection: those of the proxy, or of the endpoint."""
        return (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)

    def close(self) -> None:
        """Close the connection, if one is open."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
