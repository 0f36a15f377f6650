"""The way to the endpoint: its name, a connection, and the proxy if there is one."""

import asyncio
import errno
import socket
import ssl
from base64 import b64encode
from collections.abc import Iterable
from ipaddress import ip_address

import httpx2
from msgspec.structs import replace

from streamcanary.canary.preflight.context import Connection, DiagnosisContext
from streamcanary.canary.preflight.step_result import StepResult, failed, ok, skipped
from streamcanary.model.faults import FaultKind
from streamcanary.transport.proxy import Proxy, bracket_ipv6

_MAX_ADDRESSES = 8
_GRACE = 0.1  # seconds that the other addresses get once one has answered

_DNS_ERRORS = {
    socket.EAI_NONAME: "the name does not exist",
    socket.EAI_AGAIN: "the name server gives no answer for now",
    socket.EAI_FAIL: "the name server failed",
}
_CONNECT_ERRORS = {
    errno.ECONNREFUSED: "refused, nothing listens there",
    errno.ENETUNREACH: "there is no route to it",
    errno.EHOSTUNREACH: "there is no route to it",
    errno.ETIMEDOUT: "no answer",
    errno.ECONNRESET: "reset",
    errno.EACCES: "forbidden by this machine",
    errno.EPERM: "forbidden by this machine",
}


class ProxyRefused(Exception):
    """The proxy does not let us through; the message says why, ``remedy`` what would help."""

    def __init__(self, message: str, remedy: str, status: int | None = None) -> None:
        super().__init__(message)
        self.remedy = remedy
        self.status = status


async def resolve_dns(context: DiagnosisContext) -> StepResult:
    """Find all addresses of the endpoint, or of its proxy, which then looks up the endpoint itself."""
    host, port = context.next_hop
    whose = "the proxy's " if context.proxy else ""
    try:
        ip_address(host)
    except ValueError:
        pass
    else:
        context.addresses = (host,)
        return ok(f"{whose}{host} is an address already")
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        why = (
            _DNS_ERRORS.get(error.errno or 0, str(error.strerror)) if isinstance(error, OSError) else "it is not a name"
        )
        return failed(FaultKind.DNS_FAILED, f"{whose}{host}: {why}", _dns_remedy(context))
    context.addresses = tuple(dict.fromkeys(str(entry[4][0]) for entry in found))
    return ok(f"{whose}{host} is {_format_addresses(context.addresses)}")


def on_dns_timeout(context: DiagnosisContext) -> StepResult:
    """Return that the name server kept silent."""
    message = f"{context.next_hop[0]}: no answer from the name server within {context.timeout:g} s"
    return failed(FaultKind.DNS_FAILED, message, "look at the name servers, and whether port 53 is open to them")


async def connect(context: DiagnosisContext) -> StepResult:
    """Try all addresses at once; the first that takes the connection keeps it."""
    tried = context.addresses[:_MAX_ADDRESSES]
    tasks = [asyncio.create_task(_try_connect(context, address)) for address in tried]
    try:
        waiting = set(tasks)
        while waiting and context.connection is None:
            _, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if waiting:
            await asyncio.wait(waiting, timeout=_GRACE)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    description = _describe_connect_results(context)
    if context.connection is None:
        return failed(FaultKind.CONNECT_FAILED, description, _connect_remedy(context))
    return ok(description)


def on_connect_timeout(context: DiagnosisContext) -> StepResult:
    """Return that no address answered, not even with a refusal."""
    return failed(
        FaultKind.CONNECT_TIMEOUT,
        f"{_describe_connect_results(context)} within {context.timeout:g} s",
        _connect_remedy(context),
    )


async def open_proxy_tunnel(context: DiagnosisContext) -> StepResult:
    """Ask the proxy for the way to the endpoint."""
    if context.proxy is None:
        return skipped("there is no proxy on the way")
    if not context.uses_tls:
        return skipped("an http:// request is handed to the proxy as it is")
    if context.connection is None:
        raise RuntimeError("there is no connection to the proxy")
    try:
        await _send_connect_request(context, context.proxy, context.connection)
    except ProxyRefused as refusal:
        return replace(failed(FaultKind.PROXY_FAILED, str(refusal), refusal.remedy), status=refusal.status)
    return ok(f"{context.proxy.url} lets us through to {bracket_ipv6(context.host)}:{context.port}")


def on_proxy_timeout(context: DiagnosisContext) -> StepResult:
    """Return that the proxy kept silent."""
    message = f"{context.proxy.url if context.proxy else 'the proxy'} gave no answer within {context.timeout:g} s"
    return failed(FaultKind.PROXY_FAILED, message, "look at the proxy, or name the host in NO_PROXY")


