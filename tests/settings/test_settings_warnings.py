"""Config warnings: settings that suppress notifications; the complete messages."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, load
from support.alerting.config_yaml import BASE_YAML, RECEIVERS_YAML, config_warnings, rule_yaml


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (
            "  rules: {X: {}}\n",
            [
                (
                    "5:1: receivers: is empty, so no alert is sent; add a receiver, such as oncall: "
                    "{type: pagerduty, routing_key_file: PATH}"
                )
            ],
        ),
        ("  rules: {X: {enabled: false}}\n", []),
        (
            f"{RECEIVERS_YAML}  routes: []\n",
            ["7:3: routes: is empty, so every alert goes to every receiver; add a route, or remove the key"],
        ),
        (
            f"{RECEIVERS_YAML}  routes: [{{receivers: [hook]}}]\n",
            ["6:115: receivers.mail: no route names it, so it gets no alert; add it to a route"],
        ),
        (
            f"{RECEIVERS_YAML}  routes: [{{match: ['severity=\"pgae\"'], receivers: [hook]}}, {{receivers: [mail]}}]\n",
            ["7:21: routes[0].match[0]: matches no alert: severity is page"],
        ),
        (
            (
                f"{RECEIVERS_YAML}  routes:\n"
                "  - {match: ['severity=\"page\"'], receivers: [hook]}\n"
                "  - {match: ['alert=\"NoData\"'], receivers: [hook]}\n"
                "  - {receivers: [mail]}\n"
            ),
            [
                (
                    "9:5: routes[1]: is never used: earlier routes match its alerts, and the first match wins; "
                    "move it up, or remove it"
                ),
                (
                    "10:5: routes[2]: is never used: earlier routes match its alerts, and the first match wins; "
                    "move it up, or remove it"
                ),
            ],
        ),
        (
            f"{RECEIVERS_YAML}  routes: [{{match: ['tier=\"prod\"'], receivers: [hook, mail]}}]\n",
            [
                (
                    "7:3: routes: no route matches the alerts of CanaryEgressDown, TargetRejected (b), "
                    "BudgetExhausted, NoData (b), ReceiverFailing and StoreFailing, so they are not sent; add a last "
                    "route that matches all, such as {receivers: [hook]}"
                )
            ],
        ),
        (
            (
                f"  rules: {{X: {{labels: {{severity: ticket}}}}}}\n{RECEIVERS_YAML}"
                "  routes: [{match: ['severity=\"page\"'], receivers: [hook, mail]}]\n"
            ),
            [
                (
                    "8:3: routes: no route matches the alerts of X, so they are not sent; add a last route that "
                    "matches all, such as {receivers: [hook]}"
                )
            ],
        ),
        (
            f"{RECEIVERS_YAML}  maintenance: {{m: {{match: ['tier=\"prdo\"'], cron: 0 17 * * fri, for: 30m}}}}\n",
            ["7:29: maintenance.m.match[0]: matches no alert: tier is prod or test; did you mean prod?"],
        ),
        (
            f"{RECEIVERS_YAML}  maintenance: {{m: {{match: ['tier=\"prod\"'], cron: '* * * * *', for: 1m}}}}\n",
            [
                (
                    "7:69: maintenance.m.for: the window never closes: '* * * * *' opens it again after 1m at most, so "
                    "the alerts that it matches are never sent; write a shorter time, or a less frequent cron"
                )
            ],
        ),
        (
            f"{RECEIVERS_YAML}  maintenance: {{m: {{match: ['alert=\"NoData\"'], cron: 0 0 * * *, for: 48h}}}}\n",
            [
                (
                    "7:70: maintenance.m.for: the window never closes: '0 0 * * *' opens it again after 1d at most, so "
                    "the alerts that it matches are never sent; write a shorter time, or a less frequent cron"
                )
            ],
        ),
        (f"{RECEIVERS_YAML}  maintenance: {{m: {{match: ['tier=\"prod\"'], cron: 0 0 * * *, for: 23h}}}}\n", []),
        (
            f"{RECEIVERS_YAML}  group_by: [alert, teir, subject, severity]\n",
            ["7:21: group_by[1]: no alert has the label teir; did you mean tier?"],
        ),
        (
            f"{rule_yaml('{measure: slow}')}{RECEIVERS_YAML}",
            ["6:24: rules.X.measure: a: no slo, so no run is ever slow; add one, such as slo: {first_token: 2s}"],
        ),
    ],
)
def test_settings_that_suppress_notifications_are_warnings(tmp_path: Path, written: str, expected: list[str]) -> None:
    """A valid setting that suppresses notifications is a config warning with position and remedy."""
    assert expected == config_warnings(tmp_path, written)


def test_messages_list_a_limited_number_of_label_values(tmp_path: Path) -> None:
    """A message lists at most eight label values."""
    canaries = "".join(f"  c{number}: {{target: t, model: m}}\n" for number in range(100))
    path = tmp_path / "c.yaml"
    rules = rule_yaml("{match: ['canary=\"zz\"']}")
    path.write_text(BASE_YAML.replace("alerts:\n", f"{canaries}alerts:\n{rules}{RECEIVERS_YAML}"))
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {})
    [problem] = caught.value.problems
    assert "matches no canary: canary is a, b, c0, c1, c10, c11, c12, c13 and 94 more" == problem.message
