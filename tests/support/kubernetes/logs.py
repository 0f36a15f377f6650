"""The part of a kubelet that serves the logs of containers, which `kubectl logs` and `helm test --logs` read."""

import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Self
from urllib.parse import parse_qs, urlsplit

from support.servers.certificates import LOOPBACK

FindLog = Callable[[str, str], str | None]
"""Returns the log of the pod of a namespace and name; ``None`` if there is none."""


class LogServer:
    """``with LogServer(find_log) as server``: serves ``/containerLogs/NAMESPACE/POD/CONTAINER`` on :attr:`port`."""

    def __init__(self, find_log: FindLog) -> None:
        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                parts = urlsplit(self.path)
                log = None
                if parts.path.startswith("/containerLogs/"):
                    _, _, namespace, pod, _ = parts.path.split("/")
                    log = find_log(namespace, pod)
                lines = (log or "").splitlines(keepends=True)
                tail = parse_qs(parts.query).get("tailLines")
                content = "".join(lines[-int(tail[0]) :] if tail else lines).encode()
                self.send_response(200 if log is not None else 404)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(LOOPBACK)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, name="kubelet logs")

    @property
    def port(self) -> int:
        """The port on loopback."""
        return int(self._server.server_address[1])

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
