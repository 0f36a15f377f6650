"""Invalid configurations and their complete messages."""

import os
from pathlib import Path

import pytest

from streamcanary.settings import ConfigInvalid, load, render
from streamcanary.settings_sources import document

FIXTURES = Path(__file__).parent.parent / "fixtures" / "config"
NO_SUCH_PATH = "/no/such/path/streamcanary.yaml"
KEYS_OF_A_CANARY = (
    "target, api, model, prompt, request, expect, every, cron, timezone, connection, timeouts, retry, limits, "
    "fallbacks, slo, labels, renamed_from"
)
RECEIVER_TYPES = "'pagerduty', 'slack', 'webhook', 'apprise', 'alertmanager'"
DOLLAR = "contains ${ without a valid variable reference; write ${NAME} or ${NAME:-default}, and $$ for a dollar sign"
LABEL_NAME = "must be letters, digits and '_', not starting with a digit, at most 128 characters"
HEADER_NAME = "not a valid header name: letters, digits and !#$%&'*+-.^_`|~, at most 128 characters"
HEADER_VALUE = "not a valid header value: write one line of printable ASCII characters"
NO_QUERY = "must not contain ? or #: the client appends to the path"
SECRET = "a secret must be text, or the path of its file: {file: PATH}"
NO_SECRET_FILE = f"cannot read the secret file {FIXTURES}/no-such-file: No such file or directory"

