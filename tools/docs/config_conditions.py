"""What the JSON Schema says of the configuration beyond the types of its models: patterns, and keys that need others.

The validators of the models check the same, and more. Each condition accepts whatever they accept, and holds for no
value with ``${VAR}``: only types that are written out, such as ``api: responses``, select one.
"""

from collections.abc import Iterator
from typing import Any, Final, get_args

from pydantic.fields import FieldInfo

from .config_sections import Section
from .product import BUILTIN_RULES, RESERVED_PARAMETERS, Measure, accepted_parameters, detector_types

VARIABLE = r"\$\{\w+(:-[^{}]*)?\}"
"""The pattern of ``${VAR}`` and ``${VAR:-default}``."""

Schema = dict[str, Any]

_ONE_REQUIRED: dict[str, list[tuple[str, ...]]] = {
    "targets.*[openai]": [("api_key", "api_key_file")],
    "targets.*[azure]": [("api_key", "api_key_file", "identity")],
    "canaries.*.fallbacks[]": [("model", "non_streaming")],
    "alerts.receivers.*[pagerduty]": [("routing_key", "routing_key_file")],
    "alerts.receivers.*[slack]": [("url", "url_file")],
    "alerts.receivers.*[webhook]": [("url", "url_file"), ("secret", "secret_file")],
    "alerts.receivers.*[apprise]": [("urls", "urls_file")],
    "heartbeat": [("url", "url_file")],
}
"""Keys of which a section needs exactly one."""

_ONE_ALLOWED: dict[str, list[tuple[str, ...]]] = {
    "canaries.*": [("every", "cron")],
    "canaries.*.expect": [("contains", "regex", "equals")],
    "web": [("token", "token_file")],
}
"""Keys of which a section accepts at most one."""

_NEEDED: dict[str, dict[str, list[str]]] = {"canaries.*": {"timezone": ["cron"]}}
"""Keys that need others."""

_SCHEME: Final = "^[hH][tT][tT][pP]"
_ADDRESS: Final = r"://(:?@)?[^/?#@\x00-\x20]+(/[^?#\x00-\x20]*)?$"  # without user, parameters and fragment
_CRON: Final = r"^\s*\S+(\s+\S+){4}\s*$"
_PATTERNS: dict[str, str] = {
    "targets.*.base_url": f"{_SCHEME}[sS]?{_ADDRESS}",
    "targets.*.endpoint": f"{_SCHEME}[sS]?{_ADDRESS}",
    "targets.*.identity.authority_host": f"{_SCHEME}[sS]{_ADDRESS}",
    "canaries.*.cron": _CRON,
    "alerts.maintenance.*.cron": _CRON,
    "alerts.receivers.*.routing_key": r"^\s*[0-9A-Za-z]{32}\s*$",
    "alerts.receivers.*.secret": r"^\s*whsec_[A-Za-z0-9+/]{32,86}={0,2}\s*$",
    "web.token": r"^[\s\S]{16,}$",
}
"""Patterns of texts, by the paths of their keys."""

_FORBIDDEN: dict[str, str] = {"targets.*.endpoint": "://[^/]*/(.*/)?[oO][pP][eE][nN][aA][iI]"}
"""Patterns that texts must not match: RE2 and ECMA 262 have none in common that excludes a word."""

_SECTIONS_OF_CONDITIONS: Final = {"targets.*.identity[azure]", "alerts", "canaries.*"}
SECTIONS: Final = {*_ONE_REQUIRED, *_ONE_ALLOWED, *_NEEDED, *_SECTIONS_OF_CONDITIONS}
"""The sections with conditions."""


def restrict(path: str, schema: Schema) -> Schema:
    """Return the schema of the key at ``path`` with the patterns of its text."""
    if pattern := _PATTERNS.get(path):
        schema = {**schema, "pattern": f"{pattern}|{VARIABLE}"}
    if forbidden := _FORBIDDEN.get(path):
        has_word: Schema = {"type": "string", "pattern": forbidden}
        schema = {**schema, "if": has_word, "then": {"pattern": VARIABLE}}
    return schema


def conditions_of(section: Section, fields: dict[str, FieldInfo]) -> Iterator[Schema]:
    """Yield what the models check of several keys together."""
    for names in _ONE_REQUIRED.get(section.key, ()):
        yield {"oneOf": [_is_set(name) for name in names]}
    for names in _ONE_ALLOWED.get(section.key, ()):
        for name in names:
            yield {"if": _is_set(name), "then": _none_of(fields, *(other for other in names if other != name))}
    if needed := _NEEDED.get(section.key):
        yield {"dependencies": needed}
    if "client_key" in fields:
        yield {"if": _is_set("client_key"), "then": _is_set("client_cert")}
    if section.key == "targets.*.identity[azure]":
        not_workload = _is_one_of("credential", "managed", "default")
        yield {"if": not_workload, "then": _none_of(fields, "tenant_id", "federated_token_file", "authority_host")}
    if section.key == "canaries.*":
        yield from _request_conditions()
    if section.key == "alerts":
        built_in: Schema = {name: {} for name in BUILTIN_RULES}  # an override has the other keys of the built-in rule
        rules = {"properties": built_in, "additionalProperties": {"allOf": list(_limit_conditions())}}
        yield {"properties": {"rules": rules}}


def _request_conditions() -> Iterator[Schema]:
    """Yield that a request has no parameter of the other API."""
    chat, responses = (accepted_parameters(api) - RESERVED_PARAMETERS for api in ("chat", "responses"))
    for is_api, others in (
        ({"properties": {"api": {"const": "chat"}}}, responses - chat),  # the default, too
        (_is_one_of("api", "responses"), chat - responses),
    ):
        yield {
            "if": is_api,
            "then": {"properties": {"request": {"propertyNames": {"not": {"enum": sorted(others)}}}}},
        }


def _limit_conditions() -> Iterator[Schema]:
    """Yield which rules need a limit, and which have none."""
    with_limit = [measure.value for measure in Measure if measure.limit_type is not None]
    without_limit = [measure.value for measure in Measure if measure.limit_type is None]
    learns = {"properties": {"detector": {"properties": {"type": {"const": "shift"}}, "required": ["type"]}}}
    others = [kind for kind in detector_types() if kind != "shift"]
    other_detector = {"properties": {"detector": {"properties": {"type": {"enum": others}}}}}
    yield {"if": {"allOf": [_is_one_of("measure", *with_limit), other_detector]}, "then": _is_set("limit")}
    no_limit: Schema = {"properties": {"limit": {"type": "null"}}}
    yield {"if": {"properties": {"measure": {"enum": without_limit}}}, "then": no_limit}
    yield {"if": {**learns, "required": ["detector"]}, "then": no_limit}


def _is_set(name: str) -> Schema:
    return {"required": [name], "properties": {name: {"not": {"type": "null"}}}}


def _is_one_of(name: str, *values: str) -> Schema:
    return {"required": [name], "properties": {name: {"enum": list(values)}}}


def _none_of(fields: dict[str, FieldInfo], *names: str) -> Schema:
    """Return that keys are not set: null, where that is allowed, or not there."""
    return {
        "properties": {
            name: {"type": "null"} if type(None) in get_args(fields[name].annotation) else False for name in names
        }
    }
