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
            ["7:21: routes[0].match[0]: matches no alert: severity is page or ticket; did you mean page?"],
        ),
        (
            (
                f"{RECEIVERS_YAML}  routes:\n"
                "  - {match: ['severity=~\"page|ticket\"'], receivers: [hook]}\n"
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
                    "BudgetExhausted, NoData (b), ReceiverFailing, StoreFailing, ReloadFailed, BehindSchedule and 2 "
                    "more, so they are not sent; add a last route that matches all, such as "
                    "{receivers: [hook]}"
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
                    "8:3: routes: no route matches the alerts of ReloadFailed, CertificateExpiring and X, so they are "
                    "not sent; add a last route that matches all, such as {receivers: [hook]}"
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


_MODEL_YAML = """\
targets: {{t: {{base_url: "{base_url}", api_key: k}}{targets}}}
canaries:
  b: {{target: t, model: {model}{more}}}
"""


def _canary_warnings(
    tmp_path: Path, *, model: str = "gpt-4o-mini", base_url: str = "http://h", more: str = "", targets: str = ""
) -> list[str]:
    """Return the warnings about the canary of a configuration."""
    path = tmp_path / "streamcanary.yaml"
    path.write_text(_MODEL_YAML.format(base_url=base_url, model=model, more=more, targets=targets))
    return [f"{one.path}: {one.message}" for one in load(path, {}).warnings if one.path.startswith("canaries")]


@pytest.mark.parametrize(
    ("model", "more", "expected"),
    [
        ("o4-mini", ", request: {max_completion_tokens: 64}", True),
        ("openai/gpt-5-nano", ", request: {max_tokens: 999}", True),
        ("gpt-5.2", ", api: responses, request: {max_output_tokens: 100}", True),
        ("deepseek-reasoner", ", request: {max_tokens: 16}", True),
        ("Qwen/Qwen3-8B", ", request: {max_tokens: 16}", True),
        ("gpt-4o", ", fallbacks: [{model: gpt-5-mini}], request: {max_completion_tokens: 64}", True),
        ("o4-mini", ", request: {extra_body: {max_completion_tokens: 64}}", True),
        ("o4-mini", ", request: {max_tokens: 2000, extra_body: {max_tokens: 64}}", True),
        ("o4-mini", ", request: {max_tokens: 64, extra_body: {max_tokens: 2000}}", False),
        ("gpt-5-nano", ", request: {max_tokens: 64, extra_body: {reasoning_effort: minimal}}", False),
        ("o4-mini", ", request: {max_completion_tokens: 1000}", False),
        ("o4-mini", "", False),
        ("gpt-5-nano", ", request: {max_completion_tokens: 64, reasoning_effort: minimal}", False),
        ("gpt-5.1", ", api: responses, request: {max_output_tokens: 64, reasoning: {effort: none}}", False),
        ("gpt-5.1", ", request: {max_completion_tokens: 64, reasoning_effort: [none]}", True),
        ("gpt-5.1", ", api: responses, request: {max_output_tokens: 64, reasoning: {effort: {a: 1}}}", True),
        ("gpt-5-chat-latest", ", request: {max_completion_tokens: 64}", False),
        ("qwen3-8b", ", request: {max_tokens: 64, extra_body: {enable_thinking: false}}", False),
        (
            "qwen3-8b",
            ", request: {max_tokens: 64, extra_body: {chat_template_kwargs: {enable_thinking: false}}}",
            False,
        ),
        ("gpt-4o-mini", ", request: {max_completion_tokens: 64}", False),
        ("gpt-4o1", ", request: {max_completion_tokens: 64}", False),
        ("Qwen/Qwen3-30B-A3B-Instruct-2507", ", request: {max_tokens: 16}", False),
    ],
)
def test_a_low_token_limit_for_a_reasoning_model_is_a_warning(
    tmp_path: Path, model: str, more: str, expected: bool
) -> None:
    """A model that reasons may spend a limit under 1,000 tokens before it answers; other models may have any limit."""
    warnings = _canary_warnings(tmp_path, model=model, more=more)
    assert expected is any("token_limit_reached" in warning for warning in warnings)


def test_the_warning_of_a_low_token_limit_is_complete(tmp_path: Path) -> None:
    """The warning names the parameter, the model, the consequence and a sufficient limit."""
    assert [
        (
            "canaries.b.request.max_completion_tokens: o4-mini may use all 64 tokens for reasoning and give no answer, "
            "a fault of the configuration (token_limit_reached); allow 1,000 to 4,000 tokens"
        )
    ] == _canary_warnings(tmp_path, model="o4-mini", more=", request: {max_completion_tokens: 64}")


def test_the_warning_of_a_low_token_limit_has_its_place(tmp_path: Path) -> None:
    """A limit in ``extra_body`` is named there."""
    (warning,) = _canary_warnings(tmp_path, model="o4-mini", more=", request: {extra_body: {max_tokens: 64}}")
    assert "canaries.b.request.extra_body.max_tokens" == warning.partition(":")[0]


@pytest.mark.parametrize(
    ("base_url", "more", "expected"),
    [
        ("http://litellm.internal/v1", "", True),
        ("http://localhost:4000", "", True),
        ("http://localhost:4000", ", expect: {regex: 'END$'}", False),
        ("http://localhost:4000", ", expect: {regex: '(?:END|FIN)\\W*\\z'}", False),
        ("http://localhost:4000", ", expect: {equals: pong}", False),
        ("http://localhost:4000", ", expect: {contains: pong}", True),
        ("http://localhost:4000", ", expect: {regex: 'pong'}", True),
        ("http://localhost:4000", ", expect: {regex: 'costs 5\\$'}", True),
        ("https://api.openai.com/v1", "", False),
    ],
)
def test_a_canary_behind_litellm_needs_a_condition_on_its_answer(
    tmp_path: Path, base_url: str, more: str, expected: bool
) -> None:
    """LiteLLM ends a truncated answer with ``stop``, which only a condition on the end of the text can detect."""
    assert expected is any("LiteLLM" in warning for warning in _canary_warnings(tmp_path, base_url=base_url, more=more))


def test_a_fallback_behind_litellm_is_examined_too(tmp_path: Path) -> None:
    """The answer of a fallback through a proxy can be cut, too."""
    more = ", fallbacks: [{model: m, target: proxy}]"
    targets = ", proxy: {base_url: 'http://litellm.internal/v1', api_key: none}"
    warnings = _canary_warnings(tmp_path, base_url="https://api.openai.com/v1", more=more, targets=targets)
    assert ["canaries.b.expect: target proxy seems to be a LiteLLM proxy"] == [
        each.partition(",")[0] for each in warnings
    ]


@pytest.mark.parametrize(
    ("api", "version", "expected"),
    [
        ("responses", "api_version: 2024-10-21, ", True),
        ("responses", "api_version: 2025-03-01-preview, ", False),
        ("responses", "", False),
        ("chat", "api_version: 2024-10-21, ", False),
    ],
)
def test_a_version_of_azure_without_responses_is_a_warning(
    tmp_path: Path, api: str, version: str, expected: bool
) -> None:
    """Every run would fail; the v1 API, which has no versions, has Responses."""
    path = tmp_path / "streamcanary.yaml"
    path.write_text(
        f"targets: {{t: {{type: azure, endpoint: 'https://x.openai.azure.com', {version}api_key: none}}}}\n"
        f"canaries: {{c: {{target: t, model: m, api: {api}}}}}\n"
    )
    found = [one.message for one in load(path, {}).warnings if one.path == "canaries.c.api"]
    expected_message = (
        "Azure has Responses from api_version 2025-03-01-preview on, and target t asks for 2024-10-21; "
        "set a later one, or remove api_version for the v1 API"
    )
    assert ([expected_message] if expected else []) == found


@pytest.mark.parametrize(
    ("web", "warnings"),
    [
        (
            "{host: 0.0.0.0}",
            [
                (
                    "telemetry.content: anyone who reaches web.host can read prompts and answers; set web.token_file, "
                    "or remove it"
                )
            ],
        ),
        ("{host: 0.0.0.0, token: 0123456789abcdef}", []),
        ("{host: 127.0.0.1}", []),
    ],
)
def test_content_that_anyone_can_read_is_a_warning(tmp_path: Path, web: str, warnings: list[str]) -> None:
    """Prompts and answers are in the API of runs: beyond loopback, it should have a token."""
    path = tmp_path / "streamcanary.yaml"
    path.write_text(
        "targets: {t: {base_url: http://127.0.0.1:9/v1, api_key: none}}\n"
        "canaries: {c: {target: t, model: m, every: 30s}}\n"
        f"telemetry: {{content: true}}\nweb: {web}\n"
    )
    found = [f"{one.path}: {one.message}" for one in load(path, {}).warnings if one.path.startswith("telemetry")]
    assert warnings == found
