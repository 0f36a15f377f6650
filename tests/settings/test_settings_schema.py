"""The JSON Schema of the configuration accepts what ``check`` accepts, and refuses common errors clearly."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st
from tools.docs.examples import VARIABLES

from settings.test_settings_fuzz import VALID, any_value, paths_in, with_value_at
from streamcanary.cli.main import main
from streamcanary.settings import ConfigInvalid, load
from streamcanary.settings_sources.document import read_document

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests/fixtures/config"
SCHEMA = json.loads((ROOT / "config/streamcanary.schema.json").read_text())
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
FILES = sorted(
    path
    for folder in ("config", "daemon", "tests/fixtures/config")
    for path in (ROOT / folder).rglob("*.yaml")
    if "\ntargets:" in f"\n{path.read_text(errors='replace')}"
)
KEYS = VARIABLES | {
    "DEMO_PROVIDER": "http://127.0.0.1:1/v1",
    "DEMO_PAGER": "http://127.0.0.1:1",
    "DEMO_PAGER_SECRET": "whsec_c3RyZWFtY2FuYXJ5IGV4YW1wbGUga2V5ISE=",
    "DEMO_FOLDER": "/tmp",  # noqa: S108 - nothing is written
}

TARGET: dict[str, Any] = {"api_key": "${OPENAI_API_KEY}"}
CANARY: dict[str, Any] = {"target": "t", "model": "m"}


def azure_identity(**identity: str) -> dict[str, Any]:
    """Return a target of Azure with an identity."""
    return {"targets": {"t": {"type": "azure", "endpoint": "https://x.openai.azure.com", "identity": identity}}}


INVALID = {
    "no canaries": {"canaries": {}},
    "unknown section": {"canary": {}},
    "empty section": {"store": None},
    "unknown key": {"canaries": {"c": {**CANARY, "evry": "30s"}}},
    "canary without a target": {"canaries": {"c": {"model": "m"}}},
    "canary without a model": {"canaries": {"c": {"target": "t"}}},
    "name with a space": {"canaries": {"my chat": CANARY}},
    "duration in words": {"canaries": {"c": {**CANARY, "every": "30 seconds"}}},
    "interval of zero": {"canaries": {"c": {**CANARY, "every": 0}}},
    "every and cron": {"canaries": {"c": {**CANARY, "every": "30s", "cron": "0 9 * * *"}}},
    "unknown parameter": {"canaries": {"c": {**CANARY, "request": {"max_token": 5}}}},
    "parameter of the canary": {"canaries": {"c": {**CANARY, "request": {"stream": False}}}},
    "two conditions": {"canaries": {"c": {**CANARY, "expect": {"contains": "a", "regex": "b"}}}},
    "too many attempts": {"canaries": {"c": {**CANARY, "retry": {"max_attempts": 21}}}},
    "number as text": {"canaries": {"c": {**CANARY, "retry": {"max_attempts": "3"}}}},
    "fallback to nothing": {"canaries": {"c": {**CANARY, "fallbacks": [{}]}}},
    "fallback to two": {"canaries": {"c": {**CANARY, "fallbacks": [{"model": "m", "non_streaming": True}]}}},
    "invalid label": {"canaries": {"c": {**CANARY, "labels": {"team-name": "x"}}}},
    "label that is a number": {"canaries": {"c": {**CANARY, "labels": {"zone": 1}}}},
    "target without a key": {"targets": {"t": {}}},
    "target with two keys": {"targets": {"t": {"api_key": "a", "api_key_file": "b"}}},
    "address without a scheme": {"targets": {"t": {**TARGET, "base_url": "api.openai.com/v1"}}},
    "key that is a number": {"targets": {"t": {"api_key": 5}}},
    "secret of another kind": {"targets": {"t": {"api_key": {"env": "KEY"}}}},
    "unknown price": {"targets": {"t": {**TARGET, "price": "cheap"}}},
    "half a price": {"targets": {"t": {**TARGET, "price": {"input": 1}}}},
    "invalid header": {"targets": {"t": {**TARGET, "headers": {"X Team": "a"}}}},
    "unknown receiver": {"alerts": {"receivers": {"r": {"type": "pager"}}}},
    "receiver without a type": {"alerts": {"receivers": {"r": {"url": "https://example.com"}}}},
    "receiver without an address": {"alerts": {"receivers": {"r": {"type": "slack"}}}},
    "key of another receiver": {
        "alerts": {"receivers": {"r": {"type": "slack", "url": "https://x.example", "urls": []}}}
    },
    "unknown detector": {"alerts": {"rules": {"R": {"detector": {"type": "spikes"}}}}},
    "detector without a type": {"alerts": {"rules": {"R": {"detector": {"failures": 3}}}}},
    "percentage over 1": {"alerts": {"rules": {"R": {"detector": {"type": "ratio", "threshold": 50}}}}},
    "window without a unit": {"alerts": {"rules": {"R": {"detector": {"type": "ratio", "over": 20}}}}},
    "rate in other words": {"alerts": {"rules": {"R": {"detector": {"type": "spike", "false_pages": "1/day"}}}}},
    "unknown measure": {"alerts": {"rules": {"R": {"measure": "latency"}}}},
    "invalid matcher": {"alerts": {"rules": {"R": {"match": ["tier: prod"]}}}},
    "route to nobody": {"alerts": {"routes": [{"receivers": []}]}},
    "negative budget": {"budget": {"usd_per_day": -1}},
    "two tokens": {"web": {"token": "0123456789abcdef", "token_file": "x"}},
    "port over 65535": {"web": {"port": 70000}},
    "short token": {"web": {"token": "0123456789"}},
    "routing key with a sign": {"alerts": {"receivers": {"r": {"type": "pagerduty", "routing_key": "a" * 31 + "-"}}}},
    "webhook secret without its prefix": {
        "alerts": {"receivers": {"r": {"type": "webhook", "url": "https://x.example", "secret": "c2VjcmV0" * 5}}}
    },
    "client key without its certificate": {"targets": {"t": {**TARGET, "client_key": "key.pem"}}},
    "time zone without cron": {"canaries": {"c": {**CANARY, "timezone": "Europe/Berlin"}}},
    "cron with four fields": {"canaries": {"c": {**CANARY, "cron": "0 9 * *"}}},
    "address with a parameter": {"targets": {"t": {**TARGET, "base_url": "https://x.example/v1?a=1"}}},
    "address with a password": {"targets": {"t": {**TARGET, "base_url": "https://me:secret@x.example/v1"}}},
    "Azure endpoint with the path of the API": {
        "targets": {"t": {"type": "azure", "endpoint": "https://x.openai.azure.com/openai/", "api_key": "a"}}
    },
    "authority without TLS": azure_identity(authority_host="http://login.microsoftonline.us"),
    "tenant of a managed identity": azure_identity(credential="managed", tenant_id="a"),
    "time without a limit": {"alerts": {"rules": {"R": {"measure": "duration"}}}},
    "errors with a limit": {"alerts": {"rules": {"R": {"limit": "5s"}}}},
    "limit of a learned one": {
        "alerts": {"rules": {"R": {"measure": "duration", "limit": "5s", "detector": {"type": "shift"}}}}
    },
    "parameter of Responses on a chat canary": {"canaries": {"c": {**CANARY, "request": {"max_output_tokens": 5}}}},
    "parameter of Chat on a canary of Responses": {
        "canaries": {"c": {**CANARY, "api": "responses", "request": {"max_tokens": 5}}}
    },
    "stall of zero": {"canaries": {"c": {**CANARY, "timeouts": {"stall": "0s"}}}},
    "threshold of zero": {"alerts": {"rules": {"R": {"detector": {"type": "ratio", "threshold": "0.0%"}}}}},
    "threshold over all": {"alerts": {"rules": {"R": {"detector": {"type": "ratio", "threshold": "150%"}}}}},
    "truth as text": {"telemetry": {"prometheus": "yes"}},
}


def config_of(changes: dict[str, Any]) -> dict[str, Any]:
    """Return a small configuration with other sections."""
    return {"targets": {"t": TARGET}, "canaries": {"c": CANARY}, **changes}


def is_accepted(folder: Path, data: object) -> bool:
    """Return whether ``check`` accepts ``data``, which is written to a file without interpretation."""
    path = folder / "c.yaml"
    path.write_text(json.dumps(data))
    try:
        load(path, KEYS)
    except ConfigInvalid:
        return False
    return True


def test_the_schema_is_valid():
    """The schema is one of draft-07, the version of Helm and of most editors."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"


