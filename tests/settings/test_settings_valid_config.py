"""Valid configurations and the settings that result."""

from pathlib import Path

import msgspec
import pytest
from pydantic import ValidationError

from streamcanary.model.canary import Canary
from streamcanary.settings import ConfigInvalid, load
from streamcanary.settings_sources.document import read_document

ROOT = Path(__file__).parent.parent.parent
VALID = ROOT / "tests" / "fixtures" / "config" / "valid.yaml"
KEY = {"OPENAI_API_KEY": "sk-test-0123456789"}


def test_the_example_configuration_is_valid() -> None:
    """The example configuration needs only a key."""
    settings = load(ROOT / "config" / "streamcanary.yaml", KEY)
    assert list(settings.canaries) == ["chat-mini"]
    assert list(settings.alerts.rules) == ["ProdErrorSpike", "FirstAttemptsFailing"]
    assert all(rule.applies_to(settings.to_canaries()[0]) for rule in settings.alerts.rules.values())


def test_settings_are_immutable() -> None:
    """Settings cannot be changed; a reload creates new ones."""
    settings = load(VALID, KEY)
    with pytest.raises(ValidationError, match="frozen"):
        settings.instance = "other"  # type: ignore[misc]


def test_secrets_are_redacted_in_repr_and_dump() -> None:
    """Secrets are redacted in the repr and in dumps."""
    settings = load(VALID, KEY)
    assert "0123456789" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.targets["openai"].key.reveal() == "sk-test-0123456789"


