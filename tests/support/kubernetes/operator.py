"""The kinds of the Prometheus operator, with the fields that the chart uses: a server refuses any other field."""

from typing import Any, Final

_TEXT: Final = {"type": "string"}
_TEXTS: Final = {"type": "object", "additionalProperties": _TEXT}


def _object(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties} | ({"required": list(required)} if required else {})


def _list(items: dict[str, Any]) -> dict[str, Any]:
    return {"type": "array", "items": items}


_SELECTOR: Final = _object(matchLabels=_TEXTS)
_RELABELING: Final = _object(
    action=_TEXT, regex=_TEXT, replacement=_TEXT, separator=_TEXT, sourceLabels=_list(_TEXT), targetLabel=_TEXT
)
_ENDPOINT: Final = _object(
    port=_TEXT,
    path=_TEXT,
    interval=_TEXT,
    scrapeTimeout=_TEXT,
    authorization=_object(type=_TEXT, credentials=_object("key", name=_TEXT, key=_TEXT)),
    relabelings=_list(_RELABELING),
    metricRelabelings=_list(_RELABELING),
)
_RULE: Final = _object(
    "expr", alert=_TEXT, record=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS, **{"for": _TEXT}
)
_SPECS: Final = {
    "PodMonitor": _object("selector", selector=_SELECTOR, podMetricsEndpoints=_list(_ENDPOINT)),
    "ServiceMonitor": _object("selector", "endpoints", selector=_SELECTOR, endpoints=_list(_ENDPOINT)),
    "PrometheusRule": _object(
        groups=_list(_object("name", name=_TEXT, interval=_TEXT, rules=_list(_RULE))),
    ),
}


def operator_kinds() -> list[dict[str, Any]]:
    """Return the CustomResourceDefinitions."""
    return [_definition(kind, spec) for kind, spec in _SPECS.items()]


def _definition(kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    group, plural = "monitoring.coreos.com", f"{kind.lower()}s"
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "plural": plural, "singular": kind.lower()},
            "versions": [
                {
                    "name": "v1",
                    "served": True,
                    "storage": True,
                    "schema": {"openAPIV3Schema": _object("spec", spec=spec)},
                }
            ],
        },
    }
