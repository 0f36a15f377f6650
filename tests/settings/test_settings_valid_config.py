"""What a sound configuration becomes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamcanary.model.canary import Canary
from streamcanary.settings import ConfigInvalid, load
from streamcanary.settings_sources.document import read_document

ROOT = Path(__file__).parent.parent.parent
SOUND = ROOT / "tests" / "fixtures" / "config" / "valid.yaml"
KEY = {"OPENAI_API_KEY": "sk-test-0123456789"}


def test_the_example_configuration_is_sound() -> None:
    """The file that users start from needs nothing but a key."""
    settings = load(ROOT / "config" / "streamcanary.yaml", KEY)
    assert list(settings.canaries) == ["chat-mini"]
    assert list(settings.alerts.rules) == ["ProdErrorSpike", "FirstAttemptsFailing"]
    assert all(rule.applies_to(settings.to_canaries()[0]) for rule in settings.alerts.rules.values())


def test_settings_never_change() -> None:
    """A reload makes new ones."""
    settings = load(SOUND, KEY)
    with pytest.raises(ValidationError, match="frozen"):
        settings.instance = "other"  # type: ignore[misc]


def test_settings_do_not_show_their_secrets() -> None:
    """Not in a repr, not in a dump."""
    settings = load(SOUND, KEY)
    assert "0123456789" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert settings.targets["openai"].key.reveal() == "sk-test-0123456789"


def test_settings_look_at_no_other_source(monkeypatch: pytest.MonkeyPatch) -> None:
    """A variable called ``INSTANCE`` or ``STORE`` is somebody else's."""
    monkeypatch.setenv("INSTANCE", "elsewhere")
    monkeypatch.setenv("STORE", "{}")
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    assert load(SOUND).instance == "default"


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A daemon that is started from elsewhere finds the same store and the same secrets."""
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc" / "key").write_text("sk-from-file\n")
    (tmp_path / "etc" / "c.yaml").write_text(
        "targets: {t: {api_key_file: key}}\ncanaries: {c: {target: t, model: m}}\nstore: {path: data/canary.db}\n"
    )
    monkeypatch.chdir(tmp_path)
    settings = load(Path("etc/c.yaml"), {})
    assert settings.store.path == tmp_path / "etc" / "data" / "canary.db"
    assert settings.targets["t"].key.reveal() == "sk-from-file"
    assert load(SOUND, KEY).store.path == SOUND.parent / "streamcanary.db"


def test_every_secret_can_stand_in_a_file(tmp_path: Path) -> None:
    """``{file: PATH}`` wherever a secret may stand; the path starts at the folder of the file, which is read again."""
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


def test_the_file_of_a_secret_can_be_overridden(tmp_path: Path) -> None:
    """Where the file has a path, a variable may name another; a relative one starts where the others do."""
    (tmp_path / "token").write_text("token-of-the-variable")
    (tmp_path / "c.yaml").write_text(
        "targets: {t: {api_key: none, headers: {X-Token: {file: gone}}}}\ncanaries: {c: {target: t, model: m}}\n"
    )
    settings = load(tmp_path / "c.yaml", {"STREAMCANARY_TARGETS__T__HEADERS__X_TOKEN__FILE": "token"})
    assert "token-of-the-variable" == settings.targets["t"].headers["X-Token"].reveal()


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    """Only relative paths are moved."""
    settings = load(SOUND, KEY | {"STREAMCANARY_STORE__PATH": str(tmp_path / "canary.db")})
    assert settings.store.path == tmp_path / "canary.db"


def test_the_other_rooms_learn_who_the_canaries_are() -> None:
    """Name, target, provider, interval and labels; not what is asked."""
    assert load(SOUND, KEY).to_canaries() == (
        Canary(
            name="chat-mini", target="openai", provider="openai", host="api.openai.com", interval=30.0, timeout=24.0
        ),
    )


def test_yaml_words_stay_what_they_look_like(tmp_path: Path) -> None:
    """``no`` is a key and ``on`` is text (YAML 1.2); a date is text; a byte order mark is nothing."""
    path = tmp_path / "words.yaml"
    path.write_text("\ufeffno: on\n1: 0o17\ntrue: ~\nday: 2026-01-01\nlist: [1.5, 1_000, true]\n", encoding="utf-8")
    assert read_document(path).data == {
        "no": "on",
        "1": 15,
        "true": None,
        "day": "2026-01-01",
        "list": [1.5, 1000, True],
    }


def test_an_alias_stands_for_what_it_names(tmp_path: Path) -> None:
    """Anchors and aliases are for what several canaries share."""
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


def test_two_canaries_are_not_known_by_one_name(tmp_path: Path) -> None:
    """A former name is one canary's alone, or its alerts would be another's."""
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
