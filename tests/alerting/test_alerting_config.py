from pathlib import Path
from typing import Any

import pytest
from msgspec import structs
from pydantic import ValidationError

from streamcanary.alerting.config import AlertsConfig
from streamcanary.alerting.routing import Route, route_for
from streamcanary.model.canary import Canary
from streamcanary.model.config_types.config_issue import ConfigIssue
from support.alerting.builders import CHAT, THREE_FAILURES_RULE, alerts, webhook_config
from support.servers.receiver import SECRET

PROM = {"type": "alertmanager", "urls": ["http://alertmanager-0:9093", "http://alertmanager-1:9093/"]}


def config_error(**sections: Any) -> tuple[str, str]:
    """Return the path and the message of the only error of an invalid section."""
    with pytest.raises(ValidationError) as caught:
        alerts(**sections)
    (error,) = caught.value.errors(include_input=False, include_url=False)
    return ".".join(map(str, error["loc"])), error["msg"]


def rules_with_detector(**detector: Any) -> dict[str, Any]:
    """Return a rules section of one rule with ``detector``."""
    return {"Errors": {"detector": detector}}


def test_an_alerts_section_is_parsed() -> None:
    """An alerts section accepts percentages, windows, durations and matchers as text."""
    config = alerts(
        rules={
            "Spike": {
                "match": ['tier="prod"'],
                "detector": {"type": "ratio", "over": "20 runs", "threshold": "50%", "for": "2m"},
            },
            "Slow": {"measure": "first_token", "limit": "2s", "detector": {"type": "ratio", "threshold": 0.1}},
        },
        receivers={"hook": webhook_config(), "prom": PROM},
        routes=[{"match": ['severity="page"'], "receivers": ["hook", "prom"]}, {"receivers": ["prom"]}],
    )
    spike, slow = config.rules["Spike"].detector, config.rules["Slow"].detector
    assert (str(spike.over), spike.threshold, spike.min_samples, spike.hold) == ("20 runs", 0.5, 5, 120.0)
    assert (str(slow.over), slow.threshold, config.rules["Slow"].limit) == ("5m", 0.1, 2.0)
    assert config.receivers["prom"].urls == ("http://alertmanager-0:9093", "http://alertmanager-1:9093")


def test_an_empty_section_is_valid() -> None:
    """A configuration without alerts has no routes."""
    assert AlertsConfig().effective_routes == ()


def test_without_routes_every_alert_goes_to_every_receiver() -> None:
    """Without ``routes`` the effective route contains all receivers."""
    config = alerts(receivers={"hook": webhook_config(), "prom": PROM})
    assert route_for(config.effective_routes, {"alertname": "Errors"}) == Route(receivers=("hook", "prom"))


def test_the_first_route_that_matches_wins() -> None:
    """Later routes are ignored, and an alert that no route matches has no route."""
    config = alerts(
        receivers={"hook": webhook_config(), "prom": PROM},
        routes=[
            {"match": ['severity="page"'], "receivers": ["hook"]},
            {"match": ['alert=~"Err.*"'], "receivers": ["prom", "prom"]},
        ],
    )
    routes = config.effective_routes
    assert route_for(routes, {"alertname": "Errors", "severity": "page"}) is routes[0]
    assert route_for(routes, {"alertname": "Errors"}) is routes[1]
    assert route_for(routes, {"alertname": "Other"}) is None


