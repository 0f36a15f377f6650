"""What differs between two configurations, and what of it needs a restart."""

from pathlib import Path
from typing import Any

import pytest

from streamcanary.reload.plan import config_changes, restart_needed
from support.reload import CHAT, TARGET, load_config

WEBHOOK = {"type": "webhook", "url": "http://127.0.0.1:9", "secret": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"}
OTLP = {"endpoint": "http://localhost:4318"}


def changes(folder: Path, before: dict[str, Any], after: dict[str, Any]) -> list[tuple[str, str]]:
    """Return the changes from one configuration to another, as pairs of key and kind."""
    found = config_changes(load_config(folder, **before), load_config(folder, **after))
    return [(change.key, change.change) for change in found]


def test_equal_configurations_have_no_changes(tmp_path: Path) -> None:
    """Loading the same file again shows no change, with secrets, receivers and rules of all kinds."""
    sections = {
        "alerts": {
            "receivers": {"hook": WEBHOOK, "chat": {"type": "apprise", "urls": ["json://localhost"]}},
            "rules": {"StoreFailing": {"enabled": False}},
            "maintenance": {"deploy": {"match": ['canary="chat"'], "cron": "0 17 * * 5", "for": "30m"}},
        },
        "telemetry": {"otlp": {**OTLP, "headers": {"authorization": "Bearer x"}}},
    }
    assert [] == changes(tmp_path, sections, sections)


def test_maps_are_compared_by_entry(tmp_path: Path) -> None:
    """Targets, canaries, receivers and rules are added, removed and changed one by one."""
    before = {
        "canaries": {"stays": CHAT, "goes": CHAT, "changes": CHAT},
        "alerts": {
            "receivers": {"hook": WEBHOOK},
            "rules": {"X": {"detector": {"type": "consecutive", "failures": 3}}},
        },
    }
    after = {
        "canaries": {"stays": CHAT, "changes": {**CHAT, "every": "1h"}, "comes": CHAT},
        "alerts": {"receivers": {"hook": {**WEBHOOK, "per_minute": 7}, "second": WEBHOOK}},
    }
    assert [
        ("canaries.goes", "removed"),
        ("canaries.changes", "changed"),
        ("canaries.comes", "added"),
        ("alerts.rules.X", "removed"),
        ("alerts.receivers.hook", "changed"),
        ("alerts.receivers.second", "added"),
    ] == changes(tmp_path, before, after)


def test_a_canary_or_rule_with_a_former_name_is_renamed(tmp_path: Path) -> None:
    """It is one change; a former name that is not the one of a removed entry is none."""
    rule = {"detector": {"type": "consecutive", "failures": 3}}
    before = {"canaries": {"a": CHAT, "b": CHAT}, "alerts": {"rules": {"X": rule}}}
    after = {
        "canaries": {"a2": {**CHAT, "renamed_from": "a"}, "c": {**CHAT, "renamed_from": "before-a"}, "b": CHAT},
        "alerts": {"rules": {"Y": {**rule, "renamed_from": "X"}}},
    }
    assert [("canaries.a2", "renamed"), ("canaries.c", "added"), ("alerts.rules.Y", "renamed")] == changes(
        tmp_path, before, after
    )


def test_an_override_of_a_built_in_rule_changes_it(tmp_path: Path) -> None:
    """``enabled: true`` is a default value, and changes a built-in rule that is off."""
    sections = {"alerts": {"rules": {"ModelChanged": {"enabled": True}}}}
    assert [("alerts.rules.ModelChanged", "changed")] == changes(tmp_path, {}, sections)


def test_a_change_contains_no_secret(tmp_path: Path) -> None:
    """Another key is a change of the target, without the old or the new key."""
    after = {"targets": {"t": {**TARGET, "api_key": "sk-another"}}}
    assert [("targets.t", "changed")] == changes(tmp_path, {}, after)


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({}, {"store": {"keep": "1d"}}, ["store.keep"]),
        ({}, {"store": {"path": "other.db"}}, ["store.path"]),
        ({}, {"web": {"host": "::1", "port": 1}}, ["web.host", "web.port"]),
        ({}, {"web": {"token": "0123456789abcdef", "allowed_hosts": ["a.example"]}}, []),
        ({}, {"telemetry": {"otlp": OTLP}}, ["telemetry.otlp"]),
        ({"telemetry": {"otlp": OTLP}}, {}, ["telemetry.otlp"]),
        ({}, {"telemetry": {"prometheus": False}}, ["telemetry.prometheus"]),
        (
            {"telemetry": {"otlp": OTLP}},
            {"telemetry": {"otlp": {"endpoint": "http://other:4318", "headers": {"a": "b"}, "timeout": "3s"}}},
            [],
        ),
        (
            {"telemetry": {"otlp": OTLP}},
            {"telemetry": {"otlp": {**OTLP, "interval": "1m"}}},
            ["telemetry.otlp.interval"],
        ),
        ({}, {"instance": "other", "budget": {"requests_per_minute": 9}}, []),
        ({}, {"web": {"liveness_file": "alive"}}, ["web.liveness_file"]),
        ({}, {"web": {"enabled": False}}, ["web.enabled"]),
        ({}, {"region": "eu"}, ["region"]),
        ({}, {"fleet": {"replicas": 2, "member": "a"}}, []),
        ({}, {"heartbeat": {"url": "http://127.0.0.1:9/x"}}, []),
    ],
)
def test_some_keys_need_a_restart(
    tmp_path: Path, before: dict[str, Any], after: dict[str, Any], expected: list[str]
) -> None:
    """The store, the address of the server, and most of telemetry need a restart; nothing else does."""
    assert expected == list(restart_needed(load_config(tmp_path, **before), load_config(tmp_path, **after)))
