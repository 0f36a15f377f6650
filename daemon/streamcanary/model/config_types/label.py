"""A field type for label names, valid in Prometheus and Alertmanager."""

import re
from typing import Annotated

from pydantic import AfterValidator, WithJsonSchema

_MAX_LENGTH = 128
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def check_label_name(name: str) -> str:
    """Return ``name`` if it is a valid label name.

    Raises:
        ValueError: if it is not.
    """
    if not _NAME.fullmatch(name) or len(name) > _MAX_LENGTH:
        raise ValueError(
            f"must be letters, digits and '_', not starting with a digit, at most {_MAX_LENGTH} characters"
        )
    return name


LabelName = Annotated[
    str,
    AfterValidator(check_label_name),
    WithJsonSchema({"type": "string", "pattern": f"^{_NAME.pattern}$", "maxLength": _MAX_LENGTH}),
]
"""Letters, digits and ``_``, not starting with a digit (https://prometheus.io/docs/concepts/data_model/)."""
