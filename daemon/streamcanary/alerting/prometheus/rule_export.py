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

from streamcanary.alerting.builtin_rules import ABOUT_US, BUDGET_EXHAUSTED, CANARY_EGRESS_DOWN, RECEIVER_FAILING
from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.detectors import BurnRate, NoData, Ratio
from streamcanary.alerting.engine.bindings import SLACK, Pair, Pairs
from streamcanary.alerting.prometheus import promql
from streamcanary.alerting.rules import OWN_LABELS, Rule
from streamcanary.model import names
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.secret import scrub

INTERVAL: Final = "30s"
"""How often the rules are evaluated."""

_HEAD: Final = """\
Made by `streamcanary rules` from the rules of instance {instance}; make it anew when these change.
An alert that reads streamcanary_alert_active is one that PromQL cannot decide: the daemon does.
None of them fires when the daemon itself is gone: watch its heartbeat, or absent(streamcanary_canary_info)."""

_SUBJECTS: Final = {CANARY_EGRESS_DOWN: "egress", BUDGET_EXHAUSTED: "budget"}


class _Alert(Struct, kw_only=True):
    """One rule in the making: its recorded counts, its expression, and what is to be said about it."""

    name: str
    rule: Rule
    expr: str
    counts: list[tuple[str, str]] = []
    hold: float = 0.0
    labels: dict[str, str] = {}
    fields: dict[str, str] = {}
    notes: list[str] = []


def export(config: AlertsConfig, instance: str, canaries: Sequence[Canary]) -> str:
    """Return the rules of ``config`` that are enabled and watch any of ``canaries`` as the text of a rule file.

    The same for the same arguments, whatever the order of the canaries.
    """
    pairs = Pairs(config.rulebook, instance, sorted(canaries, key=lambda canary: canary.name))
    watched: dict[str, list[Pair]] = {}
    for pair in pairs:
        watched.setdefault(pair.name, []).append(pair)
    groups, silent = CommentedSeq(), []
    for name, rule in config.rulebook.items():
        if not rule.enabled:
            continue
        if name in ABOUT_US:
            alert = _about_us(name, rule)
        elif name in watched:
            alert = _about_canaries(name, rule, watched[name], everyone=not rule.match)
        else:
            silent.append(name)
            continue
        alert.fields |= {"alert": _plain(name), "instance": _plain(instance), "status": "firing"}
        groups.append(_group(alert))
    head = _HEAD.format(instance=scrub(" ".join(instance.split()), limit=200))
    if silent:
        head += f"\nThese watch no canary, and are left out: {', '.join(silent)}."
    return _write(groups, head)


def _about_us(name: str, rule: Rule) -> _Alert:
    """Return the alert of a built-in rule about a part of the daemon; the daemon alone knows."""
    if name == RECEIVER_FAILING:
        expr = promql.active(name, f"{names.RECEIVER}, job, namespace")
        return _Alert(name=name, rule=rule, expr=expr, fields={"subject": _label(names.RECEIVER), "canary": ""})
    fields = {"subject": _SUBJECTS.get(name, "store"), "canary": ""}
    return _Alert(name=name, rule=rule, expr=promql.active(name, "job, namespace"), fields=fields)


def _about_canaries(name: str, rule: Rule, pairs: Sequence[Pair], *, everyone: bool) -> _Alert:
    """Return the alert of a rule that watches canaries."""
    watched = [] if everyone else [pair.canary.name for pair in pairs]
    fields = {field: _label(field) for field in (names.CANARY, names.TARGET, names.PROVIDER_LABEL)}
    alert = _Alert(
        name=name, rule=rule, expr=promql.active(name), fields={**fields, "subject": fields[names.CANARY]}, notes=[]
    )
    ends = {pair.ends for pair in pairs}
    if len(ends) == 1:
        alert.fields["resolves"] = _plain(ends.pop())
    detector = rule.detector
    if promql.sayable(rule) and isinstance(detector, (Ratio, BurnRate)):
        alert.expr = promql.fires(name, detector)
        alert.counts = [
            recorded for window in promql.windows(detector) for recorded in promql.counts(name, rule, watched, window)
        ]
        longest = max(promql.windows(detector))
        alert.fields |= {
            "bad": _queried(name, promql.recorded("bad", longest)),
            "total": _queried(name, promql.recorded("seen", longest)),
        }
        alert.hold = detector.hold if isinstance(detector, Ratio) else 0.0
    elif isinstance(detector, NoData):
        alert.expr = _no_data(name, pairs, everyone=everyone)
        alert.fields["bad"] = alert.fields["total"] = str(detector.runs)
    if not everyone:
        _share_labels(alert, [pair.canary for pair in pairs])
    return alert


