"""Sends requests to the HTTP API of a running daemon."""

import argparse
import json
import os
import time
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from streamcanary.model.redaction.printable import printable

if TYPE_CHECKING:
    import httpx2

_TIMEOUT = 10.0  # seconds
_MAX_SIZE = 16_000_000  # bytes; a page of a thousand canaries has some megabytes
_MAX_REASON = 2000  # characters

UNEXPECTED_ANSWER = "unexpected answer; check that --url is the address of a streamcanary daemon"
"""The end of the message for a server that is not a streamcanary daemon."""


class DaemonRequestError(Exception):
    """The daemon cannot be reached, or rejects the request; the text has the reason.

    ``status`` is the HTTP status of the rejection, ``None`` if there is none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


class DaemonClient:
    """Requests to the daemon at ``url``, with a bearer ``token`` unless it is empty. A context manager.

    An answer has at most 16 MB and takes at most 10 s, so that no server can fill the memory or hold the caller.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"} if token else {}
        self._http: httpx2.Client | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._http is not None:
            self._http.close()

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        """Send a request and return the JSON body of the response, ``None`` if it is empty.

        Raises:
            DaemonRequestError: if there is no response in time, it is too large, or its status is not a success.
        """
        import httpx2

        try:
            if self._http is None:
                self._http = httpx2.Client(trust_env=False, timeout=_TIMEOUT)
            with self._http.stream(method, self.url + path, json=body, headers=self._headers) as response:
                content = self._read(response)
        except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
            raise DaemonRequestError(
                f"cannot reach a daemon at {self.url}: {error}; set its address with --url"
            ) from None
        try:
            document = json.loads(content) if content else None
        except (ValueError, RecursionError):
            raise DaemonRequestError(
                f"{self.url}: HTTP {response.status_code} without JSON: {UNEXPECTED_ANSWER}"
            ) from None
        if not response.is_success:
            reason = (document.get("detail") if isinstance(document, dict) else None) or "no reason given"
            if response.status_code == httpx2.codes.UNAUTHORIZED:
                reason = "the daemon needs its token; set --token-file or the variable STREAMCANARY_TOKEN"
            message = printable(f"HTTP {response.status_code}: {reason}", _MAX_REASON)
            raise DaemonRequestError(f"{self.url}: {message}", response.status_code)
        return document

    def _read(self, response: "httpx2.Response") -> bytes:
        content, deadline = bytearray(), time.monotonic() + _TIMEOUT
        for piece in response.iter_bytes():
            content += piece
            if len(content) > _MAX_SIZE or time.monotonic() > deadline:
                raise DaemonRequestError(f"{self.url}: the answer is too large or too slow: {UNEXPECTED_ANSWER}")
        return bytes(content)


def open_client(arguments: argparse.Namespace) -> DaemonClient:
    """Return a client for the daemon at ``--url``.

    Raises:
        DaemonRequestError: if the token cannot be read.
    """
    return DaemonClient(arguments.url, _read_token(arguments.token_file))


def request_daemon(arguments: argparse.Namespace, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send one request to the daemon at ``--url``, as :meth:`DaemonClient.request` does.

    Raises:
        DaemonRequestError: also if the token cannot be read.
    """
    with open_client(arguments) as client:
        return client.request(method, path, body)


def _read_token(path: Path | None) -> str:
    if path is None:
        source, token = "STREAMCANARY_TOKEN", os.environ.get("STREAMCANARY_TOKEN", "").strip()
    else:
        try:
            source, token = str(path), path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise DaemonRequestError(
                f"cannot read the token from {path}: {getattr(error, 'strerror', None) or error}"
            ) from None
    if not all("!" <= character <= "~" for character in token):
        raise DaemonRequestError(f"the token in {source} has characters that no token has; give the one line alone")
    return token
