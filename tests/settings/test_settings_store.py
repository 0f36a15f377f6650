"""The section ``store`` of a configuration, with a database that replicas share."""

from pathlib import Path

import pytest

from streamcanary.model.config_types.config_secrets import ConfigSecrets
from streamcanary.reload.plan import restart_needed
from streamcanary.settings import ConfigInvalid, Settings, load

URL = "postgresql://user:5up3rs3cr3t@db.example:5432/monitoring"


def load_with(folder: Path, *lines: str) -> Settings:
    """Load a configuration with ``lines``."""
    path = folder / "streamcanary.yaml"
    text = ("targets: {t: {api_key: none}}", "canaries: {c: {target: t, model: m}}", *lines)
    path.write_text("\n".join(text) + "\n")
    return load(path, {})


def errors_of(folder: Path, *lines: str) -> list[str]:
    """Return the errors of a configuration with ``lines``, after their place."""
    with pytest.raises(ConfigInvalid) as raised:
        load_with(folder, *lines)
    return [f"{problem}".partition(": ")[2] for problem in raised.value.problems]


def test_a_url_is_a_secret(tmp_path: Path) -> None:
    """Its location is shown; the rest is in no representation, and is redacted from what is logged."""
    settings = load_with(tmp_path, f"store: {{url: '{URL}', replica: pod-1}}")
    assert (True, "postgresql://db.example:5432/monitoring") == (settings.store.is_shared, settings.store.location)
    assert "5up3rs3cr3t" not in f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()}"
    assert URL in ConfigSecrets(settings)


def test_the_file_of_a_url_is_relative_to_the_configuration(tmp_path: Path) -> None:
    """As all paths are."""
    (tmp_path / "secrets").mkdir()
    (tmp_path / "secrets" / "url").write_text(f"{URL}\n")
    settings = load_with(tmp_path, "store: {url_file: secrets/url}")
    assert "postgresql://db.example:5432/monitoring" == settings.store.location
    assert URL in ConfigSecrets(settings)


@pytest.mark.parametrize(
    ("lines", "error"),
    [
        (
            (f"store: {{url: '{URL}', path: x.db}}",),
            "store: has both path and a url; remove path to use PostgreSQL, or",
        ),
        (("store: {url: 'mysql://u:5up3rs3cr3t@h/d'}",), "store.url: must begin with postgresql://, such as postgres"),
        (("store: {url_file: missing}",), "store.url_file: cannot read the secret file "),
        ((f"store: {{url: '{URL}', schema: pg_x}}",), "store.schema: is a schema of PostgreSQL itself; choose another"),
        ((f"store: {{url: '{URL}', lease: 1s}}",), "store.lease: must be greater than or equal to 3"),
        ((f"store: {{url: '{URL}'}}", "fleet: {replicas: 1}"), "fleet: divides the canaries among replicas that share"),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(lines: tuple[str, ...], error: str, tmp_path: Path) -> None:
    """The message says what would be right, and shows no secret."""
    (found,) = errors_of(tmp_path, *lines)
    assert (True, False) == (found.startswith(error), "5up3rs3cr3t" in found), found


def test_another_database_needs_a_restart(tmp_path: Path) -> None:
    """The daemon has its database open."""
    before = load_with(tmp_path, f"store: {{url: '{URL}'}}")
    after = load_with(tmp_path, f"store: {{url: '{URL}x'}}")
    assert ("store.url",) == restart_needed(before, after)
