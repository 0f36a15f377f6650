"""Writes rule files of Prometheus: groups of recording and alerting rules, and the templates of their annotations.

https://prometheus.io/docs/prometheus/latest/configuration/recording_rules/
"""

import io
import re
from collections.abc import Iterable
from string import Formatter
from typing import Any, Final

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from streamcanary.alerting.prometheus import promql
from streamcanary.alerting.rules import Rule

EVALUATION_INTERVAL: Final = "30s"
"""The evaluation interval of the rule groups."""


class AlertingRule(Struct, kw_only=True):
    """An alerting rule: its recording rules, expression, labels, template fields and comments.

    ``group`` is the name of its group if that is not the name of the rule.
    """

    name: str
    rule: Rule
    expr: str
    recording_rules: list[tuple[str, str]] = []
    for_seconds: float = 0.0
    labels: dict[str, str] = {}
    template_fields: dict[str, str] = {}
    comments: list[str] = []
    group: str = ""


class StandaloneAlert(Struct, frozen=True, kw_only=True):
    """An alert that no rule of a configuration describes. ``held`` is the duration of its ``for``, empty for none."""

    name: str
    expr: str
    held: str = ""
    severity: str
    summary: str
    description: str


def standalone_rule_file(
    group: str, rule: str, recording_rules: Iterable[tuple[str, str]], alerts: Iterable[StandaloneAlert], header: str
) -> str:
    """Return the text of a rule file with one group: its recording rules with the label ``rule``, then its alerts."""
    rules = CommentedSeq()
    for record, expr in recording_rules:
        labels = {promql.RULE_LABEL: double_quoted(rule)}
        rules.append(CommentedMap(record=record, expr=LiteralScalarString(expr), labels=labels))
    for alert in alerts:
        alerting_rule = CommentedMap(alert=double_quoted(alert.name), expr=LiteralScalarString(alert.expr))
        if alert.held:
            alerting_rule["for"] = alert.held
        alerting_rule["labels"] = {"severity": double_quoted(alert.severity)}
        alerting_rule["annotations"] = {
            "summary": double_quoted(alert.summary),
            "description": double_quoted(alert.description),
        }
        rules.append(alerting_rule)
    groups = CommentedSeq([CommentedMap(name=double_quoted(group), interval=EVALUATION_INTERVAL, rules=rules)])
    return to_yaml(groups, header)


def rule_group(alert: AlertingRule) -> CommentedMap:
    """Return the rule group of one alert: its recording rules, then its alerting rule, evaluated in this order."""
    rules = CommentedSeq()
    for record, expr in alert.recording_rules:
        recording_rule = CommentedMap(
            record=record, expr=LiteralScalarString(expr), labels={promql.RULE_LABEL: double_quoted(alert.name)}
        )
        rules.append(recording_rule)
    annotations: dict[str, Any] = {}
    unknown_fields: list[str] = []
    for name, template in alert.rule.annotations.items():
        annotations[name] = double_quoted(_to_prometheus_template(template, alert.template_fields, unknown_fields))
    if unknown_fields:
        unknown = ", ".join(dict.fromkeys(unknown_fields))
        alert.comments.append(
            f"Prometheus does not have these template fields, so the annotations show only their names: {unknown}."
        )
    alerting_rule = CommentedMap(alert=double_quoted(alert.name), expr=LiteralScalarString(alert.expr))
    if alert.for_seconds:
        alerting_rule["for"] = promql.duration(alert.for_seconds)
    if labels := {**alert.labels, **alert.rule.labels}:
        alerting_rule["labels"] = {name: double_quoted(escape_template(value)) for name, value in labels.items()}
    if annotations:
        alerting_rule["annotations"] = annotations
    rules.append(alerting_rule)
    group = CommentedMap(
        name=double_quoted(f"streamcanary.{alert.group or alert.name}"), interval=EVALUATION_INTERVAL, rules=rules
    )
    if alert.comments:
        group.yaml_set_comment_before_after_key("rules", before="\n".join(alert.comments), indent=4)
    return group


def to_yaml(groups: CommentedSeq, header: str) -> str:
    """Return the text of a rule file with ``groups``, and with ``header`` as a comment at its start."""
    yaml = YAML()
    yaml.width = 100_000  # do not fold lines
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = CommentedMap(groups=groups)
    document.yaml_set_start_comment(header)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


# ---- templates of Prometheus: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/


def _to_prometheus_template(template: str, fields: dict[str, str], unknown_fields: list[str]) -> str:
    """Return ``template`` for Prometheus; unknown fields become ``[name]`` and are added to ``unknown_fields``."""
    parts: list[str] = []
    for text, field, _, _ in Formatter().parse(template):
        parts.append(escape_template(text))
        if field is not None and field not in fields:
            unknown_fields.append(field)
        parts.append("" if field is None else fields.get(field, f"[{field}]"))
    return "".join(parts)


def escape_template(text: str) -> str:
    """Return ``text`` escaped for a template of Prometheus."""
    return re.sub(r"\{+", lambda braces: f'{{{{ "{braces[0]}" }}}}', text)


def label_template(name: str) -> str:
    """Return the template of the value of the label ``name``."""
    return f"{{{{ $labels.{name} }}}}"


def double_quoted(text: str) -> DoubleQuotedScalarString:
    """Return ``text`` as a YAML scalar in double quotes."""
    quoted: DoubleQuotedScalarString = DoubleQuotedScalarString(text)
    return quoted
