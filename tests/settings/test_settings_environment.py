"""Variables in the file, and overrides from outside."""

from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, Settings, load

SOUND = Path(__file__).parent.parent / "fixtures" / "config" / "valid.yaml"
KEY = {"OPENAI_API_KEY": "sk-test"}


def load_with(**variables: str) -> Settings:
    """Return the sound configuration under ``variables``."""
    return load(SOUND, KEY | variables)


def refused(**variables: str) -> list[str]:
    """Return why ``variables`` make the sound configuration unsound."""
    with pytest.raises(ConfigInvalid) as caught:
        load_with(**variables)
    return [str(problem) for problem in caught.value.problems]


def test_a_variable_is_filled_in_and_a_default_where_it_is_missing_or_empty() -> None:
    """``${VAR}`` and ``${VAR:-default}`` are those of a shell."""
    assert load_with().instance == "default"
    assert load_with(POD_NAMESPACE="").instance == "default"
    assert load_with(POD_NAMESPACE="team-a").instance == "team-a"


def test_a_variable_can_be_a_number_where_a_number_or_anything_is_expected() -> None:
    """``port: ${PORT}`` is a number, and so is an argument that goes to the SDK as it is; in quotes it is text."""
    settings = load_with(PORT="8080", TEMPERATURE="1", STOP="2")
    assert settings.web.port == 8080
    assert settings.canaries["chat-mini"].request == {"temperature": 1, "stop": "2"}


def test_text_from_a_variable_stays_text() -> None:
    """A key of digits is a key, and ``true`` may be the name of a namespace."""
    settings = load_with(POD_NAMESPACE="true", OPENAI_API_KEY="00123456")
    assert settings.instance == "true"
    assert settings.targets["openai"].key.reveal() == "00123456"


def test_what_a_variable_holds_is_not_looked_at_again() -> None:
    """A dollar sign in a password is a dollar sign."""
    assert load_with(POD_NAMESPACE="${HOME}$$").instance == "${HOME}$$"


def test_dollar_signs(tmp_path: Path) -> None:
    """Two are one, and one before anything but a brace is itself, as regular expressions need it."""
    path = tmp_path / "c.yaml"
    path.write_text(
        "targets: {t: {api_key: none}}\n"
        "canaries: {c: {target: t, model: m, prompt: '$$5 and $${HOME}', expect: {regex: '^pong$'}}}\n"
    )
    canary = load(path, {}).canaries["c"]
    assert canary.prompt == "$5 and ${HOME}"
    assert canary.expect.regex == "^pong$"


def test_an_override_is_matched_with_names_case_folded_and_dashes_as_underscores() -> None:
    """``CHAT_MINI`` is the canary ``chat-mini``; there is no second one."""
    settings = load_with(STREAMCANARY_CANARIES__CHAT_MINI__EVERY="10s", STREAMCANARY_INSTANCE="here")
    assert list(settings.canaries) == ["chat-mini"]
    assert settings.canaries["chat-mini"].every == 10.0
    assert settings.instance == "here"


def test_an_override_may_set_a_known_field_that_the_file_leaves_out() -> None:
    """Sections on the way are made; the entry of a map by name is not."""
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


def test_an_override_takes_the_place_of_a_bad_value() -> None:
    """What is overridden is not judged; a number without a unit is in seconds, as in the file."""
    assert load_with(PORT="99999", STREAMCANARY_WEB__PORT="9000").web.port == 9000
    assert load_with(STREAMCANARY_CANARIES__CHAT_MINI__EVERY="45").canaries["chat-mini"].every == 45.0


def test_an_override_can_reach_into_a_list(tmp_path: Path) -> None:
    """An item that is there has its number for a name."""
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
def test_an_override_that_matches_nothing_is_an_error_with_the_nearest_name(name: str, near: str) -> None:
    """It never makes a new entry, and is never silently ignored."""
    assert refused(**{name: "1s"}) == [f"{name}: matches no key of the configuration; did you mean {near}?"]


def test_an_override_like_nothing_at_all_is_told_how_they_are_written() -> None:
    """Without a near name there is the rule."""
    assert refused(STREAMCANARY_LOG_LEVEL="debug") == [
        (
            "STREAMCANARY_LOG_LEVEL: matches no key of the configuration; "
            "an override is STREAMCANARY_SECTION__KEY; it sets an existing or known key and cannot add an entry"
        )
    ]


def test_a_bad_override_is_blamed_on_its_variable() -> None:
    """The place is the variable, not a line of the file; its value is not repeated."""
    assert refused(
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


def test_a_problem_between_two_values_names_the_variable_that_takes_part() -> None:
    """The file alone would not explain it."""
    name = "STREAMCANARY_CANARIES__CHAT_MINI__TIMEOUTS__TOTAL"
    said = "canaries.chat-mini.timeouts.total: 40s must be shorter than every (30s), or runs would overlap"
    assert refused(**{name: "40s"}) == [f"{name}: {said}"]


def test_a_problem_names_the_variable_of_the_value_that_another_one_does_not_fit_to(tmp_path: Path) -> None:
    """The place is where the one is written, and the file would not explain it."""
    path = tmp_path / "c.yaml"
    path.write_text("targets: {t: {api_key: none}}\ncanaries: {c: {target: t, model: m, timeouts: {total: 20s}}}\n")
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {"STREAMCANARY_CANARIES__C__EVERY": "5s"})
    assert str(caught.value) == (
        f"{path}:2:55: canaries.c.timeouts.total: 20s must be shorter than every (5s), or runs would overlap "
        "(overridden by STREAMCANARY_CANARIES__C__EVERY)"
    )


def test_two_variables_for_one_key_are_an_error() -> None:
    """Which of them would win is nobody's guess."""
    assert refused(STREAMCANARY_WEB__PORT="1", streamcanary_web__port="2") == [
        "streamcanary_web__port: sets the same key as STREAMCANARY_WEB__PORT; keep one of them"
    ]


def test_the_variables_that_kubernetes_sets_for_a_service_are_not_overrides() -> None:
    """A Service called ``streamcanary`` puts these into every pod of its namespace."""
    links = {
        "STREAMCANARY_SERVICE_HOST": "10.0.0.1",
        "STREAMCANARY_SERVICE_PORT": "9465",
        "STREAMCANARY_SERVICE_PORT_HTTP": "9465",
        "STREAMCANARY_PORT": "tcp://10.0.0.1:9465",
        "STREAMCANARY_PORT_9465_TCP": "tcp://10.0.0.1:9465",
        "STREAMCANARY_PORT_9465_TCP_ADDR": "10.0.0.1",
    }
    assert load_with(**links).web.port == 9465


def test_what_only_looks_like_such_a_variable_is_an_error() -> None:
    """Without the rest of the family it is a misspelt override."""
    assert refused(STREAMCANARY_PORT="1") == [
        "STREAMCANARY_PORT: matches no key of the configuration; did you mean STREAMCANARY_WEB__PORT?"
    ]


def test_a_variable_that_is_no_text_is_refused() -> None:
    """The system hands over any bytes; those that are not UTF-8 would break later, in a header."""
    assert refused(POD_NAMESPACE="\udcff", STREAMCANARY_INSTANCE="\udcff") == [
        f"{SOUND}:1:11: instance: ${{POD_NAMESPACE}} is not UTF-8 text",
        "STREAMCANARY_INSTANCE: is not UTF-8 text",
    ]
