"""Sends requests to the HTTP API of a running daemon."""

import argparse
import os
from pathlib import Path
from typing import Any

UNEXPECTED_ANSWER = "unexpected answer; check that --url is the address of a streamcanary daemon"
"""The end of the message for a server that is not a streamcanary daemon."""


class DaemonRequestError(Exception):
    """The daemon cannot be reached, or rejects the request; the text has the reason.

    ``status`` is the HTTP status of the rejection, ``None`` if there is none.
    """

    def __init__(self, message: str, status: int | None = None) -> None:
        super().__init__(message)
        self.status = status


def request_daemon(arguments: argparse.Namespace, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Send a request to the daemon at ``--url`` and return the JSON body of the response, ``None`` if it is empty.

    Raises:
        DaemonRequestError: if there is no response within 10 s, or its status is not a success.
    """
    import httpx2

    url = arguments.url.rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if (token := _read_token(arguments.token_file)) else {}
    try:
        with httpx2.Client(trust_env=False, timeout=10.0) as http:
            response = http.request(method, url + path, json=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        raise DaemonRequestError(f"cannot reach a daemon at {url}: {error}; set its address with --url") from None
    try:
        document = response.json() if response.content else None
    except ValueError:
        raise DaemonRequestError(f"{url}: HTTP {response.status_code} without JSON: {UNEXPECTED_ANSWER}") from None
    if not response.is_success:
        reason = (document.get("detail") if isinstance(document, dict) else None) or "no reason given"
        if response.status_code == httpx2.codes.UNAUTHORIZED:
            reason = "the daemon needs its token; set --token-file or the variable STREAMCANARY_TOKEN"
        raise DaemonRequestError(f"{url}: HTTP {response.status_code}: {reason}", response.status_code)
    return document


def _read_token(path: Path | None) -> str:
    if path is None:
        return os.environ.get("STREAMCANARY_TOKEN", "").strip()
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DaemonRequestError(
            f"cannot read the token from {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