def test_the_verb_prints_the_schema(capfd):
    """``streamcanary schema`` prints the file in ``config/``."""
    assert main(["schema"]) == 0
    assert (ROOT / "config/streamcanary.schema.json").read_text() == capfd.readouterr().out


def objects_in(schema: object) -> Iterator[dict[str, Any]]:
    """Yield each object in ``schema``, itself included."""
    if isinstance(schema, dict):
        yield schema
    for inner in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from objects_in(inner)


def test_patterns_are_read_alike_by_all_validators():
    """Each pattern is valid for RE2, which Helm uses, and has no syntax that ECMA 262 lacks."""
    patterns = {each["pattern"] for each in objects_in(SCHEMA) if isinstance(each.get("pattern"), str)}
    assert len(patterns) > 10
    for pattern in patterns:
        re2.compile(pattern)
        assert "(?" not in pattern


def test_the_schema_can_be_part_of_another():
    """It has no references and no id, which would change their meaning in the values of a chart."""
    assert [] == [each for each in objects_in(SCHEMA) if {"$ref", "$id", "definitions"} & each.keys()]


def test_each_key_is_described():
    """Each key has a title, a description, and examples that are valid."""
    described = 0
    for schema in objects_in(SCHEMA):
        for name, key in schema.get("properties", {}).items() if isinstance(schema.get("properties"), dict) else ():
            if isinstance(key, dict) and "examples" in key:
                described += 1
                assert key["title"].endswith(name)
                assert key["description"].endswith((".", ")")), key["title"]
                for example in key["examples"]:
                    jsonschema.Draft7Validator(key).validate(example)
    assert described > 150


