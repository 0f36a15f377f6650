"""Error bodies in the format of OpenAI.

Types, codes and parameters are those of OpenAI, because clients depend on them. Source:
https://platform.openai.com/docs/guides/error-codes
"""

from typing import Any

import msgspec


def error_object(message: str, type: str, code: str | None = None, param: str | None = None) -> dict[str, Any]:  # noqa: A002 - the name it has on the wire
    """Return the value of the key ``error``."""
    return {"message": message, "type": type, "param": param, "code": code}


def error_body(message: str, type: str, code: str | None = None, param: str | None = None) -> bytes:  # noqa: A002 - the name it has on the wire
    """Return the JSON body of an error."""
    return msgspec.json.encode({"error": error_object(message, type, code, param)})


def invalid_request_body(message: str, code: str | None = None, param: str | None = None) -> bytes:
    """Return the body of an error that is caused by the request itself."""
    return error_body(message, "invalid_request_error", code, param)
