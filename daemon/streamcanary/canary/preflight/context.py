"""What the steps learn on their way, each for those after it."""

import asyncio
import ssl
from typing import NamedTuple

import httpx2

from streamcanary.canary.target import TargetSpec
from streamcanary.model.clock import Clock
from streamcanary.model.diagnosis import Certificate
from streamcanary.transport.proxy import Proxy

_DEFAULT_PORTS = {"http": 80, "https": 443}


class Connection(NamedTuple):
    """An open connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def abort(self) -> None:
        """Close it at once, whatever is still to be said."""
        self.writer.transport.abort()


class DiagnosisContext:
    """One diagnosis in the making. ``timeout`` is what each step may take, in seconds.

    ``secrets`` are those that may come back in what others say. ``reached`` is the address that took a connection,
    ``knocks`` what became of each that was tried. ``listed`` are the endpoint's models, if it told all of them.
    ``given_up`` says that a check broke of itself, so that those after it have nothing to go by.
    """

    def __init__(self, target: TargetSpec, model: str, clock: Clock, timeout: float) -> None:
        self.target = target
        self.model = model
        self.clock = clock
        self.timeout = timeout
        self.headers = httpx2.Headers()
        self.secrets: tuple[str, ...] = ()
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
    def host(self) -> str:
        """The endpoint's host as DNS and certificates have it."""
        return self.url.raw_host.decode("ascii")

    @property
    def port(self) -> int:
        """The endpoint's port."""
        return self.url.port or _DEFAULT_PORTS[self.url.scheme]

    @property
    def uses_tls(self) -> bool:
        """Whether the endpoint is asked over TLS."""
        return self.url.scheme == "https"

    @property
    def next_hop(self) -> tuple[str, int]:
        """Host and port that the connection goes to: the proxy's, or the endpoint's own."""
        return (self.proxy.host, self.proxy.port) if self.proxy else (self.host, self.port)

    def close(self) -> None:
        """Drop the connection, if one is open."""
        connection, self.connection = self.connection, None
        if connection is not None:
            connection.abort()
