"""The rules as a rule file for Prometheus, over the metrics that the daemon exports.

``ratio`` over a time, ``burn_rate`` and ``no_data`` become expressions of :mod:`streamcanary.alerting.prometheus.promql`. Whatever
PromQL cannot say (the order of runs, a number of runs, the time that one took, what a first attempt was like, a cron
expression) becomes an alert on ``streamcanary_alert_active``, which our own engine sets.

A canary's own labels are on no metric but ``streamcanary_canary_info``. So a rule's ``match`` is resolved here, to the
canaries that it matches now; labels that all of these share go on the alert as they are.

The two need not fire in the same second. Prometheus sees a run when it next scrapes, and looks at it when it next
evaluates. ``increase()`` goes from the first to the last scrape within the window, and extends what it finds there to
the whole of it; so a count is off by up to one run, and a rule may fire one run earlier or later. Our windows are exact
(``burn_rate``: to a sixtieth), and end with the run that is judged. Where no run is left in a window an alert of
Prometheus ends; ours ends only by good runs.
"""

import io
import re
from collections.abc import Sequence
from string import Formatter
from typing import Any, Final

from msgspec import Struct
from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq
from ruamel.yaml.scalarstring import DoubleQuotedScalarString, LiteralScalarString

from streamcanary.alerting.builtin_rules import BUDGET_EXHAUSTED, CANARY_EGRESS_DOWN, DAEMON_RULES, RECEIVER_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.detectors import BurnRate, NoData, Ratio
from streamcanary.alerting.engine.bindings import MISSED_RUN_GRACE, Binding, Bindings
from streamcanary.alerting.prometheus import promql
from streamcanary.alerting.rules import RESERVED_LABELS, Rule
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.secret import scrub

EVALUATION_INTERVAL: Final = "30s"
"""How often the rules are evaluated."""

_HEADER: Final = """\
Made by `streamcanary rules` from the rules of instance {instance}; make it anew when these change.
An alert that reads streamcanary_alert_active is one that PromQL cannot decide: the daemon does.
None of them fires when the daemon itself is gone: watch its heartbeat, or absent(streamcanary_canary_info)."""

_SUBJECTS: Final = {CANARY_EGRESS_DOWN: "egress", BUDGET_EXHAUSTED: "budget"}


class _AlertingRule(Struct, kw_only=True):
    """One rule in the making: its recorded counts, its expression, and what is to be said about it."""

    name: str
    rule: Rule
    expr: str
    recording_rules: list[tuple[str, str]] = []
    for_seconds: float = 0.0
    labels: dict[str, str] = {}
    template_fields: dict[str, str] = {}
    comments: list[str] = []