async def open_connection(context: DiagnosisContext) -> Connection:
    """Return one more connection, as far as TLS with the endpoint.

    Raises:
        OSError: if it cannot be had.
        ProxyRefused: if the proxy does not let us through this time.
    """
    if context.connected_address is None:
        raise RuntimeError("no address has been reached")
    connection = Connection(*await asyncio.open_connection(context.connected_address, context.next_hop[1]))
    try:
        if context.proxy is not None:
            await _send_connect_request(context, context.proxy, connection)
    except BaseException:
        connection.abort()
        raise
    return connection


async def _try_connect(context: DiagnosisContext, address: str) -> None:
    context.connect_results[address] = "no answer"
    begun = context.clock.monotonic()
    try:
        connection = Connection(*await asyncio.open_connection(address, context.next_hop[1]))
    except OSError as error:
        context.connect_results[address] = _CONNECT_ERRORS.get(error.errno or 0) or str(error.strerror)
        return
    context.connect_results[address] = f"connected in {(context.clock.monotonic() - begun) * 1000:.0f} ms"
    if context.connection is None:
        context.connection, context.connected_address = connection, address
    else:
        connection.abort()


async def _send_connect_request(context: DiagnosisContext, proxy: Proxy, connection: Connection) -> None:
    """Send CONNECT (RFC 9110, 9.3.6), and read the answer to its end."""
    authority = f"{bracket_ipv6(context.host)}:{context.port}"
    lines = [f"CONNECT {authority} HTTP/1.1", f"Host: {authority}"]
    if proxy.auth is not None:
        lines.append(f"Proxy-Authorization: Basic {b64encode(':'.join(proxy.auth).encode()).decode()}")
    try:
        if proxy.scheme == "https":
            tls_context = await asyncio.to_thread(httpx2.create_ssl_context)
            await connection.writer.start_tls(tls_context, server_hostname=proxy.host)
        connection.writer.write("\r\n".join([*lines, "", ""]).encode())
        await connection.writer.drain()
        head = await connection.reader.readuntil(b"\r\n\r\n")
    except ssl.SSLError as error:
        why = getattr(error, "verify_message", "") or error.reason
        raise ProxyRefused(f"TLS with the proxy failed: {why}", "look at the proxy's address and certificate") from None
    except (OSError, EOFError):
        raise ProxyRefused("the proxy closed the connection", "see whether there is a proxy at this address") from None
    except asyncio.LimitOverrunError:
        raise ProxyRefused("what answers is no proxy", "see whether there is a proxy at this address") from None
    _check_connect_response(head)


def _check_connect_response(head: bytes) -> None:
    version, _, rest = head.partition(b"\r\n")[0].decode("latin-1").partition(" ")
    status = int(rest[:3]) if version.startswith("HTTP/1.") and rest[:3].isdigit() else None
    if status is None:
        raise ProxyRefused("what answers is no proxy", "see whether there is a proxy at this address")
    if 200 <= status < 300:
        return
    if status == 407:
        why, remedy = "wants a user name and password", "put them into the proxy's address: http://user:password@host"
    elif status in (502, 503, 504):
        why, remedy = "cannot reach the endpoint", "see whether the proxy can look up and reach the endpoint's host"
    else:
        why, remedy = "does not let us through", "have the endpoint's host allowed there, or name it in NO_PROXY"
    raise ProxyRefused(f"the proxy {why} (HTTP {status})", remedy, status)


def _describe_connect_results(context: DiagnosisContext) -> str:
    descriptions = [f"{address}: {what}" for address, what in context.connect_results.items()]
    more = len(context.addresses) - len(descriptions)
    port = context.next_hop[1]
    return f"port {port} at {'; '.join(descriptions)}" + (f"; {more} more not tried" if more > 0 else "")


def _format_addresses(addresses: Iterable[str]) -> str:
    shown = list(addresses)
    more = f" and {len(shown) - _MAX_ADDRESSES} more" if len(shown) > _MAX_ADDRESSES else ""
    return ", ".join(shown[:_MAX_ADDRESSES]) + more


def _dns_remedy(context: DiagnosisContext) -> str:
    where = context.proxy.source if context.proxy else "base_url"
    return f"check the spelling in {where}, and the name servers of this machine"


def _connect_remedy(context: DiagnosisContext) -> str:
    whose = "the proxy runs there" if context.proxy else "the endpoint runs there"
    return f"see whether {whose}, and whether a firewall or network policy lets this machine out to it"