@pytest.mark.parametrize(
    ("sections", "path", "message"),
    [
        (
            {"routes": [{"receivers": ["hook", "pager"]}]},
            "routes.0.receivers.1",
            "there is no receiver 'pager'; known: hook",
        ),
        ({"routes": [{"receivers": []}]}, "routes.0.receivers", "at least 1 item"),
        (
            {"routes": [{"receivers": ["hook"]}, {"match": ['a="b"'], "receivers": ["hook"]}]},
            "routes.0",
            "matches everything, so the routes after it are never reached",
        ),
        (
            {"rules": {"StoreFailing": {"measure": "slow"}}},
            "rules.StoreFailing.measure",
            "has no effect on the built-in StoreFailing; set annotations, enabled, labels",
        ),
        ({"rules": {"Errors": {"match": ["tier"]}}}, "rules.Errors.match.0", "not a matcher"),
        ({"rules": {"Errors": {"measure": "first_token"}}}, "rules.Errors", "needs a limit, such as limit: 2s"),
        ({"rules": {"Errors": {"limit": "2s"}}}, "rules.Errors", "limit has no effect with measure errors"),
        ({"rules": {"Errors": {"labels": {"canary": "x"}}}}, "rules.Errors", "labels must not be named canary"),
        (
            {"rules": {"Errors": {"annotations": {"summary": "{canari} fails"}}}},
            "rules.Errors.annotations.summary",
            "unknown field {canari}; known: alert, bad,",
        ),
        (
            {"rules": {"Errors": {"annotations": {"summary": "{canary.__class__}"}}}},
            "rules.Errors.annotations.summary",
            "unknown field {canary.__class__}",
        ),
        (
            {"rules": {"Errors": {"annotations": {"summary": "{bad:>1000000}"}}}},
            "rules.Errors.annotations.summary",
            "write {bad} without a format",
        ),
        (
            {"rules": {"Errors": {"annotations": {"summary": "{bad"}}}},
            "rules.Errors.annotations.summary",
            "not a template",
        ),
        ({"rules": rules_with_detector(type="magic")}, "rules.Errors.detector", "'ratio', 'consecutive'"),
        (
            {"rules": rules_with_detector(type="consecutive", **{"for": "1m"})},
            "rules.Errors.detector.consecutive.for",
            "Extra inputs are not permitted",
        ),
        (
            {"rules": rules_with_detector(type="ratio", threshold="150%")},
            "rules.Errors.detector.ratio.threshold",
            "more than 0% and at most 100%",
        ),
        (
            {"rules": rules_with_detector(type="ratio", threshold=0)},
            "rules.Errors.detector.ratio.threshold",
            "more than 0% and at most 100%",
        ),
        (
            {"rules": rules_with_detector(type="ratio", threshold="half")},
            "rules.Errors.detector.ratio.threshold",
            "a percentage such as 50%",
        ),
        (
            {"rules": rules_with_detector(type="ratio", over="3 runs")},
            "rules.Errors.detector.ratio",
            "min_samples (5) is more than the window of 3 runs can hold",
        ),
        (
            {"rules": rules_with_detector(type="ratio", over="a while")},
            "rules.Errors.detector.ratio.over",
            "a time such as 5m, or a number of runs such as 20 runs",
        ),
        ({"receivers": {"hook": {"type": "pigeon"}}}, "receivers.hook", "'webhook', 'apprise', 'alertmanager'"),
        (
            {"receivers": {"hook": {"type": "webhook", "secret": SECRET}}},
            "receivers.hook.webhook",
            "needs exactly one of url and url_file",
        ),
        (
            {"receivers": {"hook": {"type": "webhook", "url": "https://example.com"}}},
            "receivers.hook.webhook",
            "needs exactly one of secret and secret_file",
        ),
        (
            {"receivers": {"hook": webhook_config(secret="whsec_short")}},
            "receivers.hook.webhook.secret",
            "must be whsec_ and the base64 of 24 to 64 random bytes",
        ),
        (
            {"receivers": {"hook": webhook_config("example.com")}},
            "receivers.hook.webhook.url",
            "must be an http:// or https://",
        ),
        (
            {"receivers": {"hook": {"type": "alertmanager", "urls": []}}},
            "receivers.hook.alertmanager.urls",
            "at least 1 item",
        ),
        (
            {"receivers": {"hook": {"type": "alertmanager", "urls": ["http://a:1", "http://a:1/"]}}},
            "receivers.hook.alertmanager.urls",
            "has the same address twice",
        ),
    ],
)
def test_an_invalid_section_is_reported_at_its_key(sections: dict[str, Any], path: str, message: str) -> None:
    """Each error is reported when the section is parsed, at the key that has it."""
    error_path, error_message = config_error(**sections)
    assert (error_path, message in error_message) == (path, True), error_message


