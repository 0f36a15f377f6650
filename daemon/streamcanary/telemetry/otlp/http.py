"""The HTTP connection of one OTLP exporter, over ``httpx2`` as all other connections of the daemon.

The exporters of the SDK would use ``requests``, which takes 4 MB of memory beside ``httpx2``. Importing this module
imports the SDK's exporters.
"""

import os
import threading
import time
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import httpx2
from opentelemetry.exporter.http.transport._base import BaseHTTPResult, BaseHTTPTransport

from streamcanary.model.config_types.secret import Secret, SecretUnreadable
from streamcanary.telemetry.config import Signal
from streamcanary.telemetry.otlp.export_settings import ExportSettings, TelemetryMisconfigured, is_loopback
from streamcanary.telemetry.otlp.partial_success import MAX_RESPONSE, record_partial_success
from streamcanary.telemetry.otlp.sdk_log_handler import SdkLogHandler
from streamcanary.transport.connection_settings import ConnectionSettings
from streamcanary.transport.proxy import InvalidProxyUrl, Proxy, proxy_for
from streamcanary.transport.response_head import HeadGuard
from streamcanary.transport.tls import TlsFileError, file_fingerprint, tls_context_for

_MIN_TIMEOUT: Final = 0.05
_IDLE_TIMEOUT: Final = 55.0  # seconds; load balancers and servers commonly close idle connections after 60
_CONNECTION_ERRORS: Final = (
    httpx2.TimeoutException,
    httpx2.NetworkError,
    httpx2.ProxyError,
    httpx2.RemoteProtocolError,
)


@dataclass(frozen=True, slots=True)  # as the base class, which is of the SDK
class OtlpHttpResult(BaseHTTPResult):
    """A response with its headers and the beginning of its body, or the error of a request without one."""

    fields: httpx2.Headers = field(default_factory=httpx2.Headers)
    body: bytes = b""

    def content(self) -> bytes:
        """Return the body, at most about 64 KiB of it."""
        return self.body

    def headers(self) -> Mapping[str, str]:
        """Return the headers, whose names are matched in any case."""
        return self.fields


