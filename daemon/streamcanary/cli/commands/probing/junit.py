"""Writes the runs of a probe as JUnit XML, which pipelines show as tests."""

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from streamcanary.model.fault_words import describe_fault
from streamcanary.model.outcome import Outcome, OutcomeKind

_INVALID = re.compile("[^\t\n\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0 cannot contain these at all
_ERRORS = (OutcomeKind.INTERNAL_ERROR, OutcomeKind.SKIPPED)


def junit_document(
    outcomes: Sequence[Outcome], violations: Mapping[str, Sequence[str]], kinds: frozenset[OutcomeKind]
) -> bytes:
    """Return a document with a test suite for each canary: a test for each run, and one for the requirements.

    A run fails if its outcome is in ``kinds``; an internal error is an error. ``violations`` are texts by canary.
    """
    root = ET.Element("testsuites", name="streamcanary probe")
    for name, texts in violations.items():
        runs = [outcome for outcome in outcomes if outcome.canary == name]
        suite = ET.SubElement(root, "testsuite", name=_valid(name))
        for number, outcome in enumerate(runs, 1):
            _add_run(suite, number, outcome, kinds)
        case = ET.SubElement(suite, "testcase", classname=_valid(name), name="requirements", time="0")
        if texts:
            ET.SubElement(case, "failure", message=_valid("; ".join(texts))).text = _valid("\n".join(texts))
        _count(suite, sum(outcome.duration for outcome in runs))
    _count(root, sum(outcome.duration for outcome in outcomes))
    ET.indent(root)
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document + b"\n"


def _add_run(suite: ET.Element, number: int, outcome: Outcome, kinds: frozenset[OutcomeKind]) -> None:
    case = ET.SubElement(
        suite,
        "testcase",
        classname=_valid(outcome.canary),
        name=f"run {number}",
        time=f"{outcome.duration:.3f}",
    )
    reason = describe_fault(outcome.fault) if outcome.fault else outcome.reason or ""
    if outcome.kind in _ERRORS:
        ET.SubElement(case, "error", type=outcome.kind.value, message=_valid(reason))
    elif outcome.kind in kinds:
        ET.SubElement(case, "failure", type=outcome.kind.value, message=_valid(reason))
    lines = [f"run id {outcome.run_id}", f"outcome {outcome.kind.value}"]
    for each in outcome.attempts:
        result = describe_fault(each.fault) if each.fault else "answered"
        lines.append(f"attempt {each.number} on {each.route}: {result} ({each.duration:.3f} s)")
    ET.SubElement(case, "system-out").text = _valid("\n".join(lines))


def _count(element: ET.Element, seconds: float) -> None:
    """Set the totals of a suite."""
    for attribute, tag in (("tests", "testcase"), ("failures", "failure"), ("errors", "error")):
        element.set(attribute, str(sum(1 for _ in element.iter(tag))))
    element.set("time", f"{seconds:.3f}")


def _valid(text: str) -> str:
    return _INVALID.sub("�", text)
