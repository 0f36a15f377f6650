"""The daemon itself: whether runs start in time, and whether it keeps up."""

from streamcanary.model import names

from .board import Board
from .metrics import RANGE, heat, increase, quantile, rate, series
from .panels import BAD, GOOD, MANY, WARNING, Steps, heat_map, lines, number, query, stacked_areas, stacked_bars
from .queries import CANARY_VARIABLES, OUTCOME_COLOURS, total

_LAG: Steps = ((None, GOOD), (0.05, WARNING), (1, BAD))

_NOW = (
    number("Canaries", "Configured canaries.", total(f"max by (canary) ({series(names.CANARY_INFO)})")),
    number(
        "Runs a minute",
        "Runs that ended, skipped ones included.",
        f"60 * {rate(names.RUNS, '')}",
    ),
    number(
        "Late runs, 99 %",
        "99 % of the runs in the time range started at most this long after they were due.",
        quantile(0.99, names.SCHEDULE_LAG, within=RANGE),
        unit="s",
        steps=_LAG,
    ),
    number(
        "Missed runs",
        "Runs in the time range that were due and did not start.",
        increase(names.RUNS_MISSED, "", within=RANGE),
        steps=MANY,
    ),
    number(
        "Last reload",
        "Whether the last load of the configuration succeeded.",
        f"min({series(names.RELOAD_SUCCESS, selector='')})",
        steps=((None, BAD), (1, GOOD)),
        texts={"0": "failed", "1": "ok"},
    ),
    number(
        "Configuration loaded",
        "Time since the configuration was last loaded.",
        f"time() - max({series(names.RELOAD_TIME, selector='')})",
        unit="s",
    ),
)
_SCHEDULE = (
    heat_map(
        "Schedule lag",
        "Time from when a run was due to its start.",
        query(heat(names.SCHEDULE_LAG)),
    ),
    lines(
        "Schedule lag",
        "Time from when a run was due to its start, of all canaries.",
        query(quantile(0.5, names.SCHEDULE_LAG), "median"),
        query(quantile(0.99, names.SCHEDULE_LAG), "99 %"),
        unit="s",
        steps=_LAG,
    ),
    stacked_bars(
        "Missed runs by reason",
        "Runs that were due and did not start: the daemon was late, the last run had not ended, the limit of the "
        "target was reached, the budget was used up, or the daemon was stopping.",
        query(increase(names.RUNS_MISSED, "reason"), "{{reason}}"),
    ),
    stacked_bars(
        "Runs by outcome",
        "`internal_error` is a fault of the daemon itself, and no sample for alerts.",
        query(increase(names.RUNS, "outcome"), "{{outcome}}"),
        colours=OUTCOME_COLOURS,
    ),
)
_PROCESS = (
    lines(
        "Event-loop lag",
        "The longest delay of the event loop in each second. Above 50 ms, measured times are too long.",
        query(quantile(0.5, names.EVENT_LOOP_LAG, selector=""), "median"),
        query(quantile(0.99, names.EVENT_LOOP_LAG, selector=""), "99 %"),
        unit="s",
        steps=_LAG,
    ),
    lines(
        "Open streams",
        "Streams that are open at the time of the export.",
        query(f"sum({series(names.STREAMS_ACTIVE, selector='')})", "streams"),
    ),
    stacked_areas(
        "Attempts a second by target",
        "The requests that canaries send.",
        query(rate(names.ATTEMPTS, "target"), "{{target}}"),
        unit="reqps",
    ),
)
BOARD = Board(
    name="daemon",
    title="streamcanary: daemon",
    description="Whether runs start in time, and whether the daemon keeps up.",
    variables=CANARY_VARIABLES,
    rows=(("Now", _NOW), ("Schedule", _SCHEDULE), ("Process", _PROCESS)),
)
