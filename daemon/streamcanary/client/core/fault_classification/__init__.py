"""Maps what went wrong to faults: exceptions of the SDK, HTTP statuses, and error bodies of providers.

`error_details` extracts codes and message from a body of any shape, `error_codes` and `error_phrases` are the tables
that map them to kinds, `server_errors` decides between status, code and phrase, `exceptions` maps exceptions.
`error_recognition` finds errors in JSON and text that are not marked as such.
"""

from streamcanary.client.core.fault_classification.error_codes import classify_error_code, classify_status
from streamcanary.client.core.fault_classification.error_recognition import (
    ERROR_EVENTS,
    excerpt_of,
    find_error,
    find_error_in_event,
    keep_ignored,
    reports_error,
)
from streamcanary.client.core.fault_classification.exceptions import fault_from_exception
from streamcanary.client.core.fault_classification.server_errors import (
    fault_from_error_body,
    fault_from_status,
)

__all__ = [
    "ERROR_EVENTS",
    "classify_error_code",
    "classify_status",
    "excerpt_of",
    "fault_from_error_body",
    "fault_from_exception",
    "fault_from_status",
    "find_error",
    "find_error_in_event",
    "keep_ignored",
    "reports_error",
]