def _no_data(name: str, pairs: Sequence[Pair], *, everyone: bool) -> str:
    """Return what says that a canary is silent, by how long each may be; of those by cron the daemon says it."""
    waits: dict[float, list[str]] = {}
    by_cron = [pair.canary.name for pair in pairs if pair.canary.cron]
    for pair in pairs:
        canary = pair.canary
        if not canary.cron:
            waits.setdefault(pair.runs * canary.interval + canary.timeout + SLACK, []).append(canary.name)
    alone = everyone and len(pairs) in map(len, waits.values())
    parts = [promql.missing([] if alone else who, wait) for wait, who in sorted(waits.items())]
    if parts:
        budget = promql.active(BUDGET_EXHAUSTED, "job, namespace")
        parts = [f"({_either(parts)}\nunless on (job, namespace) {budget})"]
    if by_cron:
        parts.append(promql.active(name, canaries=by_cron))
    return _either(parts)


def _either(parts: Sequence[str]) -> str:
    return "\nor\n".join(parts) if len(parts) < 2 else "(" + "\nor\n".join(parts) + ")"


def _share_labels(alert: _Alert, canaries: Sequence[Canary]) -> None:
    """Put the labels on the alert that all of ``canaries`` have alike, and note those that they have not."""
    for name in sorted({name for canary in canaries for name in canary.labels}):
        values = {canary.labels.get(name) for canary in canaries}
        value = values.pop()
        if not values and value is not None and name not in OWN_LABELS:
            alert.labels[name] = value
        else:
            alert.notes.append(f"The canaries' label {name} is not the same for all of them, and not on this alert.")


# ---- the file


def _group(alert: _Alert) -> CommentedMap:
    """Return the group of one alert: its counts, then itself, evaluated in this order."""
    rules = CommentedSeq()
    for record, expr in alert.counts:
        counted = CommentedMap(record=record, expr=LiteralScalarString(expr), labels={promql.RULE: _text(alert.name)})
        rules.append(counted)
    annotations: dict[str, Any] = {}
    lost: list[str] = []
    for name, template in alert.rule.annotations.items():
        annotations[name] = _text(_translate(template, alert.fields, lost))
    if lost:
        unknown = ", ".join(dict.fromkeys(lost))
        alert.notes.append(f"Prometheus does not know, and the annotations leave as a word: {unknown}.")
    told = CommentedMap(alert=_text(alert.name), expr=LiteralScalarString(alert.expr))
    if alert.hold:
        told["for"] = promql.duration(alert.hold)
    if labels := {**alert.labels, **alert.rule.labels}:
        told["labels"] = {name: _text(_plain(value)) for name, value in labels.items()}
    if annotations:
        told["annotations"] = annotations
    rules.append(told)
    group = CommentedMap(name=_text(f"streamcanary.{alert.name}"), interval=INTERVAL, rules=rules)
    if alert.notes:
        group.yaml_set_comment_before_after_key("rules", before="\n".join(alert.notes), indent=4)
    return group


def _write(groups: CommentedSeq, head: str) -> str:
    yaml = YAML()
    yaml.width = 100_000  # no line is folded
    yaml.indent(mapping=2, sequence=4, offset=2)
    document = CommentedMap(groups=groups)
    document.yaml_set_start_comment(head)
    stream = io.StringIO()
    yaml.dump(document, stream)
    return stream.getvalue()


# ---- Prometheus' templates: https://prometheus.io/docs/prometheus/latest/configuration/template_reference/


def _translate(template: str, fields: dict[str, str], lost: list[str]) -> str:
    """Return ``template`` as one of Prometheus; fields that it does not know stay as words, and go into ``lost``."""
    parts: list[str] = []
    for text, field, _, _ in Formatter().parse(template):
        parts.append(_plain(text))
        if field is not None and field not in fields:
            lost.append(field)
        parts.append("" if field is None else fields.get(field, f"[{field}]"))
    return "".join(parts)


def _plain(text: str) -> str:
    """Return ``text`` so that a template of Prometheus says it as it is."""
    return re.sub(r"\{+", lambda braces: f'{{{{ "{braces[0]}" }}}}', text)


def _label(name: str) -> str:
    return f"{{{{ $labels.{name} }}}}"


def _queried(rule: str, record: str) -> str:
    """Return the template of the recorded count for the canary that an alert is about, as a whole number."""
    told = (names.CANARY, "job", "namespace")
    query = f"{record}{{{promql.RULE}='{rule}',{','.join(f'{name}=%q' for name in told)}}}"
    values = " ".join(f"$labels.{name}" for name in told)
    return f'{{{{ with printf `{query}` {values} | query }}}}{{{{ . | first | value | printf "%.0f" }}}}{{{{ end }}}}'


def _text(text: str) -> DoubleQuotedScalarString:
    quoted: DoubleQuotedScalarString = DoubleQuotedScalarString(text)
    return quoted
