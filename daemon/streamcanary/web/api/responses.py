"""JSON responses."""

from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from starlette.responses import Response

from streamcanary.web.api.endpoints import JSON

NO_STORE: Final = {"Cache-Control": "no-store"}
"""The headers of a response that is outdated at once."""


def json_response(document: Any, status: int = 200) -> Response:
    """Return ``document``, a struct, as JSON."""
    return Response(msgspec.json.encode(document), status, NO_STORE, JSON)


def rfc3339(seconds: float) -> str:
    """Return ``seconds`` since the epoch as a time of RFC 3339."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
