"""Whether prompts and answers are recorded on spans: by a setting, or by the standard variable."""

from collections.abc import Mapping
from typing import Final

CAPTURE_VARIABLE: Final = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
"""The variable of the GenAI instrumentations of OpenTelemetry (package ``opentelemetry-util-genai``)."""

_ON_SPANS = frozenset({"true", "1", "span_only", "span_and_event"})


def is_content_captured(setting: bool | None, environ: Mapping[str, str]) -> bool:  # noqa: FBT001 - the value of a setting
    """Return ``setting``, or, if it is ``None``, whether the variable asks for content on spans.

    The variable does so with ``true``, ``SPAN_ONLY`` and ``SPAN_AND_EVENT``. ``EVENT_ONLY`` does not:
    streamcanary has no events with content.
    """
    if setting is not None:
        return setting
    return environ.get(CAPTURE_VARIABLE, "").strip().lower() in _ON_SPANS