def test_defaults_are_valid():
    """Each default is valid under the schema of its key."""
    with_default = [each for each in objects_in(SCHEMA) if "default" in each and "title" in each]
    assert len(with_default) > 50
    for schema in with_default:
        jsonschema.Draft7Validator(schema).validate(schema["default"])


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_schema_accepts_each_valid_file(path):
    """Each example and fixture that ``check`` accepts is valid; an invalid one may have an error beyond a schema."""
    try:
        load(path, KEYS)
    except ConfigInvalid:
        assert path.parent == FIXTURES
        return
    assert [] == list(VALIDATOR.iter_errors(read_document(path).data))


@pytest.mark.parametrize("name", ["alerts", "names", "secrets", "unknown-key-nested", "unknown-key-top", "wrong-types"])
def test_the_schema_refuses_invalid_fixtures(name):
    """Fixtures whose errors do not depend on other values or files are invalid."""
    assert not VALIDATOR.is_valid(read_document(FIXTURES / f"{name}.yaml").data)


@pytest.mark.parametrize("changes", INVALID.values(), ids=INVALID.keys())
def test_both_refuse_invalid_configurations(changes, tmp_path):
    """``check`` and the schema refuse the same errors."""
    assert (False, False) == (is_accepted(tmp_path, config_of(changes)), VALIDATOR.is_valid(config_of(changes)))


