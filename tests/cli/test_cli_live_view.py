"""What the live view draws, without a terminal."""

import io

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from streamcanary.cli.live.log_tail import MAX_LINES, LogTail
from streamcanary.cli.live.view import LiveView, render
from streamcanary.model.status.canary_status import CanaryState, CanaryStatus, PeriodStatistics, RecentRun
from streamcanary.model.status.summary import OverallState, StatusSummary


def canary(name: str, state: CanaryState = CanaryState.OK, outcomes: str = "") -> CanaryStatus:
    """Return a canary; ``outcomes`` has a letter for each run."""
    kinds = {"o": "ok", "s": "slow", "v": "failed_over", "f": "failed", "k": "skipped"}
    return CanaryStatus(
        name=name,
        target="openai",
        provider="openai",
        model="gpt",
        labels={},
        interval=30.0,
        state=state,
        next_run=112.0,
        recent_runs=tuple(RecentRun(run_id="r", started=1.0, outcome=kinds[one]) for one in outcomes),
        hour=PeriodStatistics(started=0.0, length=3600.0, runs=10, failed=1, first_attempt_failed=3),
    )


def view(*canaries: CanaryStatus, text: str = "all well", **changes: object) -> LiveView:
    """Return a view at 100 s."""
    summary = StatusSummary(
        state=OverallState.FAILING, sentence=text, detail=text, since=40.0, counts={}, instance=text, version="1",
        started=10.0, time=100.0,
    )  # fmt: skip
    values = {
        "now": 100.0,
        "connection": "here",
        "summary": summary,
        "canaries": canaries,
        "canary_count": len(canaries),
    }
    return LiveView(**{**values, **changes})


def lines(shown: LiveView, width: int = 120, height: int = 30) -> list[str]:
    """Return the lines of a screen."""
    screen = io.StringIO()
    console = Console(file=screen, width=width, height=height, color_system=None)
    console.print(render(shown, width, height))
    return [line.rstrip() for line in screen.getvalue().split("\n")[:-1]]


def test_the_worst_canary_is_first_and_what_has_no_room_is_counted() -> None:
    """A screen of ten lines has room for a few canaries."""
    good = [canary(f"good-{number}") for number in range(20)]
    shown = lines(view(*good, canary("broken", CanaryState.FAILING)), height=10)
    assert 10 >= len(shown)
    [first] = [number for number, line in enumerate(shown) if line.startswith("STATE")]
    assert shown[first + 1].startswith("✗ failing   broken")
    assert "and 17 more" in shown[-1]


def test_runs_differ_in_height_and_rates_are_before_and_after_retries() -> None:
    """Without a colour, each outcome has another bar."""
    [row] = [line for line in lines(view(canary("chat", outcomes="osvfk"))) if "chat" in line]
    assert "▂▄▆█·" in row
    assert "10% (30%)" in row
    assert row.endswith("12s")


def test_the_sentence_says_for_how_long() -> None:
    """The first lines are the title, the sentence and its detail."""
    assert ["all well  (for 1m)", "all well"] == lines(view(text="all well"))[1:3]


@given(
    st.text(st.characters(blacklist_categories=["Cs"]), max_size=60), st.integers(20, 200), st.integers(1, 60)
)  # fmt: skip
def test_any_text_fits_any_screen(text: str, width: int, height: int) -> None:
    """No line is wider than the screen, none has a control character; from 8 lines on there is room for all."""
    shown = lines(view(canary(text), text=text, alerts=[text] * 9, alert_count=20, log_lines=[text] * 9), width, height)
    assert all(cell_len(line) <= width for line in shown)
    assert not {chr(code) for code in (*range(32), 0x7F, 0x9B, 0x202E, 0x2028)} & set("".join(shown))
    assert len(shown) <= max(height, 8)


def test_before_the_first_status_the_view_says_so() -> None:
    """There is nothing to show yet."""
    assert "waiting for the first status" in lines(LiveView(now=1.0, connection="here"))[1]


def test_log_lines_are_kept_until_the_screen_is_released() -> None:
    """Then the last ones are written, and later ones at once; before, only so many are in memory."""
    stream = io.StringIO()
    tail = LogTail(stream)
    for number in range(MAX_LINES + 50):
        tail.write(f"line {number}\n")
    assert ("", ["line 248", "line 249"]) == (stream.getvalue(), tail.last_lines(2))
    tail.release()
    tail.release()
    tail.write("after\n")
    written = stream.getvalue().splitlines()
    assert ("line 230", "after", 21) == (written[0], written[-1], len(written))


@pytest.mark.parametrize(
    ("line", "short"),
    [
        (
            "2026-11-29T17:58:00.363Z [info     ] run finished    [streamcanary.app.event_logs] a=b [streamcanary]",
            "17:58:00 info run finished a=b [streamcanary]",
        ),
        ("Traceback (most recent call last):", "Traceback (most recent call last):"),
    ],
)  # fmt: skip
def test_log_lines_have_the_time_of_day(line: str, short: str) -> None:
    """A date and a logger on each line would take half of the screen."""
    assert short == lines(view(log_lines=[line]))[-1]


def test_canaries_come_before_log_lines() -> None:
    """A small screen has room for the worst canaries first; log lines have what is left."""
    many = [canary(f"bad-{number}", CanaryState.FAILING) for number in range(9)]
    shown = lines(view(*many, alerts=["Down"], alert_count=1, log_lines=["late"]), 80, 11)
    assert ["✗ failing   bad-0", "✗ failing   bad-1"] == [
        " ".join(line[:17].split(" ")) for line in shown if "✗" in line
    ][:2]
    assert "late" not in shown


def test_even_one_line_of_canaries_has_the_worst() -> None:
    """Not only how many there are."""
    shown = lines(view(canary("good"), canary("bad", CanaryState.FAILING)), height=6)
    assert "✗ failing   bad" == shown[-1][:17].rstrip()


def test_a_run_that_is_due_is_now() -> None:
    """Its time has passed, or is less than half a second away."""
    due = msgspec.structs.replace(canary("chat"), next_run=99.0)
    assert lines(view(due))[-1].endswith("now")


def test_a_narrow_screen_says_that_the_view_is_old() -> None:
    """It leaves out the version and the instance for that."""
    shown = lines(view(connection="reconnecting, last update 9s ago", is_stale=True), 40)
    assert "reconnecting, last update 9s ago" == shown[0].strip()
