"""Maps what went wrong to faults: exceptions of the SDK, HTTP statuses, and error bodies of providers.

`error_details` extracts codes and message from a body of any shape, `error_codes` and `error_phrases` are the tables
that map them to kinds, `server_errors` decides between status, code and phrase, `exceptions` maps exceptions.
"""

from streamcanary.client.core.fault_classification.error_codes import classify_error_code, classify_status
from streamcanary.client.core.fault_classification.exceptions import fault_from_exception
from streamcanary.client.core.fault_classification.server_errors import (
    fault_from_error_body,
    fault_from_status,
    find_error,
    reports_error,
)

__all__ = [
    "classify_error_code",
    "classify_status",
    "fault_from_error_body",
    "fault_from_exception",
    "fault_from_status",
    "find_error",
    "reports_error",
]