def test_both_accept_the_configuration_that_the_errors_are_made_of(tmp_path):
    """Without changes it is valid, so that the errors above are those of the changes."""
    assert (True, True) == (is_accepted(tmp_path, config_of({})), VALIDATOR.is_valid(config_of({})))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"alerts": {"receivers": {"r": {"type": "pager"}}}}, "'pager' is not one of ['pagerduty', 'slack', "),
        ({"alerts": {"receivers": {"r": {"type": "slack", "urls": []}}}}, "('urls' was unexpected)"),
        ({"canaries": {"c": {**CANARY, "evry": "30s"}}}, "('evry' was unexpected)"),
        ({"canaries": {"c": {**CANARY, "retry": {"max_attempts": 21}}}}, "21 is greater than the maximum of 20"),
        ({"canaries": {"c": {"model": "m"}}}, "'target' is a required property"),
        ({"canaries": {"my chat": CANARY}}, "'my chat' does not match '^[a-zA-Z0-9][a-zA-Z0-9_.-]*$'"),
        ({"web": {"port": "http"}}, "'http' does not match '\\\\$\\\\{"),
    ],
)
def test_errors_name_what_is_wrong(changes, message):
    """An error names the value, also below a ``type`` that selects the keys; it is not that no alternative matches."""
    errors = [inner for error in VALIDATOR.iter_errors(config_of(changes)) for inner in (error, *(error.context or ()))]
    assert any(message in error.message for error in errors), [error.message for error in errors]


@pytest.mark.parametrize(
    "changes",
    [
        {
            "canaries": {
                "c": {**CANARY, "every": "${EVERY:-30s}", "api": "${API:-chat}", "retry": {"max_attempts": "${N:-2}"}}
            }
        },
        {"targets": {"t": {**TARGET, "price": "${PRICE:-free}", "provider": f"${{{'A' * 70}:-openai}}"}}},
        {"telemetry": {"prometheus": "${PROMETHEUS:-true}"}, "web": {"port": "${PORT:-9465}"}},
        {"alerts": {"rules": {"R": {"match": '{tier="prod"}', "detector": {"type": "consecutive"}}}}},
        {"canaries": {"c": {**CANARY, "labels": {"tier": "prod"}}}, "heartbeat": None},
    ],
)
def test_both_accept_variables_and_other_spellings(changes, tmp_path):
    """A variable may be in place of any scalar; optional keys may be null."""
    data = config_of(changes)
    if "alerts" in changes:
        data["canaries"] = {"c": {**CANARY, "labels": {"tier": "prod"}}}
    assert (True, []) == (is_accepted(tmp_path, data), list(VALIDATOR.iter_errors(data)))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(paths_in(VALID)), any_value)
def test_the_schema_accepts_whatever_check_accepts(path, value):
    """With any value at any path, a configuration that ``check`` accepts is valid under the schema."""
    data = with_value_at(VALID, path, value)
    with tempfile.TemporaryDirectory() as folder:
        if is_accepted(Path(folder), data):
            assert [] == list(VALIDATOR.iter_errors(data))