MESSAGES = {
    "syntax-error": [
        ":4:9: YAML syntax: while parsing a flow sequence expected ',' or ']', but got ':'",
    ],
    "unknown-key-top": [
        ":3:1: canary: unknown key; did you mean canaries?",
    ],
    "unknown-key-nested": [
        ":7:16: canaries.chat-mini.timeouts.first-token: unknown key; did you mean first_token?",
        ":8:5: canaries.chat-mini.evry: unknown key; did you mean every?",
        ":9:5: canaries.chat-mini.zeitzone: unknown key; did you mean timezone?",
    ],
    "duplicate-key": [
        ":7:3: canaries.chat: duplicate key, first used in line 4; keep one of them",
    ],
    "unset-variable": [
        (
            ":3:14: targets.openai.api_key: ${OPENAI_API_KEY} is not set; "
            "set OPENAI_API_KEY in the environment, or write ${OPENAI_API_KEY:-default}"
        ),
        f":5:15: targets.openai.provider: {DOLLAR}",
        f":7:54: canaries.chat.prompt: {DOLLAR}",
    ],
    "unknown-target": [
        ":6:13: canaries.chat.target: there is no target 'opnai'; known: openai, azure",
        ":10:39: canaries.chat.fallbacks[1].target: there is no target 'azur'; known: openai, azure",
    ],
    "interval-zero": [
        ":7:12: canaries.chat-mini.every: must be longer than zero",
    ],
    "total-not-below-interval": [
        (":9:14: canaries.chat-mini.timeouts.total: 30s must be shorter than every (30s), or runs would overlap"),
    ],
    "binary": [
        ": is not UTF-8 text; a configuration is a YAML file",
    ],
    "control-character": [
        ":2: character U+0001 is not allowed in YAML; remove it",
    ],
    "empty": [
        ": is empty; a configuration has at least the sections targets and canaries",
    ],
    "list": [
        ": holds a list, not a map; a configuration has sections such as targets: and canaries:",
    ],
    "text": [
        ": holds text, not a map; a configuration has sections such as targets: and canaries:",
    ],
    "no-canaries": [
        ":3:1: canaries: needs at least one canary",
    ],
    "names": [
        ":5:3: canaries.Chat.Mini: has the same variable name as chat-mini, CHAT_MINI; rename one of them",
        (
            ":6:3: canaries.chat mini: "
            "not a name: a name is letters, digits, '_', '-' and '.', beginning with a letter or digit"
        ),
        (
            ":7:3: canaries.x23456789-123456789-123456789-123456789-123456789-123456789-1234: "
            "must have at most 63 characters"
        ),
    ],
    "secret-file-missing": [
        (
            ":3:19: targets.openai.api_key_file: "
            f"cannot read the secret file {FIXTURES}/secrets/openai: No such file or directory"
        ),
    ],
    "wrong-types": [
        ":1:11: instance: must be text, not a number; put it in quotes",
        ":3:45: targets.openai.headers.X-Team: a secret must be text; put it in quotes",
        ":7:5: canaries.chat.model: is empty; give it a value, or leave the key out",
        ":8:5: canaries.chat.labels: must be a map of keys and values, not a list",
        ":9:16: canaries.chat.fallbacks: must be a list, not text",
        ":10:5: canaries.chat.expect: takes only one condition, not contains and equals",
        ":11:3: canaries.mini.model: is required, and missing",
        ":12:1: store: is empty; give it a value, or leave the key out",
        ":13:13: web.port: must be less than or equal to 65535",
        ":13:26: web.host: must be text, not true or false; put it in quotes",
    ],
    "secrets": [
        f":2:11: targets.words.api_key: {SECRET}",
        ":3:21: targets.number.api_key: a secret must be text; put it in quotes",
        ":4:20: targets.truth.api_key: a secret must be text; put it in quotes",
        ":5:22: targets.nothing.api_key: a secret must be text and not empty",
        f":6:10: targets.both.api_key: {SECRET}",
        f":7:50: targets.gone.headers.X-Team.file: {NO_SECRET_FILE}",
        f":7:80: targets.gone.proxy.file: {NO_SECRET_FILE}",
        f":8:28: targets.folder.api_key.file: cannot read the secret file {FIXTURES}: it is not a regular file",
        ":9:29: targets.unnamed.api_key.file: must be the path of a file",
    ],
    "invalid-urls-and-headers": [
        ":2:36: targets.space.base_url: must not contain a space or control character",
        ":3:37: targets.inside.base_url: must not contain a space or control character",
        f":4:36: targets.query.base_url: {NO_QUERY}",
        f":5:36: targets.empty.base_url: {NO_QUERY}",
        f":6:39: targets.fragment.base_url: {NO_QUERY}",
        f":10:7: targets.headers.headers.X Team: {HEADER_NAME}",
        f":11:7: targets.headers.headers.X-Team:: {HEADER_NAME}",
        f":12:16: targets.headers.headers.X-Lines: {HEADER_VALUE}",
        f":13:7: targets.headers.headers.X-Größe: {HEADER_NAME}",
        f":14:17: targets.headers.headers.X-Umlaut: {HEADER_VALUE}",
        (
            ":21:15: telemetry.otlp.headers.x token: "
            "not a valid header name: letters, digits, '_', '-' and '.', at most 128 characters"
        ),
        f":21:40: telemetry.otlp.headers.x-lines: {HEADER_VALUE}",
        (
            ":22:14: telemetry.resource.1st: not a valid attribute name: "
            "letters, digits, '_', '.', ':', '/' and '-', beginning with a letter or '_', at most 255 characters"
        ),
    ],
    "labels": [
        f":8:7: canaries.chat.labels.1st: {LABEL_NAME}",
        f":9:7: canaries.chat.labels.team-name: {LABEL_NAME}",
        ":13:24: canaries.mini.labels.instance: is a built-in label of alerts; choose another name",
        ":13:38: canaries.mini.labels.alertname: is a built-in label of alerts; choose another name",
        ":13:48: canaries.mini.labels.alert: is a built-in label of alerts; choose another name",
        ":13:61: canaries.mini.labels.provider: is a built-in label of canaries; choose another name",
        f":17:16: alerts.rules.Failing.labels.team name: {LABEL_NAME}",
        f":18:21: alerts.rules.Failing.annotations.run-book: {LABEL_NAME}",
    ],
    "alerts": [
        ":8:37: alerts.rules.Typo.detector.failure: unknown key; did you mean failures?",
        ":10:19: alerts.receivers.pager.type: must be one of " + RECEIVER_TYPES,
        ":11:5: alerts.receivers.hook: needs the key type, which selects its kind",
        (
            ":12:39: alerts.receivers.prom.urls[0]: "
            "must be an http:// or https:// address, such as https://example.com/hook"
        ),
    ],
    "alerts-between": [
        (
            ":8:15: alerts.rules.Nobody.match[0]: "
            "matches no canary: there is no label tier; known labels: canary, provider and target"
        ),
        (
            ":10:37: alerts.rules.Slow.detector.over: "
            "chat runs every 1m, 2 times in 2m: fewer than min_samples (5), so it could never fire"
        ),
    ],
    "yaml-extras": [
        (
            ":1:1: base: unknown key; known here: instance, region, fleet, targets, canaries, alerts, budget, "
            "telemetry, heartbeat, store, web"
        ),
        ":4:5: targets.openai.<<: merge keys are not supported; write the keys out",
        ":5:14: targets.openai.api_key: tags such as !name are not supported; remove it",
        ":6:5: targets: a key must be text; put text with braces or brackets in quotes",
        ":9:69: canaries.chat.request.temperature: must be a finite number",
    ],
    "alias-bomb": [
        ": has more than 50000 values from aliases",
    ],
    "alias-loop": [
        ": is nested more than 32 levels deep with aliases expanded",
    ],
    "several": [
        (
            ":2:21: targets.openai.api_key: ${NO_SUCH_KEY} is not set; "
            "set NO_SUCH_KEY in the environment, or write ${NO_SUCH_KEY:-default}"
        ),
        ":4:53: canaries.fast.every: must be longer than zero",
        ":5:18: canaries.lost.target: there is no target 'nowhere'; known: openai",
        f":5:47: canaries.lost.colour: unknown key; known here: {KEYS_OF_A_CANARY}",
        ":6:1: wab: unknown key; did you mean web?",
    ],
}
"""By fixture: the messages after the path of the file, one per problem."""


