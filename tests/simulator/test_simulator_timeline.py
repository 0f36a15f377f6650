"""Timelines: strict parsing of the file, and faults that follow the clock."""

import os
from importlib.resources import as_file, files
from pathlib import Path
from textwrap import dedent

import pytest

from streamcanary.simulator import Phase, Simulator, Timeline, TimelineInvalid
from support.clock import ManualClock
from support.servers.simulator import FAST_TIMINGS, fetch_raw

DEMO = files("streamcanary") / "cli" / "demo" / "demo-timeline.yaml"
OUTAGE = Timeline(phases=(Phase(at=0, fault="ok"), Phase(at=20, fault="500"), Phase(at="1m", fault="429@1")))


def problems(text: str) -> list[str]:
    """Return the lines of the error message for ``text``."""
    with pytest.raises(TimelineInvalid) as raised:
        Timeline.parse(dedent(text), source_name="t.yaml")
    return str(raised.value).split("\n")


def test_demo_timeline_is_valid() -> None:
    """The timeline of the demo is valid: healthy, three kinds of fault, healthy again."""
    with as_file(DEMO) as path:
        timeline = Timeline.load(path)
    assert timeline.model == "sim-timeline"
    assert [phase.fault for phase in timeline.phases] == ["ok", "cut", "stall", "429-retry-after-ms", "ok"]
    assert timeline.phases[0].at == 0


@pytest.mark.parametrize(
    ("elapsed", "fault"), [(-1, "ok"), (0, "ok"), (19.9, "ok"), (20, "500"), (60, "429@1"), (9e9, "429@1")]
)
def test_phase_lasts_until_the_next(elapsed: float, fault: str) -> None:
    """A phase lasts until the next one, and the last phase has no end."""
    assert OUTAGE.phase_at(elapsed).fault == fault


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("phases: [", ["t.yaml:1: not YAML: expected the node content, but found '<stream end>'"]),
        ("[]", ["t.yaml: a timeline is a map with the key phases"]),
        ("", ["t.yaml: a timeline is a map with the key phases"]),
        ("model: m", ["t.yaml:1: phases: is missing"]),
        ("phases: []", ["t.yaml:1: phases: a timeline has at least one phase, such as {at: 0s, fault: ok}"]),
        (
            """\
            model: m
            model: n
            """,
            ['t.yaml:2: not YAML: found duplicate key "model" with value "n" (original value: "m")'],
        ),
        (
            """\
            phases:
              - {at: 5s, fault: ok}
            """,
            ["t.yaml:1: phases: the first phase starts at 0s, not at 5s"],
        ),
        (
            """\
            phases:
              - {at: 0s, fault: ok}
              - {at: 9s, fault: cut}
              - {at: 9s, fault: ok}
            """,
            ["t.yaml:1: phases: the phase at 9s must start later than the one before it, at 9s"],
        ),
        (
            """\
            speed: 2
            phases:
              - {at: 0s, fault: ok}
              - at: -3
                fault: cut%200
              - {at: 8s}
            """,
            [
                "t.yaml:4: phases.1.at: a duration must be finite and not negative",
                "t.yaml:5: phases.1.fault: a probability is at most 100 per cent, not 200",
                "t.yaml:6: phases.2.fault: is missing",
                "t.yaml:1: speed: unknown key; a timeline has model and phases, a phase has at and fault",
            ],
        ),
    ],
)
def test_invalid_timeline_is_rejected_with_every_problem(text: str, expected: list[str]) -> None:
    """Every problem of an invalid timeline is reported with its line."""
    assert problems(text) == expected


def test_unknown_fault_lists_the_valid_ones() -> None:
    """An unknown fault is reported with line, path and the valid faults."""
    [line] = problems("phases: [{at: 0s, fault: sing}]")
    assert line.startswith("t.yaml:1: phases.0.fault: no fault is called 'sing'; there are: ok, ")


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "cannot be read: No such file or directory"), (b"\xff", "is not UTF-8 text"), (b"#" * 70_000, "is larger")],
)
def test_unreadable_file_is_reported(tmp_path: Path, content: bytes | None, message: str) -> None:
    """A missing, binary or too large file is reported."""
    path = tmp_path / "timeline.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(TimelineInvalid) as raised:
        Timeline.load(path)
    assert str(raised.value).startswith(f"{path}: {message}")


@pytest.mark.timeout(10)
def test_named_pipe_is_rejected(tmp_path: Path) -> None:
    """A named pipe is rejected, because opening one would block."""
    path = tmp_path / "timeline.yaml"
    os.mkfifo(path)
    with pytest.raises(TimelineInvalid) as raised:
        Timeline.load(path)
    assert str(raised.value) == f"{path}: is not a regular file"


async def test_timeline_follows_the_clock() -> None:
    """A timeline runs from the start of the server, for the model that it names only."""
    clock = ManualClock()
    async with Simulator(timings=FAST_TIMINGS, timeline=OUTAGE, clock=clock) as simulator:
        assert (await fetch_raw(simulator, "sim-timeline")).status == 200
        clock.advance(20)
        assert simulator.current_phase == OUTAGE.phases[1]
        assert (await fetch_raw(simulator, "sim-timeline")).status == 500
        assert (await fetch_raw(simulator, "sim-ok")).status == 200
        clock.step(-3600)
        assert (await fetch_raw(simulator, "sim-timeline")).status == 500
        clock.advance(40)
        assert [(await fetch_raw(simulator, "sim-timeline")).status for _ in range(2)] == [429, 200]


async def test_timeline_can_be_restarted() -> None:
    """Restarting a timeline also resets its fault counters."""
    clock = ManualClock()
    async with Simulator(timings=FAST_TIMINGS, timeline=OUTAGE, clock=clock) as simulator:
        clock.advance(60)
        assert [(await fetch_raw(simulator, "sim-timeline")).status for _ in range(2)] == [429, 200]
        simulator.restart_timeline()
        assert simulator.current_phase == OUTAGE.phases[0]
        clock.advance(60)
        assert [(await fetch_raw(simulator, "sim-timeline")).status for _ in range(2)] == [429, 200]


async def test_timeline_may_name_any_model() -> None:
    """The model of the file follows the timeline, and the default model does not exist."""
    timeline = Timeline(model="gpt-4o-mini", phases=(Phase(at=0, fault="503"),))
    async with Simulator(timings=FAST_TIMINGS, timeline=timeline) as simulator:
        assert (await fetch_raw(simulator, "gpt-4o-mini")).status == 503
        unknown = await fetch_raw(simulator, "sim-timeline")
    assert unknown.status == 404
    assert unknown.json["error"]["message"].endswith("no timeline is loaded for this model")


async def test_without_timeline_there_is_no_phase() -> None:
    """Without a timeline there is no phase and no timeline model."""
    async with Simulator(timings=FAST_TIMINGS) as simulator:
        assert simulator.current_phase is None
        assert (await fetch_raw(simulator, "sim-timeline")).status == 404
