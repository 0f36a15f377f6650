"""The verb ``report``, on a store that a daemon has written."""

import json
import time
from html.parser import HTMLParser
from pathlib import Path

import msgspec
import pytest

from streamcanary.cli.commands.history.report import main as report
from streamcanary.cli.main import create_parser
from streamcanary.model.clock import SystemClock
from streamcanary.model.config_types.secret import Secret
from streamcanary.model.faults import FaultKind, Phase, make_fault
from streamcanary.model.outcome import Attempt, Outcome, OutcomeKind, OutputSpeed
from streamcanary.model.status.alert_history import PastIncident, past_incident_id
from streamcanary.store.config import StoreConfig
from streamcanary.store.opening import open_store
from streamcanary.store.tables.alert_rows import RowChange
from support.programs.daemon import run_command, write_config
from support.store.builders import make_outcome

HOUR, DAY = 3600.0, 86400.0
HOSTILE = "<script>alert(1)</script>|\x1b[31m\u202e`"


def run(number: int, *, age: float, canary: str = "chat", failed: bool = False, rescued: bool = False) -> Outcome:
    """Return a run that started ``age`` seconds ago."""
    started = time.time() - age
    fault = make_fault(FaultKind.STALLED, Phase.STREAM, HOSTILE)
    attempts = (
        Attempt(number=1, route="m", started=started, duration=2.0, fault=fault if failed or rescued else None),
    )
    return make_outcome(
        number,
        canary=canary,
        scheduled=started,
        started=started,
        duration=2.0,
        attempts=attempts,
        kind=OutcomeKind.FAILED if failed else OutcomeKind.OK,
        fault=fault if failed else None,
        time_to_first_token=None if failed else 0.5,
        output_speed=None if failed else OutputSpeed(tokens_per_second=40.0, seconds=1.0),
        cost=0.01,
    )


def incident(rule: str, *, opened: float, resolved: float | None) -> PastIncident:
    """Return an incident about ``chat``; ``opened`` and ``resolved`` are seconds ago."""
    now = time.time()
    return PastIncident(
        id=past_incident_id(rule, now - opened),
        key=rule,
        rule=rule,
        subject="chat",
        severity="page",
        opened=now - opened,
        since=now - opened - 60,
        resolved=None if resolved is None else now - resolved,
        summary=f"{rule}: chat failing {HOSTILE}",
        faults={"stalled": 3},
    )


async def write_store(path: Path, outcomes: list[Outcome], incidents: list[PastIncident]) -> None:
    """Write runs and incidents as the daemon does."""
    store = open_store(StoreConfig(path=path), SystemClock())
    rows = [RowChange("alert_history", each.id, msgspec.json.encode(each)) for each in incidents]
    await store.commit(rows, outcomes)
    await store.close()


def arguments(*options: str | Path) -> object:
    """Return the parsed arguments of the verb."""
    return create_parser().parse_args(["report", *map(str, options)])


@pytest.fixture
async def database(tmp_path: Path) -> Path:
    """Write a store with two canaries: one with a failure a week ago and one now, and one without failures."""
    path = tmp_path / "store.db"
    outcomes = [run(0, age=6 * DAY + HOUR, failed=True), *(run(number, age=3 * DAY) for number in range(1, 8))]
    outcomes += [run(8, age=10, rescued=True), run(9, age=5, failed=True)]
    outcomes += [run(number, age=30, canary="embed") for number in range(10, 14)]
    incidents = [
        incident("Spike", opened=6 * DAY, resolved=6 * DAY - 1800),
        incident("Down", opened=7200, resolved=None),
        incident("Old", opened=20 * DAY, resolved=19 * DAY),
    ]
    await write_store(path, outcomes, incidents)
    return path