def problems_of(path: Path, environ: dict[str, str] | None = None) -> list[str]:
    """Return the config errors of ``path``, one per line."""
    with pytest.raises(ConfigInvalid) as caught:
        load(path, environ or {})
    assert str(caught.value) == render(caught.value.problems)
    return str(caught.value).split("\n")


@pytest.mark.parametrize("name", MESSAGES)
def test_each_error_has_position_and_remedy(name: str) -> None:
    """All errors are reported at once, with file, line, column, key, cause and remedy."""
    path = FIXTURES / f"{name}.yaml"
    assert problems_of(path) == [f"{path}{line}" for line in MESSAGES[name]]


def test_every_fixture_is_tested() -> None:
    """Every fixture has its messages in this file."""
    assert {path.stem for path in FIXTURES.glob("*.yaml")} == {*MESSAGES, "valid", "secret-in-wrong-place"}


def test_a_secret_at_a_wrong_key_is_redacted() -> None:
    """Values that look like keys, values of secret keys, and variables with secret names are redacted."""
    path = FIXTURES / "secret-in-wrong-place.yaml"
    assert problems_of(path, {"SERVICE_PASSWORD": "hunter2-hunter2"}) == [
        f"{path}:2:11: targets.openai: must be a map of keys and values, not text",
        f"{path}:3:11: targets.local.api_key: a secret must be text, or the path of its file: {{file: PATH}}",
        (
            f"{path}:3:45: targets.local.password: unknown key; "
            "known here: type, base_url, api_key, api_key_file, provider, headers, finish_reason, price, "
            "max_concurrent_runs, proxy, ca_file, client_cert, client_key"
        ),
        f"{path}:6:13: canaries.chat.target: there is no target '[redacted]'; known: openai, local",
        (
            f"{path}:8:12: canaries.chat.every: "
            "not a duration: write a number with a unit, such as 500ms, 30s, 5m, 1h30m or 7d"
        ),
        (
            f"{path}:11:23: alerts.rules.Failing.match[0]: "
            "not a matcher: '[redacted]'; write name=\"value\", or with !=, =~ or !~"
        ),
    ]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("api_key: *sk-proj-abcdefgh", ":1:10: YAML syntax: found undefined alias it"),
        ("api_key: @sk-proj-abcdefgh", ":1:10: YAML syntax: while scanning for the next token found character '@' "),
        ("api_key sk-proj-abcdefgh\nfoo: bar", ":2:4: YAML syntax: mapping values are not allowed here"),
        ("{sk-proj-abcdefgh: 1}", ":1:2: [redacted]: unknown key; known here: "),
        ("targets: {a: ${KEY}}", "; put a value with braces in quotes"),
        ("targets:\n\ta: 1", "; indent with spaces"),
    ],
)
def test_a_secret_in_a_syntax_error_is_redacted(tmp_path: Path, text: str, message: str) -> None:
    """Text that the YAML parser quotes is left out of the message."""
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    output = "\n".join(problems_of(path))
    assert message in output
    assert "abcdefgh" not in output


