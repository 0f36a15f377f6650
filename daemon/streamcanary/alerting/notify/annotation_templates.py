"""Templates of annotations: a subset of ``str.format``, checked when loaded and rendered when sent."""

import re
from collections.abc import Mapping
from string import Formatter
from typing import Annotated

from pydantic import AfterValidator, Field

from streamcanary.model.redaction.printable import printable
from streamcanary.model.redaction.redactor import scrub

TEMPLATE_FIELDS = {
    "alert": "the name of the rule",
    "subject": "the subject: the canary, a scope such as target openai, or a component of the daemon",
    "canary": "the canary; of an alert that pools canaries the subject, empty for an alert about the daemon",
    "scope": "the scope of an alert that pools canaries, such as target, empty for others",
    "members": "number of canaries of an alert that pools canaries, empty for others",
    "failing": "the canaries of such an alert that fail, such as a (3 of 5 runs), b (1 of 4 runs)",
    "unaffected": "the canaries of such an alert that had only good runs, at most 5",
    "target": "the canary's target",
    "provider": "the target's provider",
    "instance": "the instance of the daemon",
    "status": "firing or resolved",
    "bad": "number of bad samples in the detector's window",
    "total": "number of samples in the detector's window",
    "first_attempts": "number of these runs whose first attempt failed, before retries",
    "rescued": "number of the bad runs that a fallback answered",
    "faults": "the faults in words, such as stalled 3, rate limited 1",
    "blames": "the faults by blame, such as provider 4",
    "message": "the last error message of the provider",
    "diagnosis": "the first failed step of the diagnosis after the first failure",
    "since": "time of the first bad sample, UTC",
    "opened": "time at which the alert fired, UTC",
    "duration": "for how long the alert has been firing, or was firing",
    "resolves": "the condition that resolves the alert",
    "request_ids": "the last request ids",
    "trace_ids": "the last trace ids",
    "trace_url": "the link to the last trace, by alerts.trace_url",
    "url": "the link to the alert on the status page, by alerts.external_url",
}
"""The fields of a template, and their descriptions."""

_MAX_LENGTH = 2000
# the template syntax of Prometheus, Alertmanager and Jinja
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
            raise ValueError(f"write {{{name}}} without a format or conversion")
    return template


Template = Annotated[str, Field(max_length=_MAX_LENGTH), AfterValidator(_check_template)]
"""A pydantic field with the template of an annotation, whose fields are all in :data:`TEMPLATE_FIELDS`."""


def render_template(template: str, values: Mapping[str, str]) -> str:
    """Return ``template`` with its fields replaced, at most 2,000 characters, without control characters.

    Only the template can break lines: each of ``values`` becomes one line, with secrets redacted. A field that
    ``values`` lacks is left empty, so that a template error never loses a notification.
    """
    try:
        parts = list(Formatter().parse(template))
    except ValueError:  # a template is checked when loaded, but one stored by another version may be invalid
        return printable(template, _MAX_LENGTH, lines=True)
    text = "".join(text + scrub(values.get(name or "", ""), limit=_MAX_LENGTH) for text, name, _, _ in parts)
    return printable(text, _MAX_LENGTH, lines=True)
