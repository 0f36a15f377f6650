"""Talking to a running daemon: its address, its token, and what it answers."""

import argparse
import os
from pathlib import Path
from typing import Any


class DaemonRequestError(Exception):
    """The daemon cannot be asked, or refuses; the text says why."""


def request_daemon(arguments: argparse.Namespace, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
    """Ask the daemon at ``--url`` and return what its JSON says, ``None`` if it says nothing.

    Raises:
        Unanswered: if it does not answer within ten seconds, or not with success.
    """
    import httpx2

    url = arguments.url.rstrip("/")
    headers = {"Authorization": f"Bearer {token}"} if (token := _read_token(arguments.token_file)) else {}
    try:
        with httpx2.Client(trust_env=False, timeout=10.0) as http:
            response = http.request(method, url + path, json=body, headers=headers)
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError, OSError) as error:
        raise DaemonRequestError(f"no daemon answers at {url}: {error}; say where with --url") from None
    try:
        document = response.json() if response.content else None
    except ValueError:
        raise DaemonRequestError(
            f"{url} answers HTTP {response.status_code}, and no JSON: is it a streamcanary?"
        ) from None
    if not response.is_success:
        reason = document.get("error") if isinstance(document, dict) else None
        raise DaemonRequestError(f"{url} answers HTTP {response.status_code}: {reason or 'it does not say why'}")
    return document


def _read_token(path: Path | None) -> str:
    if path is None:
        return os.environ.get("STREAMCANARY_TOKEN", "").strip()
    try:
        return path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise DaemonRequestError(
            f"the token cannot be read from {path}: {getattr(error, 'strerror', None) or error}"
        ) from None