def test_a_missing_file_is_reported_by_its_path() -> None:
    """A missing file is reported without a line."""
    assert problems_of(Path(NO_SUCH_PATH)) == [f"{NO_SUCH_PATH}: no such file; give the path of a configuration file"]


def test_a_directory_is_rejected(tmp_path: Path) -> None:
    """A directory is reported as such."""
    assert problems_of(tmp_path) == [f"{tmp_path}: is a directory; give the path of a configuration file in it"]


def test_an_invalid_path_is_rejected() -> None:
    """A path with a NUL is a config error."""
    assert problems_of(Path("a\0b")) == ["a b: cannot be read: not a valid path"]


@pytest.mark.timeout(10)
def test_a_pipe_is_rejected(tmp_path: Path) -> None:
    """A pipe is rejected without opening it, which would block."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    assert problems_of(path) == [f"{path}: is not a regular file; give the path of a configuration file"]


@pytest.mark.timeout(10)
def test_a_pipe_as_secret_file_is_rejected(tmp_path: Path) -> None:
    """A pipe as secret file is rejected without opening it."""
    os.mkfifo(tmp_path / "key")
    path = tmp_path / "config.yaml"
    path.write_text("targets: {t: {api_key_file: key}}\ncanaries: {c: {target: t, model: m}}\n")
    assert problems_of(path) == [
        f"{path}:1:29: targets.t.api_key_file: cannot read the secret file {tmp_path}/key: it is not a regular file",
    ]


@pytest.mark.parametrize("fallbacks", ["true", "5"])
def test_fallbacks_that_are_no_list_are_an_error(tmp_path: Path, fallbacks: str) -> None:
    """A value of ``fallbacks`` that is not a list is a config error."""
    path = tmp_path / "config.yaml"
    canary = f"{{target: t, model: m, fallbacks: {fallbacks}}}"
    path.write_text(f"targets: {{t: {{api_key: none}}}}\ncanaries: {{c: {canary}}}\n")
    kind = "true or false" if fallbacks == "true" else "a number"
    assert problems_of(path) == [f"{path}:2:48: canaries.c.fallbacks: must be a list, not {kind}"]


def test_a_file_over_eight_mebibytes_is_rejected(tmp_path: Path) -> None:
    """A file above 8 MiB is rejected without reading all of it."""
    path = tmp_path / "large.yaml"
    path.write_bytes(b"# " + b"x" * 8 * 1024 * 1024)
    assert problems_of(path) == [f"{path}: is larger than 8 MiB; a configuration is a small text file"]


def test_a_file_with_too_many_values_is_rejected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The number of keys and values is limited while the file is parsed, whatever its size."""
    path = tmp_path / "many.yaml"
    monkeypatch.setattr(document, "_MAX_NODES", 1000)
    path.write_text("a: [" + "1, " * 1000 + "]")
    assert problems_of(path) == [f"{path}: has more than 500000 values"]


def test_deep_nesting_is_an_error(tmp_path: Path) -> None:
    """Deep nesting is a config error, not a traceback."""
    path = tmp_path / "deep.yaml"
    path.write_text("a: " + "[" * 3000)
    assert problems_of(path) == [f"{path}: is nested more than 32 levels deep"]


def test_the_size_with_variables_is_limited(tmp_path: Path) -> None:
    """The size with substituted variables is limited to 8 MiB."""
    path = tmp_path / "grown.yaml"
    path.write_text("a: [" + "'${X}', " * 320 + "]")
    assert problems_of(path, {"X": "x" * 32768}) == [f"{path}:1:1: is larger than 8 MiB with its variables substituted"]


def test_an_empty_secret_file_is_an_error(tmp_path: Path) -> None:
    """An empty secret file is a config error."""
    (tmp_path / "key").write_text("\n")
    path = tmp_path / "config.yaml"
    path.write_text("targets: {t: {api_key_file: key}}\ncanaries: {c: {target: t, model: m}}\n")
    assert problems_of(path) == [
        f"{path}:1:29: targets.t.api_key_file: the secret file {tmp_path}/key is empty",
    ]
