"""The verb ``test-rules``: runs unit tests for rules, with the format and output of promtool."""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from pydantic import ValidationError

from streamcanary.alerting.testing.rule_tests import (
    FiringAlert,
    RulesUnderTest,
    RuleTestFailure,
    TestFile,
    reference_issues,
    run_tests,
)
from streamcanary.model.config_types.duration import format_duration
from streamcanary.settings import ConfigInvalid, Problem, load, render
from streamcanary.settings_sources.document import read_document
from streamcanary.settings_sources.error_messages import explain_validation_error


def main(arguments: argparse.Namespace) -> int:
    """Run the tests of each file; return 0 if all pass, 1 if any fails, 2 if a file is invalid."""
    code = 0
    for path in arguments.files:
        print(f"Unit Testing:  {path}")
        try:
            failures = [line for file, origin, rules in _load_tests(path) for line in _run_file(file, origin, rules)]
        except ConfigInvalid as invalid:
            print("  INVALID FILE", flush=True)
            print(render(invalid.problems), file=sys.stderr)
            code = 2
            continue
        if failures:
            print("  FAILED:")
            print("\n".join(failures))
            code = max(code, 1)
        else:
            print("  SUCCESS")
        print()
    return code


def _load_tests(path: Path) -> list[tuple[TestFile, str, RulesUnderTest]]:
    """Return the tests in ``path``, once for each configuration in ``rule_files``, with its name.

    Raises:
        ConfigInvalid: with every error in the file, or in a configuration that it names.
    """
    document = read_document(path)
    try:
        file = TestFile.model_validate(document.data)
    except ValidationError as error:
        raise ConfigInvalid([*document.problems, *explain_validation_error(error, document, (TestFile,))]) from None
    problems = list(document.problems)
    runs = []
    for origin, rules in _load_rules_under_test(path, file, problems):
        reference_problems = [document.problem_at(issue.path, issue.message) for issue in reference_issues(file, rules)]
        problems += [problem for problem in reference_problems if problem not in problems]
        runs.append((file, origin, rules))
    if problems:
        raise ConfigInvalid(problems)
    return runs


def _load_rules_under_test(path: Path, file: TestFile, problems: list[Problem]) -> Iterator[tuple[str, RulesUnderTest]]:
    if file.alerts is not None:
        yield "", RulesUnderTest(file.alerts)
    for name in file.rule_files or ():
        try:
            settings = load(path.absolute().parent / name)
        except ConfigInvalid as invalid:
            problems += invalid.problems
        else:
            canaries = {canary.name: canary for canary in settings.to_canaries()}
            yield str(name), RulesUnderTest(settings.alerts, settings.member_instance, canaries)


def _run_file(file: TestFile, origin: str, rules_under_test: RulesUnderTest) -> Iterator[str]:
    for failure in run_tests(file, rules_under_test):
        yield from _format_failure(failure, origin)


def _format_failure(failure: RuleTestFailure, origin: str) -> Iterator[str]:
    """Yield the lines of a failure in the format of promtool."""
    name = f"name: {failure.group}, " if failure.group else ""
    where = f"rules: {origin}, " if origin else ""
    yield f"    {where}{name}alertname: {failure.alertname}, time: {format_duration(failure.time)},"
    yield from _format_alerts("exp", failure.expected)
    yield from _format_alerts("got", failure.got)
    yield ""


def _format_alerts(title: str, firing: tuple[FiringAlert, ...]) -> Iterator[str]:
    if not firing:
        yield f"        {title}:[]"
        return
    yield f"        {title}:["
    for number, alert in enumerate(firing):
        yield f"            {number}:"
        yield f"              Labels:{_format_labels(alert.labels)}"
        if alert.annotations is not None:
            yield f"              Annotations:{_format_labels(alert.annotations)}"
    yield "        ]"


def _format_labels(pairs: tuple[tuple[str, str], ...]) -> str:
    labels = (f"{name}={_quote(value)}" for name, value in pairs)
    return "{" + ", ".join(labels) + "}"


def _quote(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{escaped}"'
