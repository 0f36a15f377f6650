"""The text of annotations: ``str.format`` without its power. Checked when loaded, filled in when sent."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, Field

from streamcanary.model.config_types.secret import printable, scrub

TEMPLATE_FIELDS = {
    "alert": "the name of the rule",
    "subject": "whom it is about: the canary, or for a built-in alert the part of the daemon",
    "canary": "the canary, empty for a built-in alert",
    "target": "the canary's target",
    "provider": "the target's provider",
    "instance": "the instance of the daemon",
    "status": "firing or resolved",
    "bad": "how many of the samples that the detector looks at were bad",
    "total": "how many it looks at",
    "first_attempts": "in how many of these runs the first attempt failed, before retries",
    "rescued": "in how many of the bad ones a fallback answered, so that users are served",
    "faults": "the faults by kind, such as stalled 3, rate_limited 1",
    "blames": "the same by who can mend it",
    "message": "the last error, in the provider's words",
    "diagnosis": "what the preflight found after the first failure",
    "since": "when the first of the bad samples was seen, UTC",
    "opened": "when it fired, UTC",
    "duration": "for how long it has been firing, or fired",
    "resolves": "what would resolve it",
    "request_ids": "the last request ids",
    "trace_ids": "the last trace ids",
    "trace_url": "the link to the last trace, by alerts.trace_url",
}
"""What a template may name, and what it stands for."""

_MAX_LENGTH = 2000
# as Prometheus, Alertmanager or Jinja write them
_OTHER_TEMPLATE_SYNTAX = re.compile(rf"(?<!\{{)\{{\{{-?\s*(?:[.$]|(?:{'|'.join(TEMPLATE_FIELDS)})\b)")
_CONTROL_CHARACTERS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def _check_template(template: str) -> str:
    if _OTHER_TEMPLATE_SYNTAX.search(template):
        raise ValueError("{{ and }} are plain braces here; a field is written {canary}, with one brace on each side")
    if _CONTROL_CHARACTERS.search(template):
        raise ValueError("has a control character in it; only line breaks and tabs may stand there")
    try:
        parts = list(Formatter().parse(template))
    except ValueError as error:
        raise ValueError(f"not a template: {error}; write {{{{ and }}}} for plain braces") from None
    for _, name, spec, conversion in parts:
        if name is None:
            continue
        if name not in TEMPLATE_FIELDS:
            raise ValueError(f"unknown field {{{name}}}; known: {', '.join(sorted(TEMPLATE_FIELDS))}")
        if spec or conversion:
            raise ValueError(f"write {{{name}}} alone, without a format or conversion")
    return template


Template = Annotated[str, Field(max_length=_MAX_LENGTH), AfterValidator(_check_template)]
"""A pydantic field with the text of an annotation, whose fields are all among :data:`FIELDS`."""


def render_template(template: str, values: Mapping[str, str]) -> str:
    """Return ``template`` with its fields filled in, at most 2,000 characters, without control characters.

    Only the template has lines of its own; each of ``values`` is one, and without secrets. A field that ``values``
    lacks is left empty: a page is never lost to its wording.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError:  # a template is checked when loaded; one kept by another version may not be
        return printable(template, _MAX_LENGTH, lines=True)
    text = "".join(text + scrub(values.get(name or "", ""), limit=_MAX_LENGTH) for text, name, _, _ in parts)
    return printable(text, _MAX_LENGTH, lines=True)
