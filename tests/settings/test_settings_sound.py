"""What a sound configuration becomes."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from streamcanary.model.canary import Canary
from streamcanary.model.faults import Blame
from streamcanary.settings import load
from streamcanary.settings_sources.document import read_document

ROOT = Path(__file__).parent.parent.parent
SOUND = ROOT / "tests" / "fixtures" / "config" / "sound.yaml"
KEY = {"OPENAI_API_KEY": "sk-test-0123456789"}


def test_the_example_configuration_is_sound() -> None:
    """The file that users start from needs nothing but a key."""
    settings = load(ROOT / "config" / "streamcanary.yaml", KEY)
    assert list(settings.canaries) == ["chat-mini"]
    assert list(settings.alerts.rules) == ["ProdFailing", "KeyOrModelRejected", "FirstAttemptsFailing"]
    rule, canary = settings.alerts.rules["KeyOrModelRejected"], settings.describe()[0]
    assert (True, (Blame.CONFIG,)) == (rule.watches(canary), rule.blame)


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


def test_an_absolute_path_stays_as_it_is(tmp_path: Path) -> None:
    """Only relative paths are moved."""
    settings = load(SOUND, KEY | {"STREAMCANARY_STORE__PATH": str(tmp_path / "canary.db")})
    assert settings.store.path == tmp_path / "canary.db"


def test_the_other_rooms_learn_who_the_canaries_are() -> None:
    """Name, target, provider, interval and labels; not what is asked."""
    assert load(SOUND, KEY).describe() == (
        Canary(name="chat-mini", target="openai", provider="openai", interval=30.0, labels={}),
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
