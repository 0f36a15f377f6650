"""Variables in the file, and overrides by environment variables."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, Settings, load

VALID = Path(__file__).parent.parent / "fixtures" / "config" / "valid.yaml"
KEY = {"OPENAI_API_KEY": "sk-test"}


def load_with(**variables: str) -> Settings:
    """Return the valid configuration with ``variables``."""
    return load(VALID, KEY | variables)


def errors_with(**variables: str) -> list[str]:
    """Return the config errors of the valid configuration with ``variables``."""
    with pytest.raises(ConfigInvalid) as caught:
        load_with(**variables)
    return [str(problem) for problem in caught.value.problems]


def test_a_default_replaces_a_missing_or_empty_variable() -> None:
    """``${VAR}`` and ``${VAR:-default}`` have the meaning of a shell."""
    assert load_with().instance == "default"
    assert load_with(POD_NAMESPACE="").instance == "default"
    assert load_with(POD_NAMESPACE="team-a").instance == "team-a"


def test_an_unquoted_variable_can_be_a_number() -> None:
    """``port: ${PORT}`` is a number, also for SDK parameters; a quoted one is text."""
    settings = load_with(PORT="8080", TEMPERATURE="1", STOP="2")
    assert settings.web.port == 8080
    assert settings.canaries["chat-mini"].request == {"temperature": 1, "stop": "2"}


def test_text_from_a_variable_stays_text() -> None:
    """A key of digits and the namespace ``true`` stay text."""
    settings = load_with(POD_NAMESPACE="true", OPENAI_API_KEY="00123456")
    assert settings.instance == "true"
    assert settings.targets["openai"].key.reveal() == "00123456"


def test_references_in_the_value_of_a_variable_are_not_substituted() -> None:
    """A dollar sign in the value of a variable stays as it is."""
    assert load_with(POD_NAMESPACE="${HOME}$$").instance == "${HOME}$$"


def test_two_dollar_signs_are_one(tmp_path: Path) -> None:
    """``$$`` is a dollar sign, and a dollar sign without a brace stays as it is, as in regular expressions."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "targets: {t: {api_key: none}}\n"
        "canaries: {c: {target: t, model: m, prompt: '$$5 and $${HOME}', expect: {regex: '^pong$'}}}\n"
    )
    canary = load(path, {}).canaries["c"]
    assert canary.prompt == "$5 and ${HOME}"
    assert canary.expect.regex == "^pong$"


def test_an_override_matches_names_without_case_and_with_underscores() -> None:
    """``CHAT_MINI`` is the canary ``chat-mini``, and adds no second one."""
    settings = load_with(STREAMCANARY_CANARIES__CHAT_MINI__EVERY="10s", STREAMCANARY_INSTANCE="here")
    assert list(settings.canaries) == ["chat-mini"]
    assert settings.canaries["chat-mini"].every == 10.0
    assert settings.instance == "here"


def test_an_override_can_set_a_known_key_that_the_file_does_not_have() -> None:
    """Missing sections above the key are created; entries of a map of named entries are not."""
    settings = load_with(
        STREAMCANARY_TELEMETRY__OTLP__ENDPOINT="http://localhost:4318",
        STREAMCANARY_STORE__KEEP="1d",
        STREAMCANARY_CANARIES__CHAT_MINI__RETRY__MAX_ATTEMPTS="2",
        STREAMCANARY_CANARIES__CHAT_MINI__REQUEST__TEMPERATURE="0.25",
    )
    assert settings.telemetry.otlp is not None
    assert str(settings.telemetry.otlp.endpoint) == "http://localhost:4318/"
    assert settings.store.keep == 86400.0
    assert settings.canaries["chat-mini"].retry.max_attempts == 2
    assert settings.canaries["chat-mini"].request["temperature"] == 0.25


def test_an_override_replaces_an_invalid_value() -> None:
    """A value that is overridden is not validated; a number without a unit is in seconds."""
    assert load_with(PORT="99999", STREAMCANARY_WEB__PORT="9000").web.port == 9000
    assert load_with(STREAMCANARY_CANARIES__CHAT_MINI__EVERY="45").canaries["chat-mini"].every == 45.0


def test_an_override_can_set_a_list_item(tmp_path: Path) -> None:
    """An existing list item is named by its index."""
    path = tmp_path / "c.yaml"
    path.write_text("targets: {t: {api_key: none}}\ncanaries: {c: {target: t, model: m, fallbacks: [{model: n}]}}\n")
    settings = load(path, {"STREAMCANARY_CANARIES__C__FALLBACKS__0__MODEL": "o"})
    assert settings.canaries["c"].fallbacks[0].model == "o"


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("STREAMCANARY_CANARIES__CHAT_MAXI__EVERY", "STREAMCANARY_CANARIES__CHAT_MINI__EVERY"),
        ("STREAMCANARY_CANARIES__CHAT_MINI__EVRY", "STREAMCANARY_CANARIES__CHAT_MINI__EVERY"),
        ("STREAMCANARY_WEB_PORT", "STREAMCANARY_WEB__PORT"),
        ("STREAMCANARY_STORE__PATHS", "STREAMCANARY_STORE__PATH"),
    ],
)
def test_an_override_without_a_match_is_an_error_with_a_similar_name(name: str, near: str) -> None:
    """An override without a match is an error, and adds no entry."""
    assert errors_with(**{name: "1s"}) == [f"{name}: matches no key of the configuration; did you mean {near}?"]