async def test_json_has_rates_percentiles_faults_and_spend(database: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The rates before and after retries are of all runs that say something about the target."""
    assert 0 == report(arguments("--db", database, "--since", "7d", "--format", "json"))
    chat, embed = json.loads(capfd.readouterr().out)["canaries"]
    assert ("chat", 10, 2, 0.8, 0.2, 0.3) == (
        *(
            chat[name]
            for name in ("canary", "runs", "failed", "availability", "error_rate", "first_attempt_error_rate")
        ),
    )
    assert [{"kind": "stalled", "blame": "provider", "count": 2}] == chat["faults"]
    assert 0.1 == pytest.approx(chat["cost_usd"])
    assert ("embed", 4, 1.0) == (embed["canary"], embed["runs"], embed["availability"])
    assert 0.5 == pytest.approx(embed["percentiles"]["first_token"]["p95"], rel=0.02)
    assert 40 == pytest.approx(embed["percentiles"]["tokens_per_second"]["p50"], rel=0.02)


async def test_incidents_of_the_period_have_durations(database: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """The latest first; one that still fires lasts until now, and one that ended before the period is left out."""
    assert 0 == report(arguments("--db", database, "--format", "json"))
    down, spike = json.loads(capfd.readouterr().out)["incidents"]
    assert ("Down", None, "Spike") == (down["rule"], down["resolved"], spike["rule"])
    assert (7200, 1800) == (pytest.approx(down["duration"], abs=60), pytest.approx(spike["duration"], abs=1))


async def test_since_leaves_out_earlier_runs(database: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A day ago, there is neither the failure of last week nor the runs of three days ago."""
    assert 0 == report(arguments("--db", database, "--since", "1d", "--format", "json"))
    document = json.loads(capfd.readouterr().out)
    assert [("chat", 2), ("embed", 4)] == [(one["canary"], one["runs"]) for one in document["canaries"]]
    assert ["Down"] == [one["rule"] for one in document["incidents"]]


async def test_one_of_each_is_no_plural(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """One canary with one run and one incident are in the singular."""
    path = tmp_path / "store.db"
    await write_store(path, [run(1, age=HOUR)], [incident("Down", opened=HOUR, resolved=60)])
    assert 0 == report(arguments("--db", path))
    assert "1 canary, 1 run, 100 % answered; 1 incident" in capfd.readouterr().out


async def test_markdown_escapes_what_providers_say(database: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Hostile text makes neither markup nor another cell, and no control character reaches the terminal."""
    assert 0 == report(arguments("--db", database))
    text = capfd.readouterr().out
    assert text.startswith("# Availability from 20")
    assert "| chat | 80 % | 10 | 20 % | 30 % | 0 | 0 | 0.1000 |" in text
    assert "2 canaries, 14 runs, 85.714 % answered; 2 incidents, 1 of them still firing; 0.1400 USD." in text
    assert "Down: chat failing \\<script\\>alert(1)\\</script\\>\\| " in text
    assert not {"\x1b", "\u202e"} & set(text)


class _Page(HTMLParser):
    """Collects tags, their attributes, and the text of cells."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


async def test_html_is_one_file_without_anything_from_outside(database: Path, tmp_path: Path) -> None:
    """No script, no address, no handler; hostile text is text."""
    assert 0 == report(arguments("--db", database, "--format", "html", "--output", tmp_path / "report.html"))
    page = _Page((tmp_path / "report.html").read_text())
    assert {"html", "head", "meta", "title", "style", "body", "h1", "h2", "p", "div", "table", "thead", "tbody", "tr",
            "th", "td", "svg", "rect"} == page.tags  # fmt: skip
    assert set() == {"src", "href", "style", "onload", "onclick"} & page.attributes
    assert any("<script>alert(1)</script>" in text for text in page.texts)


async def test_a_dash_is_stdout(
    database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """As in most programs; no file has that name afterwards."""
    monkeypatch.chdir(tmp_path)
    assert 0 == report(arguments("--db", str(database), "--output", "-"))
    assert capfd.readouterr().out.startswith("# Availability from ")
    assert not (tmp_path / "-").exists()


async def test_a_configuration_chooses_canaries_and_follows_renames(
    database: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Only its canaries, in its order, with the runs of their former names; one without runs says so."""
    canary = {"target": "sim", "model": "m", "every": "30s"}
    file = write_config(
        tmp_path / "config",
        {
            "targets": {"sim": {"base_url": "http://127.0.0.1:9/v1", "api_key": "x"}},
            "canaries": {"new": canary, "talk": {**canary, "renamed_from": "chat"}},
            "store": {"path": str(database)},
        },
    )
    assert 0 == report(arguments("-c", file, "--format", "json"))
    canaries = json.loads(capfd.readouterr().out)["canaries"]
    assert [("new", 0, None), ("talk", 10, 0.8)] == [
        (one["canary"], one["runs"], one["availability"]) for one in canaries
    ]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "give the configuration with -c FILE, or the database with --db FILE"),
        (("--db", "missing.db"), "there is no database "),
        (("--db", "text.db"), "is not a valid database"),
        (("--db", "store.db", "--since", "yesterday"), "--since 'yesterday' is not a time"),
        (("--db", "store.db", "--since", "40d"), "--since '40d' is more than 35 days ago"),
        (("--db", "store.db", "--since", "2999-01-01"), "--since '2999-01-01' is in the future"),
        (("--db", "store.db", "--output", "missing/report.md"), "cannot write missing/report.md: No such file"),
        (("-c", "missing.yaml"), "missing.yaml: no such file"),
    ],
)
async def test_invalid_arguments_are_exit_code_2(
    options: tuple[str, ...],
    problem: str,
    database: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The message says what would be right."""
    monkeypatch.chdir(database.parent)
    Path("text.db").write_text("no database" * 1000)
    assert 2 == report(arguments(*options))
    assert problem in capfd.readouterr().err


async def test_an_empty_store_has_no_runs(tmp_path: Path) -> None:
    """A report on nothing says so, as a process."""
    await write_store(tmp_path / "store.db", [], [])
    result = await run_command("report", "--db", tmp_path / "store.db")
    assert (0, "") == (result.code, result.stderr)
    assert "No runs are recorded in this period." in result.stdout


@pytest.mark.real("postgresql")
async def test_a_store_in_postgresql_is_read_by_its_url(postgres_url: str, capfd: pytest.CaptureFixture[str]) -> None:
    """The report is that of a file; an error names the database without its password."""
    store = open_store(StoreConfig(url=Secret(postgres_url)), SystemClock())
    await store.commit([], [run(number, age=30) for number in range(3)])
    await store.close()
    assert 0 == report(arguments("--db", postgres_url, "--format", "json"))
    (chat,) = json.loads(capfd.readouterr().out)["canaries"]
    assert ("chat", 3) == (chat["canary"], chat["runs"])
    assert 2 == report(arguments("--db", f"{postgres_url}_missing"))
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("streamcanary: the store postgresql://127.0.0.1:")
    assert (True, False) == ("does not exist" in line, postgres_url.split(":")[2].partition("@")[0] in line)