def export_rules(config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> str:
    """Return the rules of ``config`` that are enabled and watch any of ``canaries`` as the text of a rule file.

    The same for the same arguments, whatever the order of the canaries.
    """
    bindings = Bindings(config.all_rules, instance, sorted(canaries, key=lambda canary: canary.name))
    bindings_by_rule: dict[str, list[Binding]] = {}
    for binding in bindings:
        bindings_by_rule.setdefault(binding.rule_name, []).append(binding)
    groups, unbound_rules = CommentedSeq(), []
    for name, rule in config.all_rules.items():
        if not rule.enabled:
            continue
        if name in DAEMON_RULES:
            alert = _daemon_alerting_rule(name, rule)
        elif name in bindings_by_rule:
            alert = _canary_alerting_rule(name, rule, bindings_by_rule[name], all_canaries=not rule.match)
        else:
            unbound_rules.append(name)
            continue
        alert.template_fields |= {
            "alert": _escape_template(name),
            "instance": _escape_template(instance),
            "status": "firing",
        }
        groups.append(_rule_group(alert))
    header = _HEADER.format(instance=scrub(" ".join(instance.split()), limit=200))
    if unbound_rules:
        header += f"\nThese watch no canary, and are left out: {', '.join(unbound_rules)}."
    return _to_yaml(groups, header)


def _daemon_alerting_rule(name: str, rule: Rule) -> _AlertingRule:
    """Return the alert of a built-in rule about a part of the daemon; the daemon alone knows."""
    if name == RECEIVER_FAILING:
        expr = promql.alert_active_expression(name, f"{names.RECEIVER}, job, namespace")
        return _AlertingRule(
            name=name, rule=rule, expr=expr, template_fields={"subject": _label_template(names.RECEIVER), "canary": ""}
        )
    fields = {"subject": _SUBJECTS.get(name, "store"), "canary": ""}
    return _AlertingRule(
        name=name, rule=rule, expr=promql.alert_active_expression(name, "job, namespace"), template_fields=fields
    )


def _canary_alerting_rule(name: str, rule: Rule, bindings: Sequence[Binding], *, all_canaries: bool) -> _AlertingRule:
    """Return the alert of a rule that watches canaries."""
    watched = [] if all_canaries else [pair.canary.name for pair in bindings]
    fields = {field: _label_template(field) for field in (names.CANARY, names.TARGET, names.PROVIDER_LABEL)}
    alert = _AlertingRule(
        name=name,
        rule=rule,
        expr=promql.alert_active_expression(name),
        template_fields={**fields, "subject": fields[names.CANARY]},
        comments=[],
    )
    resolve_conditions = {binding.resolve_condition for binding in bindings}
    if len(resolve_conditions) == 1:
        alert.template_fields["resolves"] = _escape_template(resolve_conditions.pop())
    detector = rule.detector
    if promql.is_expressible(rule) and isinstance(detector, (Ratio, BurnRate)):
        alert.expr = promql.firing_expression(name, detector)
        alert.recording_rules = [
            recorded
            for window in promql.window_lengths(detector)
            for recorded in promql.recording_rules(name, rule, watched, window)
        ]
        longest = max(promql.window_lengths(detector))
        alert.template_fields |= {
            "bad": _query_template(name, promql.recorded_name("bad", longest)),
            "total": _query_template(name, promql.recorded_name("seen", longest)),
        }
        alert.for_seconds = detector.hold if isinstance(detector, Ratio) else 0.0
    elif isinstance(detector, NoData):
        alert.expr = _no_data_expression(name, bindings, all_canaries=all_canaries)
        alert.template_fields["bad"] = alert.template_fields["total"] = str(detector.runs)
    if not all_canaries:
        _add_shared_labels(alert, [pair.canary for pair in bindings])
    return alert


def _no_data_expression(name: str, bindings: Sequence[Binding], *, all_canaries: bool) -> str:
    """Return what says that a canary is silent, by how long each may be; of those by cron the daemon says it."""
    waits: dict[float, list[str]] = {}
    by_cron = [pair.canary.name for pair in bindings if pair.canary.cron]
    for binding in bindings:
        canary = binding.canary
        if not canary.cron:
            waits.setdefault(
                binding.missing_runs_to_fire * canary.interval + canary.timeout + MISSED_RUN_GRACE, []
            ).append(canary.name)
    alone = all_canaries and len(bindings) in map(len, waits.values())
    parts = [promql.no_data_expression([] if alone else who, wait) for wait, who in sorted(waits.items())]
    if parts:
        budget = promql.alert_active_expression(BUDGET_EXHAUSTED, "job, namespace")
        parts = [f"({_or_expression(parts)}\nunless on (job, namespace) {budget})"]
    if by_cron:
        parts.append(promql.alert_active_expression(name, canaries=by_cron))
    return _or_expression(parts)


def _or_expression(parts: Sequence[str]) -> str:
    return "\nor\n".join(parts) if len(parts) < 2 else "(" + "\nor\n".join(parts) + ")"


def _add_shared_labels(alert: _AlertingRule, canaries: Sequence[Canary]) -> None:
    """Put the labels on the alert that all of ``canaries`` have alike, and note those that they have not."""
    for name in sorted({name for canary in canaries for name in canary.labels}):
        values = {canary.labels.get(name) for canary in canaries}
        value = values.pop()
        if not values and value is not None and name not in RESERVED_LABELS:
            alert.labels[name] = value
        else:
            alert.comments.append(f"The canaries' label {name} is not the same for all of them, and not on this alert.")


# ---- the file


def _rule_group(alert: _AlertingRule) -> CommentedMap:
    """Return the group of one alert: its counts, then itself, evaluated in this order."""
    rules = CommentedSeq()
    for record, expr in alert.recording_rules:
        recording_rule = CommentedMap(
            record=record, expr=LiteralScalarString(expr), labels={promql.RULE_LABEL: _double_quoted(alert.name)}
        )
        rules.append(recording_rule)
    annotations: dict[str, Any] = {}
    unknown_fields: list[str] = []
    for name, template in alert.rule.annotations.items():
        annotations[name] = _double_quoted(_to_prometheus_template(template, alert.template_fields, unknown_fields))
    if unknown_fields:
        unknown = ", ".join(dict.fromkeys(unknown_fields))
        alert.comments.append(f"Prometheus does not know, and the annotations leave as a word: {unknown}.")
    alerting_rule = CommentedMap(alert=_double_quoted(alert.name), expr=LiteralScalarString(alert.expr))
    if alert.for_seconds:
        alerting_rule["for"] = promql.duration(alert.for_seconds)
    if labels := {**alert.labels, **alert.rule.labels}:
        alerting_rule["labels"] = {name: _double_quoted(_escape_template(value)) for name, value in labels.items()}
    if annotations:
        alerting_rule["annotations"] = annotations
    rules.append(alerting_rule)
    group = CommentedMap(name=_double_quoted(f"streamcanary.{alert.name}"), interval=EVALUATION_INTERVAL, rules=rules)
    if alert.comments:
        group.yaml_set_comment_before_after_key("rules", before="\n".join(alert.comments), indent=4)
    return group


def _to_yaml(groups: CommentedSeq, header: str) -> str:
    yaml = YAML()
    yaml.width = 100_000  # no line is folded
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = CommentedMap(groups=groups)
    document.yaml_set_start_comment(header)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


# ---- Prometheus' templates: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/


def _to_prometheus_template(template: str, fields: dict[str, str], unknown_fields: list[str]) -> str:
    """Return ``template`` as one of Prometheus; fields that it does not know stay as words, and go into ``lost``."""
    parts: list[str] = []
    for text, field, _, _ in Formatter().parse(template):
        parts.append(_escape_template(text))
        if field is not None and field not in fields:
            unknown_fields.append(field)
        parts.append("" if field is None else fields.get(field, f"[{field}]"))
    return "".join(parts)


def _escape_template(text: str) -> str:
    """Return ``text`` so that a template of Prometheus says it as it is."""
    return re.sub(r"\{+", lambda braces: f'{{{{ "{braces[0]}" }}}}', text)


def _label_template(name: str) -> str:
    return f"{{{{ $labels.{name} }}}}"


def _query_template(rule: str, record: str) -> str:
    """Return the template of the recorded count for the canary that an alert is about, as a whole number."""
    label_names = (names.CANARY, "job", "namespace")
    query = f"{record}{{{promql.RULE_LABEL}='{rule}',{','.join(f'{name}=%q' for name in label_names)}}}"
    values = " ".join(f"$labels.{name}" for name in label_names)
    return f'{{{{ with printf `{query}` {values} | query }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}}'


def _double_quoted(text: str) -> DoubleQuotedScalarString:
    quoted: DoubleQuotedScalarString = DoubleQuotedScalarString(text)
    return quoted