def test_an_override_without_a_similar_name_is_explained() -> None:
    """Without a similar name the error explains the form of an override."""
    assert errors_with(STREAMCANARY_LOG_LEVEL="debug") == [
        (
            "STREAMCANARY_LOG_LEVEL: matches no key of the configuration; "
            "an override is STREAMCANARY_SECTION__KEY; it sets an existing or known key and cannot add an entry"
        )
    ]


def test_an_invalid_override_is_reported_with_its_variable() -> None:
    """The error starts with the variable instead of a line of the file, without its value."""
    assert errors_with(
        STREAMCANARY_CANARIES__CHAT_MINI__EVERY="0s",
        STREAMCANARY_WEB="on",
        STREAMCANARY_STORE__KEEP="for ever",
        STREAMCANARY_CANARIES__CHAT_MINI__TARGET="opnai",
    ) == [
        "STREAMCANARY_CANARIES__CHAT_MINI__EVERY: canaries.chat-mini.every: must be longer than zero",
        (
            "STREAMCANARY_CANARIES__CHAT_MINI__TARGET: canaries.chat-mini.target: "
            "there is no target 'opnai'; known: openai"
        ),
        (
            "STREAMCANARY_STORE__KEEP: store.keep: "
            "not a duration: write a number with a unit, such as 500ms, 30s, 5m, 1h30m or 7d"
        ),
        "STREAMCANARY_WEB: web: must be a map of keys and values, not text",
    ]


def test_a_conflict_with_an_override_names_its_variable() -> None:
    """An error of an overridden value starts with the variable."""
    name = "STREAMCANARY_CANARIES__CHAT_MINI__TIMEOUTS__TOTAL"
    message = "canaries.chat-mini.timeouts.total: 40s must be shorter than every (30s), or runs would overlap"
    assert errors_with(**{name: "40s"}) == [f"{name}: {message}"]


def test_an_error_names_the_variable_of_the_conflicting_value(tmp_path: Path) -> None:
    """If the conflicting value is overridden, the error also has its variable."""
    path = tmp_path / "c.yaml"
    path.write_text("targets: {t: {api_key: none}}\ncanaries: {c: {target: t, model: m, timeouts: {total: 20s}}}\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {"STREAMCANARY_CANARIES__C__EVERY": "5s"})
    assert str(caught.value) == (
        f"{path}:2:55: canaries.c.timeouts.total: 20s must be shorter than every (5s), or runs would overlap "
        "(overridden by STREAMCANARY_CANARIES__C__EVERY)"
    )


def test_two_variables_for_one_key_are_an_error() -> None:
    """Two variables for the same key are an error."""
    assert errors_with(STREAMCANARY_WEB__PORT="1", streamcanary_web__port="2") == [
        "streamcanary_web__port: sets the same key as STREAMCANARY_WEB__PORT; keep one of them"
    ]


def test_service_variables_of_kubernetes_are_ignored() -> None:
    """The variables of a Kubernetes Service called ``streamcanary`` are no overrides."""
    links = {
        "STREAMCANARY_SERVICE_HOST": "10.0.0.1",
        "STREAMCANARY_SERVICE_PORT": "9465",
        "STREAMCANARY_SERVICE_PORT_HTTP": "9465",
        "STREAMCANARY_PORT": "tcp://10.0.0.1:9465",
        "STREAMCANARY_PORT_9465_TCP": "tcp://10.0.0.1:9465",
        "STREAMCANARY_PORT_9465_TCP_ADDR": "10.0.0.1",
    }
    assert load_with(**links).web.port == 9465


def test_a_single_service_variable_is_an_error() -> None:
    """Without the other variables of a Service it is a misspelt override."""
    assert errors_with(STREAMCANARY_PORT="1") == [
        "STREAMCANARY_PORT: matches no key of the configuration; did you mean STREAMCANARY_WEB__PORT?"
    ]


def test_a_variable_that_is_not_utf_8_is_an_error() -> None:
    """A variable that is not valid UTF-8 is an error at once."""
    assert errors_with(POD_NAMESPACE="\udcff", STREAMCANARY_INSTANCE="\udcff") == [
        f"{VALID}:1:11: instance: ${{POD_NAMESPACE}} is not UTF-8 text",
        "STREAMCANARY_INSTANCE: is not UTF-8 text",
    ]
