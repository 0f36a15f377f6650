"""Values of the alerts section: certificate files, and numbers that are no booleans."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, load
from support.alerting.config_yaml import (
    RECEIVERS_YAML,
    WEBHOOK_YAML,
    config_errors,
    load_settings,
)
from support.servers.certificates import AUTHORITY, LOOPBACK, WRONG_HOST


def test_certificate_files_of_receivers_are_checked(tmp_path: Path) -> None:
    """A missing or invalid certificate file is a config error at its key."""
    (tmp_path / "empty.pem").write_text("")
    files = ", ca_file: gone.pem, client_cert: empty.pem, client_key: ."
    unreadable = "cannot be read: No such file or directory; write the path of a PEM file"
    text = f"  receivers: {{hook: {WEBHOOK_YAML % files}, mail: {WEBHOOK_YAML % ', ca_file: empty.pem'}}}\n"
    hook, key, mail = (text.index(part) + 1 for part in ("gone.pem", ".}", "empty.pem}}"))
    assert [
        f"6:{hook}: alerts.receivers.hook.ca_file: ca_file {tmp_path}/gone.pem {unreadable}",
        (
            f"6:{key}: alerts.receivers.hook.client_key: client_key {tmp_path} is not a regular file; "
            "write the path of a PEM file"
        ),
        f"6:{mail}: alerts.receivers.mail.ca_file: ca_file {tmp_path}/empty.pem contains no PEM certificates",
    ] == config_errors(tmp_path, text)


def test_certificate_files_of_targets_are_checked(tmp_path: Path) -> None:
    """A client key that does not belong to the certificate is a config error."""
    path = tmp_path / "c.yaml"
    target = f"ca_file: {AUTHORITY}, client_cert: {LOOPBACK}, client_key: {{key}}"
    canary = "canaries: {c: {target: t, model: m}}\n"
    path.write_text(f"targets: {{t: {{api_key: none, {target.format(key=WRONG_HOST)}}}}}\n{canary}")
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {})
    assert [("targets.t.client_key", f"client_key {WRONG_HOST} does not belong to client_cert")] == [
        (problem.path, problem.message) for problem in caught.value.problems
    ]
    path.write_text(f"targets: {{t: {{api_key: none, {target.format(key=LOOPBACK)}}}}}\n{canary}")
    assert LOOPBACK == load(path, {}).targets["t"].client_key


def test_numbers_and_booleans_are_not_interchangeable(tmp_path: Path) -> None:
    """A Boolean or quoted text is not accepted as a number in any section."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "targets: {t: {api_key: none, price: {input: true, output: '3'}}}\n"
        "canaries: {c: {target: t, model: m, retry: {max_attempts: true}, request: {stop: '3', logprobs: true}}}\n"
        "budget: {usd_per_day: true, requests_per_minute: true}\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {})
    found = [(problem.path, problem.message) for problem in caught.value.problems]
    assert [
        ("targets.t.price.input", "must be a number, not true or false"),
        ("targets.t.price.output", "must be a number, not text"),
        ("canaries.c.retry.max_attempts", "must be a number, not true or false"),
        ("budget.usd_per_day", "must be a number, not true or false"),
        ("budget.requests_per_minute", "must be a number, not true or false"),
    ] == found


def test_numbers_and_booleans_can_come_from_the_environment(tmp_path: Path) -> None:
    """Numbers and Booleans are accepted as text from variables and overrides."""
    text = (
        "  rules: {X: {enabled: '${ON}', detector: {type: consecutive, failures: '${COUNT}'}}, Y: {enabled: true}}\n"
        f"{RECEIVERS_YAML}budget: {{requests_per_minute: 1}}\n"
    )
    override = {"STREAMCANARY_BUDGET__REQUESTS_PER_MINUTE": "7", "STREAMCANARY_ALERTS__RULES__Y__ENABLED": "false"}
    loaded = load_settings(tmp_path, text, ON="true", COUNT="4", **override)
    one, other = loaded.alerts.rules["X"], loaded.alerts.rules["Y"]
    assert (True, 4, False, 7) == (
        one.enabled,
        one.detector.model_dump()["failures"],
        other.enabled,
        loaded.budget.requests_per_minute,
    )
    assert [
        "STREAMCANARY_BUDGET__REQUESTS_PER_MINUTE: budget.requests_per_minute: must be a number, not text",
    ] == config_errors(tmp_path, text, ON="true", COUNT="4", STREAMCANARY_BUDGET__REQUESTS_PER_MINUTE="many")


def test_a_canary_cannot_be_renamed_from_its_own_name(tmp_path: Path) -> None:
    """``renamed_from`` with the current name is a config error."""
    path = tmp_path / "c.yaml"
    path.write_text("targets: {t: {api_key: none}}\ncanaries: {c: {target: t, model: m, renamed_from: c}}\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {})
    message = "canaries.c.renamed_from: is the current name of this canary; write its former name, or remove the key"
    assert f"{path}:2:51: {message}" == str(caught.value)