CHOICES: dict[tuple[str, ...], list[Any]] = {
    ("canaries", "c", "cron"): ["0 9 * * *", " 0  9-17 * * 1-5 ", "", "0 9 * *", "${CRON:-0 9 * * *}", None],
    ("canaries", "c", "timezone"): ["UTC", "Europe/Berlin", "${TZ:-UTC}"],
    ("canaries", "c", "api"): ["chat", "responses", "${API:-responses}"],
    ("canaries", "c", "request"): [{"max_output_tokens": 2000}, {"max_tokens": 5}, {"temperature": 0}, {}],
    ("canaries", "c", "timeouts"): [{"stall": "0s"}, {"stall": "0.05s"}, {"stall": "0h10s"}, {"stall": "10s0ms"}],
    ("canaries", "c", "every"): ["30s", " 1h0m ", "00001.50m", 90, "${EVERY:-1m}"],
    ("targets", "t", "base_url"): [
        "HTTPS://x.example",
        "http://@[::1]:80/v1/",
        "http://x.example/a@b:c",
        "https://me@x.example",
        "https://x.example/v1#a",
        "http://${HOST_NAME:-x.example}/v1",
    ],
    ("targets", "t", "client_key"): ["${FILE:-c.yaml}", None],
    ("targets", "t", "client_cert"): [None],
    ("targets", "a", "type"): ["azure"],
    ("targets", "a", "endpoint"): [
        "https://x.openai.azure.com",
        "https://openai.example/gateway",
        "https://x.example/a/OpenAI",
        "https://x.example${PATH_OF_IT:-/openai}",
    ],
    ("targets", "a", "api_key"): ["k", None],
    ("targets", "a", "identity"): [
        None,
        {},
        {"credential": "managed", "client_id": "c"},
        {"credential": "default", "tenant_id": None, "authority_host": None},
        {"credential": "${C:-workload}", "tenant_id": "t", "authority_host": "https://login.example/"},
        {"credential": "managed", "tenant_id": "t"},
    ],
    ("alerts", "rules", "R", "measure"): [
        "errors",
        "slow",
        "duration",
        "tokens_per_second",
        "certificate_expiry",
        "${M:-errors}",
    ],
    ("alerts", "rules", "R", "limit"): ["5s", "7d", 20, None, "${L:-5s}"],
    ("alerts", "rules", "R", "detector"): [
        {"type": "consecutive"},
        {"type": "shift"},
        {"type": "no_data"},
        {"type": "${D:-shift}"},
        *(
            {"type": "ratio", "threshold": each}
            for each in ("100%", " 000100.0 %", "0.05%", "1", ".5", "001.0", 1, 0.5)
        ),
        *({"type": "ratio", "threshold": each} for each in ("100.1%", "0%", "1.5", "${T:-50%}")),
    ],
    ("alerts", "rules", "CertificateExpiring"): [
        {"limit": "7d"},
        {"measure": "certificate_expiry"},
        {"enabled": False},
    ],
    ("alerts", "rules", "NoData"): [{"detector": {"type": "no_data"}}, {"labels": {"severity": "ticket"}}],
    ("alerts", "receivers", "p"): [
        {"type": "pagerduty", "routing_key": "a1" * 16},
        {"type": "pagerduty", "routing_key": "${KEY:-" + "a" * 32 + "}"},
    ],
    ("alerts", "receivers", "w"): [
        {"type": "webhook", "url": "https://x.example", "secret": secret}
        for secret in (
            KEYS["DEMO_PAGER_SECRET"],
            " whsec_" + "c2VjcmV0" * 11,
            "whsec_" + "c2Vj" * 21 + "cw== ",
            "whsec_x",
        )
    ],
    ("alerts", "maintenance", "m"): [{"match": '{tier="a"}', "cron": " 0 9 * * * ", "for": "30m"}],
    ("web", "token"): ["0123456789abcdef", " 0123456789abcdef\n", "0123456789", "${TOKEN:-0123456789abcdef}"],
}
"""Values of keys that have conditions, valid and invalid ones, by their paths."""


@st.composite
def configurations(draw: st.DrawFn) -> dict[str, Any]:
    """Draw a configuration with some of the values in :data:`CHOICES`."""
    data: dict[str, Any] = config_of({})
    data = json.loads(json.dumps(data))
    for path in draw(st.lists(st.sampled_from(sorted(CHOICES)), unique=True, max_size=6)):
        place = data
        for key in path[:-1]:
            place = place.setdefault(key, {})
        place[path[-1]] = draw(st.sampled_from(CHOICES[path]))
    return data


@settings(deadline=None, max_examples=400)
@given(configurations())
def test_the_schema_accepts_every_combination_that_check_accepts(data):
    """Keys that need or exclude each other are combined, each with values near the limits of its condition."""
    with tempfile.TemporaryDirectory() as folder:
        if is_accepted(Path(folder), data):
            assert [] == list(VALIDATOR.iter_errors(data))
