"""Labels: what Prometheus and Alertmanager take as the name of one."""

import re
from typing import Annotated

from pydantic import AfterValidator

_LONGEST = 128
_NAME = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")


def _check(name: str) -> str:
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ValueError(f"must be letters, digits and '_', not beginning with a digit, at most {_LONGEST} characters")
    return name


LabelName = Annotated[str, AfterValidator(_check)]
"""Letters, digits and ``_``, not beginning with a digit (https://prometheus.io/docs/concepts/data_model/)."""
