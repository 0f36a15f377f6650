"""A server in threads: it answers while the event loop of the test is blocked."""

import re
import socket
import threading
from collections.abc import Callable
from typing import Self

HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
TOKEN = b'data: {"choices":[{"index":0,"delta":{"content":"pong"}}]}\n\n'
END = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

Answer = Callable[[socket.socket, threading.Event], None]
"""Answers one request on its connection; the event is set when the server stops."""


class ThreadedServer:
    """``with``: listens on a free loopback port, and calls ``answer`` in a thread after each request.

    Only one request is answered on a connection, and it is read whole: closing a connection with unread data resets it,
    and the client may lose what was sent before.
    """

    def __init__(self, answer: Answer) -> None:
        self._answer = answer
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []

    @property
    def base_url(self) -> str:
        """The base URL for a client."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}/v1"

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._start(self._accept)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(10)

    def _start(self, target: Callable[..., None], *args: object) -> None:
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._start(self._serve, connection)

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            try:
                read_request(connection)
                self._answer(connection, self._stop)
            except OSError:
                pass  # the client has disconnected


def read_request(connection: socket.socket) -> None:
    """Read one request.

    Raises:
        OSError: if the client disconnects before its end.
    """
    received, end = b"", -1
    while end < 0 or len(received) < end:
        data = connection.recv(65536)
        if not data:
            raise ConnectionResetError("the client has disconnected")
        received += data
        head, separator, _ = received.partition(b"\r\n\r\n")
        if separator and end < 0:
            length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
            end = len(head) + len(separator) + (int(length[1]) if length else 0)
