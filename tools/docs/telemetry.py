"""Generates the page on telemetry: every span, event, attribute and metric in ``model/names.py``."""

from collections.abc import Iterable, Iterator
from typing import Any

from .log_events import log_events
from .page import Stale, code, compare, head, table, words
from .product import names, prometheus_name, source_of

_KINDS = {"updowncounter": "up-down counter"}
_CALL = "chat {model}"  # the name by the GenAI conventions, which has no constant
_PLACES = {"run", "call", "attempt", "event", "resource", "log"}

INTRODUCTION = """
The daemon serves its metrics at [`/metrics`](#prometheus), and exports traces, metrics and logs over OTLP when
[`telemetry.otlp`](configuration-reference.md#telemetry) is set. Alerting depends on neither. The
[client library](client.md) records the spans and metrics of calls through the OpenTelemetry API, to the SDK that the
application has set up.

```text
streamcanary.run           one for each run, the root of a trace
└─ chat gpt-4o-mini        the logical call, with all its attempts
   ├─ POST                 attempt 1
   └─ POST                 attempt 2, http.request.resend_count=1
```

A span has status `ERROR` and `error.type` when its attempt or call failed. A call that succeeded after a retry is no
error. `error.type` is a [kind of fault](faults.md), on spans and on metrics alike.

Labels of alerts and of canaries are not labels of every metric: `streamcanary.canary.info` has the labels of a canary,
to join with.
"""


def telemetry_page() -> str:
    """Return ``docs/telemetry.md``.

    Raises:
        Stale: if a name lacks a description, or a metric its labels.
    """
    descriptions = words("telemetry")
    constants = {name: value for name, value in vars(names).items() if name.isupper()}
    metrics = {value.name: value for value in constants.values() if isinstance(value, names.Metric)}
    texts = {value for value in constants.values() if isinstance(value, str)} - {names.INSTRUMENTATION_SCOPE}
    described = {
        *(set(descriptions["spans"]) - {_CALL}),
        *descriptions["events"],
        *descriptions["attributes"],
        *descriptions["labels"],
    }
    of_logs = log_events()
    compare("tools/docs/words/telemetry.yaml", described, texts - (of_logs - set(descriptions["events"])))
    compare("tools/docs/words/telemetry.yaml, logs", descriptions["logs"], of_logs)
    compare("tools/docs/words/telemetry.yaml, metrics", descriptions["metrics"], metrics, entry="its labels as a list")
    lines = [head("Telemetry", f"{source_of(names)} and tools/docs/words/telemetry.yaml"), INTRODUCTION, "\n## Spans\n"]
    lines += table(("Span", "Kind", "Description"), _spans(descriptions["spans"]))
    lines += ["\n## Span events\n", *table(("Event", "Description"), _two_columns(descriptions["events"]))]
    titles = {"run": "the run", "call": "the call", "attempt": "an attempt", "event": "span events"}
    for place, title in titles.items():
        lines.append(f"\n## Attributes of {title}\n")
        lines += table(("Attribute", "Description"), _attributes(descriptions["attributes"], place))
    lines.append("\n## Metrics\n")
    lines += table(
        ("Metric", "Instrument", "Unit", "Labels", "Description", "In Prometheus"),
        (_metric(metric, descriptions["metrics"][name], descriptions) for name, metric in metrics.items()),
    )
    lines.append("\n## Labels of metrics\n")
    lines.append("Besides standard attributes, metrics have these labels. In Prometheus, `.` becomes `_`.\n")
    lines += table(("Label", "Description"), _two_columns(descriptions["labels"]))
    lines += ["\n## Log events\n", descriptions["before_logs"].strip(), ""]
    lines += table(("Event", "Description"), _two_columns(descriptions["logs"]))
    lines += ["", *table(("Attribute", "Description"), _attributes(descriptions["attributes"], "log"))]
    lines += ["\n## Attributes of the resource\n", descriptions["before_resource"].strip(), ""]
    lines += table(("Attribute", "Description"), _attributes(descriptions["attributes"], "resource"))
    lines.append(f"\n{descriptions['after'].strip()}")
    return "\n".join(lines) + "\n"


def _spans(spans: dict[str, dict[str, str]]) -> Iterator[tuple[str, ...]]:
    for name, entry in spans.items():
        yield code(entry.get("name", name)), entry["kind"], entry["says"]


def _two_columns(texts_by_name: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in texts_by_name.items():
        yield code(name), text


def _attributes(attributes: dict[str, dict[str, Any]], place: str) -> Iterator[tuple[str, str]]:
    for name, entry in attributes.items():
        if odd := set(entry["on"]) - _PLACES:
            raise Stale(f"tools/docs/words/telemetry.yaml, {name}: there is no span {', '.join(odd)}")
        if place in entry["on"]:
            yield code(name), entry["says"]


def _metric(metric: names.Metric, labels: Iterable[str], descriptions: dict[str, Any]) -> tuple[str, ...]:
    labels = [each for label in labels for each in descriptions["sets"].get(label, [label])]
    if odd := set(labels) - {*descriptions["labels"], *descriptions["attributes"]}:
        raise Stale(f"tools/docs/words/telemetry.yaml, {metric.name}: unknown labels {', '.join(sorted(odd))}")
    suffix = "_bucket" if metric.kind == "histogram" else ""
    return (
        code(metric.name),
        _KINDS.get(metric.kind, metric.kind),
        code(metric.unit),
        ", ".join(code(label) for label in labels) or "none",
        metric.description,
        code(prometheus_name(metric) + suffix),
    )
