"""Scopes: which alerts a rule has, how they share its false pages, and scopes that cannot be."""

from typing import Any

import pytest
from msgspec import structs
from pydantic import ValidationError

from streamcanary.alerting.rules import Rule
from streamcanary.alerting.scope import left_out, scope_values
from streamcanary.model.canary import Canary
from support.alerting.builders import CHAT, alerts


def canary(name: str, target: str = "openai", **changes: Any) -> Canary:
    """Return a canary of ``target`` that runs every 30 s."""
    return Canary(**{"name": name, "target": target, "provider": target, "interval": 30.0, **changes})


def rule(**config: Any) -> Rule:
    """Parse a rule with the detector ``spike``."""
    return Rule.model_validate({"detector": {"type": "spike"}, **config})


FLEET = (
    canary("a", model="gpt", labels={"region": "eu", "tier": "prod"}),
    canary("b", model="gpt", labels={"region": "us", "tier": "prod"}, interval=60.0),
    canary("c", "azure", model="gpt", labels={"region": "eu"}),
    canary("d", "azure", model="mini"),
)


@pytest.mark.parametrize(
    ("per", "subjects"),
    [
        ("canary", {"a": "a", "b": "b", "c": "c", "d": "d"}),
        ("target", {"target openai": "ab", "target azure": "cd"}),
        ("provider", {"provider openai": "ab", "provider azure": "cd"}),
        ("model", {"model gpt": "abc", "model mini": "d"}),
        ("region", {"region eu": "ac", "region us": "b"}),
        ("all", {"all canaries": "abcd"}),
        (["target", "all"], {"target openai": "ab", "target azure": "cd", "all canaries": "abcd"}),
    ],
)
def test_a_rule_has_an_alert_for_each_value_of_its_scopes(per: Any, subjects: dict[str, str]) -> None:
    """Each value of each scope is an alert about its canaries; canaries without the label have none."""
    values = scope_values(rule(per=per), FLEET)
    assert subjects == {value.subject: "".join(one.name for one in value.canaries) for value in values}


def test_values_with_the_same_canaries_are_one_alert() -> None:
    """Of values with the same canaries only one is kept, that of the canary if there is one; the others are known."""
    watched = rule(per=["region", "target", "canary"], match=['canary=~"a|b|c"'])
    assert ["a", "b", "c", "region eu", "target openai"] == [one.subject for one in scope_values(watched, FLEET)]
    assert [("region us", "b"), ("target azure", "c")] == [
        (value.subject, other.subject) for value, other in left_out(watched, FLEET)
    ]


def test_the_false_pages_are_divided_by_scope_and_then_by_value() -> None:
    """Each scope has an equal share of the false pages of the rule, and in it each of its values."""
    shares = {one.subject: one.share for one in scope_values(rule(per=["canary", "target"]), FLEET)}
    assert {**dict.fromkeys("abcd", 1 / 8), "target openai": 1 / 4, "target azure": 1 / 4} == shares
    assert {"all canaries": 1.0} == {one.subject: one.share for one in scope_values(rule(per="all"), FLEET)}


@pytest.mark.parametrize("per", [["canary", "target", "all"], ["model", "region", "canary"], ["target", "provider"]])
def test_the_shares_of_a_rule_are_all_of_its_false_pages(per: list[str]) -> None:
    """The shares add up to 1, also where values are left out."""
    assert pytest.approx(1.0) == sum(value.share for value in scope_values(rule(per=per), FLEET))


def test_canaries_with_different_intervals_are_one_stream() -> None:
    """A canary every 30 s and one every 60 s are together a run every 20 s on average."""
    openai, azure = scope_values(rule(per="target"), FLEET)
    assert (20.0, 15.0) == (pytest.approx(openai.stream().interval), pytest.approx(azure.stream().interval))
    assert 15 == openai.schedule.max_runs(305.0)


def test_the_wait_for_a_run_of_several_canaries() -> None:
    """The first of two runs with random phases comes after a third of the interval on average, the third after 4/3."""
    _, azure = scope_values(rule(per="target"), FLEET)
    assert pytest.approx([10.0, 20.0, 40.0, 15.0]) == [azure.schedule.mean_wait(each) for each in (1, 2, 3, 1.5)]


