"""The waterfall as text: its layout at any width, and safe output of texts that others wrote."""

import msgspec
import pytest

from streamcanary.cli.waterfall.render import MIN_WIDTH, Style, format_seconds, render_trace
from streamcanary.cli.waterfall.terminal_style import style_of_stdout
from streamcanary.model import names
from streamcanary.model.run_trace import RunTrace, TraceEvent
from support.telemetry.run_traces import make_attempt, make_trace

RETRIED = make_trace(
    make_attempt(
        0.0,
        2.0,
        "stalled",
        **{
            "streamcanary.phase.connect.duration": 0.5,
            "streamcanary.phase.streaming.duration": 1.5,
            "http.response.header.x-request-id": ["req-1"],
            "url.full": "https://api.example/v1",
        },
    ),
    make_attempt(3.0, 1.0),
)


def test_a_retried_run_is_drawn() -> None:
    """The heading, a bar for each span, phase and wait on one axis, and the fault in words."""
    assert [
        "chat on openai: OK",
        "2027-01-15 08:00:01 UTC, took 4 s, 2 attempts",
        f"run {1:032d}, trace f{1:031d}",
        "",
        "                      0                     4 s",
        "streamcanary.run      █████████████████████████       4 s  ok",
        "└─ chat gpt           █████████████████████████       4 s",
        "   ├─ attempt 1, gpt  ████████████                    2 s  HTTP 200, stalled",
        "   │    connect       ███                          500 ms",
        "   │    streaming        █████████                  1.5 s",
        "   ├─ wait                        ░░░░░░░             1 s  before the retry",
        "   └─ attempt 2, gpt                     ▒▒▒███       1 s  HTTP 200",
        "",
        "attempt 1  stalled: the reason",
        "           who can fix it: the provider; phase: stream; request id: req-1;",
        "           address: https://api.example/v1",
    ] == render_trace(RETRIED, Style(width=76))


def test_a_terminal_without_box_drawing_characters_gets_ascii() -> None:
    """The tree and the bars are drawn with ASCII characters."""
    lines = render_trace(RETRIED, Style(width=76, is_ascii=True))
    assert "   |- attempt 1, gpt  ############                    2 s  HTTP 200, stalled" == lines[7]
    assert "   `- attempt 2, gpt                     ===###       1 s  HTTP 200" == lines[11]
    assert all(line.isascii() for line in lines)


def test_colors_are_used_only_if_wanted() -> None:
    """With colors, failed attempts are red; the text without the escape sequences is the same."""
    plain, colored = (render_trace(RETRIED, Style(width=76, has_color=has_color)) for has_color in (False, True))
    assert "\x1b[31m████████████" in colored[7]
    assert "\x1b" not in "".join(plain)
    for code in ("\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[36m"):
        colored = [line.replace(code, "") for line in colored]
    assert plain == colored


@pytest.mark.parametrize("width", [MIN_WIDTH, 72, 80, 100, 133, 250])
def test_lines_fit_into_the_terminal(width: int) -> None:
    """No line is longer than the terminal is wide, with long names and messages, too."""
    long = make_trace(
        make_attempt(0.0, 2.0, "stalled" * 30, route="a-very-long-model-name-of-a-provider" * 3), canary="c" * 40
    )
    for trace in (RETRIED, long):
        lines = render_trace(trace, Style(width=width))
        assert max(map(len, lines[4:])) <= width
        assert all("█" in line or "░" in line for line in lines[5:8])


@pytest.mark.parametrize("width", [MIN_WIDTH, 72, 80, 86, 100])
def test_a_note_that_is_too_wide_is_wrapped(width: int) -> None:
    """The fault and the connection of an attempt are whole, beside its bar or below it."""
    attempt = make_attempt(
        0.0, 2.0, "stream_truncated", route="sim-truncated-model", **{names.ATTEMPT_CONNECTION: "new"}
    )
    text = "\n".join(render_trace(make_trace(attempt), Style(width=width)))
    assert "HTTP 200, stream ended early, new connection" in " ".join(text.split())


def test_wide_characters_keep_the_columns_aligned() -> None:
    """East Asian characters take two columns, combining ones none."""
    wide, narrow = (make_trace(make_attempt(0.0, 1.0, route=route)) for route in ("模型", "e\u0301abc"))
    bars = [render_trace(trace, Style(width=80))[7].index("▒") for trace in (wide, narrow)]
    assert bars[0] + 2 == bars[1] - 1


def test_hostile_text_cannot_control_the_terminal() -> None:
    """Escape sequences, line breaks and direction overrides of a provider are not printed."""
    hostile = "x\x1b]0;owned\x07\x1b[2J\r\nFAKE LINE\u202e\x9b31m"
    attempt = make_attempt(
        0.0, 1.0, hostile, route=hostile, **{"url.full": hostile, "http.response.status_code": hostile}
    )
    attempt = msgspec.structs.replace(attempt, message=hostile)
    trace = make_trace(attempt, canary=hostile, target=hostile, message=hostile, run_id=hostile, outcome=hostile)
    text = "\n".join(render_trace(trace, Style(width=100)))
    assert [] == [character for character in text if not character.isprintable() and character != "\n"]
    assert not [line for line in text.split("\n") if line.startswith("FAKE")]


@pytest.mark.parametrize("value", [0.0, -5.0, 1e300, 1e-300])
def test_absurd_times_do_not_break_the_drawing(value: float) -> None:
    """Whatever durations a server sends, the lines have their width."""
    trace = make_trace(make_attempt(value, value, "stalled"), make_attempt(1.0, 1.0))
    assert max(map(len, render_trace(trace, Style(width=100)))) <= 100


def test_other_events_are_listed() -> None:
    """An event that the waterfall does not draw is a line, such as another model that answers."""
    event = TraceEvent(name="streamcanary.model.changed", offset=0.5, attributes={"from": "a", "to": "b"})
    trace = msgspec.structs.replace(RETRIED, root=msgspec.structs.replace(RETRIED.root, events=[event]))
    assert "streamcanary.model.changed after 500 ms: from=a, to=b" == render_trace(trace, Style())[-1]


def test_omitted_attempts_are_counted() -> None:
    """A run with more attempts than are kept says so."""
    trace: RunTrace = msgspec.structs.replace(RETRIED, omitted_spans=7)
    assert "7 more attempts are not kept" in render_trace(trace, Style())


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.0, "0 ms"), (0.00123, "1.23 ms"), (0.5124, "512 ms"), (0.9996, "1 s"), (5.412, "5.41 s"), (72.4, "1 m 12 s")],
)
def test_durations_have_three_digits(seconds: float, text: str) -> None:
    """Milliseconds below a second, minutes from 60 s on."""
    assert text == format_seconds(seconds)


def test_output_to_a_file_has_no_colors(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a terminal there are no colors, and the width is 100 unless COLUMNS says otherwise."""
    monkeypatch.delenv("COLUMNS", raising=False)
    assert Style(width=100, has_color=False, is_ascii=False) == style_of_stdout()
    monkeypatch.setenv("COLUMNS", "72")
    assert 72 == style_of_stdout().width
