"""Opens connections: resolves the name, connects to the first address that accepts, and does the handshake of TLS.

Each step has the events that httpcore gives to the ``trace`` of a request, and one more for the resolution.
"""

import asyncio
import ssl
from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

import httpx2

from streamcanary.transport.happy_eyeballs import connect_first
from streamcanary.transport.http1.byte_stream import ByteStream, Stream
from streamcanary.transport.http1.tls_stream import TlsStream
from streamcanary.transport.resolution import Emit, emit_event, is_address, resolve

_Connection = TypeVar("_Connection", bound=Stream)

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


async def open_connection(request: httpx2.Request, tls_context: ssl.SSLContext, emit: Emit) -> Stream:
    """Return a connection for ``request``, within the timeout ``connect`` of its extensions for each of both steps.

    Raises:
        httpx2.ConnectTimeout: if it takes longer.
        httpx2.ConnectError: if the name cannot be resolved, no address accepts, or the handshake fails.
        httpx2.UnsupportedProtocol: if the URL is not for HTTP.
    """
    url = request.url
    if url.scheme not in _DEFAULT_PORTS:
        missing = (
            f"has an unsupported protocol '{url.scheme}://'."
            if url.scheme
            else "is missing an 'http://' or 'https://' protocol."
        )
        raise httpx2.UnsupportedProtocol(f"Request URL {missing}")
    host, port = url.raw_host.decode("ascii"), url.port or _DEFAULT_PORTS[url.scheme]
    timeouts: Mapping[str, float | None] = request.extensions.get("timeout", {})
    timeout = timeouts.get("connect")
    stream = await _traced(
        "connection.connect_tcp", _connect(host, port, timeout, emit), {"host": host, "port": port}, emit
    )
    if url.scheme == "http":
        return stream
    server_name = request.extensions.get("sni_hostname") or host
    return await _traced(
        "connection.start_tls",
        _start_tls(stream, tls_context, server_name, timeout),
        {"server_hostname": server_name},
        emit,
    )


async def _traced(name: str, step: Awaitable[_Connection], info: dict[str, Any], emit: Emit) -> _Connection:
    """Return the result of ``step``, with the events that it has started, and that it is complete or has failed."""
    await emit_event(emit, f"{name}.started", info)
    try:
        result = await step
    except BaseException as error:
        await emit_event(emit, f"{name}.failed", {"exception": error})
        raise
    await emit_event(emit, f"{name}.complete", {"return_value": result})
    return result


async def _connect(host: str, port: int, timeout: float | None, emit: Emit) -> ByteStream:  # noqa: ASYNC109
    loop = asyncio.get_running_loop()

    async def connect(address: str) -> ByteStream:
        return (await loop.create_connection(ByteStream, address, port))[1]

    try:
        async with asyncio.timeout(timeout):
            addresses = [host] if is_address(host) else await resolve(host, port, emit)
            return await connect(addresses[0]) if len(addresses) == 1 else await connect_first(addresses, connect)
    except TimeoutError as error:
        raise httpx2.ConnectTimeout(str(error)) from error
    except OSError as error:
        raise httpx2.ConnectError(str(error)) from error
    except ExceptionGroup as errors:
        raise httpx2.ConnectError("All connection attempts failed") from errors


async def _start_tls(
    stream: ByteStream,
    context: ssl.SSLContext,
    server_name: str,
    timeout: float | None,  # noqa: ASYNC109
) -> TlsStream:
    try:
        async with asyncio.timeout(timeout):
            tls_stream = TlsStream(stream, context, server_name)
            await tls_stream.handshake()
            return tls_stream
    except TimeoutError as error:
        stream.abort()
        raise httpx2.ConnectTimeout(str(error)) from error
    except (OSError, ValueError, httpx2.NetworkError) as error:  # ssl.SSLError is an OSError; ValueError of a host name
        stream.abort()
        raise httpx2.ConnectError(str(error)) from error
    except BaseException:
        stream.abort()
        raise
