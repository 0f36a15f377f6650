"""The JSON Schema of settings that are http or https URLs."""

from typing import Final

from pydantic import WithJsonSchema

from streamcanary.model.config_types.secret import Secret

_PATTERN: Final = r"^[hH][tT][tT][pP][sS]?://"

HTTP_URL_SCHEMA: Final = WithJsonSchema({"type": "string", "pattern": _PATTERN})
"""The JSON Schema of a URL; only its scheme is checked."""

SECRET_URL_SCHEMA: Final = WithJsonSchema({**Secret.json_schema(), "pattern": _PATTERN})
"""The JSON Schema of a secret URL: text, or the path of its file."""
