"""The verb ``migrate-store``: its arguments, output and exit codes."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from streamcanary.cli.commands.running.migrate_store import main
from streamcanary.cli.main import create_parser
from support.store.builders import make_outcome, open_store
from support.store.databases import PostgresDatabase

CONFIG = """
targets: {t: {base_url: "http://127.0.0.1:9/v1", api_key: x}}
canaries: {chat: {target: t, model: m}}
"""


def migrate(*options: str | Path) -> int:
    """Run the verb in this process."""
    return main(create_parser().parse_args(["migrate-store", *map(str, options)]))


@pytest.fixture
async def file(tmp_path: Path) -> Path:
    """Write a store with three runs."""
    store = open_store(tmp_path / "old.db")
    await store.commit([], [make_outcome(number) for number in range(3)])
    await store.close()
    return tmp_path / "old.db"


@pytest.mark.real("postgresql")
async def test_the_store_is_copied_to_that_of_the_configuration_and_back(
    file: Path, postgres_url: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The output lists the tables, and names the databases without secrets."""
    config, url_file = tmp_path / "new.yaml", tmp_path / "url"
    url_file.write_text(postgres_url)
    config.write_text(f"{CONFIG}store: {{url_file: {url_file}, schema: other}}\n")
    assert 0 == migrate("-c", config, "--from", file)
    out, err = capfd.readouterr()
    lines = [line.split() for line in out.splitlines()]
    assert ["TABLE", "ROWS", "LEFT", "OUT"] == lines[0]
    assert ["runs", "3", "0"] in lines
    location = f"postgresql://{postgres_url.rpartition('@')[2]}"
    assert f"copied {file} to {location}, and verified the number of rows" == out.splitlines()[-1]
    assert ("", False) == (err, postgres_url.split(":")[2].partition("@")[0] in out)
    assert 0 == migrate("-c", config, "--to", tmp_path / "back.db")
    assert ["runs", "3", "0"] in [line.split() for line in capfd.readouterr().out.splitlines()]


@pytest.mark.real("postgresql")
async def test_damaged_rows_are_left_out(file: Path, postgres_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The exit code tells a script."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("INSERT INTO notifications VALUES ('text', 'text')")
    assert 1 == migrate("--from", file, "--to", postgres_url)
    out, err = capfd.readouterr()
    assert ["notifications", "0", "1"] in [line.split() for line in out.splitlines()]
    assert "streamcanary: left out 1 damaged rows, which no daemon can read\n" == err


@pytest.mark.real("postgresql")
async def test_a_refusal_is_one_line(file: Path, postgres_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """A second copy finds a target that is not empty."""
    assert (0, 2) == (migrate("--from", file, "--to", postgres_url), migrate("--from", file, "--to", postgres_url))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("streamcanary: the store postgresql://127.0.0.1:")
    assert line.endswith(" is not empty, it has rows in rollups, rollup_details, runs: name a new file or schema")


@pytest.mark.real("postgresql")
def test_a_wrong_password_is_not_printed(file: Path, postgres_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Nor is any other part of the URL but host and database."""
    database = PostgresDatabase(postgres_url.replace("streamcanary:", "streamcanary:hunter2"))
    assert 2 == migrate("--from", file, "--to", database.url)
    out, err = capfd.readouterr()
    assert ("", True, False) == (out, "password authentication failed" in err, "hunter2" in err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ((), "give --from DATABASE and --to DATABASE, or -c FILE in place of one of them"),
        (("--from", "a.db"), "give --from DATABASE and --to DATABASE, or -c FILE in place of one of them"),
        (("--from", "a.db", "--to", "a.db"), "--from and --to are the same database"),
        (("--from", "a.db", "--to", "postgresql://u:hunter2@h"), "the URL of the database names no database"),
        (("-c", "CONFIG"), "give --from DATABASE to copy to the store of the configuration, or --to DATABASE from it"),
        (("-c", "CONFIG", "--from", "a.db", "--to", "b.db"), "give two of -c FILE, --from DATABASE and --to DATABASE"),
        (("-c", "CONFIG", "--to", "STORE"), "is the store of the configuration, too; name another one"),
        (("--from", "/nowhere/a.db", "--to", "b.db"), "there is no database /nowhere/a.db"),
    ],
)
def test_a_usage_error_says_what_to_give(
    options: tuple[str, ...], message: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Nothing is copied."""
    config, store = tmp_path / "config.yaml", tmp_path / "store.db"
    config.write_text(f"{CONFIG}store: {{path: store.db}}\n")
    assert 2 == migrate(*({"CONFIG": config, "STORE": store}.get(option, option) for option in options))
    err = capfd.readouterr().err
    assert (True, 1, False) == (message in err, err.count("\n"), "hunter2" in err)
