"""What the daemon talks to: simulated providers, with and without TLS, and receivers of its notifications."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import pairwise
from pathlib import Path

from msgspec import Struct

from streamcanary.simulator import Simulator, Timeline, Timings

CERTIFICATE = Path(__file__).parents[2] / "tests" / "support" / "servers" / "loopback.pem"
"""A self-signed certificate for loopback, with its key."""

_TIMINGS = Timings(first_token=0.03, chunk_gap=0.01, slow_first_token=0.6, slow_gap=0.2, retry_after=0.2, hang=5.0)
_REQUEST_TIMEOUT = 10.0  # seconds for one request of a notification
_MAX_HEAD = 64 * 1024


class Servers(Struct, frozen=True):
    """The addresses of the servers. A receiver answers with the status in its path: ``/503``."""

    provider: str
    tls_provider: str
    receivers: str


@asynccontextmanager
async def running_servers(timeline: Path) -> AsyncIterator[Servers]:
    """Serve until the block ends; the last phase of the timeline lasts as long as the longest one, then it repeats."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(CERTIFICATE)
    faults = Timeline.load(timeline)
    async with AsyncExitStack() as stack:
        provider = await stack.enter_async_context(Simulator(timings=_TIMINGS, timeline=faults))
        tls_provider = await stack.enter_async_context(Simulator(timings=_TIMINGS, ssl=context))
        receivers = await stack.enter_async_context(await asyncio.start_server(_answer, "127.0.0.1", 0))
        repeating = asyncio.create_task(_repeat(provider, faults))
        stack.callback(repeating.cancel)
        port = receivers.sockets[0].getsockname()[1]
        yield Servers(provider.base_url, tls_provider.base_url, f"http://127.0.0.1:{port}")


async def _repeat(provider: Simulator, timeline: Timeline) -> None:
    starts = [phase.at for phase in timeline.phases]
    longest = max(later - earlier for earlier, later in pairwise(starts))
    while True:
        provider.restart_timeline()
        await asyncio.sleep(starts[-1] + longest)


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer one notification with the status in its path."""
    try:
        async with asyncio.timeout(_REQUEST_TIMEOUT):
            head = await reader.readuntil(b"\r\n\r\n")
            fields = head.decode("latin-1").split("\r\n")
            length = next((int(f.partition(":")[2]) for f in fields if f.lower().startswith("content-length:")), 0)
            await reader.readexactly(min(length, _MAX_HEAD))
            status = fields[0].split()[1].strip("/")
            writer.write(f"HTTP/1.1 {status} Answer\r\ncontent-length: 0\r\nconnection: close\r\n\r\n".encode())
            await writer.drain()
    except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass  # the daemon tries again
    finally:
        writer.close()