def test_all_unknown_receivers_are_reported_together() -> None:
    """One validation error contains every unknown receiver."""
    with pytest.raises(ValidationError) as caught:
        alerts(routes=[{"match": ['a="b"'], "receivers": ["x", "hook"]}, {"receivers": ["y"]}])
    assert [error["loc"] for error in caught.value.errors()] == [
        ("routes", 0, "receivers", 0),
        ("routes", 1, "receivers", 0),
    ]


def test_error_messages_contain_no_secret() -> None:
    """An error message contains neither the URL of a webhook nor its secret."""
    for hook in (
        webhook_config("ftp://token-1234@example.com"),
        webhook_config("https://token-1234.example.com", secret="token-1234"),
    ):
        with pytest.raises(ValidationError) as caught:
            alerts(receivers={"hook": hook})
        assert "token-1234" not in str(caught.value.errors(include_input=False))


def test_a_rule_that_matches_no_canary_is_an_error() -> None:
    """A matcher with a misspelled value is reported, because its rule could never fire."""
    config = alerts(rules={"Errors": {**THREE_FAILURES_RULE, "match": ['tier="prdo"']}})
    assert config.config_errors([CHAT]) == [
        ConfigIssue(("rules", "Errors", "match", 0), "matches no canary: tier is prod"),
    ]


def test_a_window_too_short_for_a_canary_is_an_error() -> None:
    """A window that cannot contain ``min_samples`` runs of a canary is reported, once for those that are alike."""
    config = alerts(rules=rules_with_detector(type="ratio", over="5m"))
    rare = Canary(name="rare", target="openai", provider="openai", interval=120.0)
    ((path, message, _),) = config.config_errors([CHAT, rare])
    assert path == ("rules", "Errors", "detector", "over")
    assert message == "rare runs every 2m, 2 times in 5m: fewer than min_samples (5), so it could never fire"
    fleet = [structs.replace(rare, name=f"rare-{number}") for number in range(250)]
    ((_, message, _),) = config.config_errors(fleet)
    assert message == (
        "rare-0 runs every 2m, 2 times in 5m: fewer than min_samples (5), so it could never fire; the same for 249 more"
    )
    seldom = Canary(name="seldom", target="openai", provider="openai", interval=300.0)
    ((_, message, _),) = config.config_errors([CHAT, seldom])
    assert message == "seldom runs every 5m, once in 5m: fewer than min_samples (5), so it could never fire"


def test_secrets_can_be_read_from_files(tmp_path: Path) -> None:
    """A receiver accepts paths of secret files, as Kubernetes mounts them, that need not exist yet."""
    hook = {"type": "webhook", "url_file": str(tmp_path / "url"), "secret_file": str(tmp_path / "secret")}
    assert alerts(receivers={"hook": hook}).receivers["hook"].url_file == tmp_path / "url"


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("canary.example.com", "must be an http or https address"),
        ("ftp://canary.example.com", "must be an http or https address"),
        ("https://", "must be an http or https address"),
        ("https://canary.example.com:99999", "not an address"),
        ("https://user:secret@canary.example.com", "has a user name in it"),
        ("https://canary.example.com/?a=1", "has a query or a fragment"),
        ("https://canary.example.com/#top", "has a query or a fragment"),
        ("https://canary.example.com/a b", "has a character that an address cannot have"),
        ('https://canary.example.com/"x"', "has a character that an address cannot have"),
    ],
)
def test_an_external_url_that_links_cannot_begin_with_is_rejected(url: str, problem: str) -> None:
    """The address of the status page is checked when the configuration is loaded."""
    with pytest.raises(ValidationError, match=problem):
        AlertsConfig.model_validate({"external_url": url})


def test_an_external_url_has_no_slash_at_its_end() -> None:
    """Links are made by appending to it; a path before it stays."""
    config = AlertsConfig.model_validate({"external_url": "https://example.com/canary/"})
    assert "https://example.com/canary/alerts" == config.links.alerts_url()
