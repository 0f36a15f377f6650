"""A server in a separate process that streams the number of events in the model name, one per write."""

import asyncio
import multiprocessing
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection


@contextmanager
def counting_server() -> Iterator[str]:
    """Yield the base URL of a server that answers ``count-12`` with twelve chunks of text."""
    context = multiprocessing.get_context("spawn")
    parent_end, child_end = context.Pipe()
    process = context.Process(target=_serve, args=(child_end,), daemon=True)
    process.start()
    try:
        if not parent_end.poll(30):
            raise RuntimeError("the server did not start within 30 s")
        yield f"http://127.0.0.1:{parent_end.recv()}/v1"
    finally:
        process.terminate()
        process.join(5)


def _serve(pipe: Connection) -> None:
    asyncio.run(_count(pipe))


async def _count(pipe: Connection) -> None:
    server = await asyncio.start_server(_answer, "127.0.0.1", 0)
    pipe.send(server.sockets[0].getsockname()[1])
    await server.serve_forever()


async def _answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.partition(b"content-length:")[2].partition(b"\r\n")[0])
            body = await reader.readexactly(length)
            chunks = int(body.partition(b"count-")[2].partition(b'"')[0])
            writer.write(
                b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n"
                b"x-request-id: req_1\r\n\r\n"
            )
            for number in range(chunks):
                writer.write(_chunk(b'{"content":" %d"}' % number, b"null", number))
                await writer.drain()
                await asyncio.sleep(0)
            writer.write(_chunk(b"{}", b'"stop"', chunks) + _framed(b"data: [DONE]\n\n") + b"0\r\n\r\n")
            await writer.drain()
    except (asyncio.IncompleteReadError, ConnectionError):
        writer.close()


def _chunk(delta: bytes, finish: bytes, number: int) -> bytes:
    return _framed(
        b'data: {"id":"chatcmpl-%d","object":"chat.completion.chunk","created":1800000000,"model":"count",'
        b'"system_fingerprint":"fp_1","choices":[{"index":0,"delta":%b,"logprobs":null,"finish_reason":%b}]}\n\n'
        % (number, delta, finish)
    )


def _framed(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)