def test_the_labels_of_a_pooled_alert() -> None:
    """A pooled alert has the labels that all its canaries share, its scope with the value, and no canary."""
    openai = scope_values(rule(per="target", match=['canary=~"a|b"']), FLEET)[0]
    assert {"target": "openai", "provider": "openai", "tier": "prod", "scope": "target"} == openai.labels
    gpt, mini = scope_values(rule(per="model"), FLEET)
    assert {"model": "gpt", "scope": "model"} == gpt.labels
    assert {"model": "mini", "target": "azure", "provider": "azure", "scope": "model"} == mini.labels
    (everything,) = scope_values(rule(per="all"), FLEET)
    assert {"scope": "all"} == everything.labels


@pytest.mark.parametrize(
    ("config", "path", "message"),
    [
        (
            {"per": []},
            ("per",),
            "not a scope: write canary, target, provider, model, all or a label, or a list of these",
        ),
        (
            {"per": 3},
            ("per",),
            "not a scope: write canary, target, provider, model, all or a label, or a list of these",
        ),
        (
            {"per": "canary, target"},
            ("per",),
            "has a comma in a name; to have several scopes, write a list, such as [canary, target]",
        ),
        ({"per": ["target", "target"]}, ("per",), "target is written twice; remove one"),
        (
            {"per": "alertname"},
            ("per",),
            "alertname is not a label of canaries: write canary, target, provider, model, all or a label",
        ),
        ({"per": "my-label"}, ("per",), "must be letters, digits and '_', not starting with a digit, at most 128"),
        (
            {"per": "target", "detector": {"type": "no_data"}},
            ("per",),
            "must be canary with no_data: each canary has runs of its own to miss; remove it",
        ),
        (
            {"per": "all", "measure": "model_changes"},
            ("per",),
            "must be canary with measure model_changes, which is about one canary; remove it",
        ),
        (
            {"per": "tier", "labels": {"tier": "prod"}},
            ("per",),
            "tier is also a label that this rule sets; rename or remove one of them",
        ),
        ({"labels": {"scope": "x"}}, (), "labels must not be named scope: every alert has these already"),
    ],
)
def test_scopes_that_cannot_be(config: dict[str, Any], path: tuple[str, ...], message: str) -> None:
    """What is wrong with a scope is said at its key, with what would be right."""
    with pytest.raises(ValidationError) as raised:
        rule(**config)
    (error,) = raised.value.errors()
    assert path == error["loc"]
    assert message in error["msg"]


@pytest.mark.parametrize(
    ("per", "path", "message"),
    [
        ("regions", ("per",), "no canary of this rule has the label regions; did you mean region?"),
        (["canary", "zone"], ("per", 1), "no canary of this rule has the label zone; known labels: "),
    ],
)
def test_a_scope_that_no_canary_has(per: Any, path: tuple[Any, ...], message: str) -> None:
    """A scope that no matching canary has is an error with the nearest name, or with those that there are."""
    config = alerts(rules={"Watched": {"detector": {"type": "spike"}, "per": per}})
    (error,) = config.config_errors(FLEET)
    assert ("rules", "Watched", *path) == error.path
    assert error.message.startswith(message)


def test_built_in_rules_keep_their_scope() -> None:
    """A built-in rule is about one canary, and says so."""
    with pytest.raises(ValidationError, match=r"(?s)per.* is canary for the built-in TargetRejected"):
        alerts(rules={"TargetRejected": {"per": "target"}})


def test_a_window_is_checked_for_the_runs_of_all_canaries() -> None:
    """A window that is too short for one canary can be long enough for those of a target together."""
    detector = {"type": "ratio", "over": "2m", "min_samples": 5}
    alone = alerts(rules={"Watched": {"detector": detector}})
    assert ["chat runs every 30s, 4 times in 2m"] == [
        error.message.partition(":")[0] for error in alone.config_errors([CHAT])
    ]
    pooled = alerts(rules={"Watched": {"detector": detector, "per": "target"}})
    assert [] == pooled.config_errors([CHAT, structs.replace(CHAT, name="mini")])