class OtlpHttpTransport(BaseHTTPTransport):
    """Sends the requests of one exporter, one at a time, and keeps its connection.

    Proxies are those of the environment, none for an endpoint on this machine. The headers of ``settings`` are added to
    each request, because their secrets may change while the process runs; so may the certificate files, whose paths are
    in ``OTEL_EXPORTER_OTLP_CERTIFICATE``, ``_CLIENT_CERTIFICATE`` and ``_CLIENT_KEY``, or the variables of ``signal``.

    Raises:
        TelemetryMisconfigured: if a header, a certificate file or a proxy of the environment is invalid.
    """

    def __init__(self, settings: ExportSettings, endpoint: str, signal: Signal, sdk_log: SdkLogHandler) -> None:
        self._headers = settings.headers
        header_values(self._headers)  # raises now if a header is invalid
        self._max_timeout = settings.timeout
        self._sdk_log = sdk_log
        self._connection = _connection_settings(signal)
        try:
            self._proxy = None if is_loopback(endpoint) else proxy_for(endpoint)
        except InvalidProxyUrl as error:
            raise TelemetryMisconfigured(f"telemetry over OTLP, {error}") from None
        self._is_encrypted = "https" in (urlsplit(endpoint).scheme, self._proxy.scheme if self._proxy else "")
        self._pool, self._fingerprint = self._open_pool(), self._current_fingerprint()
        self._lock = threading.Lock()
        self._is_closed = False

    def request(
        self,
        method: str,
        url: str,
        *,
        headers: dict[str, str] | None = None,
        timeout: float | None = None,
        data: bytes | None = None,
    ) -> BaseHTTPResult:
        """Send one request, and record the reason if it fails.

        ``timeout`` (seconds) bounds each wait, and the time in which the response is read. It is bounded itself,
        because the exporter computes it from the wall clock, which can step.
        """
        seconds = min(max(timeout or 0.0, _MIN_TIMEOUT), self._max_timeout)
        try:
            with self._lock:
                request = httpx2.Request(
                    method,
                    url,
                    # A compressed body has no bound once it is decompressed.
                    headers={"Accept-Encoding": "identity", **(headers or {}), **header_values(self._headers)},
                    content=data,
                    extensions={"timeout": httpx2.Timeout(seconds).as_dict()},
                )
                result = self._send(request, time.monotonic() + seconds)
        except (httpx2.HTTPError, TelemetryMisconfigured, OSError) as error:  # the exporter decides whether to retry
            self._sdk_log.record_failure_reason(_root_cause_message(error))
            return OtlpHttpResult(error=error)
        finally:
            if self._is_closed:
                self.close()
        return self._check(result)

    def is_connection_error(self, exception: Exception | None) -> bool:
        """Return whether the request failed before there was a response: it may be sent again."""
        return isinstance(exception, _CONNECTION_ERRORS)

    def close(self) -> None:
        """Close the connection, or let the request that uses it now close it: it runs in another thread."""
        self._is_closed = True
        if self._lock.acquire(blocking=False):
            try:
                self._pool.close()
            finally:
                self._lock.release()

    def _send(self, request: httpx2.Request, deadline: float) -> OtlpHttpResult:
        if (fingerprint := self._current_fingerprint()) != self._fingerprint:
            pool, self._pool = self._pool, self._open_pool()
            self._fingerprint = fingerprint
            pool.close()
        HeadGuard().guard(request)
        response = self._pool.handle_request(request)
        content = b""
        try:
            for piece in response.iter_raw():
                content += piece
                if len(content) > MAX_RESPONSE or time.monotonic() > deadline:
                    break
        finally:
            response.close()
        return OtlpHttpResult(
            status_code=response.status_code, reason=response.reason_phrase, fields=response.headers, body=content
        )

    def _check(self, result: OtlpHttpResult) -> OtlpHttpResult:
        """Record what ``result`` says of the data; return it, or an error in place of a redirect."""
        status = result.status_code or 0
        if status < 300:
            record_partial_success(result.content(), self._sdk_log)
            return result
        self._sdk_log.record_failure_reason(f"HTTP {status} {result.reason}")
        if status < 400:  # the exporter would treat it as a success
            return OtlpHttpResult(error=httpx2.HTTPError(f"HTTP {status}: a redirect is not followed"))
        return result

    def _open_pool(self) -> httpx2.HTTPTransport:
        try:
            tls_context = tls_context_for(self._connection, is_encrypted=self._is_encrypted)
        except TlsFileError as error:
            raise TelemetryMisconfigured(f"telemetry over OTLP, {error}") from None
        return httpx2.HTTPTransport(
            verify=tls_context,
            proxy=_http_proxy(self._proxy),
            trust_env=False,
            limits=httpx2.Limits(max_connections=1, max_keepalive_connections=1, keepalive_expiry=_IDLE_TIMEOUT),
        )

    def _current_fingerprint(self) -> Hashable:
        return file_fingerprint(self._connection.tls_files)


def header_values(headers: Mapping[str, Secret]) -> dict[str, str]:
    """Return the current values of the headers.

    Raises:
        TelemetryMisconfigured: if a value cannot be read, or is not valid in a header; the message omits the value.
    """
    values = {}
    for name, secret in headers.items():
        try:
            values[name] = secret.reveal()
        except SecretUnreadable as error:
            raise TelemetryMisconfigured(f"telemetry.otlp.headers, {name}: {error}") from None
        if not (values[name].isascii() and values[name].isprintable()):
            raise TelemetryMisconfigured(
                f"telemetry.otlp.headers, {name}: a header holds printable ASCII characters only"
            )
    return values


def _connection_settings(signal: Signal) -> ConnectionSettings:
    """Return the certificate files of ``signal``, from the standard environment variables.

    https://opentelemetry.io/docs/specs/otel/protocol/exporter/#configuration-options
    """

    def file(name: str) -> Path | None:
        variables = f"OTEL_EXPORTER_OTLP_{signal.upper()}_{name}", f"OTEL_EXPORTER_OTLP_{name}"
        return next((Path(path) for variable in variables if (path := os.environ.get(variable, "").strip())), None)

    certificate = file("CLIENT_CERTIFICATE")
    return ConnectionSettings(
        ca_file=file("CERTIFICATE"),
        client_cert=certificate,
        client_key=file("CLIENT_KEY") if certificate is not None else None,
    )


def _http_proxy(proxy: Proxy | None) -> httpx2.Proxy | None:
    return None if proxy is None else httpx2.Proxy(proxy.url, auth=proxy.auth)


def _root_cause_message(error: BaseException) -> str:
    """Return the message of the innermost exception, usually that of the operating system."""
    for _ in range(10):
        cause = error.__cause__ or error.__context__
        if cause is None:
            break
        error = cause
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return text or type(error).__name__
