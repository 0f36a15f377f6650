"""Secrets do not get into a ConfigMap, and no message prints one."""

import json
from pathlib import Path
from typing import Any

import pytest

from support.programs.helm import MINIMAL, merged, template

pytestmark = pytest.mark.real("helm")

SECRET = "planted-0123456789abcdef"


def receiver(**keys: Any) -> dict[str, Any]:
    """Return the configuration of one receiver."""
    return {"alerts": {"receivers": {"r": keys}}}


LITERAL: dict[str, tuple[dict[str, Any], str]] = {
    "key": ({"targets": {"openai": {"api_key_file": None, "api_key": f"sk-{SECRET}"}}}, "targets.openai.api_key"),
    "default of a variable": (
        {"targets": {"openai": {"api_key_file": None, "api_key": f"${{POD_NAME:-{SECRET}}}"}}},
        "targets.openai.api_key",
    ),
    "header": (
        {"targets": {"openai": {"headers": {"X-Api-Key": SECRET, "X-Team": "a-long-name-of-a-team"}}}},
        "targets.openai.headers.X-Api-Key",
    ),
    "header of OTLP": (
        {"telemetry": {"otlp": {"endpoint": "http://o:4318", "headers": {"authorization": f"Bearer {SECRET}"}}}},
        "telemetry.otlp.headers.authorization",
    ),
    "password of a proxy": (
        {"targets": {"openai": {"proxy": f"http://user:{SECRET}@proxy:3128"}}},
        "targets.openai.proxy",
    ),
    "routing key": (receiver(type="pagerduty", routing_key=SECRET), "alerts.receivers.r.routing_key"),
    "address of Slack": (
        receiver(type="slack", url=f"https://hooks.slack.com/services/{SECRET}"),
        "alerts.receivers.r.url",
    ),
    "mistyped address of Slack": (receiver(type="slack", url=f"htps:/hooks/{SECRET}"), "alerts.receivers.r.url"),
    "password of a webhook": (
        receiver(type="webhook", url=f"http://user:{SECRET}@hook/", secret="${POD_NAME}"),
        "alerts.receivers.r.url",
    ),
    "mistyped password of a webhook": (
        receiver(type="webhook", url=f"htp://user:{SECRET}@hook/", secret="${POD_NAME}"),
        "alerts.receivers.r.url",
    ),
    "secret of a webhook": (
        receiver(type="webhook", url="http://hook/x", secret=f"whsec_{SECRET}"),
        "alerts.receivers.r.secret",
    ),
    "address of apprise": (receiver(type="apprise", urls=[f"tgram://{SECRET}/chat"]), "alerts.receivers.r.urls[0]"),
    "heartbeat": ({"heartbeat": {"url": f"https://hc.example/{SECRET}"}}, "heartbeat.url"),
}

HARMLESS: dict[str, dict[str, Any]] = {
    "file": {"targets": {"openai": {"api_key_file": None, "api_key": {"file": "/secrets-of-mine/openai"}}}},
    "variable": {"targets": {"openai": {"api_key_file": None, "api_key": "${POD_NAME}"}}},
    "no key": {"targets": {"openai": {"api_key_file": None, "api_key": "${POD_NAME:-none}"}}},
    "header without a secret": {"targets": {"openai": {"headers": {"X-Team": "a-long-name-of-a-team"}}}},
    "header with a variable": {"targets": {"openai": {"headers": {"Authorization": "Bearer ${POD_NAME}"}}}},
    "proxy without a password": {"targets": {"openai": {"proxy": "http://proxy.example:3128"}}},
    "webhook in the cluster": receiver(type="webhook", url="http://bridge.default:9000/alerts", secret="${POD_NAME}"),
    "heartbeat without a token": {"heartbeat": {"url": "http://pushgateway.monitoring:9091/ping"}},
}


@pytest.mark.parametrize(("config", "key"), LITERAL.values(), ids=list(LITERAL))
def test_a_literal_secret_is_refused(config: dict[str, Any], key: str, tmp_path: Path) -> None:
    """The message has the key, what to do, and not the secret, even if the secret has a wrong form."""
    result = template(tmp_path, values=merged(MINIMAL, {"config": config}))
    expected = (
        f"- config.{key}: a secret would be readable in a ConfigMap. Write it into a key of a Secret "
        "(secret.existing), and refer to it: {file: /secrets/KEY}, or ${KEY} with secret.env: [KEY]"
    )
    assert (1, [expected]) == (result.code, [line for line in result.stderr.splitlines() if line.startswith("- ")])
    assert SECRET not in result.stderr


@pytest.mark.parametrize(("config", "key"), LITERAL.values(), ids=list(LITERAL))
def test_the_chart_of_the_sidecar_refuses_it_too(
    config: dict[str, Any], key: str, application: Path, tmp_path: Path
) -> None:
    """Its message says how a sidecar gets a secret."""
    result = template(
        tmp_path, values={"streamcanary-sidecar": {"replicasHint": 1, "config": config}}, chart=application
    )
    expected = (
        f"- config.{key}: a secret would be readable in a ConfigMap. Write it into a key of a Secret "
        "(secret.existing), and refer to it: {file: /secrets/KEY}, or a variable in extraEnv"
    )
    assert (1, [expected]) == (result.code, [line for line in result.stderr.splitlines() if line.startswith("- ")])
    assert SECRET not in result.stderr


@pytest.mark.parametrize("config", HARMLESS.values(), ids=list(HARMLESS))
def test_what_is_no_secret_is_accepted(config: dict[str, Any], tmp_path: Path) -> None:
    """References to secrets, and values that are none, are rendered."""
    result = template(tmp_path, values=merged(MINIMAL, {"config": config}))
    assert (0, "") == (result.code, result.stderr)


@pytest.mark.parametrize("value", [[SECRET], True, {"fil": SECRET}])
def test_a_secret_of_a_wrong_type_is_not_printed(value: Any, tmp_path: Path) -> None:
    """The schema refuses it, with its place."""
    config = {"targets": {"openai": {"api_key_file": None, "api_key": value}}}
    result = template(tmp_path, values=merged(MINIMAL, {"config": config}))
    assert (1, True, False) == (
        result.code,
        "/config/targets/openai/api_key'" in result.stderr,
        SECRET in result.stderr or SECRET in json.dumps(result.stdout),
    )
