"""Generates ``values.schema.json``, with which Helm validates values before it renders anything.

Types follow from the defaults in ``values.yaml``; :data:`Refinements` have what a default does not show. Helm reads
draft 7 of JSON Schema (https://helm.sh/docs/topics/charts/#schema-files). ``config`` has the schema of the
configuration. What contradicts itself across values, the template ``_validate.tpl`` refuses.
"""

from collections.abc import Mapping
from typing import Any, Final

from ..config_schema import config_schema
from ..page import Stale
from .secret_keys import without_patterns_of_secrets
from .values import Value

Refinements = Mapping[str, dict[str, Any]]
"""Parts of schemas by the names of values (``image.tag``)."""

_LABEL: Final = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
NAME: Final[dict[str, Any]] = {"maxLength": 253, "pattern": f"^({_LABEL}(\\.{_LABEL})*)?$"}
"""The name of an object, or nothing: a DNS subdomain
(https://kubernetes.io/docs/concepts/overview/working-with-objects/names/)."""
LABEL: Final[dict[str, Any]] = {"pattern": f"^({_LABEL})?$"}
"""A name without dots, or nothing."""
SECRET_KEY: Final[dict[str, Any]] = {"maxLength": 253, "pattern": "^[-._a-zA-Z0-9]+$"}

TEXTS: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": "string"}}
OBJECTS: Final[dict[str, Any]] = {"items": {"type": "object"}}
NAMED_OBJECTS: Final[dict[str, Any]] = {"items": {"type": "object", "required": ["name"]}}
MOUNTS: Final[dict[str, Any]] = {"items": {"type": "object", "required": ["name", "mountPath"]}}
PROMETHEUS_DURATION: Final[dict[str, Any]] = {"pattern": "^([0-9]+(ms|s|m|h|d|w|y))+$"}
_QUANTITIES: Final[dict[str, Any]] = {"type": "object", "additionalProperties": {"type": ["string", "number"]}}
RESOURCES: Final[dict[str, Any]] = {
    "additionalProperties": False,
    "properties": {"requests": _QUANTITIES, "limits": _QUANTITIES, "claims": {"type": "array"}},
}
PROBE: Final[dict[str, Any]] = {
    "additionalProperties": False,
    "properties": {
        **{handler: {"type": "object"} for handler in ("exec", "grpc", "httpGet", "tcpSocket")},
        **{
            name: {"type": "integer", "minimum": 0}
            for name in (
                "failureThreshold",
                "initialDelaySeconds",
                "periodSeconds",
                "successThreshold",
                "terminationGracePeriodSeconds",
                "timeoutSeconds",
            )
        },
    },
}
VARIABLES: Final[dict[str, Any]] = {
    "items": {
        "type": "object",
        "required": ["name"],
        "additionalProperties": False,
        "properties": {
            "name": {"type": "string", "pattern": "^[-._a-zA-Z][-._a-zA-Z0-9]*$"},
            "value": {"type": "string"},
            "valueFrom": {"type": "object"},
        },
    }
}
RULE_GROUPS: Final[dict[str, Any]] = {"items": {"type": "object", "required": ["name", "rules"]}}

IMAGE: Final[Refinements] = {
    # Tags and digests in wrong places are accepted here: the templates refuse them, and say what is right.
    "image.repository": {"pattern": "^[A-Za-z0-9][A-Za-z0-9._:/@-]*$"},
    "image.tag": {"pattern": "^([A-Za-z0-9_][A-Za-z0-9._-]{0,127}(@[a-z0-9:]*)?)?$"},
    "image.digest": {"pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["Always", "IfNotPresent", "Never"]},
}
LOG: Final[Refinements] = {
    "log.level": {"enum": ["debug", "info", "warning", "error"]},
    "log.format": {"enum": ["json", "console"]},
}


_OF_PARENT_CHARTS: Final[dict[str, Any]] = {
    "enabled": {"description": "For the `condition` of a parent chart; not used here.", "type": "boolean"},
    "global": {
        "description": "Values that a parent chart passes to each of its charts; others are not used.",
        "type": "object",
        "properties": {
            "imageRegistry": {"description": "Registry of the image.", "type": ["string", "null"], "pattern": "^\\S*$"},
            "imagePullSecrets": {
                "description": "Secrets for the registry, as names or as `{name: registry}`.",
                "type": ["array", "null"],
                "items": {"type": ["string", "object"], "pattern": NAME["pattern"], "properties": {"name": NAME}},
            },
        },
    },
}


def values_schema(values: list[Value], refinements: Refinements, chart: str) -> dict[str, Any]:
    """Return the JSON Schema of the values of ``chart``.

    Raises:
        Stale: if a refinement is that of no value.
    """
    if unknown := refinements.keys() - {value.name for value in values}:
        names = ", ".join(sorted(unknown))
        raise Stale(f"tools/docs/chart/: {chart}/values.yaml does not have {names}; rename them")
    root: dict[str, Any] = {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": f"Values of the chart {chart}",
        "type": "object",
        "additionalProperties": False,
        "properties": {},
    }
    objects: dict[tuple[str, ...], dict[str, Any]] = {(): root}
    for value in values:
        schema = _schema_of(value, refinements)
        objects[value.path[:-1]]["properties"][value.path[-1]] = schema
        if not value.description:
            objects[value.path] = schema
    root["properties"]["config"] |= _without_requirements(_named_keys(without_patterns_of_secrets(config_schema())))
    root["properties"] = {**_OF_PARENT_CHARTS, **root["properties"]}  # unless the chart uses them itself
    return root


def _named_keys(schema: Any) -> Any:
    """Return ``schema`` with the patterns of names in ``patternProperties``, instead of ``propertyNames``.

    The messages of Helm about the latter have a wrong place. Lengths of names are left to `streamcanary check`.
    """
    if isinstance(schema, list):
        return [_named_keys(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    schema = {name: _named_keys(value) for name, value in schema.items()}
    if "pattern" in (names := schema.get("propertyNames", {})):
        schema["patternProperties"] = {names["pattern"]: schema["additionalProperties"]}
        schema["additionalProperties"] = False
        del schema["propertyNames"]
    return schema


def _without_requirements(schema: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of the configuration without the sections that it requires: an empty one is a simulation."""
    return {key: value for key, value in schema.items() if key not in ("$schema", "title", "description", "required")}


def _schema_of(value: Value, refinements: Refinements) -> dict[str, Any]:
    if not value.description:
        return {"type": "object", "additionalProperties": False, "properties": {}}
    return {"description": value.description, **_type_of(value.default), **refinements.get(value.name, {})}


def _type_of(default: Any) -> dict[str, Any]:
    kinds = {bool: "boolean", int: "integer", str: "string", list: "array", dict: "object"}
    return {"type": kinds[type(default)]}
