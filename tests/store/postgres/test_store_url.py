"""The URL of a database: what is wrong with it, without a word of it."""

import pytest
from pydantic import ValidationError

from streamcanary.model.config_types.secret import Secret
from streamcanary.store.config import StoreConfig, store_config_errors
from streamcanary.store.errors import StoreUnwritable
from streamcanary.store.postgres import driver
from streamcanary.store.postgres.url import public_location
from support.store.databases import PostgresDatabase

GOOD = "postgresql://user:pass%40word@db.example:5433/monitoring?sslmode=require"


@pytest.mark.parametrize(
    ("url", "location"),
    [
        (GOOD, "postgresql://db.example:5433/monitoring"),
        ("postgres://db.example/monitoring", "postgresql://db.example/monitoring"),
        ("postgresql://u:p@a:1,b:2/x?target_session_attrs=any", "postgresql://a:1,b:2/x"),
        ("postgresql:///x?host=/run/postgresql", "postgresql:///run/postgresql/x"),
        ("postgresql://u@[::1]:5432/x", "postgresql://[::1]:5432/x"),
    ],
)
def test_a_location_has_no_user_password_and_options(url: str, location: str) -> None:
    """Messages name the host and the database."""
    assert location == public_location(url)
    assert location == StoreConfig(url=Secret(url)).location


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://u:hunter2@h/db", "must begin with postgresql://"),
        ("hunter2", "must begin with postgresql://"),
        ("postgresql://u:hunter2@h", "names no database"),
        ("postgresql://u:hunter2@h/", "names no database"),
        ("postgresql://u:hunter2@x@h/db", "special character that is not percent-encoded"),
        ("postgresql://u:hunter2/x@h/db", "special character that is not percent-encoded"),
        ("postgresql://u:hunter2?x@h/db", "special character that is not percent-encoded"),
        ("postgresql://u:hunter2#x@h/db", "special character that is not percent-encoded"),
        ("postgresql://u:hunter2@[h/db", "is not a valid URL"),
        ("postgresql://u:hunter2\n@h/db", "must be one line"),
        ("postgresql://u:hunter2@h/" + "d" * 2000, "must be one line of at most 2000 characters"),
    ],
)
def test_a_url_that_is_not_valid_is_an_error_without_its_content(url: str, message: str) -> None:
    """The message says what would be right."""
    with pytest.raises(ValidationError) as raised:
        StoreConfig(url=url)
    (error,) = raised.value.errors(include_url=False, include_input=False, include_context=False)
    assert message in error["msg"]
    assert "hunter2" not in error["msg"]


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://u:hunter2@h:notaport/db", "has a port that is not a number"),
        ("postgresql://u:hunter2@h:1,i:70000/db", "has a port that is not a number"),
        ("postgresql://u:hunter2@h/db?sslmode=bogus", "has an unknown sslmode"),
        ("postgresql://u:x@h/db?hunter2=1", "has an option that libpq does not know"),
        ("postgresql://u:x@h/db?hunter2", "is not a valid URL"),
        ("postgresql://u:hunter2%zz@h/db", "is not a valid URL"),
    ],
)
def test_what_libpq_would_refuse_is_an_error_before_the_start(url: str, message: str) -> None:
    """``check`` finds it, without a connection; the message has no part of the URL."""
    (issue,) = store_config_errors(StoreConfig(url=Secret(url)))
    assert message in issue.message
    assert "hunter2" not in issue.message


@pytest.mark.parametrize("url", [GOOD, "postgresql://u:p@a:1,b:2/x?target_session_attrs=any", "postgresql://u@[::1]/x"])
def test_a_url_that_libpq_takes_is_no_error(url: str) -> None:
    """Also with several hosts, or none."""
    assert [] == list(store_config_errors(StoreConfig(url=Secret(url))))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"url": GOOD, "path": "x.db"}, "has both path and a url"),
        ({"url": GOOD, "url_file": "/run/url"}, "has both url and url_file"),
        ({"url": GOOD, "schema": "Upper"}, "String should match pattern"),
        ({"url": GOOD, "schema": "pg_temp"}, "is a schema of PostgreSQL itself"),
        ({"url": GOOD, "lease": "2s"}, "greater than or equal to 3"),
        ({"url": GOOD, "generation": -1}, "greater than or equal to 0"),
    ],
)
def test_settings_that_contradict_each_other_are_an_error(options: dict[str, object], message: str) -> None:
    """The message names both."""
    with pytest.raises(ValidationError, match=message):
        StoreConfig.model_validate(options)


def test_a_missing_driver_is_a_config_error_that_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """SQLite needs no driver."""
    monkeypatch.setattr(driver, "is_installed", lambda: False)
    (error,) = store_config_errors(StoreConfig(url=Secret(GOOD)))
    assert (("url",), "needs the package psycopg: pip install 'streamcanary[postgres]'") == (error.path, error.message)
    assert [] == list(store_config_errors(StoreConfig()))
    with pytest.raises(StoreUnwritable, match=r"pip install 'streamcanary\[postgres\]'"):
        PostgresDatabase(GOOD).open()


def test_a_file_of_a_url_is_checked(tmp_path) -> None:
    """A file that is missing, or holds no URL, is a config error."""
    config = StoreConfig(url_file=tmp_path / "url")
    (error,) = store_config_errors(config)
    assert (("url_file",), True) == (error.path, "No such file" in error.message)
    (tmp_path / "url").write_text("hunter2\n")
    (error,) = store_config_errors(config)
    assert ("must begin with postgresql://" in error.message, "hunter2" in error.message) == (True, False)
    (tmp_path / "url").write_text(f"{GOOD}\n")
    assert [] == list(store_config_errors(config))
    (tmp_path / "url").unlink()
    with pytest.raises(StoreUnwritable, match=r"store\.url: cannot read the secret file .*/url: No such file"):
        PostgresDatabase.open_config(config)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("sslmod=require", 'invalid URI query parameter: "sslmod"'),
        ("connect_timeout=soon", "connect_timeout"),
        ("port=hunter3", "port"),
    ],
)
def test_an_option_that_the_driver_rejects_is_reported(options: str, message: str) -> None:
    """The daemon does not start, and the message has no password."""
    with pytest.raises(StoreUnwritable, match=message) as raised:
        PostgresDatabase(f"postgresql://u:hunter2@127.0.0.1:1/db?{options}").open()
    assert "hunter2" not in str(raised.value)