def test_variables_without_prefix_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables such as ``INSTANCE`` or ``STORE`` have no effect."""
    monkeypatch.setenv("INSTANCE", "elsewhere")
    monkeypatch.setenv("STORE", "{}")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert load(VALID).instance == "default"


def test_relative_paths_are_relative_to_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Relative paths do not depend on the working directory."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "key").write_text("sk-from-file\n")
    (tmp_path / "etc" / "c.yaml").write_text(
        "targets: {t: {api_key_file: key}}\ncanaries: {c: {target: t, model: m}}\nstore: {path: data/canary.db}\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = load(Path("etc/c.yaml"), {})
    assert settings.store.path == tmp_path / "etc" / "data" / "canary.db"
    assert settings.targets["t"].key.reveal() == "sk-from-file"
    assert load(VALID, KEY).store.path == VALID.parent / "streamcanary.db"


def test_every_secret_can_be_read_from_a_file(tmp_path: Path) -> None:
    """``{file: PATH}`` is accepted for each secret, relative to the file, and read again when it changes."""
    (tmp_path / "token").write_text("first-token\n")
    (tmp_path / "proxy").write_text("http://me:hunter2@proxy.example:3128")
    (tmp_path / "c.yaml").write_text(
        "targets: {t: {api_key: {file: token}, headers: {X-Token: {file: '${TOKEN}'}}, proxy: {file: proxy}}}\n"
        "canaries: {c: {target: t, model: m}}\n"
        "telemetry: {otlp: {endpoint: 'http://localhost:4318', headers: {x-token: {file: token}}}}\n"
    )
    settings = load(tmp_path / "c.yaml", {"TOKEN": "token"})
    target, otlp = settings.targets["t"], settings.telemetry.otlp
    assert otlp is not None
    assert target.proxy is not None
    secrets = [target.key, target.headers["X-Token"], otlp.headers["x-token"]]
    assert ["first-token"] * 3 == [secret.reveal() for secret in secrets]
    assert "http://me:hunter2@proxy.example:3128" == target.proxy.reveal()
    (tmp_path / "token").write_text("the-second-token")
    assert ["the-second-token"] * 3 == [secret.reveal() for secret in secrets]
    assert {"first-token", "the-second-token", "hunter2"}.isdisjoint(str(settings.model_dump()).split())


def test_the_path_of_a_secret_file_can_be_overridden(tmp_path: Path) -> None:
    """The path of a secret file can be overridden; a relative one is relative to the configuration file."""
    (tmp_path / "token").write_text("token-of-the-variable")
    (tmp_path / "c.yaml").write_text(
        "targets: {t: {api_key: none, headers: {X-Token: {file: gone}}}}\ncanaries: {c: {target: t, model: m}}\n"
    )
    settings = load(tmp_path / "c.yaml", {"STREAMCANARY_TARGETS__T__HEADERS__X_TOKEN__FILE": "token"})
    assert "token-of-the-variable" == settings.targets["t"].headers["X-Token"].reveal()


def test_an_absolute_path_is_kept(tmp_path: Path) -> None:
    """An absolute path is not changed."""
    settings = load(VALID, KEY | {"STREAMCANARY_STORE__PATH": str(tmp_path / "canary.db")})
    assert settings.store.path == tmp_path / "canary.db"


def test_canaries_are_converted_to_values() -> None:
    """The canary values have name, target, provider, interval and labels, but not the request."""
    canaries = [msgspec.structs.replace(canary, request_digest="") for canary in load(VALID, KEY).to_canaries()]
    assert canaries == [
        Canary(
            name="chat-mini",
            target="openai",
            provider="openai",
            host="api.openai.com",
            model="gpt-4o-mini",
            interval=30.0,
            timeout=24.0,
        ),
    ]


def test_yaml_1_2_types_are_used(tmp_path: Path) -> None:
    """By YAML 1.2 ``no`` is a key and ``on`` is text; a date is text; a byte order mark is ignored."""
    path = tmp_path / "words.yaml"
    path.write_text("\ufeffno: on\n1: 0o17\ntrue: ~\nday: 2026-01-01\nlist: [1.5, 1_000, true]\n", encoding="utf-8")
    assert read_document(path).data == {
        "no": "on",
        "1": 15,
        "true": None,
        "day": "2026-01-01",
        "list": [1.5, 1000, True],
    }


def test_aliases_are_expanded(tmp_path: Path) -> None:
    """Canaries can share settings by anchors and aliases."""
    path = tmp_path / "shared.yaml"
    path.write_text(
        "targets: {t: {api_key: none}}\n"
        "canaries:\n"
        "  a: {target: t, model: m, timeouts: &fast {first_token: 2s}}\n"
        "  b: {target: t, model: n, timeouts: *fast}\n"
    )
    canaries = load(path, {}).canaries
    assert canaries["b"].timeouts == canaries["a"].timeouts
    assert canaries["b"].timeouts.first_token == 2.0


def test_equal_parts_of_canaries_are_one_object(tmp_path: Path) -> None:
    """Of 10,000 canaries with default timeouts the timeouts exist once; what a canary has of its own stays its own."""
    path = tmp_path / "equal.yaml"
    path.write_text(
        "targets: {t: {api_key: none}}\n"
        "canaries:\n"
        "  a: {target: t, model: m-1}\n"
        "  b: {target: t, model: m-1}\n"
        "  c: {target: t, model: m-2, every: 20s, labels: {tier: prod}}\n"
    )
    a, b, c = load(path, {}).canaries.values()
    shared = ("target", "model", "prompt", "timeouts", "retry", "expect", "request", "labels", "model_fields_set")
    assert [True] * len(shared) == [getattr(a, name) is getattr(b, name) for name in shared]
    assert ({}, {"tier": "prod"}, 48.0, 16.0) == (a.labels, c.labels, a.timeouts.total, c.timeouts.total)
    assert {"every", "labels"} == c.model_fields_set - a.model_fields_set


def test_a_former_name_cannot_be_used_twice(tmp_path: Path) -> None:
    """A former name that another canary has or had is a config error."""
    path = tmp_path / "renamed.yaml"
    canary = "{target: sim, model: m, renamed_from: %s}"
    path.write_text(
        "targets: {sim: {base_url: 'http://127.0.0.1:1/v1', api_key: none}}\n"
        "canaries:\n"
        f"  a: {canary % 'former'}\n"
        f"  b: {canary % 'former'}\n"
        f"  c: {canary % 'd'}\n"
        "  d: {target: sim, model: m}\n"
    )
    with pytest.raises(ConfigInvalid) as caught:
        load(path, {})
    assert [
        ("canaries.b.renamed_from", "canary a uses the name former already; write another name, or remove the key"),
        ("canaries.c.renamed_from", "canary d uses the name d already; write another name, or remove the key"),
    ] == [(problem.path, problem.message) for problem in caught.value.problems]
