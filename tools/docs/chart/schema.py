"""Generates ``values.schema.json``, with which Helm validates values before it renders anything.

Types follow from the defaults in ``values.yaml``; :data:`_REFINEMENTS` has what a default does not show. Helm reads
draft 7 of JSON Schema (https://helm.sh/docs/topics/charts/#schema-files). ``config`` has the schema of the
configuration. What contradicts itself across values, the template ``_validate.tpl`` refuses.
"""

from typing import Any, Final

from ..config_schema import config_schema
from ..page import Stale
from .values import Value

_TEXTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": "string"}}
_OBJECTS: Final[dict[str, Any]] = {"items": {"type": "object"}}
_NAMED_OBJECTS: Final[dict[str, Any]] = {"items": {"type": "object", "required": ["name"]}}
_COUNT: Final[dict[str, Any]] = {"type": ["integer", "string"], "pattern": "^([0-9]+%?)?$", "minimum": 0}
_PROMETHEUS_DURATION: Final[dict[str, Any]] = {"pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
_MONITORS: Final = ("podMonitor", "serviceMonitor")

_REFINEMENTS: Final[dict[str, dict[str, Any]]] = {
    "commonLabels": _TEXTS,
    "image.repository": {"minLength": 1, "pattern": "^[^\\s]+$"},
    "image.digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
    "image.pullSecrets": _NAMED_OBJECTS,
    "replicas": {"minimum": 0},
    "reload": {"enum": ["hot", "checksum"]},
    "check.timeoutSeconds": {"minimum": 10},
    "secret.data": _TEXTS,
    "secret.env": {"items": {"type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$"}},
    "web.host": {"minLength": 1},
    "web.port": {"minimum": 1024, "maximum": 65535},
    "web.tokenSecret.key": {"minLength": 1},
    "web.allowedHosts": {"items": {"type": "string"}},
    "service.type": {"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
    "service.annotations": _TEXTS,
    "persistence.accessModes": {"items": {"type": "string"}, "minItems": 1},
    "persistence.size": {"pattern": "^[0-9]+(\\.[0-9]+)?(Ki|Mi|Gi|Ti|k|M|G|T)?$"},
    "persistence.annotations": _TEXTS,
    "log.level": {"enum": ["debug", "info", "warning", "error"]},
    "log.format": {"enum": ["json", "console"]},
    "serviceAccount.annotations": _TEXTS,
    "podAnnotations": _TEXTS,
    "podLabels": _TEXTS,
    "terminationGracePeriodSeconds": {"minimum": 11},  # the daemon stops within 10 s
    "nodeSelector": _TEXTS,
    "tolerations": _OBJECTS,
    "topologySpreadConstraints": {"items": {"type": "object", "required": ["topologyKey", "whenUnsatisfiable"]}},
    "networkPolicy.ingressFrom": _OBJECTS,
    "networkPolicy.extraEgress": _OBJECTS,
    "podDisruptionBudget.minAvailable": _COUNT,
    "podDisruptionBudget.maxUnavailable": _COUNT,
    "prometheusRule.labels": _TEXTS,
    "prometheusRule.groups": {"items": {"type": "object", "required": ["name", "rules"]}},
    "dashboards.labels": _TEXTS,
    "dashboards.annotations": _TEXTS,
    "extraEnv": _NAMED_OBJECTS,
    "extraEnvFrom": _OBJECTS,
    "extraVolumes": _NAMED_OBJECTS,
    "extraVolumeMounts": {"items": {"type": "object", "required": ["name", "mountPath"]}},
    "extraObjects": {"items": {"type": ["object", "string"]}},
    **{f"{monitor}.labels": _TEXTS for monitor in _MONITORS},
    **{f"{monitor}.{name}": _PROMETHEUS_DURATION for monitor in _MONITORS for name in ("interval", "scrapeTimeout")},
    **{f"{monitor}.{name}": _OBJECTS for monitor in _MONITORS for name in ("relabelings", "metricRelabelings")},
}


def values_schema(values: list[Value]) -> dict[str, Any]:
    """Return the JSON Schema of the values.

    Raises:
        Stale: if a refinement is that of no value.
    """
    if unknown := _REFINEMENTS.keys() - {value.name for value in values}:
        raise Stale(f"tools/docs/chart/schema.py: values.yaml does not have {', '.join(sorted(unknown))}; rename them")
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Values of the chart streamcanary",
        "type": "object",
        "additionalProperties": False,
        "properties": {},
    }
    objects: dict[tuple[str, ...], dict[str, Any]] = {(): root}
    for value in values:
        schema = _schema_of(value)
        objects[value.path[:-1]]["properties"][value.path[-1]] = schema
        if not value.description:
            objects[value.path] = schema
    root["properties"]["config"] |= _without_requirements(config_schema())
    # A parent chart passes its global values to each of its charts.
    root["properties"]["global"] = {"description": "Values of a parent chart; not used.", "type": "object"}
    return root


def _without_requirements(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the configuration without the sections that it requires: an empty one is a simulation."""
    return {key: value for key, value in schema.items() if key not in ("$schema", "title", "description", "required")}


def _schema_of(value: Value) -> dict[str, Any]:
    if not value.description:
        return {"type": "object", "additionalProperties": False, "properties": {}}
    return {"description": value.description, **_type_of(value.default), **_REFINEMENTS.get(value.name, {})}


def _type_of(default: Any) -> dict[str, Any]:
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return {"type": kinds[type(default)]}
